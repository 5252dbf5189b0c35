//! What is known of a call: call, speech, user, campaign and lead, and the names under which
//! templates ask for it.
//!
//! Data enters through two doors and no others: [`Json::parse`] reads foreign JSON, [`Facts::put`]
//! gives a value the type that the catalogue promises for its name. Everything behind them may
//! rely on both.

mod call;
mod catalogue;
mod custom;
mod facts;
mod json;
mod time;
mod values;

pub use call::{AccountName, CallContext, CallId, CallKey, InvalidContext};
pub use catalogue::{Group, Kind, Name};
pub use facts::Facts;
pub(crate) use json::writer;
pub use json::{InvalidJson, Json};
pub use time::read_time;
pub use values::{Value, Values};
