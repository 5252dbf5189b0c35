//! Callbacks: what a customer registered, and which events want it.
//!
//! A registration is read once, in `definition`, with every problem at once; `callback` is what
//! came of it, `request` what its deliveries send,
//! `secrets` what signs them, `sample` what a test sends; `occurrence` is what deliveries are rendered
//! from, `rendering` how they are made, `late` how those are rendered that were too much to render at
//! once; [`crate::filter`] says which events it wants;
//! `index` finds the callbacks of an event without looking at those that do not want it, `texts` and
//! `ranges` those of a leaf of it; `registry` holds all of it in memory, and `ledger` is where it changes, in the store and
//! in memory.

mod book;
mod callback;
mod definition;
mod index;
mod issue;
mod late;
mod ledger;
mod occurrence;
mod once;
mod ranges;
mod registry;
mod rendering;
mod request;
mod retry;
mod sample;
mod secrets;
mod texts;

pub use crate::filter::{Filter, Needle, Occasion, has_speech};
pub use callback::{Callback, DeliverySettings, MASK, StoredCallbackError};
pub use definition::{DefinitionLimits, NewCallback, NewRequest, read_filter, read_new_secret};
pub use issue::{Issue, Place};
pub use late::LateRenderer;
pub use ledger::{AddError, ChangeError, Ledger};
pub use occurrence::{InvalidOccurrence, KeptOccurrence, Occurrence};
pub use once::{Once, Repeat};
pub use registry::{MATCH_LIMIT, Matches, Registry};
pub use rendering::{Bodies, Rendered, Rendering};
pub use request::{CallbackUrl, InvalidCallbackUrl, Method, RequestFault, RequestTemplate};
pub use retry::RetrySchedule;
pub use sample::Sample;
pub use secrets::{SigningSecrets, TooManySecrets};
