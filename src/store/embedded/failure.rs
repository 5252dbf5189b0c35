//! What an engine's error means for a caller.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// When to try again after the engine failed: long enough for a disk to be given room.
const ENGINE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// When to try again after a queue was full: it drains thousands a second.
pub(super) const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why one write of a batch was not done.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The engine failed, and the transaction with it.
    Engine(rusqlite::Error),
    /// The write was looked at and refused before it wrote anything; the others go on.
    Refused(StoreError),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

/// The error for one of several callers that fail for the same reason.
pub(super) fn store_error(error: &Arc<rusqlite::Error>) -> StoreError {
    match error.as_ref() {
        rusqlite::Error::SqliteFailure(failure, _) => StoreError::Unavailable {
            reason: reason(failure.code),
            retry_after: ENGINE_RETRY_AFTER,
            source: Some(Box::new(Arc::clone(error))),
        },
        // Everything else is about what a row holds, or about us.
        other => StoreError::Corrupt { what: "row", reason: other.to_string() },
    }
}

const fn reason(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DiskFull => "disk full",
        ErrorCode::SystemIoFailure => "the disk fails",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => "the file cannot be written",
        ErrorCode::CannotOpen => "the file cannot be opened",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "the file is locked",
        ErrorCode::OutOfMemory => "out of memory",
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => "the file is damaged",
        ErrorCode::ConstraintViolation => "an id is stored already",
        ErrorCode::TooBig => "too large for the engine",
        _ => "the engine failed",
    }
}

/// Whether an error is of the place and not of the write: then all of a batch fails, instead of
/// each write being tried alone.
pub(super) fn is_of_the_place(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NotADatabase
        )
    )
}

/// The log could not be synced, now or before.
pub(super) fn sync_failed(error: &Arc<std::io::Error>) -> StoreError {
    StoreError::Unavailable {
        reason: "the disk fails",
        retry_after: ENGINE_RETRY_AFTER,
        source: Some(Box::new(Arc::clone(error))),
    }
}

/// After [`crate::store::Store::close`].
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable { reason: "closed", retry_after: ENGINE_RETRY_AFTER, source: None }
}

/// A bounded queue is full.
pub(super) fn full() -> StoreError {
    StoreError::Unavailable { reason: "queue full", retry_after: BUSY_RETRY_AFTER, source: None }
}
