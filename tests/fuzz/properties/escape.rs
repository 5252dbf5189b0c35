//! Escaping is serde's, at every length and alignment.

use std::sync::LazyLock;

use ringback::context::{Json, Name, Value, Values};
use ringback::template::{Limits, Template};

/// Lengths near which an implementation that takes bytes by the block could go wrong.
const LENGTHS: [usize; 8] = [16, 32, 48, 64, 128, 256, 4096, 8192];

static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let source = r#"["{email}",{first_name},"{email}{first_name}","{custom}",{custom},"{raw}",{raw}]"#;
    Template::compile(source, &Limits { rendering: 1 << 20, ..Limits::default() }).unwrap()
});

/// Four bytes say how the text, which is all others, is laid out: how much stands before it in the
/// rendering, where in its buffer it begins, and to which length it is repeated.
pub fn check(bytes: &[u8]) {
    let Some((&[before, offset, length, more], text)) = bytes.split_first_chunk() else { return };
    let pattern = String::from_utf8_lossy(text);
    let before = "b".repeat(usize::from(before));
    let offset = usize::from(offset) % 65;
    let text = match LENGTHS.get(usize::from(length)) {
        Some(border) if !pattern.is_empty() => {
            let most = border + usize::from(more) % 129;
            let most = most.saturating_sub(64);
            let repeated = pattern.repeat(most / pattern.len() + 1);
            repeated[..repeated.floor_char_boundary(most)].to_owned()
        }
        _ => pattern.into_owned(),
    };
    let buffer = format!("{}{text}", "o".repeat(offset));
    assert_escapes_as_serde(&before, &buffer[offset..]);
}

/// Wherever a text may stand, it comes out as serde writes it.
pub fn assert_escapes_as_serde(before: &str, text: &str) {
    let array = [Json::Text(text.into())];
    let object = [(text.into(), Json::Text(text.into()))];
    let mut values = Values::new();
    values.set(Name::Email, Value::Text(before));
    values.set(Name::FirstName, Value::Text(text));
    values.set(Name::Custom, Value::Array(&array));
    values.set(Name::Raw, Value::Object(&object));
    let mut out = Vec::new();
    TEMPLATE.render(&values, &mut out).unwrap();

    let whole = serde_json::to_string(text).unwrap();
    let inside = &whole[1..whole.len() - 1];
    let nested = format!("[{whole}]");
    let member = format!("{{{whole}:{whole}}}");
    let [twice, twice_member] = [&nested, &member].map(|json| serde_json::to_string(json).unwrap());
    let expected =
        format!("[\"{before}\",{whole},\"{before}{inside}\",{twice},{nested},{twice_member},{member}]");
    if out != expected.as_bytes() {
        let at = out.iter().zip(expected.as_bytes()).take_while(|(one, other)| one == other).count();
        panic!("from byte {at} on: {:?} for {text:?}", String::from_utf8_lossy(&out[at..]));
    }
    assert_eq!(array[0].to_compact(), whole, "the other writer says the same");
}
