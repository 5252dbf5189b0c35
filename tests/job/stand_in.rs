//! The crate's stand-ins for providers, as tests use them: with a limit to every wait.

use std::ops::Deref;
use std::time::Duration;

pub(crate) use ringback::stand_in::{AloVoice, Asked, Auralytik, Reply, Speko, Symbl, json};

pub(crate) struct StandIn(ringback::stand_in::StandIn);

impl StandIn {
    /// Answers each request as `respond` says, which also sees what was asked before.
    pub(crate) async fn start(respond: impl Fn(&Asked, &[Asked]) -> Reply + Send + Sync + 'static) -> Self {
        Self(ringback::stand_in::StandIn::start(respond).await.unwrap())
    }

    /// Waits until `enough` says so.
    pub(crate) async fn wait_until(&self, enough: impl Fn(&[Asked]) -> bool) -> Vec<Asked> {
        let asked = tokio::time::timeout(Duration::from_mins(1), self.0.wait_until(enough)).await;
        asked.unwrap_or_else(|_| panic!("the provider was asked only {:#?}", self.asked()))
    }
}

impl Deref for StandIn {
    type Target = ringback::stand_in::StandIn;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
