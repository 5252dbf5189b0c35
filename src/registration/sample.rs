//! Samples: what a template may name of an event that never happened, made of the catalogue's
//! examples. A customer previews with them and sends them as a test.

use crate::context::{Group, Json, Name, Value, Values};
use crate::event::EventType;

/// A made-up event of one type, with its call.
#[derive(Clone, Debug)]
pub struct Sample {
    event_type: EventType,
    values: Vec<(Name, Json)>,
}

impl Sample {
    /// The sample of this event type. What would not be known yet at such an event is missing: a
    /// call that has just started has no end and no transcript.
    #[must_use]
    pub fn new(event_type: EventType) -> Self {
        let known = Name::ALL.into_iter().filter(|name| knows(event_type, *name));
        let mut values: Vec<(Name, Json)> = known.map(|name| (name, example(name))).collect();
        if event_type == EventType::SpeechFailed {
            values.push((Name::SpeechTaskState, Json::from("failed")));
        }
        Self { event_type, values }
    }

    /// Of which event type it is.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// Puts its values where the template engine reads them. The ids of the delivery are not among
    /// them.
    pub fn fill<'a>(&'a self, values: &mut Values<'a>) {
        for (name, value) in &self.values {
            values.set(*name, value.into());
        }
        values.set(Name::EventType, Value::Text(self.event_type.as_str()));
    }
}

fn example(name: Name) -> Json {
    Json::parse(name.example().as_bytes()).expect("a test reads every example")
}

/// Whether an event of this type, with its call, tells this name.
fn knows(event_type: EventType, name: Name) -> bool {
    use EventType as E;
    let is_of_a_call = !matches!(event_type, E::CallbackPaused | E::DeliveryDead);
    match name.group() {
        // The event's type and the delivery's ids are set for each.
        Group::Event => matches!(name, Name::EventId | Name::EventAt | Name::Provider | Name::Source),
        Group::Open | Group::UserAndCampaign | Group::Lead => is_of_a_call,
        Group::Survey => event_type == E::SurveyCompleted,
        Group::Speech => match event_type {
            E::SpeechCompleted => name != Name::SpeechError,
            E::SpeechFailed => matches!(name, Name::SpeechError | Name::SpeechJobId),
            _ => false,
        },
        Group::Call => match name {
            Name::EndAt
            | Name::CallDuration
            | Name::CallBillDuration
            | Name::CallTalkDuration
            | Name::CallOutcome
            | Name::CallStatus
            | Name::CallCostMicroUsd
            | Name::CallRecordingUrl
            | Name::CallRecordingStatus
            | Name::CallScheduledCallback => {
                is_of_a_call && !matches!(event_type, E::CallStarted | E::CallTransferred | E::CallUpdated)
            }
            _ => is_of_a_call,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_in_a_sample_in_its_own_type_but_the_ids_of_a_delivery() {
        let samples = EventType::ALL.map(Sample::new);
        for name in Name::ALL {
            assert!(name.kind().holds(&example(name)), "{name}");
            let is_known = samples.iter().any(|sample| {
                let mut values = Values::new();
                sample.fill(&mut values);
                values.get(name) != Value::Missing
            });
            let is_of_the_delivery =
                matches!(name, Name::CallbackId | Name::DeliveryId | Name::SpeechRequestId);
            assert_eq!(is_known, !is_of_the_delivery, "{name}");
        }
    }

    #[test]
    fn a_sample_tells_what_such_an_event_would_know() {
        let tells = |event_type, name| {
            let sample = Sample::new(event_type);
            let mut values = Values::new();
            sample.fill(&mut values);
            values.get(name) != Value::Missing
        };
        assert!(tells(EventType::SpeechCompleted, Name::SpeechResult));
        assert!(!tells(EventType::SpeechCompleted, Name::SpeechError));
        assert!(tells(EventType::SpeechFailed, Name::SpeechTaskState));
        assert!(!tells(EventType::CallStarted, Name::EndAt));
        assert!(tells(EventType::CallEnded, Name::EndAt) && tells(EventType::CallEnded, Name::Email));
        assert!(!tells(EventType::CallEnded, Name::SpeechResult));
        assert!(!tells(EventType::CallbackPaused, Name::CallId));
    }
}
