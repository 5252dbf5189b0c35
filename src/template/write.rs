//! Values as JSON.

use crate::context::{Json, Value};
use crate::escape;

/// Appends a value as compact JSON; numbers keep their spelling.
pub(super) fn json(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Missing => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(spelling) => out.extend_from_slice(spelling.as_bytes()),
        Value::Text(text) => escape::json_string(text, out),
        Value::Array(items) => array(items, out),
        Value::Object(members) => object(members, out),
    }
}

fn array(items: &[Json], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item.write(out);
    }
    out.push(b']');
}

fn object(members: &[(Box<str>, Json)], out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        escape::json_string(name, out);
        out.push(b':');
        value.write(out);
    }
    out.push(b'}');
}
