//! Values as compact JSON, without recursion: how deep data is nested is for others to say.

use std::slice::Iter;
use std::{hint, mem};

use smallvec::SmallVec;

use super::Json;
use crate::context::Value;
use crate::escape::{self, Cursor, Window, fill, json_string};

/// How many arrays and objects may be open around another before an allocation is needed.
const FEW: usize = 8;

/// How much room a step needs, at most: a comma, a short name and a short text with their quotes,
/// a colon, and a bracket.
const ROOM: usize = 2 * (escape::SHORT_ROOM + 4);

/// How much room a member of [`write_short_members`] needs, at most: a comma, a quote, a short name,
/// what is between the two, a short text and a quote.
const MEMBER_ROOM: usize = 2 + escape::SHORT_ROOM + 3 + escape::SHORT_ROOM + 1;

impl Value<'_> {
    /// Appends the value as compact JSON; numbers keep their spelling, and what is missing is
    /// `null`.
    pub fn write(self, out: &mut Vec<u8>) {
        // In the order of how many there are, and no jump by a table, which costs more than all of
        // these questions; as in `Writing::write`.
        if let Self::Text(text) = self {
            return json_string(text, out);
        }
        hint::cold_path();
        if let Self::Array(items) = self {
            out.push(b'[');
            return Writing::array(items).finish(out);
        }
        hint::cold_path();
        match self {
            Self::Missing => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Number(spelling) => out.extend_from_slice(spelling.as_bytes()),
            Self::Object(members) => {
                out.push(b'{');
                Writing::object(members).finish(out);
            }
            Self::Text(_) | Self::Array(_) => unreachable!("written above"),
        }
    }
}

/// What is still to be written of an array or object whose bracket was written.
pub(crate) struct Writing<'a> {
    inner: Open<'a>,
    /// What is open around the inner one, and around that. Apart, since more than two are seldom
    /// open at once, and these two are then in registers.
    around: Option<Open<'a>>,
    outer: SmallVec<[Open<'a>; FEW]>,
    /// Whether nothing of the inner one was written.
    is_first: bool,
    /// The member whose name was written.
    member: Option<&'a Json>,
}

/// What is still to be written of one array or object.
enum Open<'a> {
    Array(Iter<'a, Json>),
    Object(Iter<'a, (Box<str>, Json)>),
}

/// Why [`Writing::write`] halts.
pub(crate) enum Halt<'a> {
    /// All is written.
    End,
    /// There may not be room for the next step.
    Room,
    /// A name that is not short is next.
    Name(&'a str),
    /// A text that is not short is next.
    Text(&'a str),
    /// A number that is not short is next.
    Number(&'a str),
}

impl<'a> Writing<'a> {
    pub(crate) fn array(items: &'a [Json]) -> Self {
        Self::new(Open::Array(items.iter()))
    }

    pub(crate) fn object(members: &'a [(Box<str>, Json)]) -> Self {
        Self::new(Open::Object(members.iter()))
    }

    fn new(open: Open<'a>) -> Self {
        Self { inner: open, around: None, outer: SmallVec::new(), is_first: true, member: None }
    }

    /// Begins an array after everything was written: for less than a new one costs.
    pub(crate) fn begin_array(&mut self, items: &'a [Json]) {
        debug_assert!(self.around.is_none() && self.outer.is_empty() && self.member.is_none());
        self.inner = Open::Array(items.iter());
        self.is_first = true;
    }

    /// Appends all of it.
    fn finish(&mut self, out: &mut Vec<u8>) {
        self.finish_from(Halt::Room, out);
    }

    /// Appends what [`Self::write`] halted for, and all that is behind it.
    pub(crate) fn finish_from(&mut self, mut halt: Halt<'a>, out: &mut Vec<u8>) {
        loop {
            match halt {
                Halt::End => return,
                Halt::Room => {}
                Halt::Name(name) => {
                    json_string(name, out);
                    out.push(b':');
                }
                Halt::Text(text) => json_string(text, out),
                Halt::Number(spelling) => out.extend_from_slice(spelling.as_bytes()),
            }
            out.reserve(ROOM);
            halt = fill(out, |cursor| self.write(cursor));
        }
    }

    /// Writes as much as there is room for.
    pub(crate) fn write<'c>(&mut self, mut cursor: Cursor<'c>) -> (Cursor<'c>, Halt<'a>) {
        // What is at hand is in registers until this halts.
        let mut inner = mem::replace(&mut self.inner, Open::Array([].iter()));
        let mut around = self.around.take();
        let mut is_first = self.is_first;
        let mut member = self.member.take();
        let halt = loop {
            if cursor.room() < ROOM {
                break Halt::Room;
            }
            let json = if let Some(member) = member.take() {
                member
            } else {
                let next = match &mut inner {
                    Open::Array(items) => items.next().map(|item| (None, item)),
                    Open::Object(members) => members.next().map(|(name, member)| (Some(name), member)),
                };
                let Some((name, json)) = next else {
                    let bracket = if matches!(inner, Open::Array(_)) { b']' } else { b'}' };
                    cursor = cursor.put([bracket], 1);
                    let Some(open) = around else { break Halt::End };
                    inner = open;
                    around = self.outer.pop();
                    is_first = false;
                    continue;
                };
                cursor = cursor.put([b','], usize::from(!is_first));
                is_first = false;
                if let Some(name) = name {
                    if name.len() >= escape::LONG {
                        member = Some(json);
                        break Halt::Name(name);
                    }
                    cursor = short_string(name, cursor).put([b':'], 1);
                }
                json
            };
            if let Json::Text(text) = json {
                if text.len() >= escape::LONG {
                    break Halt::Text(text);
                }
                cursor = short_string(text, cursor);
                continue;
            }
            hint::cold_path();
            if let Json::Number(spelling) = json {
                if spelling.len() >= escape::LONG {
                    break Halt::Number(spelling);
                }
                cursor = escape::short(spelling.as_bytes(), cursor);
                continue;
            }
            hint::cold_path();
            // Most arrays hold small objects, most of whose members are short texts: written without
            // being opened, as far as that goes.
            if let Json::Object(members) = json {
                cursor = cursor.put([b'{'], 1);
                let written;
                (cursor, written) = write_short_members(members, cursor);
                let rest = members[written..].iter();
                if rest.len() == 0 {
                    cursor = cursor.put([b'}'], 1);
                    continue;
                }
                is_first = written == 0;
                if let Some(outer) = around.replace(mem::replace(&mut inner, Open::Object(rest))) {
                    self.outer.push(outer);
                }
                continue;
            }
            hint::cold_path();
            let (open, bracket) = match json {
                Json::Object(members) => (Open::Object(members.iter()), b'{'),
                Json::Array(items) => (Open::Array(items.iter()), b'['),
                json => {
                    cursor = literal(json, cursor);
                    continue;
                }
            };
            cursor = cursor.put([bracket], 1);
            is_first = true;
            if let Some(outer) = around.replace(mem::replace(&mut inner, open)) {
                self.outer.push(outer);
            }
        };
        (self.inner, self.around) = (inner, around);
        (self.is_first, self.member) = (is_first, member);
        (cursor, halt)
    }
}

/// Writes the first members of an object, up to one that is not a short text or for which there may be
/// no room; how many these are.
#[inline]
fn write_short_members<'c>(members: &[(Box<str>, Json)], mut cursor: Cursor<'c>) -> (Cursor<'c>, usize) {
    let mut written = 0;
    for (name, json) in members {
        let Json::Text(text) = json else { break };
        if name.len() >= escape::LONG || text.len() >= escape::LONG {
            break;
        }
        let before: (&[u8; 2], usize) = if written > 0 { (b",\"", 2) } else { (b"\" ", 1) };
        let window = match Window::<MEMBER_ROOM>::new(cursor) {
            Ok(window) => window,
            Err(unchanged) => {
                cursor = unchanged;
                break;
            }
        };
        let window = window.put::<_, { MEMBER_ROOM - 2 }>(before.0, before.1);
        let window = escape::short_within::<_, { 3 + escape::SHORT_ROOM + 1 }>(name.as_bytes(), window);
        let window = window.put::<_, { escape::SHORT_ROOM + 1 }>(b"\":\"", 3);
        let window = escape::short_within::<_, 1>(text.as_bytes(), window);
        cursor = window.put::<_, 0>(b"\"", 1).end();
        written += 1;
    }
    (cursor, written)
}

/// A short text as a JSON string.
#[inline(never)]
fn short_string<'c>(text: &str, cursor: Cursor<'c>) -> Cursor<'c> {
    escape::short(text.as_bytes(), cursor.put([b'"'], 1)).put([b'"'], 1)
}

/// `null`, `true` or `false`.
#[inline(never)]
fn literal<'c>(json: &Json, cursor: Cursor<'c>) -> Cursor<'c> {
    match json {
        Json::Bool(true) => cursor.put(*b"true", 4),
        Json::Bool(false) => cursor.put(*b"false", 5),
        _ => cursor.put(*b"null", 4),
    }
}
