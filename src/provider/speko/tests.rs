use super::*;
use crate::context::CallId;

fn event(body: &str) -> Event {
    read_event(Json::parse(body.as_bytes()).unwrap())
}

fn fact(event: &Event, name: Name) -> Option<String> {
    event.facts.get(name).map(Json::to_compact)
}

fn time(event: &Event) -> Option<String> {
    event.at.map(|at| at.to_string())
}

#[test]
fn an_event_is_typed_by_its_type_and_status() {
    for (body, expected) in [
        (r#"{"type":"call.status","status":"in_progress"}"#, EventType::CallUpdated),
        (r#"{"type":"call.status"}"#, EventType::CallUpdated),
        (r#"{"type":"call.status","status":"ended"}"#, EventType::CallEnded),
        (r#"{"type":"call.status","data":{"status":"failed"}}"#, EventType::CallEnded),
        (r#"{"type":"call.report","status":"ended"}"#, EventType::SpeechCompleted),
        (r#"{"type":"call.analysis"}"#, EventType::CallUpdated),
        (r#"{"type":"call.recording","status":"failed"}"#, EventType::CallRecordingReady),
        (r#"{"type":"imessage.received"}"#, EventType::ProviderOther),
        (r#"{"type":7}"#, EventType::ProviderOther),
        ("{}", EventType::ProviderOther),
    ] {
        assert_eq!(event(body).types, [expected], "{body}");
    }
}

#[test]
fn fields_are_found_wherever_they_have_been_seen() {
    let call = r#""session_id":"s1","status":"ended","created_at":"2026-03-30T14:22:00Z""#;
    let report = r#""summary":"A summary","outcome":"booked","created_at":"2026-03-30T14:30:00Z""#;
    for body in [
        format!(r#"{{"type":"call.report",{call},"report":{{{report}}}}}"#),
        format!(r#"{{"type":"call.report","data":{{{call},"report":{{{report}}}}}}}"#),
        format!(r#"{{"type":"call.report","call":{{{call}}},"report":{{{report}}}}}"#),
        format!(r#"{{"type":"call.report","data":{{"call":{{{call}}},"report":{{{report}}}}}}}"#),
        format!(r#"{{"type":"call.report","call":{{{call},"report":{{{report}}}}}}}"#),
        format!(r#"{{"type":"call.report","call":{{{call}}},{report}}}"#),
    ] {
        let event = event(&body);
        assert_eq!(event.call_id, CallId::from_text("s1"), "{body}");
        for (name, expected) in [
            (Name::ConversationId, r#""s1""#),
            (Name::CallStatus, r#""ended""#),
            (Name::StartAt, r#""2026-03-30T14:22:00Z""#),
            (Name::SpeechSummary, r#""A summary""#),
            (Name::CallOutcome, r#""booked""#),
            (Name::SpeechTaskState, r#""completed""#),
        ] {
            assert_eq!(fact(&event, name).as_deref(), Some(expected), "{name} of {body}");
        }
    }
}

#[test]
fn the_creation_of_a_report_is_not_the_start_of_its_call() {
    let start = |rest: &str| {
        let body = format!(r#"{{"type":"call.report","created_at":"2026-03-30T14:22:00Z"{rest}}}"#);
        fact(&event(&body), Name::StartAt)
    };
    let entry = |at: &str| format!(r#","transcript":[{{"text":"a","started_at":"{at}"}}]"#);
    assert_eq!(start(""), None);
    assert_eq!(start(&entry("2026-03-30T14:21:59Z")), None);
    assert_eq!(start(r#","ended_at":"2026-03-30T14:21:00Z""#), None);
    let known = Some(r#""2026-03-30T14:22:00Z""#.to_owned());
    assert_eq!(start(&entry("2026-03-30T14:22:00Z")), known);
    assert_eq!(start(r#","ended_at":"2026-03-30T14:27:00Z""#), known);
    assert_eq!(start(r#","report":{}"#), known);
}

#[test]
fn a_transcript_is_a_line_and_a_phrase_an_utterance() {
    let body = r#"{"type":"call.report","transcript":{"entries":[
        {"index":2,"source":"user","text":"two\r\nlines\nagent: no","startedAt":"2026-03-30T14:22:03.5Z","endedAt":null},
        {"index":1,"source":"agent","text":"\"Good\" morning 😀","started_at":"2026-03-30T14:22:01Z","ended_at":"2026-03-30T14:22:02.250Z"},
        {"index":3,"source":null,"text":"שלום"},
        {"index":4,"source":"user","text":""},
        {"index":5,"source":"user"},
        {"index":6,"text":7}]}"#;
    let flat = event(&format!("{body}}}"));
    assert_eq!(
        flat.facts.get(Name::SpeechResult).unwrap().as_str(),
        Some("agent: \"Good\" morning 😀\nuser: two lines agent: no\nשלום")
    );
    let phrases = |at: [&str; 3]| {
        format!(
            r#"[{{"text":"\"Good\" morning 😀","speaker":"agent","start_ms":{},"end_ms":{}}},{{"text":"two\r\nlines\nagent: no","speaker":"user","start_ms":{},"end_ms":null}},{{"text":"שלום","speaker":null,"start_ms":null,"end_ms":null}}]"#,
            at[0], at[1], at[2]
        )
    };
    assert_eq!(fact(&flat, Name::SpeechPhrases), Some(phrases(["0", "1250", "2500"])));
    let of_a_call = event(&format!(r#"{body},"call":{{"created_at":"2026-03-30T14:22:00Z"}}}}"#));
    assert_eq!(fact(&of_a_call, Name::SpeechPhrases), Some(phrases(["1000", "2250", "3500"])));
    let skewed = event(&format!(r#"{body},"call":{{"created_at":"2026-03-30T14:23:00Z"}}}}"#));
    assert_eq!(fact(&skewed, Name::SpeechPhrases), Some(phrases(["0", "1250", "2500"])));

    let text = event(r#"{"type":"call.report","transcript":"as one text"}"#);
    assert_eq!(fact(&text, Name::SpeechResult).as_deref(), Some(r#""as one text""#));
    assert_eq!(fact(&text, Name::SpeechPhrases), None);
    let nothing_said = event(r#"{"type":"call.report","transcript":{"entries":[]}}"#);
    assert_eq!(fact(&nothing_said, Name::SpeechResult).as_deref(), Some(r#""""#));
    assert_eq!(fact(&nothing_said, Name::SpeechPhrases).as_deref(), Some("[]"));
    let odd = event(r#"{"type":"call.report","transcript":{"entries":7}}"#);
    assert_eq!(fact(&odd, Name::SpeechResult), None);
}

#[test]
fn a_report_that_only_says_there_is_one_does_not_complete_the_speech() {
    let thin = event(r#"{"type":"call.report","session_id":"s1","organization_id":"o1"}"#);
    assert_eq!(fact(&thin, Name::SpeechTaskState), None);
    let analysis = event(r#"{"type":"call.analysis","session_id":"s1","summary":"a"}"#);
    assert_eq!(fact(&analysis, Name::SpeechTaskState), None);
}

#[test]
fn the_status_of_a_recording_is_not_that_of_its_call() {
    let recording = event(
        r#"{"type":"call.recording","call_id":"c1","status":"ready","recording_url":"https://r.example.com/1"}"#,
    );
    assert_eq!(fact(&recording, Name::CallStatus), None);
    assert_eq!(fact(&recording, Name::CallRecordingStatus).as_deref(), Some(r#""ready""#));
    assert_eq!(fact(&recording, Name::CallRecordingUrl).as_deref(), Some(r#""https://r.example.com/1""#));
    let failed = event(r#"{"type":"call.recording","call_id":"c1","status":"failed","recording_url":null}"#);
    assert_eq!(fact(&failed, Name::CallRecordingStatus).as_deref(), Some(r#""failed""#));
    assert_eq!(fact(&failed, Name::CallRecordingUrl), None);
}

#[test]
fn metadata_and_custom_data_are_one_custom() {
    let custom = |body: &str| fact(&event(&format!(r#"{{"type":"call.report",{body}}}"#)), Name::Custom);
    assert_eq!(
        custom(r#""metadata":{"a":1,"b":1},"report":{"metadata":{"b":2,"c":2}},"custom_data":{"c":3,"c":4,"d":4}"#)
            .as_deref(),
        Some(r#"{"a":1,"b":2,"c":4,"d":4}"#)
    );
    assert_eq!(custom(r#""metadata":{},"custom_data":"none""#), None);
}

#[test]
fn an_event_is_dated_by_what_tells_of_it() {
    for (body, expected) in [
        (
            r#"{"type":"call.status","status":"ended","ended_at":"2026-03-30T14:27:12Z"}"#,
            Some("2026-03-30T14:27:12Z"),
        ),
        (
            r#"{"type":"call.status","updated_at":"2026-03-30T14:23:00Z","created_at":"2026-03-30T14:22:00Z"}"#,
            Some("2026-03-30T14:23:00Z"),
        ),
        (r#"{"type":"call.status","created_at":"2026-03-30T14:22:00Z"}"#, None),
        (
            r#"{"type":"call.status","timestamp":1774880520,"updated_at":"2026-03-30T14:23:00Z"}"#,
            Some("2026-03-30T14:22:00Z"),
        ),
        (
            r#"{"type":"call.report","updated_at":"2026-03-30T14:23:00Z","report":{"updated_at":"2026-03-30T14:28:00Z"}}"#,
            Some("2026-03-30T14:28:00Z"),
        ),
        (
            r#"{"type":"call.analysis","timestamp":"soon","updated_at":"2026-03-30T14:28:00Z"}"#,
            Some("2026-03-30T14:28:00Z"),
        ),
        (r#"{"type":"call.transcribed","timestamp":"2026-03-30T14:28:00Z"}"#, Some("2026-03-30T14:28:00Z")),
    ] {
        assert_eq!(time(&event(body)).as_deref(), expected, "{body}");
    }
}

#[test]
fn an_unknown_event_keeps_its_call_and_its_body() {
    let event =
        event(r#"{"type":"call.transcribed","session_id":"s1","status":"x","event_id":"e1","text":"a"}"#);
    assert_eq!(event.call_id, CallId::from_text("s1"));
    assert_eq!(event.provider_event_id.as_deref(), Some("e1"));
    assert_eq!(fact(&event, Name::CallStatus), None);
    assert_eq!(event.raw.get("text"), Some(&Json::from("a")));
}

#[test]
fn odd_fields_are_left_out_with_a_warning() {
    let event = event(
        r#"{"type":"call.report","call_id":"c1","cost_micro_usd":"much","duration_seconds":{},"scheduled_callback":{},"structured_data":[1]}"#,
    );
    assert_eq!(
        event.warnings,
        [
            "`call_duration` was left out: it is not a number",
            "`speech_structured_data` was left out: it is not an object",
            "`call_cost_micro_usd` was left out: it is not a number",
        ]
    );
    assert_eq!(fact(&event, Name::CallScheduledCallback), None);
}
