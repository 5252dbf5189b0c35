//! Values as compact JSON, without recursion: how deep data is nested is for others to say.

use std::slice::Iter;
use std::{hint, mem};

use smallvec::SmallVec;

use super::Json;
use crate::context::Value;
use crate::escape::json_string;

/// How many arrays and objects may be open around another before an allocation is needed.
const FEW: usize = 8;

/// What is still to be written of an array or object that is open.
enum Open<'a> {
    Array(Iter<'a, Json>),
    Object(Iter<'a, (Box<str>, Json)>),
}

impl Value<'_> {
    /// Appends the value as compact JSON; numbers keep their spelling, and what is missing is
    /// `null`.
    pub fn write(self, out: &mut Vec<u8>) {
        if let Self::Array(items) = self {
            out.push(b'[');
            return write_open(Open::Array(items.iter()), out);
        }
        if let Self::Text(text) = self {
            return json_string(text, out);
        }
        hint::cold_path();
        match self {
            Self::Missing => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(spelling) => out.extend_from_slice(spelling.as_bytes()),
            Self::Object(members) => {
                out.push(b'{');
                write_open(Open::Object(members.iter()), out);
            }
            Self::Text(_) | Self::Array(_) => unreachable!("written above"),
        }
    }
}

/// Writes what is open, whose bracket was written.
fn write_open<'a>(open: Open<'a>, out: &mut Vec<u8>) {
    let mut inner = open;
    let mut outer: SmallVec<[Open<'a>; FEW]> = SmallVec::new();
    loop {
        // No value ends with an opening bracket: where one is last, the next is the first.
        let is_first = matches!(out.last(), Some(b'[' | b'{'));
        let json = match &mut inner {
            Open::Array(items) => items.next().inspect(|_| {
                if !is_first {
                    out.push(b',');
                }
            }),
            Open::Object(members) => members.next().map(|(name, member)| {
                if !is_first {
                    out.push(b',');
                }
                json_string(name, out);
                out.push(b':');
                member
            }),
        };
        let Some(json) = json else {
            out.push(if matches!(inner, Open::Array(_)) { b']' } else { b'}' });
            match outer.pop() {
                Some(around) => inner = around,
                None => return,
            }
            continue;
        };
        // In the order of how many there are, and no jump by a table, which costs more than all of
        // these questions.
        if let Json::Text(text) = json {
            json_string(text, out);
            continue;
        }
        hint::cold_path();
        if let Json::Number(spelling) = json {
            out.extend_from_slice(spelling.as_bytes());
            continue;
        }
        hint::cold_path();
        match json {
            Json::Object(members) => {
                out.push(b'{');
                outer.push(mem::replace(&mut inner, Open::Object(members.iter())));
            }
            Json::Array(items) => {
                out.push(b'[');
                outer.push(mem::replace(&mut inner, Open::Array(items.iter())));
            }
            json => Value::from(json).write(out),
        }
    }
}
