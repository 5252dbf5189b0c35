//! All registrations, in memory.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use super::RetrySchedule;
use crate::event::CallbackId;
use crate::signature::SigningSecret;

/// How a registration's deliveries are sent.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// The secrets that sign, the newest first; two while one replaces the other.
    pub secrets: Vec<SigningSecret>,
    /// How long a whole exchange may take, to the last byte of the response.
    pub timeout: Duration,
    /// When attempts are made.
    pub retry: RetrySchedule,
}

/// All registrations.
#[derive(Debug, Default)]
pub struct Registry {
    settings: RwLock<HashMap<CallbackId, Arc<DeliverySettings>>>,
}

impl Registry {
    /// How deliveries of this registration are sent now; `None` if it was removed.
    #[must_use]
    pub fn delivery_settings(&self, id: CallbackId) -> Option<Arc<DeliverySettings>> {
        self.settings.read().expect("no holder of this lock panics").get(&id).cloned()
    }
}
