//! HTTP, the side that is called: connections, bodies with a cap, answers and problems. Shared by
//! the providers' side (`intake`), the customers' (`api`) and the operators'.

mod answer;
mod body;
mod client;
mod forwarded;
mod listener;
mod problem;
mod request;

pub use answer::{Answer, json, text};
pub use body::{Bodies, BodyFault, Held};
pub use client::{Client, ClientError};
pub use forwarded::{Caller, Proxies};
pub use listener::{Handler, Listener, ListenerError, MAX_CONNECTIONS};
pub(crate) use problem::Entry;
pub use problem::Problem;
pub use request::{Query, bearer_token, header_text};
