//! What tests of the real process share: starting it, a receiver, a client.

pub(crate) mod allocations;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, StatusCode};
use ringback::http::{Answer, Bodies, Client, Handler, Listener, json as answer};
use serde_json::{Value, json};

/// The token of the account `acme`.
pub(crate) const TOKEN: &str = "rbk_test-token-of-the-account-acme";

/// Its SHA-256, as the configuration has it.
fn token_sha256() -> String {
    ringback::config::TokenHash::of(TOKEN).to_string()
}

/// Receivers on loopback are allowed.
pub(crate) const LOOPBACK: &str = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n";

/// A dialer of each account whose events are not signed, and receivers on loopback.
pub(crate) const OPEN_DIALER: &str = r#"
[[source]]
name = "dialer"
account = "acme"
provider = "commpeak"
verify = { scheme = "none" }

[[source]]
name = "others"
account = "other"
provider = "commpeak"
verify = { scheme = "none" }

[delivery]
allow_networks = ["127.0.0.0/8"]
"#;

/// A source of `acme` that verifies nothing, with `more` keys.
pub(crate) fn source(name: &str, provider: &str, more: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\naccount = \"acme\"\nprovider = \"{provider}\"\n\
         verify = {{ scheme = \"none\" }}\n{more}\n"
    )
}

/// A registration's schedule whose attempts follow each other so soon that a test can wait for them.
pub(crate) fn soon_again() -> Value {
    json!({"schedule": ["0s", "200ms", "200ms", "500ms", "1s", "1s", "1s", "1s", "1s", "1s"]})
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        use std::fmt::Write;
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

/// A port that was free a moment ago, below those that outgoing connections are given, of which the
/// tests make so many that one of them may have it the next moment.
pub(crate) fn free_port() -> u16 {
    loop {
        let chance = RandomState::new().build_hasher().finish() % 22_000;
        let port = 10_000 + u16::try_from(chance).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder with a configuration and a store, for one or several runs of the process.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    port: u16,
    store: String,
}

impl Home {
    /// A home whose configuration has the accounts `acme` and `other`, and `rest`.
    pub(crate) fn new(rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", dir.path().join("ringback.db").display());
        Self::of(dir, store, rest)
    }

    /// The same over another store.
    pub(crate) fn with_store(store: &str, rest: &str) -> Self {
        Self::of(tempfile::tempdir().unwrap(), store.to_owned(), rest)
    }

    fn of(dir: tempfile::TempDir, store: String, rest: &str) -> Self {
        let home = Self { dir, port: free_port(), store };
        home.configure(rest);
        home
    }

    /// Writes the configuration anew, for the next start.
    pub(crate) fn configure(&self, rest: &str) {
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\nstore = \"{store}\"\n\
             [[account]]\nname = \"acme\"\ntokens = [{{ name = \"test\", sha256 = \"{sha256}\" }}]\n\
             [[account]]\nname = \"other\"\ntokens = [{{ name = \"test\", sha256 = \"{other}\" }}]\n\
             {rest}\n",
            port = self.port,
            store = self.store,
            sha256 = token_sha256(),
            other = "00".repeat(32),
        );
        std::fs::write(self.path("ringback.toml"), config).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Starts the process and waits until it listens.
    pub(crate) fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(&self, environment: &[(&str, &Path)]) -> Process {
        let config = self.path("ringback.toml");
        Process::start_with(&["serve", "--config", config.to_str().unwrap()], self.dir.path(), environment)
    }

    /// Runs `ringback store check` on the store: what it says, which is that nothing is wrong.
    pub(crate) fn audit(&self) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_ringback"))
            .args(["store", "check", "--format", "json", "--config"])
            .arg(self.path("ringback.toml"))
            .output()
            .unwrap();
        let (said, problem) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{said}{problem}");
        serde_json::from_str(&said).unwrap()
    }

    /// Registers a callback and returns the answer.
    pub(crate) async fn register(&self, client: &Client, callback: &Value) -> Value {
        let (status, body) = self.call(client, "POST", "/v1/callbacks", callback.to_string()).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body
    }

    /// A request with the token of `acme`; the answer as JSON.
    pub(crate) async fn call(
        &self,
        client: &Client,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, Value) {
        let authorization = format!("Bearer {TOKEN}");
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let (status, body) = client.send(method, &self.url(path), &headers, body).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

/// A running `ringback`, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts `ringback` with these arguments and waits for its line "listening on".
    pub(crate) fn start(arguments: &[&str], dir: &Path) -> Self {
        Self::start_with(arguments, dir, &[])
    }

    fn start_with(arguments: &[&str], dir: &Path, environment: &[(&str, &Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringback"))
            .args(arguments)
            .current_dir(dir)
            .env("RINGBACK_LOG", "debug")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Self { child, log };
        loop {
            match stdout.next() {
                Some(Ok(line)) if line.contains("listening on") => break,
                Some(Ok(_)) => {}
                _ => panic!("ringback did not start:\n{}", process.log()),
            }
        }
        // Nothing may fill the pipe and stop the process.
        std::thread::spawn(move || stdout.for_each(drop));
        process
    }

    /// What it wrote to its log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal by name (`TERM`).
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Waits for its end; the exit code.
    pub(crate) fn wait(mut self, within: Duration) -> i32 {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "ringback did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One delivery as a receiver sees it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Respond = dyn Fn(usize, &Received) -> StatusCode + Send + Sync;

/// A receiver on loopback that keeps what it gets.
pub(crate) struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Received>>>,
}

struct Keep {
    seen: Arc<Mutex<Vec<Received>>>,
    respond: Box<Respond>,
}

#[async_trait::async_trait]
impl Handler for Keep {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Answer {
        let (parts, body) = request.into_parts();
        let body = Bodies::new(64 << 20).read(body).await.unwrap().bytes().clone();
        let received = Received { uri: parts.uri.to_string(), headers: parts.headers, body };
        let number = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(received.clone());
            seen.len()
        };
        answer((self.respond)(number, &received), "{}")
    }
}

impl Receiver {
    /// A receiver that answers the n-th request (from 1) as `respond` says.
    pub(crate) async fn start(
        respond: impl Fn(usize, &Received) -> StatusCode + Send + Sync + 'static,
    ) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::new(Keep { seen: Arc::clone(&seen), respond: Box::new(respond) });
        tokio::spawn(listener.serve(keep, None, std::future::pending(), Duration::ZERO));
        Self { address, seen }
    }

    /// A receiver that fails one request in seven, so that retries are in the queue at any moment.
    pub(crate) async fn start_failing() -> Self {
        let respond = |number: usize, _: &Received| {
            if number.is_multiple_of(7) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        };
        Self::start(respond).await
    }

    /// A receiver that fails the first request with this status.
    pub(crate) async fn start_failing_first(status: StatusCode) -> Self {
        Self::start(move |number, _| if number == 1 { status } else { StatusCode::OK }).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until `enough` says so.
    pub(crate) async fn wait_until(
        &self,
        within: Duration,
        enough: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        let end = Instant::now() + within;
        loop {
            let seen = self.seen();
            if enough(&seen) {
                return seen;
            }
            assert!(Instant::now() < end, "only {} requests arrived in {within:?}", seen.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for so many requests.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        self.wait_until(Duration::from_secs(20), |seen| seen.len() >= count).await
    }
}

/// The requests of each delivery, by `webhook-id`.
pub(crate) fn by_id(seen: &[Received]) -> HashMap<String, Vec<Received>> {
    let mut ids: HashMap<String, Vec<Received>> = HashMap::new();
    for received in seen {
        ids.entry(received.header("webhook-id").to_owned()).or_default().push(received.clone());
    }
    ids
}
