//! The providers: one adapter a file, one line in [`adapter`] each.

mod body;
mod commpeak;
mod speko;

use crate::event::Event;
use crate::signature::Verified;

/// How a provider's requests are read. An adapter holds no state: what it needs is in the request.
pub trait Adapter: Send + Sync {
    /// The provider's name in the configuration and in `{provider}`.
    fn name(&self) -> &'static str;

    /// Reads one verified request.
    ///
    /// # Errors
    /// It is not what this provider posts; the request is kept as a rejected event.
    fn read(&self, request: &Verified) -> Result<Reading, Unreadable>;

    /// Whether a `GET` with a query is an event (the PBX webhooks of `CommPeak`).
    fn reads_queries(&self) -> bool {
        false
    }
}

/// What an adapter made of a request.
#[derive(Debug)]
pub enum Reading {
    /// An event, to be kept and delivered.
    Event(Box<Event>),
    /// A question that is answered at once with this JSON and is not kept.
    Answer(&'static str),
}

/// A request that an adapter cannot read: a sentence that names the place and holds no data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// The adapters, in the order of the documentation. A new provider is a line here.
const ADAPTERS: [&dyn Adapter; 2] = [&commpeak::CommPeak, &speko::Speko];

/// The adapter of that name.
#[must_use]
pub fn adapter(name: &str) -> Option<&'static dyn Adapter> {
    ADAPTERS.into_iter().find(|adapter| adapter.name() == name)
}

/// The names of all adapters.
pub fn names() -> impl Iterator<Item = &'static str> {
    ADAPTERS.into_iter().map(Adapter::name)
}

#[cfg(test)]
mod tests;
