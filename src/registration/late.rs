//! Renders deliveries at their first attempt: those that were too much to render with their event.
//!
//! Each is rendered from what was known when its event came in, and with the definition that its
//! registration had then, so that it makes no difference to the receiver when that is done.

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::Registry;
use super::callback::LateDefinition;
use super::occurrence::KeptOccurrence;
use super::rendering::own_names;
use crate::event::{AccountName, EventId};
use crate::store::{Claim, DeliveryRequest, Late, SharedStore, StoreError};

/// How many are rendered at once: what is known of a call may be large, and bodies are.
const AT_ONCE: usize = 2;

/// Renders deliveries that are late.
pub struct LateRenderer {
    store: SharedStore,
    registry: Arc<Registry>,
    /// The operator's limit of a rendering, in bytes.
    rendering: usize,
    turns: Semaphore,
    /// What was read last. An event that has late deliveries has many.
    last: Mutex<Option<(EventId, Arc<KeptOccurrence>)>>,
}

impl LateRenderer {
    /// A renderer for deliveries of this store; `rendering` is the operator's limit of one, in bytes.
    #[must_use]
    pub fn new(store: SharedStore, registry: Arc<Registry>, rendering: usize) -> Self {
        Self { store, registry, rendering, turns: Semaphore::new(AT_ONCE), last: Mutex::default() }
    }

    /// The request of a delivery; or a sentence without data that says why there is none, and never
    /// will be.
    ///
    /// # Errors
    /// The store cannot be asked now.
    pub async fn render(
        &self,
        claim: &Claim,
        late: Late,
    ) -> Result<Result<DeliveryRequest, String>, StoreError> {
        let _turn = self.turns.acquire().await.expect("nobody closes this semaphore");
        let gone = || Ok(Err("what it is rendered from is not there any more".to_owned()));
        let definition = match self.definition(claim, late).await {
            Ok(Some(Ok(definition))) => definition,
            Ok(Some(Err(reason))) => return Ok(Err(reason)),
            Ok(None) => return gone(),
            Err(error) => return unreadable(error),
        };
        let occurrence = match self.occurrence(&claim.account, late.event).await {
            Ok(Some(Ok(occurrence))) => occurrence,
            Ok(Some(Err(reason))) => return Ok(Err(reason)),
            Ok(None) => return gone(),
            Err(error) => return unreadable(error),
        };
        let (delivery, callback) = (claim.lease.delivery, claim.callback);
        // Large ones take their time, and others are to be sent meanwhile.
        let rendered = tokio::task::spawn_blocking(move || {
            let occurrence = occurrence.occurrence();
            let values = occurrence.values(definition.token.as_deref(), Some(late.event_type));
            own_names(&values, delivery, callback, definition.is_speech_request, |values| {
                definition.request.render(values).map_err(|fault| fault.to_string())
            })
        });
        match rendered.await {
            Ok(rendered) => Ok(rendered),
            Err(ended) if ended.is_panic() => {
                Ok(Err("rendering it failed inside ringback, which is a defect of it".to_owned()))
            }
            Err(_) => Err(StoreError::Unavailable {
                reason: "closed",
                retry_after: std::time::Duration::from_secs(1),
                source: None,
            }),
        }
    }

    /// The registration as it was; `None` if it was removed.
    async fn definition(
        &self,
        claim: &Claim,
        late: Late,
    ) -> Result<Option<Result<LateDefinition, String>>, StoreError> {
        let held = self.registry.by_id(claim.callback).filter(|held| held.version == late.version);
        if let Some(callback) = held {
            return Ok(Some(Ok(LateDefinition::of(&callback))));
        }
        let stored = self.store.definition(&claim.account, claim.callback, late.version).await?;
        Ok(stored.map(|bytes| LateDefinition::read(&bytes, self.rendering)))
    }

    async fn occurrence(
        &self,
        account: &AccountName,
        event: EventId,
    ) -> Result<Option<Result<Arc<KeptOccurrence>, String>>, StoreError> {
        let last = self.last.lock().expect("no holder of this lock panics").clone();
        if let Some((_, occurrence)) = last.filter(|(of, _)| *of == event) {
            return Ok(Some(Ok(occurrence)));
        }
        let Some(bytes) = self.store.snapshot(account, event).await? else { return Ok(None) };
        Ok(Some(KeptOccurrence::from_bytes(&bytes).map(Arc::new).map_err(|error| error.to_string()).inspect(
            |occurrence| {
                let mut last = self.last.lock().expect("no holder of this lock panics");
                *last = Some((event, Arc::clone(occurrence)));
            },
        )))
    }
}

/// What is stored and cannot be read will not be readable the next time.
fn unreadable(error: StoreError) -> Result<Result<DeliveryRequest, String>, StoreError> {
    match error {
        StoreError::Corrupt { .. } => Ok(Err("what it is rendered from cannot be read".to_owned())),
        error => Err(error),
    }
}

impl fmt::Debug for LateRenderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateRenderer").field("turns", &self.turns).finish_non_exhaustive()
    }
}
