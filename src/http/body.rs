//! Request bodies: read whole, up to a cap, within a time, and all together within a budget.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a body may take to arrive. A provider posts at once; what trickles is cut off.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a body over the cap is read away before it is refused, and for how long: a client
/// that is still sending would otherwise see a broken connection and not the answer.
const DISCARD_LIMIT: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// What all bodies that are read or worked on at one time may take of memory, in bytes. Without it,
/// every connection and every stream of one could hold a body of the largest size.
const BUDGET: usize = 512 << 20;

/// The unit in which the budget is given out, in bytes.
const UNIT: usize = 1 << 10;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than the cap, which is in bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It did not arrive in time.
    #[error("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs())]
    TooSlow,
    /// The bodies of others take all the memory there is for them.
    #[error("too many bodies are arriving at once; send it again")]
    NoRoom,
    /// The connection broke.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads bodies, all of them from one budget of memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Bodies {
    cap: usize,
    room: Arc<Semaphore>,
}

/// A body in memory; its part of the budget comes back when it is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Bodies {
    /// Bodies of at most `cap` bytes.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        // A few of the largest always fit.
        Self::within(BUDGET.max(cap.saturating_mul(4)), cap)
    }

    fn within(budget: usize, cap: usize) -> Self {
        let room = Arc::new(Semaphore::new((budget / UNIT).min(Semaphore::MAX_PERMITS)));
        Self { cap, room }
    }

    /// Reads a body.
    ///
    /// # Errors
    /// It is larger than the cap (known at once where it announces its length), too slow, breaks
    /// off, or there is no room for it.
    pub async fn read<B>(&self, mut body: B) -> Result<Held, BodyFault>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.cap {
            discard(body, announced).await;
            return Err(BodyFault::TooLarge(self.cap));
        }
        let read = tokio::time::timeout(BODY_TIMEOUT, self.collect(&mut body)).await;
        let read = read.unwrap_or(Err(BodyFault::TooSlow));
        if let Err(BodyFault::TooLarge(_)) = read {
            discard(body, 0).await;
        }
        read
    }

    /// Takes room as the bytes arrive: what is only announced costs nobody anything.
    async fn collect<B>(&self, body: &mut B) -> Result<Held, BodyFault>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut length = 0_usize;
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyFault::Broken(error.into()))?;
            // Trailers are of no interest.
            let Ok(data) = frame.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length > self.cap {
                return Err(BodyFault::TooLarge(self.cap));
            }
            let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = u32::try_from(length.div_ceil(UNIT) - held).unwrap_or(u32::MAX);
            let more = Arc::clone(&self.room).try_acquire_many_owned(more).map_err(|_| BodyFault::NoRoom)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            parts.push(data);
        }
        let bytes = match parts.len() {
            1 => parts.remove(0),
            _ => Bytes::from(parts.concat()),
        };
        Ok(Held { bytes, _room: room })
    }
}

/// Reads what is left of a body away, if it is not absurdly large.
async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, announced: usize) {
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

#[cfg(test)]
mod tests {
    use http_body_util::{BodyStream, Full, StreamBody};

    use super::*;

    fn body(length: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; length]))
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_the_cap() {
        let bodies = Bodies::new(10);
        assert_eq!(bodies.read(body(10)).await.unwrap().bytes(), &Bytes::from_static(b"xxxxxxxxxx"));
        assert!(bodies.read(body(0)).await.unwrap().bytes().is_empty());
        assert!(matches!(bodies.read(body(11)).await, Err(BodyFault::TooLarge(10))));
        // One whose length nobody knows before it ends.
        let unknown = |length| StreamBody::new(BodyStream::new(body(length)));
        assert_eq!(bodies.read(unknown(10)).await.unwrap().bytes().len(), 10);
        assert!(matches!(bodies.read(unknown(11)).await, Err(BodyFault::TooLarge(10))));
    }

    #[tokio::test]
    async fn all_bodies_together_stay_within_the_budget_and_give_their_room_back() {
        let bodies = Bodies::within(4 * UNIT, 4 * UNIT);
        let first = bodies.read(body(2 * UNIT + 1)).await.unwrap();
        let second = bodies.read(body(UNIT)).await.unwrap();
        assert!(matches!(bodies.clone().read(body(1)).await, Err(BodyFault::NoRoom)));
        drop(first);
        assert!(bodies.read(body(3 * UNIT)).await.is_ok());
        assert!(matches!(bodies.read(body(3 * UNIT + 1)).await, Err(BodyFault::NoRoom)));
        drop(second);
        assert!(bodies.read(body(4 * UNIT)).await.is_ok(), "a refused body holds nothing back");
    }
}
