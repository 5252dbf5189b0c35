//! Makes deliveries: a registration's request, rendered for what happened.

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Callback;
use crate::context::{CallKey, Name, Value, Values};
use crate::event::{CallbackId, DeliveryId, EventId, EventType, SpeechRequestId};
use crate::store::{DestinationId, FailedDelivery, Late, NewDelivery, OrderKey, Rendition};

/// How many bytes of bodies were made for one write. They are made in memory and written in one
/// transaction. A delivery whose body would pass the limit is not made.
#[derive(Debug, Default)]
pub struct Bodies {
    made: usize,
    defers: bool,
    is_full: bool,
}

impl Bodies {
    /// The most that the bodies of one write may be together, in bytes.
    pub const LIMIT: usize = 16 << 20;

    /// Bodies of a write that keeps what they are made from: a delivery whose body would pass the
    /// limit, and all after it, are made without theirs.
    #[must_use]
    pub fn deferring() -> Self {
        Self { defers: true, ..Self::default() }
    }

    /// Whether there is a delivery without a body.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }
}

/// What deliveries are made for.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    /// The event that causes them.
    pub event: EventId,
    /// What of the event they are for.
    pub event_type: EventType,
    /// The call, where there is one.
    pub call: Option<&'a CallKey>,
    /// When they are made.
    pub at: Timestamp,
}

/// A delivery that was made, or that could not be rendered.
#[derive(Debug)]
pub enum Rendered {
    /// It can be sent, or rendered and sent.
    Delivery(NewDelivery),
    /// It is kept and shown, and never sent.
    Failed(FailedDelivery),
}

impl Rendering<'_> {
    /// Makes the delivery to a registration for these values, to which the delivery's own names
    /// are added.
    #[must_use]
    pub fn make(self, callback: &Callback, values: &Values<'_>, bodies: &mut Bodies) -> Rendered {
        let id = DeliveryId::new();
        let rendered = self.render(id, callback, values, bodies);
        let call = self.call.map(|key| key.id.clone());
        match rendered {
            Ok(request) => {
                let delay = callback.delivery.retry.before_attempt(1).unwrap_or_default();
                Rendered::Delivery(NewDelivery {
                    id,
                    account: Arc::clone(&callback.account),
                    callback: callback.id,
                    destination: destination(callback),
                    event: self.event,
                    event_type: self.event_type,
                    call,
                    created_at: self.at,
                    due: self.at + delay,
                    order: self.call.filter(|_| callback.ordered).map(order_key),
                    request,
                })
            }
            Err(reason) => {
                tracing::warn!(delivery = %id, callback = %callback.id, reason, "delivery could not be rendered");
                Rendered::Failed(FailedDelivery {
                    id,
                    account: Arc::clone(&callback.account),
                    callback: callback.id,
                    event: self.event,
                    event_type: self.event_type,
                    call,
                    created_at: self.at,
                    reason,
                })
            }
        }
    }
}

impl Rendering<'_> {
    fn render(
        self,
        id: DeliveryId,
        callback: &Callback,
        values: &Values<'_>,
        bodies: &mut Bodies,
    ) -> Result<Rendition, String> {
        let late = Late { event: self.event, event_type: self.event_type, version: callback.version };
        if bodies.is_full {
            return Ok(Rendition::Late(late));
        }
        let render = |values: &Values<'_>| callback.request.render(values);
        let request = own_names(values, id, callback.id, callback.is_speech_request, render)
            .map_err(|fault| fault.to_string())?;
        let made = bodies.made + request.body.len();
        if made <= Bodies::LIMIT {
            bodies.made = made;
            Ok(Rendition::Done(request))
        } else if bodies.defers {
            bodies.is_full = true;
            Ok(Rendition::Late(late))
        } else {
            let limit = Bodies::LIMIT;
            Err(format!("the bodies of this event's deliveries are larger than {limit} bytes together"))
        }
    }
}

/// Renders with the names added that a delivery has for itself.
pub(super) fn own_names<T>(
    values: &Values<'_>,
    delivery: DeliveryId,
    callback: CallbackId,
    is_speech_request: bool,
    render: impl FnOnce(&Values<'_>) -> T,
) -> T {
    let delivery = delivery.to_string();
    let (name, registration) = if is_speech_request {
        (Name::SpeechRequestId, SpeechRequestId::from(callback).to_string())
    } else {
        (Name::CallbackId, callback.to_string())
    };
    let mut values = values.clone();
    values.set(Name::DeliveryId, Value::Text(&delivery));
    values.set(name, Value::Text(&registration));
    render(&values)
}

/// A registration is a destination of its own. Speech requests come and go, and those of an account
/// to one receiver take turns with each other.
fn destination(callback: &Callback) -> DestinationId {
    if !callback.is_speech_request {
        return callback.id.into();
    }
    let origin = callback.request.url.origin();
    let digest = Sha256::digest(format!("{:?}", (&*callback.account, origin)));
    DestinationId(*digest.first_chunk().expect("a SHA-256 is longer"))
}

/// What deliveries of this call have in common. An event without a call is in no order.
fn order_key(call: &CallKey) -> OrderKey {
    let mut hash = Sha256::new();
    hash.update((call.space.len() as u64).to_be_bytes());
    hash.update(call.space.as_bytes());
    hash.update(call.id.as_str());
    let digest = hash.finalize();
    OrderKey(digest[..16].try_into().expect("SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::CallbackUrl;
    use crate::registration::callback::tests::{callback, limits};

    #[test]
    fn speech_requests_of_an_account_to_one_origin_share_a_destination() {
        let request = |account: &str, url: &str| {
            let mut request = Callback { account: account.into(), is_speech_request: true, ..callback() };
            let limits = limits();
            request.request.url = CallbackUrl::read(url, &limits.policy, &limits.template).unwrap();
            destination(&request)
        };
        let one = request("acme", "https://example.com/a");
        assert_eq!(one, request("acme", "https://example.com:443/b?c={call_id}"));
        assert_ne!(one, request("acme", "https://example.com:8443/a"));
        assert_ne!(one, request("acme", "http://example.com/a"));
        assert_ne!(one, request("other", "https://example.com/a"));
        let standing = callback();
        assert_eq!(destination(&standing), standing.id.into());
    }
}
