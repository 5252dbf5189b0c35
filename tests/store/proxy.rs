//! A way to a server that can be made worse while it is in use.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of the bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the server at this port of loopback, each piece so much later. A connection is cut when
    /// the port changes.
    To(u16, Duration),
    /// Nowhere, for as long as this lasts; connections stay open.
    BlackHole,
    /// There are no connections, and none is made.
    Cut,
}

/// A TCP proxy on loopback, gone when it is dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, followed) = watch::channel(Way::To(port, Duration::ZERO));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(carry(stream, followed.clone()));
            }
        });
        Self { address, way, _tasks: tasks }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    pub(super) fn make(&self, way: Way) {
        self.way.send_replace(way);
    }
}

/// Carries one connection, until it ends or is cut.
async fn carry(client: TcpStream, mut way: watch::Receiver<Way>) {
    let Ok(to) = way.wait_for(|way| *way != Way::BlackHole).await.map(|way| *way) else { return };
    let Way::To(port, _) = to else { return };
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_elsewhere = |now: &Way| match now {
        Way::To(now, _) => *now != port,
        Way::BlackHole => false,
        Way::Cut => true,
    };
    tokio::select! {
        () = pump(from_client, to_server, way.clone()) => {}
        () = pump(from_server, to_client, way.clone()) => {}
        _ = way.wait_for(is_elsewhere) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let now = way.wait_for(|way| *way != Way::BlackHole).await.map(|way| *way);
        let Ok(Way::To(_, delay)) = now else { return };
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}
