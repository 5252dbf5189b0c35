//! Compiling, and templates up to the limit.

use std::fmt::Write as _;
use std::hint::black_box;

use ringback::context::Values;
use ringback::template::{Limits, Template};

use crate::peers::{self, RINGBACK};
use crate::race::{Plan, Racer, race};
use crate::record::Record;

pub(crate) fn run(plan: Plan) {
    let mut racers: Vec<_> = peers::compilers()
        .into_iter()
        .map(|(name, mut compile)| Racer::new(name, move |count| (0..count).for_each(|_| compile())))
        .collect();
    let times = race(&mut racers, plan);
    println!("\ncompiling the callback's template, with all that would be told of its mistakes");
    println!("{:<24} {:>9} {:>10}", "", "ns", "/ ringback");
    let ringback = racers.iter().position(|racer| racer.name == RINGBACK).expect("it takes part");
    for (racer, time) in racers.iter().zip(&times) {
        println!("{:<24} {time:>9.0} {:>10.2}", racer.name, time / times[ringback]);
    }
    up_to_the_limit(plan);
}

/// A template of so many placeholders, two in each 520 bytes or so, of all kinds.
fn template(placeholders: usize) -> String {
    const NAMES: [&str; 8] = [
        "first_name",
        "call_duration",
        "speech_summary",
        "birthdate",
        "campaign_name",
        "speech_topics",
        "lead_id",
        "email",
    ];
    let mut text = String::from("[");
    for index in 0..placeholders {
        let name = NAMES[index % NAMES.len()];
        write!(
            text,
            "{}{{\"{index:06}\": {{{name}}}, \"text\": \"{{{name}}}{:.<472}\"}}",
            if index == 0 { "" } else { ",\n" },
            ""
        )
        .expect("a String takes everything");
    }
    text + "]"
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn up_to_the_limit(plan: Plan) {
    let limits = Limits::default();
    let record = Record::sample();
    let mut values = Values::new();
    record.set(&mut values);
    println!(
        "\nringback's time for templates up to the limit of {} KiB and {} placeholders",
        limits.template >> 10,
        limits.placeholders
    );
    println!(
        "{:>9} {:>13} {:>18} {:>18}",
        "bytes", "placeholders", "compiling, ns/byte", "rendering, ns/byte"
    );
    for placeholders in [2, 8, 32, 128, 500] {
        let text = template(placeholders);
        let template = Template::compile(&text, &limits).expect("it compiles");
        let mut out = Vec::new();
        let mut racers = [
            Racer::new("compiling", |count| {
                for _ in 0..count {
                    black_box(Template::compile(black_box(&text), &limits).expect("it compiles"));
                }
            }),
            Racer::new("rendering", |count| {
                for _ in 0..count {
                    out.clear();
                    template.render(black_box(&values), &mut out).expect("it renders");
                    black_box(&out);
                }
            }),
        ];
        let times = race(&mut racers, plan);
        let [compiling, rendering] = [times[0], times[1]].map(|time| time / text.len() as f64);
        println!("{:>9} {:>13} {compiling:>18.2} {rendering:>18.3}", text.len(), 2 * placeholders);
    }
}
