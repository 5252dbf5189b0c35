//! The ready-made callbacks of the top-level `templates`.

use std::fs;
use std::path::Path;

use ringback::context::{Facts, Json, Name, Value, Values};
use ringback::template::{Limits, Template};
use serde_json::Value as Rendered;

/// Every template of the gallery, by its file's name.
fn gallery() -> Vec<(String, Template)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let mut gallery = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        let template = Template::compile(&source, &Limits::default())
            .unwrap_or_else(|problems| panic!("{name}:\n{}", super::told(&problems)));
        assert!(template.warnings().is_empty(), "{name}: {:?}", template.warnings());
        assert!(!template.placeholders().is_empty(), "{name}");
        gallery.push((name, template));
    }
    gallery
}

/// Each name's example as the data of the catalogue.
fn examples() -> Facts {
    let mut facts = Facts::new();
    let mut warnings = Vec::new();
    for name in Name::ALL {
        facts.put(name, Json::parse(name.example().as_bytes()).unwrap(), &mut warnings);
    }
    assert!(warnings.is_empty(), "{warnings:?}");
    facts
}

fn render(template: &Template, facts: &Facts) -> Rendered {
    let mut values = Values::new();
    for (name, value) in facts.iter() {
        values.set(name, Value::from(value));
    }
    let mut out = Vec::new();
    template.render(&values, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn every_template_renders_with_all_names_and_with_none() {
    let gallery = gallery();
    assert!(gallery.len() >= 7);
    let facts = examples();
    for (name, template) in &gallery {
        let full = render(template, &facts);
        assert!(!full.to_string().contains("null") || name == "microsoft-teams.json", "{name}: {full}");
        let empty = render(template, &Facts::new());
        assert_ne!(full, empty, "{name}");
        assert!(empty.is_object(), "{name}");
    }
}

fn of(file: &str) -> Template {
    gallery().into_iter().find(|(name, _)| name == file).unwrap().1
}

#[test]
fn all_names_are_the_forty_of_the_speech_callback_api() {
    let template = of("all-names.json");
    let forty = &Name::ALL[..Name::SPEECH_CALLBACK_API];
    assert!(template.placeholders().into_iter().eq(forty.iter().map(|name| name.as_str())));
    let full = render(&template, &examples());
    let empty = render(&template, &Facts::new());
    for name in forty {
        assert_eq!(full[name.as_str()], serde_json::from_str::<Rendered>(name.example()).unwrap());
        assert_eq!(empty[name.as_str()], Rendered::Null);
    }
}

#[test]
fn receivers_get_what_they_ask_for() {
    let facts = examples();
    let slack = render(&of("slack.json"), &facts);
    assert_eq!(slack["text"], "Call 8812345 with Ann Example: The customer asked for an offer.");
    assert_eq!(slack["blocks"][1]["fields"][2]["text"], "*Duration*\n00:05:12");
    let pipedrive = render(&of("pipedrive.json"), &facts);
    assert_eq!(pipedrive["duration"], "00:05");
    assert_eq!(pipedrive["due_date"], "2026-03-30");
    assert_eq!(pipedrive["note"], "agent: Good morning<br>customer: Hello");
    let hubspot = render(&of("hubspot.json"), &facts);
    assert_eq!(hubspot["properties"]["hs_call_duration"], "312000");
    assert_eq!(hubspot["properties"]["hs_call_direction"], "OUTBOUND");
    let envelope = render(&of("standard-webhooks.json"), &facts);
    assert_eq!(envelope["type"], "speech.completed");
    assert_eq!(envelope["timestamp"], "2026-03-30T14:27:14.052Z");
    assert!(envelope["data"].is_object());
    let zapier = render(&of("zapier.json"), &facts);
    assert!(zapier.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()));
    let teams = render(&of("microsoft-teams.json"), &facts);
    assert_eq!(teams["attachments"][0]["content"]["body"][1]["facts"][0]["value"], "8812345");
}
