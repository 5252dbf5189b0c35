//! A stand-in for a provider: a server on loopback that keeps what it is asked and answers as the
//! test says, as badly as providers do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// One request as the provider sees it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The lines of the head, in lower case up to the colon.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }
}

/// How it answers.
pub(crate) enum Reply {
    Json(u16, String),
    /// After so long.
    Slow(Duration, String),
    /// A body that ends before its length says.
    Truncated,
    /// Never: the connection stays open until the other side closes it.
    Never,
}

pub(crate) fn json(status: u16, value: &serde_json::Value) -> Reply {
    Reply::Json(status, value.to_string())
}

pub(crate) struct StandIn {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    changed: Arc<Notify>,
}

type Respond = dyn Fn(&Asked, &[Asked]) -> Reply + Send + Sync;

impl StandIn {
    /// Answers each request as `respond` says, which also sees what was asked before.
    pub(crate) async fn start(respond: impl Fn(&Asked, &[Asked]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, changed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
        let (kept, told, respond): (_, _, Arc<Respond>) =
            (Arc::clone(&asked), Arc::clone(&changed), Arc::new(respond));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, told, respond) = (Arc::clone(&kept), Arc::clone(&told), Arc::clone(&respond));
                tokio::spawn(async move { serve(stream, &kept, &told, &*respond).await });
            }
        });
        Self { address, asked, changed }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.is(method, path)).count()
    }

    /// Waits until `enough` says so.
    pub(crate) async fn wait_until(&self, enough: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let wait = async {
            loop {
                let told = self.changed.notified();
                let asked = self.asked();
                if enough(&asked) {
                    return asked;
                }
                told.await;
            }
        };
        let asked = tokio::time::timeout(Duration::from_mins(1), wait).await;
        asked.unwrap_or_else(|_| panic!("the provider was asked only {:#?}", self.asked()))
    }
}

async fn serve(mut stream: TcpStream, kept: &Mutex<Vec<Asked>>, told: &Notify, respond: &Respond) {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap(), first.next().unwrap());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = String::from_utf8(bytes[head_end..].to_vec()).unwrap();
    let asked = Asked { method, path, headers, body };
    let reply = {
        let mut kept = kept.lock().unwrap();
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
            while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {}
            return;
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
