//! The spellings of a time that events and templates may use.

use jiff::Timestamp;

use super::Value;

/// Reads a time: RFC 3339, `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` (both UTC), unix seconds, or unix
/// milliseconds from 10^11 on; the latter two as numbers or as text.
#[must_use]
pub fn read_time(_value: Value<'_>) -> Option<Timestamp> {
    unimplemented!()
}
