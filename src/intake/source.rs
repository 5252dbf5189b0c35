//! A source: an address that a provider posts to.

use std::sync::Arc;

use crate::event::AccountName;
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
    pub adapter: Arc<dyn Adapter>,
    /// How they are verified.
    pub verifier: Verifier,
}
