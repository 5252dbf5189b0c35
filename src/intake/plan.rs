//! What an event causes: its call's merged context and a delivery for each callback that wants it,
//! rendered as far as that is not too much for one write. No I/O and no clock: the same event, context
//! and registrations give the same plan, but for the new ids.

use crate::context::{CallContext, CallKey, InvalidContext, Values};
use crate::event::{DeliveryId, Event, EventType, SpeechRequestId};
use crate::registration::{
    Bodies, Callback, MATCH_LIMIT, Occasion, Occurrence, Registry, Rendered, Rendering, has_speech,
};
use crate::store::{
    Acceptance, AnsweredRequest, CallWrite, DedupeKey, EventRow, RequestedState, Snapshot, StoredCall,
};

/// The most that is kept of one call, in bytes of its stored form. An event that would make it
/// larger is rejected: a call that grows for ever would be read and written whole for each event.
const CONTEXT_LIMIT: usize = 16 << 20;

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
    /// Whether the source told of it by itself, and was not asked.
    pub(super) is_told: bool,
    /// The token whose own the speech in it is.
    pub(super) owner: Option<&'a str>,
    /// Why the job failed that it is the end of.
    pub(super) failure: Option<&'a str>,
    /// The speech requests that wait for the call.
    pub(super) waiting: &'a [SpeechRequestId],
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
        context.merge_owned(&self.event.facts, at, self.owner);
        if self.is_told {
            context.note_source(&self.row.source);
        }

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
            snapshot: None,
            failed: Vec::new(),
            answered: Vec::new(),
        };
        self.deliver(&context, registry, &mut acceptance);
        Ok(acceptance)
    }

    fn deliver(self, context: &CallContext, registry: &Registry, acceptance: &mut Acceptance) {
        let event_id = self.row.id.to_string();
        let event_at = self.row.received_at.to_string();
        let occurrence = Occurrence {
            context,
            fleeting: self.event.facts.fleeting().collect(),
            raw: Some(&self.event.raw),
            owner: self.owner,
            event_id: &event_id,
            event_at: &event_at,
            provider: &self.row.provider,
            source: &self.row.source,
        };
        let owners: Vec<&str> = context.owners().collect();
        let view_of = |callback: &Callback| {
            owners.iter().copied().find(|owner| callback.token.as_deref() == Some(owner))
        };

        let mut left = MATCH_LIMIT;
        let mut bodies = Bodies::deferring();
        for event_type in &self.event.types {
            // Most calls have one view, the account's; each token that owns speech has another.
            for view in std::iter::once(None).chain(owners.iter().copied().map(Some)) {
                let values = occurrence.values(view, Some(*event_type));
                let occasion = Occasion::new(&values);
                let matches = registry.matching(
                    &self.row.account,
                    &self.row.source,
                    *event_type,
                    &occasion,
                    self.row.received_at,
                    |callback| view_of(callback) == view,
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
        for request in self.waiting.iter().filter_map(|id| registry.speech_request(&self.row.account, *id)) {
            self.answer(&request, &occurrence, &mut bodies, acceptance);
        }
        if bodies.is_full() {
            let bytes = occurrence.to_bytes().into();
            acceptance.snapshot = Some(Snapshot { event: self.row.id, bytes });
        }
    }

    /// Gives a speech request that waits for this call what it waits for, if it is there.
    fn answer(
        self,
        request: &Callback,
        occurrence: &Occurrence<'_>,
        bodies: &mut Bodies,
        acceptance: &mut Acceptance,
    ) {
        let id = request.id.into();
        let values = occurrence.values(request.token.as_deref(), Some(EventType::SpeechCompleted));
        if has_speech(&values) {
            let delivery = self.render(request, EventType::SpeechCompleted, &values, bodies, acceptance);
            acceptance.answered.push(AnsweredRequest { id, state: RequestedState::Ready(delivery) });
        } else if let Some(reason) = self.failure.filter(|_| self.owner == request.token.as_deref()) {
            let state = RequestedState::Failed(reason.to_owned());
            acceptance.answered.push(AnsweredRequest { id, state });
        }
    }

    fn render(
        self,
        callback: &Callback,
        event_type: EventType,
        values: &Values<'_>,
        bodies: &mut Bodies,
        acceptance: &mut Acceptance,
    ) -> DeliveryId {
        let rendering =
            Rendering { event: self.row.id, event_type, call: self.key, at: self.row.received_at };
        match rendering.make(callback, values, bodies) {
            Rendered::Delivery(delivery) => {
                let id = delivery.id;
                acceptance.deliveries.push(delivery);
                id
            }
            Rendered::Failed(delivery) => {
                let id = delivery.id;
                acceptance.failed.push(delivery);
                id
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use hyper::body::Bytes;

    use jiff::{SignedDuration, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::context::{CallId, Facts, Json, Name};
    use crate::destination::AddressPolicy;
    use crate::event::EventId;
    use crate::intake::Source;
    use crate::provider;
    use crate::registration::{DefinitionLimits, KeptOccurrence, NewCallback};
    use crate::signature::Verifier;
    use crate::store::{EventState, Late, NewDelivery, Rendition};
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
        let dedupe = DedupeKey {
            account: Arc::clone(&source.account),
            source: source.name.clone(),
            digest: [0; 32],
            expires_at: now(),
        };
        let plan = Plan {
            event,
            row: &row,
            key: Some(&key),
            dedupe: &dedupe,
            is_told: true,
            owner: None,
            failure: None,
            waiting: &[],
        };
        plan.make(stored.map(|context| StoredCall { version: 7, context }), registry)
    }

    fn body(delivery: &NewDelivery) -> serde_json::Value {
        serde_json::from_slice(&delivery.request.request().unwrap().body).unwrap()
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
            assert_eq!(
                (delivery.request.request().unwrap().method.as_str(), delivery.event),
                ("PUT", plan.event.id)
            );
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
    fn bodies_past_the_limit_of_one_event_are_made_later_from_what_is_known_now() {
        let registry = Registry::default();
        for _ in 0..3 {
            register(&registry, "[{speech_result}]", &["call.ended"], Bodies::LIMIT);
        }
        register(&registry, "[]", &["call.ended"], Bodies::LIMIT);
        let text = "x".repeat(Bodies::LIMIT * 2 / 5);
        let event = event(&[EventType::CallEnded], None, &[(Name::SpeechResult, &text)]);
        let plan = plan(&event, None, &registry).unwrap();
        let kept: usize = plan.deliveries.iter().map(|delivery| delivery.request.size()).sum();
        assert!(kept <= Bodies::LIMIT);
        assert_eq!((plan.deliveries.len(), plan.failed.len()), (4, 0));
        // The third of the large ones, and whatever comes after it.
        let is_late = |delivery: &&NewDelivery| matches!(delivery.request, Rendition::Late(_));
        let rendered: Vec<_> = plan.deliveries.iter().take_while(|delivery| !is_late(delivery)).collect();
        assert_eq!(rendered.iter().filter(|delivery| delivery.request.size() > 2).count(), 2);
        assert!(rendered.len() <= 3 && plan.deliveries[rendered.len()..].iter().all(|late| is_late(&late)));
        for delivery in &plan.deliveries[rendered.len()..] {
            let version = registry.by_id(delivery.callback).unwrap().version;
            let late = Late { event: plan.event.id, event_type: EventType::CallEnded, version };
            assert_eq!(delivery.request, Rendition::Late(late));
        }
        let snapshot = plan.snapshot.unwrap();
        assert_eq!(snapshot.event, plan.event.id);
        let kept = KeptOccurrence::from_bytes(&snapshot.bytes).unwrap();
        let occurrence = kept.occurrence();
        let values = occurrence.values(None, Some(EventType::CallEnded));
        assert_eq!(values.get(Name::SpeechResult), crate::context::Value::Text(&text));
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
