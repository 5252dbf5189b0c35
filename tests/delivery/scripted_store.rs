//! A store of which a test decides what it does: it hands out what it is given, keeps what is
//! settled, and fails on demand. Only what a worker uses does anything.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use jiff::Timestamp;
use ringback::context::CallKey;
use ringback::event::{AccountName, CallbackId, DeliveryId, EventId};
use ringback::store::{
    Acceptance, Accepted, Announcement, Answered, CallMark, CallQuery, CallbackRow, Claim, DedupeKey,
    DefinitionVersion, DeliveryFilter, DeliveryRow, DeliveryView, EventFilter, EventRow, EventView, Found,
    LateRendering, Lease, ListedCall, Page, Recall, Remember, Replay, Replayed, Settlement, Standing, Store,
    StoreError, StoredCall,
};
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct ScriptedStore {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Claim>,
    asked: Vec<usize>,
    settled: Vec<Settlement>,
    released: Vec<Lease>,
    failing_claims: usize,
    failing_settlements: usize,
    failing_reads: usize,
    callbacks: Vec<CallbackRow>,
    lost: bool,
}

pub(super) fn unavailable() -> StoreError {
    StoreError::Unavailable {
        reason: "the test says so",
        retry_after: Duration::from_millis(1),
        source: None,
    }
}

impl ScriptedStore {
    pub(super) fn push(&self, claim: Claim) {
        self.state.lock().unwrap().queue.push_back(claim);
        self.changed.notify_waiters();
    }

    /// The next so many claims and settlements fail.
    pub(super) fn fail(&self, claims: usize, settlements: usize) {
        let mut state = self.state.lock().unwrap();
        (state.failing_claims, state.failing_settlements) = (claims, settlements);
    }

    /// What another process has registered, which is told after so many failures.
    pub(super) fn register(&self, row: CallbackRow, failures: usize) {
        let mut state = self.state.lock().unwrap();
        state.callbacks.push(row);
        state.failing_reads = failures;
    }

    /// From now on no lease is held any more.
    pub(super) fn lose_leases(&self) {
        self.state.lock().unwrap().lost = true;
    }

    pub(super) fn settled(&self) -> Vec<Settlement> {
        self.state.lock().unwrap().settled.clone()
    }

    pub(super) fn released(&self) -> Vec<Lease> {
        self.state.lock().unwrap().released.clone()
    }

    /// How many were asked for, claim by claim.
    pub(super) fn asked(&self) -> Vec<usize> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Waits for so many settlements.
    pub(super) async fn wait_for(&self, count: usize) -> Vec<Settlement> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                let settled = self.settled();
                if settled.len() >= count {
                    return settled;
                }
                changed.await;
            }
        };
        let within = Duration::from_mins(1);
        tokio::time::timeout(within, wait)
            .await
            .unwrap_or_else(|_| panic!("{} of {count} settlements in {within:?}", self.settled().len()))
    }
}

#[async_trait]
impl Store for ScriptedStore {
    async fn claim(&self, slots: usize) -> Result<Vec<Claim>, StoreError> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock().unwrap();
                if state.failing_claims > 0 {
                    state.failing_claims -= 1;
                    return Err(unavailable());
                }
                if !state.queue.is_empty() {
                    state.asked.push(slots);
                    let count = slots.min(state.queue.len());
                    return Ok(state.queue.drain(..count).collect());
                }
            }
            changed.await;
        }
    }

    async fn settle(&self, settlement: Settlement) -> Result<bool, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.failing_settlements > 0 {
            state.failing_settlements -= 1;
            return Err(unavailable());
        }
        if state.lost {
            return Ok(false);
        }
        state.settled.push(settlement);
        drop(state);
        self.changed.notify_waiters();
        Ok(true)
    }

    async fn put_rendering(&self, _: LateRendering) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn snapshot(&self, _: &AccountName, _: EventId) -> Result<Option<Bytes>, StoreError> {
        Err(unavailable())
    }

    async fn definition(
        &self,
        _: &AccountName,
        _: CallbackId,
        _: DefinitionVersion,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        Err(unavailable())
    }

    async fn release(&self, leases: Vec<Lease>) -> Result<(), StoreError> {
        self.state.lock().unwrap().released.extend(leases);
        Ok(())
    }

    async fn recall(&self, _: &DedupeKey, _: Option<&CallKey>) -> Result<Recall, StoreError> {
        Err(unavailable())
    }

    async fn accept(&self, _: Acceptance) -> Result<Accepted, StoreError> {
        Err(unavailable())
    }

    async fn stored(&self, _: &AccountName) -> Result<u64, StoreError> {
        Err(unavailable())
    }

    async fn reject(&self, _: EventRow) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn put_callback(&self, _: CallbackRow) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn put_callback_once(&self, _: CallbackRow, _: Remember) -> Result<Option<Answered>, StoreError> {
        Err(unavailable())
    }

    async fn answered(&self, _: &AccountName, _: &[u8; 32]) -> Result<Option<Answered>, StoreError> {
        Err(unavailable())
    }

    async fn remove_callback(&self, _: &AccountName, _: CallbackId) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn callbacks(&self) -> Result<Vec<CallbackRow>, StoreError> {
        let mut state = self.state.lock().unwrap();
        if state.failing_reads > 0 {
            state.failing_reads -= 1;
            return Err(unavailable());
        }
        Ok(state.callbacks.clone())
    }

    async fn call(&self, _: &CallKey) -> Result<Option<StoredCall>, StoreError> {
        Err(unavailable())
    }

    async fn event(&self, _: &AccountName, _: EventId) -> Result<Option<EventView>, StoreError> {
        Err(unavailable())
    }

    async fn events(
        &self,
        _: &AccountName,
        _: &EventFilter,
        _: Option<EventId>,
        _: usize,
    ) -> Result<Found<EventRow, EventId>, StoreError> {
        Err(unavailable())
    }

    async fn calls(
        &self,
        _: &AccountName,
        _: &CallQuery,
        _: Option<&CallMark>,
        _: usize,
    ) -> Result<Found<ListedCall, CallMark>, StoreError> {
        Err(unavailable())
    }

    async fn erase_call(&self, _: &CallKey) -> Result<bool, StoreError> {
        Err(unavailable())
    }

    async fn delivery(&self, _: &AccountName, _: DeliveryId) -> Result<Option<DeliveryView>, StoreError> {
        Err(unavailable())
    }

    async fn deliveries(
        &self,
        _: &AccountName,
        _: &DeliveryFilter,
        _: Page,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        Err(unavailable())
    }

    async fn deliveries_after(
        &self,
        _: &AccountName,
        _: &DeliveryFilter,
        _: Option<DeliveryId>,
        _: usize,
    ) -> Result<Found<DeliveryRow, DeliveryId>, StoreError> {
        Err(unavailable())
    }

    async fn replay(&self, _: Replay) -> Result<Replayed, StoreError> {
        Err(unavailable())
    }

    async fn retry_all(&self, _: &AccountName, _: &[DeliveryId]) -> Result<usize, StoreError> {
        Err(unavailable())
    }

    async fn announcements(&self, _: usize) -> Result<Vec<Announcement>, StoreError> {
        Err(unavailable())
    }

    async fn forget_announcements(&self, _: &[Vec<u8>]) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn announces(&self) {}

    async fn sweep(&self, _: Timestamp) -> Result<usize, StoreError> {
        Err(unavailable())
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        Err(unavailable())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Err(unavailable())
    }

    async fn close(&self) {}
}
