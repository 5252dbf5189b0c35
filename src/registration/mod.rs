//! Callbacks: what a customer registered, and which events want it.

mod registry;
mod retry;

pub use registry::{DeliverySettings, Registry};
pub use retry::RetrySchedule;
