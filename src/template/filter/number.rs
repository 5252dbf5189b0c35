//! Filters that read numbers. They work on the decimal spelling: no value passes through a float.

use super::Datum;
use super::arguments::Arguments;
use crate::context::Json;

/// The most decimals that `round` gives.
pub(super) const MOST_DECIMALS: usize = 100;

/// How many zeros an exponent may add to the digits. A double has no more than 308 digits before
/// its point; a longer number is whole anyway and stays as it is spelt.
const MOST_ZEROS: i64 = 400;

/// How a duration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::template) enum DurationStyle {
    /// `01:02:03`
    HoursMinutesSeconds,
    /// `62:03`
    MinutesSeconds,
}

impl DurationStyle {
    pub(super) fn compile(arguments: &mut Arguments<'_>) -> Option<Self> {
        match &*arguments.text()? {
            "hms" => Some(Self::HoursMinutesSeconds),
            "ms" => Some(Self::MinutesSeconds),
            _ => arguments.refuse("'hms' or 'ms'"),
        }
    }
}

/// A number: 0.DDD… times ten to the `point`, where the first digit is not zero.
struct Decimal {
    is_negative: bool,
    /// Empty for zero.
    digits: Vec<u8>,
    point: i64,
}

impl Decimal {
    /// From the spelling of a JSON number.
    fn new(spelling: &str) -> Self {
        let magnitude = spelling.strip_prefix('-');
        let is_negative = magnitude.is_some();
        let magnitude = magnitude.unwrap_or(spelling);
        let (decimal, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
        let zeros = whole.bytes().chain(fraction.bytes()).take_while(|digit| *digit == b'0').count();
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip(zeros).collect();
        // An exponent beyond 64 bits says no more than that it is huge.
        let huge = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse::<i64>().unwrap_or(huge).clamp(i64::MIN / 2, i64::MAX / 2);
        let length = |count: usize| i64::try_from(count).unwrap_or(i64::MAX / 4);
        Self { is_negative, digits, point: exponent + length(whole.len()) - length(zeros) }
    }

    /// Its spelling, without an exponent, to so many decimals, half away from zero; `None` if it
    /// is too long.
    fn round(mut self, decimals: usize) -> Option<String> {
        let count = i64::try_from(self.digits.len()).ok()?;
        if self.point - count > MOST_ZEROS {
            return None;
        }
        let kept = self.point.saturating_add(i64::try_from(decimals).ok()?);
        match usize::try_from(kept) {
            Ok(kept) if kept < self.digits.len() => {
                let is_up = self.digits[kept] >= b'5';
                self.digits.truncate(kept);
                if is_up {
                    self.increment();
                }
            }
            Ok(_) => {}
            Err(_) => self.digits.clear(),
        }
        let digit =
            |place: i64| usize::try_from(place).ok().and_then(|place| self.digits.get(place)).copied();
        let mut spelling = String::new();
        if self.is_negative && self.digits.iter().any(|digit| *digit != b'0') {
            spelling.push('-');
        }
        if self.point <= 0 || self.digits.is_empty() {
            spelling.push('0');
        } else {
            spelling.extend((0..self.point).map(|place| char::from(digit(place).unwrap_or(b'0'))));
        }
        if decimals > 0 {
            spelling.push('.');
            let first = if self.digits.is_empty() { i64::MIN / 2 } else { self.point };
            let fraction = (first..).take(decimals).map(|place| char::from(digit(place).unwrap_or(b'0')));
            spelling.extend(fraction);
        }
        Some(spelling)
    }

    /// One more in the last place.
    fn increment(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit != b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        self.digits.insert(0, b'1');
        self.point += 1;
    }
}

/// The spelling of a number, or of a text that is one.
fn spelling<'d>(input: &'d Datum<'_>) -> Option<&'d str> {
    match input {
        Datum::Number(spelling) => Some(spelling),
        Datum::Text(text) => Json::number(text).map(|_| &**text),
        _ => None,
    }
}

/// Text in JSON's number syntax as a number.
pub(super) fn read(input: Datum<'_>) -> Datum<'_> {
    if spelling(&input).is_none() {
        return Datum::Missing;
    }
    match input {
        Datum::Text(text) => Datum::Number(text),
        number => number,
    }
}

/// The words and numbers that are a boolean.
pub(super) fn bool(text: &str) -> Datum<'static> {
    match text {
        "true" | "1" => Datum::Bool(true),
        "false" | "0" => Datum::Bool(false),
        _ => Datum::Missing,
    }
}

/// A number to exactly so many decimals, half away from zero.
pub(super) fn round(input: &Datum<'_>, decimals: usize) -> Option<String> {
    let spelling = spelling(input)?;
    Some(Decimal::new(spelling).round(decimals).unwrap_or_else(|| spelling.to_owned()))
}

/// Seconds as hours, minutes and seconds; what is less than a second is cut off.
pub(super) fn duration(input: &Datum<'_>, style: DurationStyle) -> Option<String> {
    let decimal = Decimal::new(spelling(input)?);
    let whole = usize::try_from(decimal.point.max(0)).ok()?;
    // Eighteen digits fit into 64 bits, and are more seconds than there are.
    let digits = decimal.digits.iter().copied().chain(std::iter::repeat(b'0'));
    let seconds = (whole <= 18)
        .then(|| digits.take(whole).fold(0_u64, |seconds, digit| seconds * 10 + u64::from(digit - b'0')))?;
    let sign = if decimal.is_negative && seconds > 0 { "-" } else { "" };
    let (minutes, second) = (seconds / 60, seconds % 60);
    Some(match style {
        DurationStyle::MinutesSeconds => format!("{sign}{minutes:02}:{second:02}"),
        DurationStyle::HoursMinutesSeconds => {
            format!("{sign}{:02}:{:02}:{second:02}", minutes / 60, minutes % 60)
        }
    })
}
