//! Values as compact JSON, without recursion: how deep data is nested is for others to say.

use std::slice::Iter;

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
        let mut value = self;
        // The innermost that is open, and those around it.
        let mut inner: Option<Open<'_>> = None;
        let mut outer: SmallVec<[Open<'_>; FEW]> = SmallVec::new();
        loop {
            match value {
                Self::Text(text) => json_string(text, out),
                Self::Missing => out.extend_from_slice(b"null"),
                Self::Bool(true) => out.extend_from_slice(b"true"),
                Self::Bool(false) => out.extend_from_slice(b"false"),
                Self::Number(spelling) => out.extend_from_slice(spelling.as_bytes()),
                Self::Array(items) => {
                    out.push(b'[');
                    if let Some(around) = inner.replace(Open::Array(items.iter())) {
                        outer.push(around);
                    }
                }
                Self::Object(members) => {
                    out.push(b'{');
                    if let Some(around) = inner.replace(Open::Object(members.iter())) {
                        outer.push(around);
                    }
                }
            }
            value = loop {
                // No value ends with an opening bracket: where one is last, the next is the first.
                let is_first = matches!(out.last(), Some(b'[' | b'{'));
                match &mut inner {
                    None => return,
                    Some(Open::Array(items)) => {
                        if let Some(item) = items.next() {
                            if !is_first {
                                out.push(b',');
                            }
                            break item.into();
                        }
                        out.push(b']');
                    }
                    Some(Open::Object(members)) => {
                        if let Some((name, member)) = members.next() {
                            if !is_first {
                                out.push(b',');
                            }
                            json_string(name, out);
                            out.push(b':');
                            break member.into();
                        }
                        out.push(b'}');
                    }
                }
                inner = outer.pop();
            };
        }
    }
}
