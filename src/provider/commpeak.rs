//! Adapter.

use super::{Adapter, Reading, Unreadable};
use crate::signature::Verified;

/// Adapter.
pub(super) struct CommPeak;

impl Adapter for CommPeak {
    fn name(&self) -> &'static str {
        "commpeak"
    }

    fn read(&self, _request: &Verified) -> Result<Reading, Unreadable> {
        unimplemented!()
    }
}
