//! Speech requests: which calls there are to choose from, and which of them a request waits for.
//!
//! What a request sends, and where to, is kept as a registration under the same number
//! ([`Store::put_callback`](super::Store::put_callback)); here is what became of its calls.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Answered, EventRow, FailedDelivery, NewDelivery, Remember, StoreError};
use crate::context::CallKey;
use crate::event::{AccountName, DeliveryId, SpeechRequestId};

/// The speech requests of a store, shared by every room that reads or writes.
pub type SharedSpeechRequests = Arc<dyn SpeechRequests>;

/// What a store does with speech requests. All methods are cancel-safe, as those of
/// [`Store`](super::Store) are.
#[async_trait]
pub trait SpeechRequests: Send + Sync + 'static {
    /// Writes a request with its calls, what it delivers at once and its answer, in one atomic and
    /// durable write; nothing, if a call that it is to wait for has been written to since it was read,
    /// or if an answer is remembered for its key already.
    async fn put_speech_request(&self, request: NewSpeechRequest) -> Result<PutSpeechRequest, StoreError>;

    /// What became of a request of this account.
    async fn speech_request(
        &self,
        account: &AccountName,
        id: SpeechRequestId,
    ) -> Result<Option<SpeechRequestView>, StoreError>;

    /// The requests that wait for a call. One that is written after this was read makes a write of
    /// the call, read before, a conflict.
    async fn waiting_for(&self, call: &CallKey) -> Result<Vec<SpeechRequestId>, StoreError>;
}

/// A request to be written.
#[derive(Clone, Debug)]
pub struct NewSpeechRequest {
    /// Its id.
    pub id: SpeechRequestId,
    /// Whose it is.
    pub account: AccountName,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its calls, in the order of the answer.
    pub calls: Vec<RequestedCall>,
    /// What its deliveries come from; there is one if there are any.
    pub event: Option<EventRow>,
    /// What it delivers at once.
    pub deliveries: Vec<NewDelivery>,
    /// What it should have delivered at once, but could not be rendered.
    pub failed: Vec<FailedDelivery>,
    /// Its answer, if it came with a key that makes it the same request.
    pub remember: Option<Remember>,
}

/// A call of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedCall {
    /// Which.
    pub key: CallKey,
    /// The version that was read. If it is not the stored one any more, nothing waits for it.
    pub read_version: u64,
    /// What becomes of it.
    pub state: RequestedState,
}

/// What becomes of a call of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestedState {
    /// The request waits for its speech.
    Submitted,
    /// Its speech was there, or has come: this is its delivery.
    Ready(DeliveryId),
    /// It is not transcribed, for this reason.
    Refused(String),
    /// Its transcription failed, for this reason.
    Failed(String),
}

/// What became of a [`NewSpeechRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutSpeechRequest {
    /// It is written and durable.
    Stored,
    /// A call has been written to since; nothing was written.
    Conflict,
    /// It was answered before, so; nothing was written.
    Answered(Answered),
}

/// A request that does not wait for the call of an event any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredRequest {
    /// Which.
    pub id: SpeechRequestId,
    /// What became of the call.
    pub state: RequestedState,
}

/// A request as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeechRequestView {
    /// When it was made.
    pub created_at: Timestamp,
    /// Its calls and what became of them, in the order of the first answer.
    pub calls: Vec<(CallKey, RequestedState)>,
}
