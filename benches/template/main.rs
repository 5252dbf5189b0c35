//! The template engine beside others, in one run: `cargo bench --bench template`.
//!
//! One callback of 895 bytes with 27 placeholders is rendered by everyone, a context built for each
//! rendering from the same record; before anything is measured all must have made the same JSON.
//! Then compiling, templates up to the limit, and the escaping of long texts.
//!
//! With `-- --instructions` the instructions of a rendering are counted instead, which needs
//! valgrind; with `-- --test` everything is done once and checked, the instructions' budget too.

#[path = "../../tests/support/allocations.rs"]
mod allocations;
#[path = "../chance.rs"]
mod chance;
mod compiling;
mod escaping;
mod instructions;
mod json_text;
mod peers;
mod race;
mod record;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use allocations::count_allocations;
use chance::Chance;
use peers::Peer;
use race::{Plan, Racer, race};
use record::{BYTES, Record};

/// Different records, more than a processor's predictors learn by heart.
const RECORDS: usize = 512;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, name, count] = arguments.as_slice()
        && mode == instructions::WORKLOAD
    {
        instructions::workload(name, count);
        return ExitCode::SUCCESS;
    }
    let is_asked = |mode: &str| arguments.iter().any(|argument| argument == mode);
    if is_asked("--instructions") {
        return instructions::run(is_asked(instructions::WITHOUT_LTO));
    }
    let is_test = is_asked("--test");
    let plan = if is_test { Plan::ONCE } else { Plan::FULL };

    let sample = [Arc::new(Record::sample())];
    let mut chance = Chance::new(895);
    let records: Vec<_> = (0..RECORDS).map(|_| Arc::new(Record::random(&mut chance))).collect();
    check_bytes(&sample[0]);
    for records in [&sample[..], &records] {
        check_outputs(records);
        check_allocations(records);
    }

    rendering("one record", &sample, plan);
    let sample = if is_test { Duration::ZERO } else { Duration::from_micros(400) };
    rendering(
        "512 different records in turn",
        &records,
        Plan { step: RECORDS, sample, rounds: plan.rounds / 4 + 1 },
    );
    compiling::run(plan);
    escaping::run(plan);
    // The budget is that of a program that was optimised.
    if is_test && !cfg!(debug_assertions) {
        instructions::run(is_asked(instructions::WITHOUT_LTO))
    } else {
        ExitCode::SUCCESS
    }
}

/// The sample's callback is what the text says.
fn check_bytes(sample: &Arc<Record>) {
    let mut ringback = peers::Ringback::new();
    let rendered = ringback.render(sample);
    assert_eq!(rendered.len(), BYTES);
    assert_eq!(rendered, peers::Hand::default().render(sample), "the two are the same to the byte");
}

/// Everyone makes the same JSON.
fn check_outputs(records: &[Arc<Record>]) {
    let mut peers = peers::all(records);
    for record in records {
        let mut expected: Option<Json> = None;
        for (name, peer) in &mut peers {
            let rendered = peer.render(record);
            let json: Json = serde_json::from_slice(rendered).unwrap_or_else(|error| {
                panic!("{name} renders no JSON: {error}: {}", String::from_utf8_lossy(rendered))
            });
            assert_eq!(expected.get_or_insert_with(|| json.clone()), &json, "{name}");
        }
    }
}

/// Ringback renders into a buffer that is large enough without an allocation.
fn check_allocations(records: &[Arc<Record>]) {
    let mut ringback = peers::Ringback::new();
    ringback.repeat(records, records.len());
    let allocations = count_allocations(|| ringback.repeat(records, records.len()));
    assert_eq!(allocations, 0, "of {} renderings", records.len());
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn rendering(what: &str, records: &[Arc<Record>], plan: Plan) {
    let mut peers = peers::all(records);
    let bytes: usize = records.iter().map(|record| peers[0].1.render(record).len()).sum();
    let bytes = bytes as f64 / records.len() as f64;
    let mut racers: Vec<_> =
        peers.iter_mut().map(|(name, peer)| Racer::new(name, |count| peer.repeat(records, count))).collect();
    let times = race(&mut racers, plan);
    let of = |name: &str| times[racers.iter().position(|racer| racer.name == name).expect("it takes part")];
    println!("\na callback of {bytes:.0} bytes, 27 placeholders, {what}");
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>9} {:>10} {:>11}",
        "", "ns", "MB/s", "/ copy", "/ hand", "/ sailfish", "/ minijinja"
    );
    for (racer, time) in racers.iter().zip(&times) {
        println!(
            "{:<24} {time:>9.0} {:>9.0} {:>9.2} {:>9.2} {:>10.2} {:>11.3}",
            racer.name,
            bytes * 1e3 / time,
            time / of(peers::COPY),
            time / of(peers::HAND),
            time / of(peers::SAILFISH),
            time / of(peers::MINIJINJA),
        );
    }
}
