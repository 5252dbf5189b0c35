//! Callbacks: what a customer registered, and which events want it.
//!
//! A registration is read once, in `definition`, with every problem at once; `callback` is what
//! came of it, `request` what its deliveries send; `filter` says which events it wants; `index` finds the callbacks of an event
//! without looking at those that do not want it; `registry` holds all of it in memory, and `ledger`
//! is where it changes, in the store and in memory.

mod callback;
mod definition;
mod filter;
mod index;
mod issue;
mod ledger;
mod registry;
mod rendering;
mod request;
mod retry;

pub use callback::{Callback, DeliverySettings, StoredCallbackError};
pub use definition::{DefinitionLimits, NewCallback, NewRequest};
pub use filter::{Filter, Needle, Occasion, has_speech};
pub use issue::{Issue, Place};
pub use ledger::{AddError, Ledger};
pub use registry::{MATCH_LIMIT, Matches, Registry};
pub use rendering::{Bodies, Rendered, Rendering};
pub use request::{CallbackUrl, InvalidCallbackUrl, Method, RequestFault, RequestTemplate};
pub use retry::RetrySchedule;
