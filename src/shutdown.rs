//! The end: a signal begins the drain, a second one ends the process at once.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How long a drain may take: what is in flight is given this long to finish.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(30);

/// Whether the process is to end. Clones speak of the same end.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// An end that only [`Shutdown::request`] brings.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// An end that SIGTERM or SIGINT brings (elsewhere than on Unix, Ctrl-C). A second signal exits
    /// the process at once, with 128 and the signal's number as shells do; nothing is lost by it,
    /// for what is not durable was not answered.
    ///
    /// # Errors
    /// The signals cannot be listened to.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_signal() -> io::Result<Self> {
        let mut signals = Signals::listen()?;
        let shutdown = Self::new();
        let requested = shutdown.clone();
        tokio::spawn(async move {
            let signal = signals.next().await;
            tracing::info!(signal = signal.name, deadline_s = DRAIN_DEADLINE.as_secs(), "draining");
            requested.request();
            let signal = signals.next().await;
            tracing::warn!(signal = signal.name, "second signal, exiting at once");
            std::process::exit(128 + signal.number);
        });
        Ok(shutdown)
    }

    /// Begins the end.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether the end has begun.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the end begins; at once if it has. Cancel-safe.
    pub async fn requested(&self) {
        let waited = self.0.subscribe().wait_for(|requested| *requested).await.map(|_| ());
        waited.expect("the sender lives in self");
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

struct Signal {
    name: &'static str,
    number: i32,
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal { name: "SIGTERM", number: 15 },
            _ = self.interrupt.recv() => Signal { name: "SIGINT", number: 2 },
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[allow(clippy::unnecessary_wraps, reason = "listening can fail on Unix")]
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Signal { name: "Ctrl-C", number: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_waits_is_told_and_whoever_comes_later() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        tokio::task::yield_now().await;
        assert!(!shutdown.is_requested() && !waiting.is_finished());
        shutdown.clone().request();
        assert!(shutdown.is_requested());
        waiting.await.unwrap();
        shutdown.requested().await;
        shutdown.request();
        assert!(shutdown.is_requested());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_first_sigterm_begins_the_drain() {
        let shutdown = Shutdown::on_signal().unwrap();
        let pid = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        tokio::time::timeout(Duration::from_secs(10), shutdown.requested()).await.unwrap();
    }
}
