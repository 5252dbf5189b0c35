//! The store and memory side by side: what is written to the one is put into the other, and what other
//! processes wrote is taken in.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Callback, Once, Registry, Repeat};
use crate::event::{AccountName, CallbackId};
use crate::signature::Sealer;
use crate::store::{CallbackChanges, SharedStore, StoreError};

/// Both, and whose turn it is.
pub(super) struct Book {
    pub(super) store: SharedStore,
    pub(super) registry: Arc<Registry>,
    pub(super) sealer: Option<Arc<Sealer>>,
    /// The operator's limit of a rendering, in bytes.
    pub(super) rendering: usize,
    /// The store's revision that memory has followed. Whoever holds it is the only one who writes a
    /// registration.
    pub(super) turn: Mutex<u64>,
}

impl Book {
    pub(super) async fn put(&self, callback: Callback) -> Result<(), StoreError> {
        self.store.put_callback(callback.to_row(self.sealer.as_deref())).await?;
        self.registry.put(callback);
        Ok(())
    }

    /// Puts a registration, and its answer with it, unless there is an answer already.
    pub(super) async fn put_once(
        &self,
        callback: Callback,
        once: Option<(Once, Vec<u8>)>,
    ) -> Result<Option<Repeat>, StoreError> {
        let Some((once, answer)) = once else { return self.put(callback).await.map(|()| None) };
        let sealer = self.sealer.as_deref();
        let remember = once.remember(&answer, sealer);
        if let Some(answered) = self.store.put_callback_once(callback.to_row(sealer), remember).await? {
            return once.compare(answered, sealer).map(Some);
        }
        self.registry.put(callback);
        Ok(None)
    }

    pub(super) async fn answered(
        &self,
        account: &AccountName,
        once: Once,
    ) -> Result<Option<Repeat>, StoreError> {
        let answered = self.store.answered(account, &once.key).await?;
        answered.map(|answered| once.compare(answered, self.sealer.as_deref())).transpose()
    }

    /// Takes in what has changed in the store since this revision, and moves it on.
    pub(super) async fn catch_up(&self, revision: &mut u64) -> Result<(), StoreError> {
        let changes = self.store.callback_changes(*revision).await?;
        *revision = changes.revision;
        self.take_in(changes);
        Ok(())
    }

    fn take_in(&self, changes: CallbackChanges) {
        if changes.is_complete {
            let known: HashSet<CallbackId> = changes.changed.iter().map(|row| row.id).collect();
            for id in self.registry.ids().into_iter().filter(|id| !known.contains(id)) {
                self.forget(id);
            }
        }
        for id in changes.removed {
            self.forget(id);
        }
        for row in changes.changed {
            match Callback::from_row(&row, self.sealer.as_deref(), self.rendering) {
                Ok(callback) => self.registry.put(callback),
                // As it was is better than not at all: events that it wants would be lost.
                Err(error) => {
                    tracing::error!(callback = %row.id, %error, "a registration that another process wrote \
                        cannot be used here; are both of one version, and with the same secrets.key?");
                }
            }
        }
    }

    fn forget(&self, id: CallbackId) {
        if let Some(callback) = self.registry.by_id(id) {
            self.registry.remove(&callback.account, id);
        }
    }
}
