//! What an event causes: its call's merged context and a rendered delivery for each callback that
//! wants it. No I/O and no clock: the same event, context and registrations give the same plan,
//! but for the new ids.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::context::{CallContext, CallKey, InvalidContext, Name, Value, Values};
use crate::event::{DeliveryId, Event, EventType};
use crate::registration::{Callback, MATCH_LIMIT, Occasion, Registry};
use crate::store::{
    Acceptance, CallWrite, DedupeKey, EventRow, FailedDelivery, NewDelivery, OrderKey, StoredCall,
};

/// The most that is kept of one call, in bytes of its stored form. An event that would make it
/// larger is rejected: a call that grows for ever would be read and written whole for each event.
const CONTEXT_LIMIT: usize = 16 << 20;

/// The most that the bodies of one event's deliveries may be together, in bytes. They are made in
/// memory and written in one transaction.
const BODIES_LIMIT: usize = 16 << 20;

/// Why an event cannot be merged into its call.
#[derive(Debug, thiserror::Error)]
pub enum PlanFault {
    /// What is stored of its call cannot be read.
    #[error(transparent)]
    Context(#[from] InvalidContext),
    /// Its call would grow past the limit.
    #[error("the call would have more than {CONTEXT_LIMIT} bytes of context")]
    ContextTooLarge,
}

/// Everything that a plan is made of, apart from the call as it is stored.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) event: &'a Event,
    pub(super) row: &'a EventRow,
    pub(super) key: Option<&'a CallKey>,
    pub(super) dedupe: &'a DedupeKey,
}

impl Plan<'_> {
    /// Merges the event into its call and renders what must be delivered because of it.
    pub(super) fn make(
        self,
        stored: Option<StoredCall>,
        registry: &Registry,
    ) -> Result<Acceptance, PlanFault> {
        let read_version = stored.as_ref().map_or(0, |call| call.version);
        let mut context = match stored {
            Some(call) => CallContext::from_bytes(&call.context)?,
            None => CallContext::default(),
        };
        // A provider whose clock is ahead must not pin a value against all that comes later.
        let at = self.event.at.map(|at| at.min(self.row.received_at));
        context.merge(&self.event.facts, at);

        let call =
            self.key.map(|key| CallWrite { key: key.clone(), read_version, context: context.to_bytes() });
        if call.as_ref().is_some_and(|call| call.context.len() > CONTEXT_LIMIT) {
            return Err(PlanFault::ContextTooLarge);
        }
        let mut acceptance = Acceptance {
            event: self.row.clone(),
            dedupe: self.dedupe.clone(),
            call,
            deliveries: Vec::new(),
            failed: Vec::new(),
        };
        self.deliver(&context, registry, &mut acceptance);
        Ok(acceptance)
    }

    fn deliver(self, context: &CallContext, registry: &Registry, acceptance: &mut Acceptance) {
        let event_id = self.row.id.to_string();
        let event_at = self.row.received_at.to_string();
        let mut values = Values::new();
        context.fill(&mut values);
        values.set(Name::EventId, Value::Text(&event_id));
        values.set(Name::EventAt, Value::Text(&event_at));
        values.set(Name::Provider, Value::Text(&self.row.provider));
        values.set(Name::Source, Value::Text(&self.row.source));
        values.set(Name::Raw, Value::from(&self.event.raw));

        let mut left = MATCH_LIMIT;
        let mut bodies = 0;
        for event_type in &self.event.types {
            values.set(Name::EventType, Value::Text(event_type.as_str()));
            let occasion = Occasion::new(&values);
            let matches = registry.matching(
                &self.row.account,
                &self.row.source,
                *event_type,
                &occasion,
                self.row.received_at,
            );
            let wanted = matches.callbacks.len() + matches.left_out;
            if wanted > left {
                tracing::error!(
                    event = %self.row.id,
                    left_out = wanted - left.min(matches.callbacks.len()),
                    "an event causes at most {MATCH_LIMIT} deliveries"
                );
            }
            for callback in matches.callbacks.iter().take(left) {
                self.render(callback, *event_type, &values, &mut bodies, acceptance);
            }
            left = left.saturating_sub(matches.callbacks.len());
        }
    }

    fn render(
        self,
        callback: &Callback,
        event_type: EventType,
        values: &Values<'_>,
        bodies: &mut usize,
        acceptance: &mut Acceptance,
    ) {
        let id = DeliveryId::new();
        let delivery_id = id.to_string();
        let callback_id = callback.id.to_string();
        let mut values = values.clone();
        values.set(Name::DeliveryId, Value::Text(&delivery_id));
        values.set(Name::CallbackId, Value::Text(&callback_id));

        let rendered = match callback.request.render(&values) {
            Err(fault) => Err(fault.to_string()),
            Ok(request) if *bodies + request.body.len() > BODIES_LIMIT => Err(format!(
                "the bodies of this event's deliveries are larger than {BODIES_LIMIT} bytes together"
            )),
            Ok(request) => Ok(request),
        };
        let call = self.key.map(|key| key.id.clone());
        let created_at = self.row.received_at;
        let request = match rendered {
            Ok(request) => request,
            Err(reason) => {
                tracing::warn!(delivery = %id, callback = %callback.id, reason, "delivery could not be rendered");
                acceptance.failed.push(FailedDelivery {
                    id,
                    account: Arc::clone(&callback.account),
                    callback: callback.id,
                    event: self.row.id,
                    event_type,
                    call,
                    created_at,
                    reason,
                });
                return;
            }
        };
        *bodies += request.body.len();
        let delay = callback.delivery.retry.before_attempt(1).unwrap_or_default();
        acceptance.deliveries.push(NewDelivery {
            id,
            account: Arc::clone(&callback.account),
            callback: callback.id,
            destination: callback.id.into(),
            event: self.row.id,
            event_type,
            call,
            created_at,
            due: created_at + delay,
            order: self.key.filter(|_| callback.ordered).map(order_key),
            request,
        });
    }
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
    use std::collections::BTreeSet;
    use std::time::Duration;

    use hyper::body::Bytes;

    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::context::{CallId, Facts, Json};
    use crate::destination::AddressPolicy;
    use crate::event::EventId;
    use crate::intake::Source;
    use crate::provider;
    use crate::registration::{DefinitionLimits, NewCallback};
    use crate::signature::Verifier;
    use crate::store::EventState;
    use crate::template::Limits;

    fn now() -> Timestamp {
        "2026-03-30T12:00:00Z".parse().unwrap()
    }

    fn register(registry: &Registry, template: &str, events: &[&str], rendering: usize) {
        let limits = DefinitionLimits {
            template: Limits { rendering, ..Limits::default() },
            policy: AddressPolicy::default(),
            timeout: Duration::from_secs(15),
            sources: Vec::new(),
        };
        let request = json!({
            "callback_url": "https://example.com/hook", "callback_method": "PUT", "callback_data": template,
            "events": events, "retry": {"schedule": ["30s"]},
        });
        registry.put(NewCallback::read(request, &"acme".into(), &limits, now()).unwrap().callback);
    }

    fn event(types: &[EventType], at: Option<Timestamp>, facts: &[(Name, &str)]) -> Event {
        let mut read = Facts::new();
        for (name, text) in facts {
            read.put(*name, Json::from(*text), &mut Vec::new());
        }
        Event {
            types: types.to_vec(),
            provider_event_id: None,
            at,
            call_id: CallId::from_text("c1"),
            facts: read,
            raw: Json::from("raw"),
            warnings: Vec::new(),
            notice: None,
        }
    }

    /// Plans an event that came in at [`now`].
    fn plan(event: &Event, stored: Option<Vec<u8>>, registry: &Registry) -> Result<Acceptance, PlanFault> {
        let source = Source {
            name: "dialer".to_owned(),
            account: "acme".into(),
            call_space: "default".into(),
            adapter: provider::adapter("commpeak", None).unwrap(),
            verifier: Verifier::None,
        };
        let key = CallKey {
            account: Arc::clone(&source.account),
            space: Arc::clone(&source.call_space),
            id: event.call_id.clone().unwrap(),
        };
        let row = EventRow {
            id: EventId::new(),
            account: Arc::clone(&source.account),
            source: source.name.clone(),
            provider: "commpeak".to_owned(),
            state: EventState::Accepted,
            types: event.types.clone(),
            call: Some(key.clone()),
            received_at: now(),
            method: "POST".to_owned(),
            path: String::new(),
            content_type: String::new(),
            body: Bytes::new(),
        };
        let dedupe = DedupeKey { source: source.name.clone(), digest: [0; 32], expires_at: now() };
        let plan = Plan { event, row: &row, key: Some(&key), dedupe: &dedupe };
        plan.make(stored.map(|context| StoredCall { version: 7, context }), registry)
    }

    fn body(delivery: &NewDelivery) -> serde_json::Value {
        serde_json::from_slice(&delivery.request.body).unwrap()
    }

    #[test]
    fn each_wanted_type_of_an_event_is_one_delivery_with_its_own_id() {
        let registry = Registry::default();
        let template =
            "[{event_type}, {event_id}, {delivery_id}, {callback_id}, {source}, {event_at}, {raw}]";
        register(&registry, template, &["call.ended", "speech.completed"], 1 << 20);
        register(&registry, "[]", &["call.started"], 1 << 20);
        let event =
            event(&[EventType::CallEnded, EventType::SpeechCompleted, EventType::CallUpdated], None, &[]);
        let plan = plan(&event, None, &registry).unwrap();
        assert!(plan.failed.is_empty());
        let types: Vec<_> = plan.deliveries.iter().map(|delivery| delivery.event_type).collect();
        assert_eq!(types, [EventType::CallEnded, EventType::SpeechCompleted]);
        assert_ne!(plan.deliveries[0].id, plan.deliveries[1].id);
        for delivery in &plan.deliveries {
            let (event, id, callback) = (&plan.event.id, delivery.id, delivery.callback);
            assert_eq!(
                body(delivery),
                json!([
                    delivery.event_type.as_str(),
                    event.to_string(),
                    id.to_string(),
                    callback.to_string(),
                    "dialer",
                    "2026-03-30T12:00:00Z",
                    "raw",
                ])
            );
            assert_eq!(delivery.due, now() + SignedDuration::from_secs(30));
            assert_eq!((delivery.request.method.as_str(), delivery.event), ("PUT", plan.event.id));
        }
    }

    #[test]
    fn a_template_sees_the_whole_call_and_a_clock_that_is_ahead_pins_nothing() {
        let registry = Registry::default();
        register(&registry, "[{first_name}, {email}]", &["call.ended"], 1 << 20);
        let ahead = Some(now() + SignedDuration::from_hours(48));
        let first =
            event(&[EventType::CallUpdated], ahead, &[(Name::FirstName, "Ann"), (Name::Email, "a@b.c")]);
        let first = plan(&first, None, &registry).unwrap();
        let call = first.call.unwrap();
        assert_eq!((call.read_version, first.deliveries.len()), (0, 0));
        let second = event(&[EventType::CallEnded], Some(now()), &[(Name::FirstName, "Anna")]);
        let second = plan(&second, Some(call.context), &registry).unwrap();
        assert_eq!(second.call.unwrap().read_version, 7);
        assert_eq!(body(&second.deliveries[0]), json!(["Anna", "a@b.c"]));
    }

    #[test]
    fn an_event_causes_so_many_deliveries_over_all_its_types() {
        let registry = Registry::default();
        for _ in 0..600 {
            register(&registry, "{}", &["call.ended", "speech.completed"], 1 << 20);
        }
        let event = event(&[EventType::CallEnded, EventType::SpeechCompleted], None, &[]);
        let plan = plan(&event, None, &registry).unwrap();
        assert_eq!(plan.deliveries.len(), MATCH_LIMIT);
        let ids: BTreeSet<_> = plan.deliveries.iter().map(|delivery| delivery.id).collect();
        assert_eq!(ids.len(), MATCH_LIMIT);
    }

    #[test]
    fn what_cannot_be_rendered_is_kept_with_a_reason_without_data_and_the_others_go() {
        let registry = Registry::default();
        register(&registry, "{\"name\": {first_name}}", &["call.ended"], 10);
        register(&registry, "{\"name\": {first_name}}", &["call.ended"], 1 << 20);
        let event = event(&[EventType::CallEnded], None, &[(Name::FirstName, "Zebedee")]);
        let plan = plan(&event, None, &registry).unwrap();
        assert_eq!((plan.deliveries.len(), plan.failed.len()), (1, 1));
        assert!(!plan.failed[0].reason.contains("Zebedee"), "{}", plan.failed[0].reason);
    }

    #[test]
    fn bodies_past_the_limit_of_one_event_are_not_kept_in_memory() {
        let registry = Registry::default();
        for _ in 0..3 {
            register(&registry, "[{speech_result}]", &["call.ended"], BODIES_LIMIT);
        }
        register(&registry, "[]", &["call.ended"], BODIES_LIMIT);
        let text = "x".repeat(BODIES_LIMIT * 2 / 5);
        let event = event(&[EventType::CallEnded], None, &[(Name::SpeechResult, &text)]);
        let plan = plan(&event, None, &registry).unwrap();
        let kept: usize = plan.deliveries.iter().map(|delivery| delivery.request.body.len()).sum();
        assert!(kept <= BODIES_LIMIT);
        assert_eq!((plan.deliveries.len(), plan.failed.len()), (3, 1));
    }

    #[test]
    fn a_call_that_cannot_be_merged_is_refused() {
        let registry = Registry::default();
        let text = "x".repeat(CONTEXT_LIMIT);
        let large = event(&[EventType::CallEnded], None, &[(Name::SpeechResult, &text)]);
        assert!(matches!(plan(&large, None, &registry), Err(PlanFault::ContextTooLarge)));
        let small = event(&[EventType::CallEnded], None, &[]);
        let damaged = plan(&small, Some(b"{".to_vec()), &registry);
        assert!(matches!(damaged, Err(PlanFault::Context(_))));
    }
}
