//! Adapter.

use super::{Adapter, Reading, Unreadable};
use crate::signature::Verified;

/// Adapter.
pub(super) struct Speko;

impl Adapter for Speko {
    fn name(&self) -> &'static str {
        "speko"
    }

    fn read(&self, _request: &Verified) -> Result<Reading, Unreadable> {
        unimplemented!()
    }
}
