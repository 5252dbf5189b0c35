//! How fast the stores take events, and how fast they go through them to the end.
//!
//! `cargo bench --bench store` runs all parts, `cargo bench --bench store -- NAME…` some of them,
//! each in a process of its own:
//!
//! | part | what is measured | against |
//! | --- | --- | --- |
//! | `embedded` | the embedded store on this disk | a bare append-only file with `fdatasync` that commits in groups |
//! | `slow-sync` | the same with 2 ms added to every sync, as a commodity disk takes | the same |
//! | `redis` | the store in Redis, `appendfsync everysec` | a bare `SET` of the same bytes, and the least that a queue does for a delivery |
//! | `backlog` | claims of both stores with a large backlog, and the process' memory | the same with a small one |
//!
//! The same callers, the same disk, the same run. With `-- --test` each part runs once and short. The
//! files lie in `RINGBACK_BENCH_DIR`, or in the system's temporary folder. `redis-server` and a C
//! compiler must be installed.

mod backlog;
mod bare;
mod bare_queue;
mod load;
#[path = "../../tests/redis_server.rs"]
#[allow(dead_code, reason = "it serves the tests too")]
mod redis_server;
mod slow_sync;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use ringback::store::SharedStore;
use ringback::store::embedded::{Embedded, Options};
use ringback::store::redis::{Options as RedisOptions, Redis};

use self::load::{BODY, CONTEXT, Load, MAX_IN_FLIGHT, Measured, UNBOUNDED, through};
use self::redis_server::RedisServer;

const PARTS: [&str; 4] = ["embedded", "slow-sync", "redis", "backlog"];

/// Asks for one part in this process.
const ONLY: &str = "--only";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|argument| argument == "--test");
    if let [only, part, ..] = arguments.as_slice()
        && only == ONLY
    {
        run(part, is_test);
        return ExitCode::SUCCESS;
    }
    let is_named = |part: &str| arguments.iter().any(|argument| argument == part);
    let is_any_named = PARTS.into_iter().any(is_named);
    let folder = in_place();
    for part in PARTS.into_iter().filter(|part| !is_any_named || is_named(part)) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args([ONLY, part]).args(is_test.then_some("--test"));
        if part == "slow-sync" {
            command.env("LD_PRELOAD", slow_sync::library(folder.path()));
        }
        if !command.status().expect("this program runs").success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A folder where the files may lie.
fn in_place() -> tempfile::TempDir {
    let place = std::env::var_os("RINGBACK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(place).expect("the folder can be written")
}

fn run(part: &str, is_test: bool) {
    let time = Duration::from_millis(if is_test { 100 } else { 3_000 });
    let folder = in_place();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads start");
    runtime.block_on(async {
        match part {
            "embedded" => on_disk("this disk", folder.path(), time).await,
            "slow-sync" => on_disk("this disk, and 2 ms more for every sync", folder.path(), time).await,
            "redis" => on_redis(time).await,
            "backlog" => backlog::run(folder.path(), is_test).await,
            _ => unreachable!("only parts are asked for"),
        }
    });
}

async fn on_disk(what: &str, folder: &Path, time: Duration) {
    let load = Load { time, callers: 64, destinations: 100, deliveries: 1, open: UNBOUNDED };
    let Load { callers, destinations, .. } = load;
    println!(
        "\nembedded, {what}: {callers} callers, {destinations} destinations, bodies of {BODY} bytes, contexts of {CONTEXT}"
    );
    let bare = bare::append_only(folder, &load).await;
    bare.print("append-only file, fdatasync");
    let intake = through(embedded(&folder.join("intake.db")), &load, false).await;
    intake.print("store: accept");
    let cycle = through(embedded(&folder.join("cycle.db")), &load, true).await;
    cycle.print("store: accept, claim, settle");
    println!("accept / append-only file: {:.2}", intake.rate() / bare.rate());
    println!("whole cycle / append-only file: {:.2}", cycle.rate() / bare.rate());
}

async fn on_redis(time: Duration) {
    // More callers than above: they are on several machines.
    let load = Load { time, callers: 256, destinations: 1_000, deliveries: 1, open: UNBOUNDED };
    println!("\nRedis, everysec: {} callers, {} destinations", load.callers, load.destinations);
    let server = RedisServer::start(EVERY_SECOND);
    let bare = bare::bare_set(&server, &load).await;
    bare.print("bare SET");
    print_busy(&server, &bare);
    drop(server);
    let server = RedisServer::start(EVERY_SECOND);
    let queue = bare_queue::run(&server, &load).await;
    queue.print("bare queue: 64 at a time");
    let of_queue = print_busy(&server, &queue);
    drop(server);
    let server = RedisServer::start(EVERY_SECOND);
    let intake = through(in_redis(&server).await, &load, false).await;
    intake.print("store: accept");
    print_busy(&server, &intake);
    drop(server);
    let mut cycles = Vec::new();
    for (open, how) in [(MAX_IN_FLIGHT, "that are kept up with"), (UNBOUNDED, "with a backlog")] {
        println!("store: accept, claim, settle, of deliveries {how}");
        for deliveries in [1, FAN_OUT] {
            let server = RedisServer::start(EVERY_SECOND);
            let cycle = through(in_redis(&server).await, &Load { deliveries, open, ..load }, true).await;
            cycle.print(&format!("  {deliveries} an event"));
            cycles.push((deliveries, how, print_busy(&server, &cycle)));
        }
    }
    println!("accept / bare SET: {:.2}", intake.rate() / bare.rate());
    for (deliveries, how, of_core) in cycles {
        println!("a core's deliveries {how}, {deliveries} an event / bare queue: {:.2}", of_core / of_queue);
    }
}

/// The machine's cores are shared by Redis and the load: what Redis would do if it were never kept from
/// its core.
fn print_busy(server: &RedisServer, measured: &Measured) -> f64 {
    let info = server.ask(&[b"INFO", b"cpu"]);
    let info = String::from_utf8_lossy(&info);
    let seconds: f64 = ["used_cpu_user_main_thread:", "used_cpu_sys_main_thread:"]
        .iter()
        .filter_map(|name| info.lines().find_map(|line| line.strip_prefix(name)))
        .map(|seconds| seconds.trim().parse::<f64>().expect("Redis tells seconds"))
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let done = measured.done as f64;
    println!("{:<32} {:>9.0}/s of a Redis core, {:.1} µs each", "", done / seconds, seconds * 1e6 / done);
    done / seconds
}

/// Deliveries of an event, where deliveries are what is measured.
const FAN_OUT: usize = 50;

const EVERY_SECOND: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

fn embedded(path: &Path) -> SharedStore {
    let options = Options { max_in_flight: MAX_IN_FLIGHT, ..Options::default() };
    Arc::new(Embedded::open(path, options).expect("a new file opens"))
}

async fn in_redis(server: &RedisServer) -> SharedStore {
    let options = RedisOptions { max_in_flight: MAX_IN_FLIGHT, ..RedisOptions::default() };
    Arc::new(Redis::open(&server.url(), options).await.expect("a new server opens"))
}
