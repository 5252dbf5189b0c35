//! Escaping long texts: transcripts are most of what a callback may hold.

use std::hint::black_box;

use ringback::context::{Name, Value, Values};
use ringback::template::{Limits, Template};

use crate::chance::Chance;
use crate::race::{Plan, Racer, race};

/// Bytes of a text, and how many different ones are taken in turn, so that no predictor knows a
/// short one by heart.
const SIZES: [(usize, usize); 3] = [(1 << 10, 512), (64 << 10, 16), (2 << 20, 1)];

type Escape = Box<dyn FnMut(&str, &mut Vec<u8>)>;

/// Who writes a text as a JSON string; the first only copies.
fn escapers() -> Vec<(&'static str, Escape)> {
    let template = Template::compile("{speech_result}", &Limits::default()).expect("it compiles");
    vec![
        ("copy", Box::new(|text: &str, out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes())) as Escape),
        (
            "ringback",
            Box::new(move |text, out| {
                let mut values = Values::new();
                values.set(Name::SpeechResult, Value::Text(text));
                template.render(&values, out).expect("it renders");
            }),
        ),
        ("serde_json", Box::new(|text, out| serde_json::to_writer(out, text).expect("it serialises"))),
        ("sonic-rs", Box::new(|text, out| sonic_rs::to_writer(out, text).expect("it serialises"))),
        ("json-escape-simd", Box::new(|text, out| json_escape_simd::escape_into(text, out))),
    ]
}

/// What the escapes of a text are, and which control character is among them now and then: all but a
/// few have an escape of two bytes (`\t`), the others one of six (`\u001b`).
const MIXES: [(&str, char); 2] =
    [("quotes, backslashes, line breaks, tabs", '\t'), ("the same with ESC for tabs", '\u{1b}')];

pub(crate) fn run(plan: Plan) {
    for (mix, rare) in MIXES {
        let mut escapers = escapers();
        let mut chance = Chance::new(4);
        let columns = SIZES.map(|(bytes, count)| {
            let texts: Vec<String> = (0..count).map(|_| chance.text(bytes, rare)).collect();
            check(&mut escapers[1..], &texts);
            measure(&mut escapers, &texts, plan)
        });
        println!("\nescaping a text of which 4 % of the characters need it ({mix}), GB/s of the text");
        println!("{:<24} {:>9} {:>9} {:>9}", "", "1 KiB", "64 KiB", "2 MiB");
        for (index, (name, _)) in escapers.iter().enumerate() {
            let [one, two, three] = columns.each_ref().map(|rates| rates[index]);
            println!("{name:<24} {one:>9.2} {two:>9.2} {three:>9.2}");
        }
    }
}

/// What everyone writes is the text.
fn check(escapers: &mut [(&'static str, Escape)], texts: &[String]) {
    let mut out = Vec::new();
    for (name, escape) in escapers {
        for text in texts {
            out.clear();
            escape(text, &mut out);
            let read: String = serde_json::from_slice(&out).expect("a JSON string");
            assert!(read == *text, "{name} writes another text");
        }
    }
}

/// Bytes of text that each takes in a nanosecond.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn measure(escapers: &mut [(&'static str, Escape)], texts: &[String], plan: Plan) -> Vec<f64> {
    let mut racers: Vec<_> = escapers
        .iter_mut()
        .map(|(name, escape)| {
            // All write into a buffer that is large enough.
            let mut out = Vec::with_capacity(8 * texts[0].len());
            Racer::new(name, move |count| {
                for text in texts.iter().cycle().take(count) {
                    out.clear();
                    escape(black_box(text), &mut out);
                    black_box(&out);
                }
            })
        })
        .collect();
    race(&mut racers, plan).into_iter().map(|time| texts[0].len() as f64 / time).collect()
}
