//! How many instructions a rendering takes, counted by `valgrind --tool=callgrind`: exact and
//! repeatable on any machine, however busy.

use std::io::ErrorKind;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use crate::peers::{self, HAND, MINIJINJA, Peer, RINGBACK, SAILFISH};
use crate::record::Record;

/// What Ringback may need for the sample's callback: the values set and the template rendered.
/// 3 % above what it needs, so that a change of the engine or of the compiler that costs more is seen,
/// and one that only moves code about is not.
const BUDGET: u64 = 3_650;

/// The same where nothing was optimised across crates, as `tests/run` builds it, since it takes half
/// the time: asked for with [`WITHOUT_LTO`].
const BUDGET_WITHOUT_LTO: u64 = 4_130;

/// The argument of whoever has built this so.
pub(crate) const WITHOUT_LTO: &str = "--without-lto";

/// Renderings of the first count; the second counts twice as many, and the difference is theirs
/// without the start of the process.
const RENDERINGS: u64 = 1_000;

/// The first argument of a process that only renders, behind which stand who and how often.
pub(crate) const WORKLOAD: &str = "--workload";

/// Renders, and nothing else.
pub(crate) fn workload(name: &str, count: &str) {
    let records = [Arc::new(Record::sample())];
    let mut peer: Box<dyn Peer> = match name {
        RINGBACK => Box::new(peers::Ringback::new()),
        HAND => Box::new(peers::Hand::default()),
        SAILFISH => Box::new(peers::Sailfish::default()),
        MINIJINJA => Box::new(peers::MiniJinja::new()),
        other => panic!("no workload is called {other}"),
    };
    peer.repeat(&records, count.parse().expect("a count"));
}

/// Counts, prints, and fails above the budget.
pub(crate) fn run(is_without_lto: bool) -> ExitCode {
    let budget = if is_without_lto { BUDGET_WITHOUT_LTO } else { BUDGET };
    println!("\ninstructions for a rendering (callgrind), one record");
    let mut needed = 0;
    for name in [HAND, SAILFISH, RINGBACK, MINIJINJA] {
        let count = |renderings| count(name, renderings);
        let instructions = match (count(RENDERINGS), count(2 * RENDERINGS)) {
            (Ok(once), Ok(twice)) => (twice - once) / RENDERINGS,
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        };
        println!("{name:<24} {instructions:>9}");
        if name == RINGBACK {
            needed = instructions;
        }
    }
    if needed > budget {
        eprintln!("ringback needs {needed} instructions for a rendering, and its budget is {budget}");
        return ExitCode::FAILURE;
    }
    println!("ringback's budget is {budget}");
    ExitCode::SUCCESS
}

/// Instructions of a whole process.
fn count(name: &str, renderings: u64) -> Result<u64, String> {
    let me = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(me)
        .args([WORKLOAD, name, &renderings.to_string()])
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                "valgrind is missing; it counts the instructions (Debian: apt-get install valgrind)"
                    .to_owned()
            }
            _ => format!("valgrind cannot be run: {error}"),
        })?;
    let told = String::from_utf8_lossy(&run.stderr);
    let collected = told.lines().find_map(|line| line.split_once("Collected :"));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if run.status.success() => Ok(count),
        _ => Err(format!("valgrind failed ({}):\n{told}", run.status)),
    }
}
