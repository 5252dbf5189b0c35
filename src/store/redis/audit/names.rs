//! How what the audit finds is called.

use crate::event::{CallbackId, DeliveryId, EventId, JobId};

/// A delivery's state as people know it, by the letter that stands for it.
pub(super) fn name_of_state(letter: &str) -> &'static str {
    match letter {
        "q" => "queued",
        "l" => "leased",
        "d" => "delivered",
        "x" => "dead",
        "f" => "failed",
        "c" => "cancelled",
        "late" => "not rendered yet",
        _ => "in no state",
    }
}

/// A name as people know it, by what its key begins with.
pub(super) fn printed(begins: &[u8], name: &[u8]) -> String {
    match (begins, <[u8; 16]>::try_from(name)) {
        (b"h:", Ok(id)) => DeliveryId::from_bytes(id).to_string(),
        (b"e:", Ok(id)) => EventId::from_bytes(id).to_string(),
        (b"j:", Ok(id)) => JobId::from_bytes(id).to_string(),
        (b"k:", Ok(id)) => CallbackId::from_bytes(id).to_string(),
        _ => {
            let whole = [begins.get(2..).unwrap_or_default(), name].concat();
            let text = String::from_utf8_lossy(&whole).replace('\0', "/");
            let kind = if begins.starts_with(b"c:") { "call" } else { "key" };
            format!("{kind} {}", text.escape_default())
        }
    }
}

/// The kind of a set, without the name behind it.
pub(super) fn printed_set(set: &[u8]) -> String {
    let kind = set.split(|byte| *byte == b':').next().unwrap_or(set);
    String::from_utf8_lossy(kind).into_owned()
}
