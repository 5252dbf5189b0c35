//! Request bodies: read whole, up to a cap, within a time.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};

/// How long a body may take to arrive. A provider posts at once; what trickles is cut off.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than the cap, which is in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs())]
    TooSlow,
    /// The connection broke.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads a body of at most `cap` bytes.
///
/// # Errors
/// It is larger (known at once where it announces its length), too slow, or breaks off.
pub async fn read_capped(body: Incoming, cap: usize) -> Result<Bytes, BodyFault> {
    if usize::try_from(body.size_hint().lower()).is_ok_and(|announced| announced > cap) {
        return Err(BodyFault::TooLarge(cap));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, cap).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyFault::TooLarge(cap)),
        Ok(Err(error)) => Err(BodyFault::Broken(error)),
        Err(_) => Err(BodyFault::TooSlow),
    }
}
