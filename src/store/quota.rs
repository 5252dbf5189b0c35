//! How much may be stored for an account.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{SharedStore, StoreError};
use crate::event::AccountName;
use crate::quantity::spell_size;

/// The limits of accounts that have one, held against what the store counts.
pub struct Quotas {
    store: SharedStore,
    limits: HashMap<AccountName, Quota>,
}

struct Quota {
    /// Bytes.
    most: u64,
    /// Whether the last look found no room, so that the log says only when that changes.
    is_full: AtomicBool,
}

/// Why nothing more is taken for an account.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    /// It stores as much as it may.
    #[error("{} are stored for this account, and {} are its limit", spell_size(*.stored), spell_size(*.most))]
    Full {
        /// What is stored, in bytes.
        stored: u64,
        /// Its limit, in bytes.
        most: u64,
    },
    /// How much is stored could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Quotas {
    /// These limits, in bytes; accounts that are not among them, or that have none, are not limited.
    #[must_use]
    pub fn new(store: SharedStore, limits: impl IntoIterator<Item = (AccountName, Option<u64>)>) -> Self {
        let quota = |most| Quota { most, is_full: AtomicBool::new(false) };
        let limits = limits.into_iter().filter_map(|(account, most)| Some((account, quota(most?)))).collect();
        Self { store, limits }
    }

    /// Whether something more may be stored for an account. What is being stored meanwhile is not
    /// counted: it may go beyond its limit by as much as is under way.
    ///
    /// # Errors
    /// It may not, or how much there is cannot be read.
    pub async fn check(&self, account: &AccountName) -> Result<(), NoRoom> {
        let Some(quota) = self.limits.get(account) else { return Ok(()) };
        let (stored, most) = (self.store.stored(account).await?, quota.most);
        let is_full = stored >= most;
        if quota.is_full.swap(is_full, Ordering::Relaxed) != is_full {
            let account = &**account;
            if is_full {
                tracing::warn!(
                    account,
                    stored,
                    most,
                    "an account stores as much as it may: its events are refused"
                );
            } else {
                tracing::info!(account, stored, most, "there is room again for an account's events");
            }
        }
        if is_full { Err(NoRoom::Full { stored, most }) } else { Ok(()) }
    }

    /// Says in the log how much is stored for each account that has a limit.
    pub async fn tell(&self) {
        for (account, quota) in &self.limits {
            match self.store.stored(account).await {
                Ok(stored) => {
                    tracing::info!(account = &**account, stored, most = quota.most, "stored for an account");
                }
                Err(error) => {
                    tracing::warn!(account = &**account, %error, "what is stored cannot be counted");
                }
            }
        }
    }
}

/// Shared by those who take something in.
pub type SharedQuotas = Arc<Quotas>;
