//! The providers: one adapter a file, one line in `ADAPTERS` each; those that a table can read are
//! presets, one file of `preset` each.

mod alovoice;
mod api;
mod auralytik;
mod body;
mod commpeak;
mod mapping;
mod preset;
mod speko;
mod symbl;
mod utterance;

use std::sync::Arc;

pub use api::{
    Access, Api, Ask, Credentials, Media, Pace, Part, Progress, Reference, Session, Task, Undocumented,
};
pub use body::raw_of_kept;
pub use mapping::{InvalidEntry, Mapping};

use crate::event::Event;
use crate::signature::Verified;

/// How a provider's requests are read. An adapter holds no state: what it needs is in the request,
/// and in its mapping if it has one.
pub trait Adapter: Send + Sync {
    /// The provider's name in the configuration and in `{provider}`.
    fn name(&self) -> &'static str;

    /// Reads one verified request.
    ///
    /// # Errors
    /// It is not what this provider posts; the request is kept as a rejected event.
    fn read(&self, request: &Verified) -> Result<Reading, Unreadable>;

    /// How it is asked, if it can be.
    fn api(&self) -> Option<&dyn Api> {
        None
    }

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

/// What makes an adapter.
type Make = fn() -> Arc<dyn Adapter>;

/// The adapters, in the order of the documentation. A new provider is a line here.
const ADAPTERS: [(&str, Make); 5] = [
    ("commpeak", || Arc::new(commpeak::CommPeak)),
    ("symbl", || Arc::new(symbl::Symbl)),
    ("alovoice", || Arc::new(alovoice::AloVoice)),
    ("speko", || Arc::new(speko::Speko)),
    ("auralytik", || Arc::new(auralytik::Auralytik)),
];

/// The name of the provider that is told by a mapping alone.
pub const CUSTOM: &str = "custom";

/// The adapter of that name, with a mapping of the source's own where the provider is read by one.
#[must_use]
pub fn adapter(name: &str, own: Option<Mapping>) -> Option<Arc<dyn Adapter>> {
    if let Some((_, make)) = ADAPTERS.into_iter().find(|(other, _)| *other == name) {
        return Some(make());
    }
    let own = own.unwrap_or_default();
    if name == CUSTOM {
        return Some(Arc::new(mapping::Mapped::new(CUSTOM, own)));
    }
    let (name, mapping) = preset::mapping(name)?;
    Some(Arc::new(mapping::Mapped::new(name, mapping.with(own))))
}

/// The providers with adapters of their own, which need no table to be read.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    ADAPTERS.into_iter().map(|(name, _)| name)
}

/// The names of all providers: those, [`CUSTOM`], and the presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    built_in().chain([CUSTOM]).chain(preset::names())
}

/// Whether the provider is read by a mapping, to which a source may add.
#[must_use]
pub fn is_mapped(name: &str) -> bool {
    name == CUSTOM || preset::names().any(|preset| preset == name)
}

#[cfg(test)]
mod tests;
