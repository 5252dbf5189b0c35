//! A source: an address that a provider posts to.

use std::sync::Arc;
use std::time::Duration;

use crate::event::AccountName;
use crate::limit::Limiter;
use crate::provider::Adapter;
use crate::signature::Verifier;

/// One configured source.
pub struct Source {
    /// Its name, the last part of `/v1/ingest/{source}`.
    pub name: String,
    /// Whose it is.
    pub account: AccountName,
    /// The space in which it counts its calls.
    pub call_space: Arc<str>,
    /// How its requests are read.
    pub adapter: &'static dyn Adapter,
    /// How they are verified.
    pub verifier: Verifier,
    /// How many it may send.
    pub limiter: Option<Limiter>,
}

impl Source {
    /// Lets one request in, or says how long to wait.
    pub(super) fn admit(&self) -> Result<(), Duration> {
        self.limiter.as_ref().map_or(Ok(()), Limiter::check)
    }
}
