//! How durations and sizes are spelt, in the configuration and in registrations: `15s`, `4 MiB`.

use std::time::Duration;

/// A text that is not such a quantity; the sentence shows the spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidQuantity(&'static str);

const DURATION: InvalidQuantity =
    InvalidQuantity("expected a duration such as `500ms`, `15s`, `5m`, `2h` or `7d`");
const SIZE: InvalidQuantity = InvalidQuantity("expected a size such as `512 B`, `256 KiB` or `4 MiB`");

/// Splits `15s` into 15 and `s`; white space between them is free.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// It is spelt otherwise, or is longer than 2^64 milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidQuantity> {
    let (number, unit) = number_and_unit(text).ok_or(DURATION)?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DURATION),
    };
    number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(DURATION)
}

/// Spells a duration so that [`parse_duration`] reads it, in the largest unit that keeps it whole;
/// what is finer than a millisecond is dropped.
#[must_use]
pub fn spell_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if ms >= unit_ms && ms.is_multiple_of(unit_ms) {
            return format!("{}{unit}", ms / unit_ms);
        }
    }
    if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") }
}

/// Reads a size in bytes: a whole number and `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// It is spelt otherwise, or is larger than memory could be.
pub fn parse_size(text: &str) -> Result<usize, InvalidQuantity> {
    let (number, unit) = number_and_unit(text).ok_or(SIZE)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(SIZE),
    };
    number.checked_mul(1 << shift).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(SIZE)
}

/// Spells a size for people: in the largest unit of which there is one, with a decimal where it is
/// not whole.
#[must_use]
pub fn spell_size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >> shift > 0 {
            let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
            // Of a rest below 2^30, ten times it is far below 2^64. Cut, not rounded: 10.0 GiB is 10 GiB
            // at least.
            return match (rest * 10) >> shift {
                0 => format!("{whole} {unit}"),
                tenths => format!("{whole}.{tenths} {unit}"),
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_spelt() {
        for (text, ms) in [("0s", 0), ("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("7d", 604_800_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(spell_duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(parse_duration("2 h"), Ok(Duration::from_hours(2)));
        for text in
            ["", "5", "s", "-1s", "1.5s", "5sec", " 5s", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_spelt() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1 << 10, "1 KiB"),
            (1_536, "1.5 KiB"),
            ((10 << 30) - 1, "9.9 GiB"),
            (10 << 30, "10 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(spell_size(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("4 MiB"), Ok(4 << 20));
        assert_eq!(parse_size("256KiB"), Ok(256 << 10));
        for text in ["", "4", "4 MB", "4mib", "99999999999 GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
