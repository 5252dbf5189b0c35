//! The spellings of a time that events and templates may use.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::{Json, Value};

/// Reads a time: RFC 3339, `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS` (both UTC), unix seconds, or unix
/// milliseconds from 10^11 on; the latter two as numbers or as text.
///
/// A fraction is kept to the nanosecond, what is finer is cut. Numbers before 1970 are negative
/// and told apart by their magnitude. The 61st second of a minute is taken as its 60th. What lies
/// beyond the years that [`Timestamp`] holds is no time.
#[must_use]
pub fn read_time(value: Value<'_>) -> Option<Timestamp> {
    match value {
        Value::Number(spelling) => read_unix(spelling),
        Value::Text(text) => read_civil(text).or_else(|| {
            Json::number(text)?;
            read_unix(text)
        }),
        Value::Missing | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A date, or a date and time, by its letters.
fn read_civil(text: &str) -> Option<Timestamp> {
    let rest = &mut text.as_bytes();
    let year = digits(rest, 4)?;
    byte(rest, b"-")?;
    let month = digits(rest, 2)?;
    byte(rest, b"-")?;
    let day = digits(rest, 2)?;
    if rest.is_empty() {
        return instant([year, month, day, 0, 0, 0], 0, 0);
    }
    let separator = byte(rest, b"Tt ")?;
    let hour = digits(rest, 2)?;
    byte(rest, b":")?;
    let minute = digits(rest, 2)?;
    byte(rest, b":")?;
    let second = digits(rest, 2)?;
    let nanosecond = if byte(rest, b".").is_some() { fraction(rest)? } else { 0 };
    if rest.is_empty() && separator == b' ' {
        return instant([year, month, day, hour, minute, second], nanosecond, 0);
    }
    let offset = match byte(rest, b"Zz+-")? {
        sign @ (b'+' | b'-') => {
            let hours = digits(rest, 2).filter(|hours| *hours < 24)?;
            byte(rest, b":")?;
            let minutes = digits(rest, 2).filter(|minutes| *minutes < 60)?;
            let seconds = (i32::from(hours) * 60 + i32::from(minutes)) * 60;
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => 0,
    };
    if !rest.is_empty() {
        return None;
    }
    instant([year, month, day, hour, minute, second], nanosecond, offset)
}

fn instant(fields: [i16; 6], nanosecond: i32, offset: i32) -> Option<Timestamp> {
    let [year, rest @ ..] = fields;
    let [month, day, hour, minute, second] = rest.map(|field| i8::try_from(field).unwrap_or(i8::MAX));
    let second = if second == 60 { 59 } else { second };
    let civil = DateTime::new(year, month, day, hour, minute, second, nanosecond).ok()?;
    Offset::from_seconds(offset).ok()?.to_timestamp(civil).ok()
}

fn byte(rest: &mut &[u8], any_of: &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    any_of.contains(first).then(|| {
        *rest = after;
        *first
    })
}

/// Exactly so many digits, at most four.
fn digits(rest: &mut &[u8], count: usize) -> Option<i16> {
    let (these, after) = rest.split_at_checked(count)?;
    let mut number = 0;
    for digit in these {
        number = number * 10 + i16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    *rest = after;
    Some(number)
}

/// At least one digit behind the point, as nanoseconds.
fn fraction(rest: &mut &[u8]) -> Option<i32> {
    let count = rest.iter().take_while(|digit| digit.is_ascii_digit()).count();
    let (these, after) = rest.split_at(count);
    *rest = after;
    let nine = these.iter().map(|digit| i32::from(digit - b'0')).chain(std::iter::repeat(0)).take(9);
    (count > 0).then(|| nine.fold(0, |number, digit| number * 10 + digit))
}

/// Unix seconds or milliseconds, from the spelling of a JSON number: exact where a float is not.
fn read_unix(spelling: &str) -> Option<Timestamp> {
    let (sign, magnitude) = match spelling.strip_prefix('-') {
        Some(magnitude) => (-1, magnitude),
        None => (1, spelling),
    };
    let (decimal, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    // The number is 0.DDD… times ten to the `point`, the first digit not being zero.
    let zeros = whole.bytes().chain(fraction.bytes()).take_while(|digit| *digit == b'0').count();
    let significant = whole.bytes().chain(fraction.bytes()).skip(zeros);
    if zeros == whole.len() + fraction.len() {
        return Some(Timestamp::UNIX_EPOCH);
    }
    // An exponent beyond 64 bits says no more than that it is huge.
    let huge = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let exponent = exponent.parse::<i64>().unwrap_or(huge).clamp(i64::MIN / 2, i64::MAX / 2);
    let point = exponent + i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()?;
    if point > 18 {
        return None; // Beyond every year, in milliseconds too; and the digits below fit in 128 bits.
    }
    let to_nanoseconds = if point >= 12 { 6 } else { 9 };
    let count = usize::try_from(point + to_nanoseconds).unwrap_or(0);
    let digits = significant.map(|digit| i128::from(digit - b'0')).chain(std::iter::repeat(0)).take(count);
    Timestamp::from_nanosecond(sign * digits.fold(0, |number, digit| number * 10 + digit)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Option<String> {
        read_time(Value::Text(text)).map(|time| time.to_string())
    }

    fn number(spelling: &str) -> Option<String> {
        read_time(Value::Number(spelling)).map(|time| time.to_string())
    }

    #[test]
    fn the_spellings_of_the_language_are_read() {
        for (spelling, expected) in [
            ("2026-03-30T14:22:00Z", "2026-03-30T14:22:00Z"),
            ("2026-03-30t14:22:00z", "2026-03-30T14:22:00Z"),
            ("2026-03-30T14:22:00.120+02:00", "2026-03-30T12:22:00.12Z"),
            ("2026-03-30T23:30:00-01:30", "2026-03-31T01:00:00Z"),
            ("2026-03-30 14:22:00+02:00", "2026-03-30T12:22:00Z"),
            ("2026-03-30T14:22:00.1234567899Z", "2026-03-30T14:22:00.123456789Z"),
            ("2026-03-30T14:22:00-00:00", "2026-03-30T14:22:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2026-03-30", "2026-03-30T00:00:00Z"),
            ("2028-02-29", "2028-02-29T00:00:00Z"),
            ("2026-03-30 14:22:00", "2026-03-30T14:22:00Z"),
            ("2026-03-30 14:22:00.25", "2026-03-30T14:22:00.25Z"),
            ("1774880520", "2026-03-30T14:22:00Z"),
            ("1774880520.5", "2026-03-30T14:22:00.5Z"),
            ("1774880520123", "2026-03-30T14:22:00.123Z"),
        ] {
            assert_eq!(text(spelling).as_deref(), Some(expected), "{spelling}");
        }
        for (spelling, expected) in [
            ("0", "1970-01-01T00:00:00Z"),
            ("-0.0e5", "1970-01-01T00:00:00Z"),
            ("-1", "1969-12-31T23:59:59Z"),
            ("1.774880520e9", "2026-03-30T14:22:00Z"),
            ("1774880520.000000001", "2026-03-30T14:22:00.000000001Z"),
            ("99999999999", "5138-11-16T09:46:39Z"),
            ("100000000000", "1973-03-03T09:46:40Z"),
            ("1e11", "1973-03-03T09:46:40Z"),
            ("-1000000000000", "1938-04-24T22:13:20Z"),
            ("1774880520123.5", "2026-03-30T14:22:00.1235Z"),
            ("1e-400", "1970-01-01T00:00:00Z"),
            ("0.001", "1970-01-01T00:00:00.001Z"),
            ("1e-99999999999999999999", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(number(spelling).as_deref(), Some(expected), "{spelling}");
        }
    }

    #[test]
    fn nothing_else_is_read() {
        for spelling in [
            "",
            " 2026-03-30",
            "2026-03-30 ",
            "2026-3-30",
            "2026-02-29",
            "2026-13-01",
            "2026-03-30T14:22:00",
            "2026-03-30T14:22Z",
            "2026-03-30T14:22:00.Z",
            "2026-03-30T14:22:00,5Z",
            "2026-03-30T24:00:00Z",
            "2026-03-30T14:60:00Z",
            "2026-03-30T14:22:61Z",
            "2026-03-30T14:22:00+0200",
            "2026-03-30T14:22:00+24:00",
            "2026-03-30T14:22:00+02:60",
            "2026-03-30T14:22:00Z[UTC]",
            "2026-03-30T14:22:00ZZ",
            "+02026-03-30",
            "9999-12-31T23:59:59Z",
            "30.03.2026",
            "tomorrow",
            "007",
            "+1",
            "1e",
            "٢٠٢٦-03-30",
        ] {
            assert_eq!(text(spelling), None, "{spelling}");
        }
        for spelling in ["1e19", "1e99999999999999999999", "9223372036854775807", "-1e300"] {
            assert_eq!(number(spelling), None, "{spelling}");
        }
        for value in [Value::Missing, Value::Bool(true), Value::Array(&[]), Value::Object(&[])] {
            assert_eq!(read_time(value), None);
        }
    }

    proptest! {
        #[test]
        fn what_jiff_prints_is_read_back(
            // From the year 1 to the last that a timestamp holds.
            nanosecond in -62_135_596_800_000_000_000_i128..253_402_207_200_000_000_000,
        ) {
            let time = Timestamp::from_nanosecond(nanosecond).unwrap();
            prop_assert_eq!(read_time(Value::Text(&time.to_string())), Some(time));
        }

        #[test]
        fn whole_seconds_and_milliseconds_are_exact(at in -99_999_999_999_i64..=99_999_999_999) {
            let spelling = at.to_string();
            prop_assert_eq!(read_time(Value::Number(&spelling)), Timestamp::from_second(at).ok());
            let millisecond = at + at.signum() * 100_000_000_000;
            let spelling = millisecond.to_string();
            prop_assert!(at == 0
                || read_time(Value::Text(&spelling)) == Timestamp::from_millisecond(millisecond).ok());
        }

        #[test]
        fn no_text_is_too_odd(text in "[-+0-9eE.:TtZz ]{0,40}|.{0,20}") {
            let _ = read_time(Value::Text(&text));
            if Json::number(&text).is_some() {
                let _ = read_time(Value::Number(&text));
            }
        }
    }
}
