//! Stand-ins for the providers that are asked: servers on loopback that speak a provider's
//! documented shapes and errors. No provider can be reached from a test or a demo; both ask these.
//!
//! A [`StandIn`] is the server: it keeps what it is asked, and answers as badly as providers do
//! where it is told to. What a provider answers is in a file of its own: [`Symbl`], [`AloVoice`],
//! [`Speko`], [`Auralytik`].

mod alovoice;
mod auralytik;
mod speko;
mod symbl;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub use self::alovoice::AloVoice;
pub use self::auralytik::Auralytik;
pub use self::speko::Speko;
pub use self::symbl::Symbl;

/// The longest request that is read, in bytes. A longer one is not answered.
const MAX_REQUEST: usize = 1 << 20;

/// One request, as the provider sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query, as they were sent.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are no text became U+FFFD.
    pub body: String,
}

impl Asked {
    /// A header's value, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The path without its query.
    #[must_use]
    pub fn bare_path(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// Whether this was asked, with whatever query.
    #[must_use]
    pub fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.bare_path() == path
    }

    /// The segments of the path, decoded.
    fn segments(&self) -> Vec<String> {
        let decode =
            |segment: &str| percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned();
        self.bare_path().split('/').skip(1).map(decode).collect()
    }

    fn has_bearer(&self, token: &str) -> bool {
        self.header("authorization").strip_prefix("Bearer ") == Some(token)
    }
}

/// How it is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this status and body.
    Json(u16, String),
    /// With 200 and this body, after so long.
    Slow(Duration, String),
    /// With a body that ends before its length says.
    Truncated,
    /// Never: the connection stays open until the other side closes it.
    Never,
}

/// An answer with this status and value.
#[must_use]
pub fn json(status: u16, value: &Value) -> Reply {
    Reply::Json(status, value.to_string())
}

type Respond = dyn Fn(&Asked, &[Asked]) -> Reply + Send + Sync;

/// A server in the place of a provider's. It ends with its runtime.
#[derive(Debug)]
pub struct StandIn {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    changed: Arc<Notify>,
}

impl StandIn {
    /// Answers each request as `respond` says, which also sees what was asked before.
    ///
    /// # Errors
    /// There is no free port on loopback.
    pub async fn start(
        respond: impl Fn(&Asked, &[Asked]) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (asked, changed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (kept, told, respond): (_, _, Arc<Respond>) =
            (Arc::clone(&asked), Arc::clone(&changed), Arc::new(respond));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, told, respond) = (Arc::clone(&kept), Arc::clone(&told), Arc::clone(&respond));
                tokio::spawn(async move { serve(stream, &kept, &told, &*respond).await });
            }
        });
        Ok(Self { address, asked, changed })
    }

    /// Where it is, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    /// How often it was asked this.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.is(method, path)).count()
    }

    /// Waits until `enough` says so of what it was asked, for ever if need be.
    pub async fn wait_until(&self, enough: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        loop {
            // From here on: what comes between the look and the wait is told, too.
            let told = self.changed.notified();
            let asked = self.asked();
            if enough(&asked) {
                return asked;
            }
            told.await;
        }
    }
}

/// What one responder that panicked leaves behind is as good as before.
fn lock(asked: &Mutex<Vec<Asked>>) -> MutexGuard<'_, Vec<Asked>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request, and closes. What is not HTTP is not answered.
async fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Asked>>, told: &Notify, respond: &Respond) {
    let Some(asked) = read(&mut stream).await else { return };
    let reply = {
        let mut kept = lock(kept);
        let reply = respond(&asked, &kept);
        kept.push(asked);
        reply
    };
    told.notify_waiters();
    let (status, body, length) = match reply {
        Reply::Json(status, body) => (status, body.clone(), body.len()),
        Reply::Slow(pause, body) => {
            tokio::time::sleep(pause).await;
            (200, body.clone(), body.len())
        }
        Reply::Truncated => (200, "{\"messages\": [".to_owned(), 4_000),
        Reply::Never => {
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.unwrap_or(0) > 0 {}
            return;
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // Whoever asked may be gone: that is what some tests are about.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, path) = (first.next()?, first.next()?);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    while bytes.len() < head_end.checked_add(length)? {
        read_more(stream, &mut bytes).await?;
    }
    let body = String::from_utf8_lossy(&bytes[head_end..]).into_owned();
    Some(Asked { method, path, headers, body })
}

/// `None` where there is no more, or more than is read.
async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let count = stream.read_buf(bytes).await.ok()?;
    (count > 0 && bytes.len() <= MAX_REQUEST).then_some(())
}
