//! A `redis-server` of one's own, on a free port and with a temporary folder.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `redis-server`, killed when it is dropped.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
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
        Self::start_with(|| (0, settings.iter().map(|&setting| setting.to_owned()).collect()))
    }

    /// A node for a Cluster, whose answers are on disk. After so many ms the others take it for dead.
    pub(crate) fn node(timeout: &str) -> Self {
        Self::start_with(|| {
            let bus_port = free_port();
            let settings = [
                ["--appendonly", "yes"],
                ["--appendfsync", "always"],
                ["--cluster-enabled", "yes"],
                ["--cluster-require-full-coverage", "no"],
                ["--cluster-node-timeout", timeout],
                ["--cluster-port", &bus_port.to_string()],
            ];
            (bus_port, settings.concat().iter().map(|&setting| setting.to_owned()).collect())
        })
    }

    /// With the bus port and the settings that are made up for each try.
    fn start_with(settings: impl Fn() -> (u16, Vec<String>)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        loop {
            let port = free_port();
            let (bus_port, settings) = settings();
            // Somebody may have taken a port in between.
            if let Some(child) = launch(port, folder.path(), &settings) {
                return Self { child, port, bus_port, settings, folder };
            }
        }
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
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = launch(self.port, self.folder.path(), &self.settings) {
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

/// Starts a server and waits until it answers; nothing if it ended instead.
fn launch(port: u16, folder: &std::path::Path, settings: &[String]) -> Option<Child> {
    let started = Command::new(binary())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"])
        .arg("--dir")
        .arg(folder)
        .args(settings)
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
        // It is ours that answers, and not another's on the same port; and it has loaded its data.
        let ours = format!("process_id:{}\r\n", child.id());
        let is_ready = ask(port, &[b"INFO"]).is_ok_and(|answer| {
            let answer = String::from_utf8_lossy(&answer);
            answer.contains(&ours) && answer.contains("\nloading:0\r\n")
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
