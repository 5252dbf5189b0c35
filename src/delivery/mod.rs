//! Deliveries on their way: the client, the outcome of an attempt, the schedule of the next, the
//! worker that drives them. Never sees a template.

mod back_off;
pub mod client;
mod meter;
mod outcome;
mod schedule;
mod turns;
mod worker;

pub use back_off::random_share;
pub use client::{Client, ClientSettings};
pub use meter::Meter;
pub use outcome::{RetryAfter, attempt_of};
pub use schedule::{Decision, MAX_JITTER, MAX_RETRY_AFTER, next};
pub use worker::Worker;
