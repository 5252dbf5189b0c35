//! A `redis-server` of one's own, on a free port and with a temporary folder.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a server says of itself that has all its data, and one that reads it still.
const LOADED: &str = "\nloading:0\r\n";
const LOADING: &str = "\nloading:1\r\n";

/// A running `redis-server`, killed when it is dropped.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
    /// Where it speaks TLS, if it does; else 0.
    tls_port: u16,
    /// The other port of a node of a Cluster; else 0.
    bus_port: u16,
    settings: Vec<String>,
    folder: tempfile::TempDir,
}

impl RedisServer {
    /// A server whose answers are on disk.
    pub(crate) fn durable() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server with these settings on its command line, beside a port and a folder.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with(|| Place { settings: owned(settings), ..Place::default() })
    }

    /// A server that speaks TLS as well, with what these settings say for a port.
    pub(crate) fn with_tls(settings: impl Fn(u16) -> Vec<String>) -> Self {
        Self::start_with(|| {
            let tls_port = free_port();
            Place { tls_port, settings: settings(tls_port), ..Place::default() }
        })
    }

    /// A node for a Cluster, whose answers are on disk. After so many ms the others take it for dead.
    pub(crate) fn node(timeout: &str) -> Self {
        Self::start_with(|| node_at(free_port(), timeout))
    }

    /// The same that speaks TLS: with the other nodes, and with whoever comes to its TLS port.
    pub(crate) fn node_with_tls(timeout: &str, settings: impl Fn(u16) -> Vec<String>) -> Self {
        Self::start_with(|| {
            let (tls_port, mut node) = (free_port(), node_at(free_port(), timeout));
            node.settings.extend(owned(&["--tls-cluster", "yes", "--tls-replication", "yes"]));
            node.settings.extend(settings(tls_port));
            Place { tls_port, ..node }
        })
    }

    /// With the ports and the settings that are made up for each try.
    fn start_with(place: impl Fn() -> Place) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let until = Instant::now() + PATIENCE;
        loop {
            let port = free_port();
            let Place { tls_port, bus_port, settings } = place();
            // Somebody may have taken a port in between.
            if let Some(child) = launch(port, folder.path(), &settings, &[], LOADED) {
                return Self { child, port, tls_port, bus_port, settings, folder };
            }
            assert!(Instant::now() < until, "redis-server does not start with {settings:?}");
        }
    }

    /// Where it speaks TLS.
    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// Where the other nodes of its Cluster talk to it.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus_port
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again over what it has kept, after a [`Self::kill`].
    pub(crate) fn start_again(&mut self) {
        self.relaunch(&[], LOADED);
    }

    /// Starts it again, and returns while it loads what it has kept, which takes until
    /// [`Self::finish_loading`]. What is written before the [`Self::kill`] must have gone through
    /// [`Self::make_loading_long`].
    pub(crate) fn start_loading(&mut self) {
        // So long for each key, and it answers after each KiB. No test lasts as long as all of them.
        let slowly = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024"];
        self.relaunch(&slowly, LOADING);
    }

    /// Writes so much beside what is there that it can be loaded for as long as a test takes, and has
    /// it saved as a snapshot: only while it loads one does a server answer after each key.
    pub(crate) fn make_loading_long(&self) {
        let fill =
            "for n = 1, 3000 do redis.call('SET', 'ballast:' .. n, string.rep(n, 2048 / #tostring(n))) end";
        assert!(self.ask(&[b"EVAL", fill.as_bytes(), b"0"]).starts_with(b"$-1"));
        assert!(self.ask(&[b"CONFIG", b"SET", b"rdbcompression", b"no"]).starts_with(b"+OK"));
        assert!(self.ask(&[b"BGREWRITEAOF"]).starts_with(b"+"));
        let until = Instant::now() + PATIENCE;
        let is_saved = || {
            let info = String::from_utf8_lossy(&self.ask(&[b"INFO", b"persistence"])).into_owned();
            info.contains("aof_rewrite_in_progress:0\r") && info.contains("aof_rewrite_scheduled:0\r")
        };
        while !is_saved() {
            assert!(Instant::now() < until, "redis-server does not save its data");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets a server that was started by [`Self::start_loading`] load the rest at once.
    pub(crate) fn finish_loading(&self) {
        assert!(self.ask(&[b"CONFIG", b"SET", b"key-load-delay", b"0"]).starts_with(b"+OK"));
    }

    fn relaunch(&mut self, more: &[&str], until_it_says: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = launch(self.port, self.folder.path(), &self.settings, more, until_it_says) {
                self.child = child;
                return;
            }
            assert!(Instant::now() < until, "redis-server does not start again");
        }
    }

    /// Sends it a signal by name (`STOP`).
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Sends one command and returns the answer as it comes over the wire.
    pub(crate) fn ask(&self, command: &[&[u8]]) -> Vec<u8> {
        ask(self.port, command).expect("redis-server answers")
    }
}

/// Ports beside the usual one, and settings.
#[derive(Default)]
struct Place {
    tls_port: u16,
    bus_port: u16,
    settings: Vec<String>,
}

fn owned(settings: &[&str]) -> Vec<String> {
    settings.iter().map(|&setting| setting.to_owned()).collect()
}

fn node_at(bus_port: u16, timeout: &str) -> Place {
    let settings = [
        ["--appendonly", "yes"],
        ["--appendfsync", "always"],
        ["--cluster-enabled", "yes"],
        ["--cluster-require-full-coverage", "no"],
        ["--cluster-node-timeout", timeout],
        ["--cluster-port", &bus_port.to_string()],
    ];
    Place { bus_port, settings: owned(&settings.concat()), ..Place::default() }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What is started: `redis-server`, or what `RINGBACK_TEST_REDIS` names, to try another version or
/// Valkey.
fn binary() -> OsString {
    std::env::var_os("RINGBACK_TEST_REDIS").unwrap_or_else(|| "redis-server".into())
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Starts a server and waits until it says this of itself; nothing if it ended instead.
fn launch(
    port: u16,
    folder: &std::path::Path,
    settings: &[String],
    more: &[&str],
    until_it_says: &str,
) -> Option<Child> {
    let started = Command::new(binary())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"])
        .arg("--dir")
        .arg(folder)
        .args(settings)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.unwrap_or_else(|error| {
        panic!("redis-server cannot be started ({error}): install it, with apt-get install redis-server or tests/run")
    });
    let until = Instant::now() + PATIENCE;
    loop {
        if child.try_wait().expect("the child is ours").is_some() {
            return None;
        }
        // It is ours that answers, and not another's on the same port.
        let ours = format!("process_id:{}\r\n", child.id());
        let is_ready = ask(port, &[b"INFO"]).is_ok_and(|answer| {
            let answer = String::from_utf8_lossy(&answer);
            answer.contains(&ours) && answer.contains(until_it_says)
        });
        if is_ready {
            return Some(child);
        }
        assert!(Instant::now() < until, "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends one command over a connection of its own; the answer, as far as it comes in one piece.
fn ask(port: u16, command: &[&[u8]]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = format!("*{}\r\n", command.len()).into_bytes();
    for part in command {
        text.extend(format!("${}\r\n", part.len()).into_bytes());
        text.extend_from_slice(part);
        text.extend_from_slice(b"\r\n");
    }
    stream.write_all(&text)?;
    let mut answer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut answer) {
            // A process that is stopped and goes on has its reads cut off, where they have a time limit.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => {
                answer.truncate(read?);
                return Ok(answer);
            }
        }
    }
}
