//! Speech jobs: what a provider is asked to do, and asked for until it is done.
//!
//! A job is durable. It goes from `submitted` (to be handed over) by `processing` (the provider is
//! at work) to `fetching` (its results are being fetched), and ends as an event of its call:
//! `speech.completed`, or `speech.failed` with the reason. Between two steps it is a row in the
//! store with a time; a step is one exchange, or the few that fetch the results. So a restart
//! costs the step that was under way, and processes share jobs as they share deliveries: each step
//! is one process's, and how many jobs a provider has at work and how often it is asked is counted
//! by the store.
//!
//! Providers are asked about calls at a customer's request, too ([`CallDesk`]), at once and without a
//! row: what came of it is the answer.
//!
//! A provider's webhook about a job is a reason to ask at once, no more: what it says is not
//! believed, and a webhook that is lost costs nothing but time.

mod call_desk;
mod desk;
mod exchange;
mod machine;
mod task;
mod worker;

pub use call_desk::{CallDesk, CallError};
pub use desk::{Desk, Provider, Refusal, Submission, SubmitError, Submitted};
pub use exchange::Asker;
pub use worker::{Accept, AcceptError, Ended, Worker};
