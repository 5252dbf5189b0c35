//! Rendering allocates nothing but the output, and not that where the buffer is large enough.

use ringback::template::{Limits, Template};

use super::with_context;
use crate::support::allocations::count_allocations;

const CONTEXT: &str = r#"{
    "first_name": " José \"Zé\" Example\n",
    "call_id": "4\\2",
    "lead_id": 55501,
    "speech_rank": 87.50,
    "speech_topics": [{"text": "in\"voice"}, null, true, 1e3, []],
    "call_scheduled_callback": {"scheduled_at": "2026-04-02T09:00:00Z", "by": {"name": "a\tb"}},
    "custom": {"paid": false, "owner": "anna", "list": ["first", "second"]}
}"#;

/// How many allocations a rendering into a buffer with room makes.
fn allocations(template: &str) -> u64 {
    let template = Template::compile(template, &Limits::default()).unwrap();
    with_context(CONTEXT, |values| {
        let mut out = Vec::with_capacity(64 << 10);
        count_allocations(|| template.render(values, &mut out).unwrap())
    })
}

#[test]
fn plain_placeholders_allocate_nothing() {
    for template in [
        "1",
        "{first_name}",
        "[{speech_rank}, {lead_id}, {call_id}]",
        "{speech_topics}",
        "{call_scheduled_callback}",
        "[{custom}, {custom.paid}, {custom.owner}, {custom.list[1]}, {custom.by.nobody}]",
        "[{email}, \"{email}\"]",
        r#""{first_name} {speech_rank} {lead_id} {call_id} {custom.paid}""#,
        r#""{speech_topics} {call_scheduled_callback} {custom}""#,
        r#"{"call_{call_id}": 1}"#,
        r#"{"a_{first_name}": {lead_id}, "b_{lead_id}": [{"{email}": {"x{call_id}": 1, "y{call_id}": 2}}], "c": {email}}"#,
    ] {
        assert_eq!(allocations(template), 0, "{template}");
    }
}

#[test]
fn filters_that_need_no_new_text_allocate_nothing() {
    for filters in [
        "default: 'nobody'",
        "required",
        "first",
        "last",
        "trim",
        "truncate: 3",
        "text",
        "required | trim | truncate: 100 | default: 'x' | text",
    ] {
        for position in ["{first_name | F}", "\"{first_name | F}\""] {
            let template = position.replace('F', filters);
            assert_eq!(allocations(&template), 0, "{template}");
        }
    }
    for template in [
        "{email | default: 'nobody'}",
        "{email | trim | truncate: 3 | first | text}",
        "{speech_topics | first}",
        "{speech_topics | default: 1}",
        "{custom.list | first | truncate: 2}",
        "{speech_rank | text}",
        "{lead_id | required}",
    ] {
        assert_eq!(allocations(template), 0, "{template}");
    }
}

#[test]
fn a_new_text_is_counted() {
    assert!(allocations("{first_name | upper}") > 0);
}
