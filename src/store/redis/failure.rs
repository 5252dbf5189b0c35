//! What Redis' errors mean for a caller.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::StoreError;

/// When to try again while Redis is away: it may be back at any moment.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// When to try again while Redis has no memory left.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

/// What an error says of the connection that it came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as good as before.
    Keep,
    /// Nothing good comes over it any more: a new one must be made.
    Drop,
}

/// Whether the connection is to blame. A Redis that has become a replica keeps its connections,
/// and only a new one finds the new master.
pub(super) fn verdict(error: &RedisError) -> Verdict {
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::Client
        | ErrorKind::AuthenticationFailed
        | ErrorKind::Server(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::Moved,
        ) => Verdict::Drop,
        _ => Verdict::Keep,
    }
}

/// The error for a caller.
pub(super) fn store_error(error: RedisError) -> StoreError {
    let (reason, retry_after) = match error.kind() {
        ErrorKind::Io if error.is_timeout() => ("Redis does not answer", RETRY_AFTER),
        ErrorKind::Io => ("Redis cannot be reached", RETRY_AFTER),
        ErrorKind::AuthenticationFailed => ("Redis refuses the user or the password", FULL_RETRY_AFTER),
        ErrorKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading => ("Redis is loading its data", RETRY_AFTER),
            ServerErrorKind::ReadOnly => ("Redis has become a replica", RETRY_AFTER),
            ServerErrorKind::MasterDown => ("Redis has lost its master", RETRY_AFTER),
            ServerErrorKind::ClusterDown => ("the Cluster is down", RETRY_AFTER),
            ServerErrorKind::Moved => ("another node of the Cluster has the slot", RETRY_AFTER),
            ServerErrorKind::Ask | ServerErrorKind::TryAgain => {
                ("the Cluster is moving the slot", RETRY_AFTER)
            }
            ServerErrorKind::NoPerm => ("Redis forbids it to this user", FULL_RETRY_AFTER),
            _ => ("Redis refused a command", FULL_RETRY_AFTER),
        },
        _ => match error.code() {
            Some("OOM") => ("Redis has no memory left", FULL_RETRY_AFTER),
            Some("MISCONF") => ("Redis cannot write to its disk", FULL_RETRY_AFTER),
            Some("NOREPLICAS") => ("Redis misses its replicas", FULL_RETRY_AFTER),
            Some("BUSY") => ("Redis is busy with a script", RETRY_AFTER),
            Some("NOAUTH" | "WRONGPASS") => ("Redis refuses the user or the password", FULL_RETRY_AFTER),
            _ => ("Redis failed", RETRY_AFTER),
        },
    };
    StoreError::Unavailable { reason, retry_after, source: Some(Box::new(error)) }
}

/// The same for another caller, to whom it happened as well.
pub(super) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable { reason, retry_after, source } => StoreError::Unavailable {
            reason,
            retry_after: *retry_after,
            source: source.as_ref().map(|source| source.to_string().into()),
        },
        StoreError::Unusable(reason) => StoreError::Unusable(reason.clone()),
        StoreError::Corrupt { what, reason } => StoreError::Corrupt { what, reason: reason.clone() },
    }
}

/// Of what a script was to do, this failed and the rest did not.
pub(super) fn refused(text: &[u8]) -> StoreError {
    let line = [b"-", text, b"\r\n"].concat();
    match redis::parse_redis_value(&line) {
        Ok(redis::Value::ServerError(error)) => store_error(error.into()),
        _ => StoreError::Unavailable { reason: "Redis failed", retry_after: RETRY_AFTER, source: None },
    }
}

/// After [`crate::store::Store::close`].
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable { reason: "closed", retry_after: RETRY_AFTER, source: None }
}

/// Too many wait already.
pub(super) fn full() -> StoreError {
    StoreError::Unavailable { reason: "queue full", retry_after: RETRY_AFTER, source: None }
}

/// An acceptance names an id that is stored already.
pub(super) fn taken() -> StoreError {
    StoreError::Unavailable { reason: "an id is stored already", retry_after: RETRY_AFTER, source: None }
}

/// Redis answers with something else than what was put into it.
pub(super) fn lost() -> StoreError {
    StoreError::Unavailable {
        reason: "Redis has lost its data; ringback must be started again to go on with what is left",
        retry_after: FULL_RETRY_AFTER,
        source: None,
    }
}

/// No node of the Cluster has the slot that is needed, as far as is known.
pub(super) fn lost_slot() -> StoreError {
    StoreError::Unavailable {
        reason: "no node of the Cluster has the slot",
        retry_after: RETRY_AFTER,
        source: None,
    }
}

/// Nobody tries to connect at this moment.
pub(super) fn away() -> StoreError {
    StoreError::Unavailable { reason: "Redis cannot be reached", retry_after: RETRY_AFTER, source: None }
}
