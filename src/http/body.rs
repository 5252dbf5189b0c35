//! Request bodies: read whole, up to a cap, within a time.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};

/// How long a body may take to arrive. A provider posts at once; what trickles is cut off.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a body over the cap is read away before it is refused, and for how long: a client
/// that is still sending would otherwise see a broken connection and not the answer.
const DISCARD_LIMIT: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

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
pub async fn read_capped(mut body: Incoming, cap: usize) -> Result<Bytes, BodyFault> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > cap {
        discard(body, announced).await;
        return Err(BodyFault::TooLarge(cap));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(&mut body, cap).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(body, 0).await;
            Err(BodyFault::TooLarge(cap))
        }
        Ok(Err(error)) => Err(BodyFault::Broken(error)),
        Err(_) => Err(BodyFault::TooSlow),
    }
}

/// Reads what is left of a body away, if it is not absurdly large.
async fn discard(mut body: Incoming, announced: usize) {
    if announced > DISCARD_LIMIT {
        return;
    }
    let reading = async {
        let mut left = DISCARD_LIMIT;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whether it ends or the time is up, the answer is the same.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}
