//! The ready-made callbacks of the top-level `templates`: what each receiver demands, held against
//! renderings with full data, with as little as there can be, and with data that is out to break
//! things.

use std::fs;
use std::path::Path;

use ringback::context::{Facts, Json, Name, Value, Values};
use ringback::template::{Limits, RenderError, Template};
use serde_json::Value as Rendered;

/// A template of the gallery and its receiver.
struct Receiver {
    file: &'static str,
    /// The names without which the receiver could not take the body: the template asks for them
    /// with `required`, so that the delivery says what is missing. Each with a value that this
    /// receiver would know.
    required: &'static [(Name, &'static str)],
    /// Fails if the receiver would refuse the body.
    demands: fn(&Rendered),
}

const GALLERY: &[Receiver] = &[
    Receiver { file: "all-names.json", required: &[], demands: all_names },
    Receiver {
        file: "bitrix24.json",
        required: &[(Name::OriginalIdentifier, r#""5501""#), (Name::PhoneNormalized, r#""+351210000000""#)],
        demands: bitrix24,
    },
    Receiver { file: "google-sheets.json", required: &[], demands: google_sheets },
    Receiver { file: "hubspot.json", required: &[], demands: hubspot },
    Receiver { file: "make.json", required: &[], demands: make },
    Receiver { file: "microsoft-teams.json", required: &[], demands: microsoft_teams },
    Receiver { file: "pipedrive.json", required: &[], demands: pipedrive },
    Receiver { file: "salesforce-task.json", required: &[], demands: salesforce_task },
    Receiver { file: "slack.json", required: &[], demands: slack },
    Receiver { file: "standard-webhooks.json", required: &[], demands: standard_webhooks },
    Receiver { file: "zapier.json", required: &[], demands: zapier },
    Receiver { file: "zendesk.json", required: &[(Name::Email, r#""ann@example.com""#)], demands: zendesk },
];

fn all_names(body: &Rendered) {
    let forty = Name::ALL[..Name::SPEECH_CALLBACK_API].iter().map(|name| name.as_str());
    assert!(body.as_object().unwrap().keys().map(String::as_str).eq(forty));
}

/// `crm.activity.add` through an inbound webhook. A call needs its owner and whom it was with.
fn bitrix24(body: &Rendered) {
    let fields = &body["fields"];
    assert_eq!((&fields["TYPE_ID"], &fields["OWNER_TYPE_ID"]), (&2.into(), &1.into()));
    assert!(fields["OWNER_ID"].is_u64());
    assert!(matches!(fields["DIRECTION"].as_u64(), Some(1 | 2)));
    let communication = &fields["COMMUNICATIONS"][0];
    assert_eq!(communication["ENTITY_ID"], fields["OWNER_ID"]);
    text(&communication["VALUE"], 1..=usize::MAX);
    text(&fields["SUBJECT"], 1..=255);
    for time in ["START_TIME", "END_TIME"] {
        assert!(is_time(&fields[time]) || fields[time] == "", "{fields}");
    }
}

/// A row for `appendRow`, which takes text that begins with `=` or `+` for a formula, unless an
/// apostrophe stands before it; a cell holds 50,000 characters.
fn google_sheets(body: &Rendered) {
    text(&body["sheet"], 1..=100);
    let row = body["row"].as_array().unwrap();
    assert_eq!(row.len(), 13);
    for cell in row {
        match cell {
            Rendered::String(cell) => {
                assert!(
                    cell.starts_with('\'') || cell.starts_with("dl_") || cell.starts_with("20"),
                    "{cell}"
                );
                assert!(cell.chars().count() <= 50_000);
            }
            other => assert!(other.is_number() || other.is_null(), "{other}"),
        }
    }
}

/// A call of the CRM's engagements: texts only (an empty one clears a property), 65,536 characters
/// at most, `hs_timestamp` in ISO 8601 in UTC, and a duration in milliseconds. What is no text may
/// have no white space around it.
fn hubspot(body: &Rendered) {
    let properties = body["properties"].as_object().unwrap();
    for property in properties.values() {
        text(property, 0..=65_536);
    }
    assert!(is_time(&properties["hs_timestamp"]));
    let [duration, direction] =
        ["hs_call_duration", "hs_call_direction"].map(|name| properties[name].as_str().unwrap());
    assert!(duration.is_empty() || duration.parse::<u64>().is_ok(), "{duration}");
    assert!(matches!(direction, "" | "INBOUND" | "OUTBOUND"), "{direction}");
    assert_eq!(properties["hs_call_status"], "COMPLETED");
}

/// Make and n8n take any JSON; what is iterated over is an array, or null.
fn make(body: &Rendered) {
    assert!(["event", "call", "speech", "lead", "campaign"].iter().all(|name| body[name].is_object()));
    for array in ["phrases", "action_items"] {
        assert!(body["speech"][array].is_array() || body["speech"][array].is_null());
    }
}

/// A workflow's adaptive card; the whole message has at most 28 KB, and no text is empty.
fn microsoft_teams(body: &Rendered) {
    assert!(body.to_string().len() <= 28 * 1024, "{} bytes", body.to_string().len());
    assert_eq!(body["type"], "message");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.4".into()));
    let [title, facts, summary] = &card["body"].as_array().unwrap()[..] else { panic!("{card}") };
    text(&title["text"], 1..=usize::MAX);
    text(&summary["text"], 1..=usize::MAX);
    for fact in facts["facts"].as_array().unwrap() {
        text(&fact["title"], 1..=usize::MAX);
        text(&fact["value"], 1..=usize::MAX);
    }
}

/// An activity of API v2: `due_date` as YYYY-MM-DD, `due_time` and `duration` as HH:MM, no nulls.
fn pipedrive(body: &Rendered) {
    let digits = |text: &Rendered, shape: &str| {
        let text = text.as_str().unwrap();
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(a, b)| a == b || (b == b'0' && a.is_ascii_digit()))
    };
    text(&body["subject"], 1..=255);
    assert!(digits(&body["due_date"], "0000-00-00") && digits(&body["due_time"], "00:00"));
    assert!(digits(&body["duration"], "00:00"), "{}", body["duration"]);
    assert_eq!((&body["type"], &body["done"]), (&"call".into(), &true.into()));
    text(&body["note"], 0..=65_535);
    text(&body["public_description"], 0..=65_535);
}

/// A record of the `Task` object, with its fields' lengths and its picklists.
fn salesforce_task(body: &Rendered) {
    text(&body["Subject"], 1..=255);
    text(&body["Description"], 0..=32_000);
    assert_eq!((&body["Status"], &body["Priority"]), (&"Completed".into(), &"Normal".into()));
    assert_eq!(body["TaskSubtype"], "Call");
    for name in ["CallDisposition", "CallObject"] {
        assert!(body[name].is_null() || body[name].as_str().unwrap().chars().count() <= 255);
    }
    assert!(body["CallDurationInSeconds"].is_null() || body["CallDurationInSeconds"].is_u64());
    assert!(body["WhoId"].is_null() || body["WhoId"].is_string());
    assert!(body["ActivityDate"].is_null() || body["ActivityDate"].as_str().unwrap().len() == 10);
    assert!(body["CallType"].is_null() || matches!(body["CallType"].as_str(), Some("Inbound" | "Outbound")));
}

/// Blocks: a header of 150 characters, a section's text of 3,000, its fields of 2,000, none of them
/// empty, and no control characters of mrkdwn from data.
fn slack(body: &Rendered) {
    let mrkdwn = |rendered: &Rendered, most| {
        text(rendered, 1..=most);
        assert!(!rendered.as_str().unwrap().contains(['<', '>']), "{rendered}");
    };
    mrkdwn(&body["text"], 4_000);
    let [header, section, summary, context] = &body["blocks"].as_array().unwrap()[..] else {
        panic!("{body}")
    };
    text(&header["text"]["text"], 1..=150);
    for field in section["fields"].as_array().unwrap() {
        mrkdwn(&field["text"], 2_000);
    }
    mrkdwn(&summary["text"]["text"], 3_000);
    for element in context["elements"].as_array().unwrap() {
        text(&element["text"], 1..=3_000);
    }
}

/// `type`, `timestamp` in ISO 8601 and `data`, as the specification recommends for payloads.
fn standard_webhooks(body: &Rendered) {
    assert!(body.as_object().unwrap().keys().map(String::as_str).eq(["type", "timestamp", "data"]));
    assert_eq!(body["type"], "speech.completed");
    assert!(is_time(&body["timestamp"]));
    assert!(body["data"].is_object());
}

/// Flat, so that every member is a field to choose.
fn zapier(body: &Rendered) {
    assert!(body.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()));
}

/// A ticket: a comment that is not empty and of 64 KiB at most, a requester with name and mail.
fn zendesk(body: &Rendered) {
    let ticket = &body["ticket"];
    text(&ticket["subject"], 1..=150);
    text(&ticket["comment"]["body"], 1..=65_535);
    assert!(ticket["comment"]["body"].as_str().unwrap().len() <= 65_535);
    text(&ticket["requester"]["name"], 1..=255);
    assert!(ticket["requester"]["email"].as_str().unwrap().contains('@'));
    assert!(ticket["external_id"].is_null() || ticket["external_id"].is_string());
}

/// A text of so many characters.
#[track_caller]
fn text(rendered: &Rendered, characters: std::ops::RangeInclusive<usize>) {
    let text = rendered.as_str().unwrap_or_else(|| panic!("{rendered} is no text"));
    assert!(characters.contains(&text.chars().count()), "{} characters: {text:.100}", text.chars().count());
}

/// RFC 3339, in UTC.
fn is_time(rendered: &Rendered) -> bool {
    rendered.as_str().is_some_and(|text| text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok())
}

fn template(file: &str) -> Template {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(file);
    let source = fs::read_to_string(path).unwrap();
    let template = Template::compile(&source, &Limits::default())
        .unwrap_or_else(|problems| panic!("{file}:\n{}", super::told(&problems)));
    assert!(template.warnings().is_empty(), "{file}: {:?}", template.warnings());
    assert!(!template.placeholders().is_empty(), "{file}");
    template
}

fn put(facts: &mut Facts, name: Name, value: Json) {
    let mut warnings = Vec::new();
    facts.put(name, value, &mut warnings);
    assert!(warnings.is_empty(), "{warnings:?}");
}

fn json(source: &str) -> Json {
    Json::parse(source.as_bytes()).unwrap()
}

/// Each name's example in the catalogue, and what the receiver must know.
fn examples(receiver: &Receiver) -> Facts {
    let mut facts = Facts::new();
    for name in Name::ALL {
        put(&mut facts, name, json(name.example()));
    }
    for (name, value) in receiver.required {
        put(&mut facts, *name, json(value));
    }
    facts
}

/// What every delivery has, whatever the provider told, and what the receiver must know.
fn least(receiver: &Receiver) -> Facts {
    let mut facts = Facts::new();
    for name in [Name::EventId, Name::EventType, Name::EventAt, Name::Provider, Name::Source]
        .into_iter()
        .chain([Name::CallbackId, Name::DeliveryId])
    {
        put(&mut facts, name, json(name.example()));
    }
    for (name, value) in receiver.required {
        put(&mut facts, *name, json(value));
    }
    facts
}

/// The examples, with a text that is long and full of what could break something wherever a text
/// is free, and with a duration that is none of the usual.
fn hostile(receiver: &Receiver, text: &str) -> Facts {
    let mut facts = examples(receiver);
    for name in Name::ALL {
        let example = json(name.example());
        let is_free = !name.is_set_by_ringback() && name != Name::CallDirection;
        if is_free && matches!(example, Json::Text(_)) && facts.get(name) == Some(&example) {
            let is_time = name.kind() == ringback::context::Kind::Time;
            let is_required = receiver.required.iter().any(|(required, _)| *required == name);
            if !is_time && !is_required {
                put(&mut facts, name, Json::Text(text.into()));
            }
        }
    }
    put(&mut facts, Name::CallDuration, json("0.9995"));
    put(&mut facts, Name::CallDirection, json(r#""web""#));
    facts
}

fn render(template: &Template, facts: &Facts) -> Result<Rendered, RenderError> {
    let mut values = Values::new();
    for (name, value) in facts.iter() {
        values.set(name, Value::from(value));
    }
    let mut out = Vec::new();
    template.render(&values, &mut out)?;
    Ok(serde_json::from_slice(&out).unwrap())
}

fn full(file: &str) -> Rendered {
    let receiver = GALLERY.iter().find(|receiver| receiver.file == file).unwrap();
    render(&template(file), &examples(receiver)).unwrap()
}

#[test]
fn the_gallery_is_what_is_tested_and_what_the_readme_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<String> = fs::read_dir(root.join("templates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert!(files.iter().eq(GALLERY.iter().map(|receiver| receiver.file)), "{files:?}");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for file in files {
        assert!(readme.contains(&format!("\n| `{file}` | ")), "{file}");
    }
}

#[test]
fn receivers_take_what_is_rendered_whatever_the_data() {
    let nasty = "=cmd|' /C calc'!A0 \"quoted\\\" <b>&amp; {email} </script>\n\t\u{1}\u{7f}é😀 ";
    for receiver in GALLERY {
        let template = template(receiver.file);
        let long = nasty.repeat(1_000);
        let all = [
            examples(receiver),
            least(receiver),
            hostile(receiver, nasty),
            hostile(receiver, &long),
            hostile(receiver, &"😀".repeat(66_000)),
            hostile(receiver, ""),
        ];
        for facts in all {
            let rendered =
                render(&template, &facts).unwrap_or_else(|error| panic!("{}: {error}", receiver.file));
            (receiver.demands)(&rendered);
        }
    }
}

#[test]
fn what_a_receiver_must_know_is_asked_for_by_name() {
    for receiver in GALLERY {
        let template = template(receiver.file);
        for (missing, _) in receiver.required {
            let mut facts = Facts::new();
            for (name, value) in examples(receiver).iter().filter(|(name, _)| name != missing) {
                put(&mut facts, name, value.clone());
            }
            let error = render(&template, &facts).unwrap_err();
            assert_eq!(error, RenderError::Required { name: missing.to_string() }, "{}", receiver.file);
        }
    }
}

#[test]
fn all_names_are_the_forty_of_the_speech_callback_api() {
    let template = template("all-names.json");
    let forty = &Name::ALL[..Name::SPEECH_CALLBACK_API];
    assert!(template.placeholders().into_iter().eq(forty.iter().map(|name| name.as_str())));
    let rendered = full("all-names.json");
    let empty = render(&template, &Facts::new()).unwrap();
    for name in forty {
        assert_eq!(rendered[name.as_str()], serde_json::from_str::<Rendered>(name.example()).unwrap());
        assert_eq!(empty[name.as_str()], Rendered::Null);
    }
}

#[test]
fn receivers_get_what_they_ask_for() {
    let slack = full("slack.json");
    assert_eq!(slack["text"], "Call with Ann Example: The customer asked for an offer.");
    assert_eq!(slack["blocks"][1]["fields"][2]["text"], "*Duration*\n00:05:12");
    let pipedrive = full("pipedrive.json");
    assert_eq!(pipedrive["duration"], "00:05");
    assert_eq!((&pipedrive["due_date"], &pipedrive["due_time"]), (&"2026-03-30".into(), &"14:27".into()));
    assert_eq!(
        pipedrive["note"],
        "Started: 2026-03-30 14:22:00 UTC<br/><br/>agent: Good morning<br>customer: Hello"
    );
    let hubspot = full("hubspot.json");
    assert_eq!(hubspot["properties"]["hs_call_duration"], "312000");
    assert_eq!(hubspot["properties"]["hs_call_direction"], "OUTBOUND");
    assert_eq!(hubspot["properties"]["hs_timestamp"], "2026-03-30T14:27:14.052Z");
    let envelope = full("standard-webhooks.json");
    assert_eq!(envelope["timestamp"], "2026-03-30T14:27:14.052Z");
    let teams = full("microsoft-teams.json");
    assert_eq!(teams["attachments"][0]["content"]["body"][1]["facts"][0]["value"], "8812345");
    let salesforce = full("salesforce-task.json");
    assert_eq!(salesforce["CallType"], "Outbound");
    assert_eq!(salesforce["CallDurationInSeconds"], 312);
    assert_eq!(salesforce["ActivityDate"], "2026-03-30");
    let bitrix = full("bitrix24.json");
    assert_eq!((&bitrix["fields"]["OWNER_ID"], &bitrix["fields"]["DIRECTION"]), (&5501.into(), &2.into()));
    let sheets = full("google-sheets.json");
    assert_eq!(sheets["row"][1], "2026-03-30 14:22:00");
    assert_eq!((&sheets["row"][2], &sheets["row"][6]), (&"'8812345".into(), &"'+351210000000".into()));
    assert_eq!(full("zendesk.json")["ticket"]["requester"]["name"], "Ann Example");
    assert_eq!(full("make.json")["speech"]["phrases"][0]["speaker"], "agent");
}
