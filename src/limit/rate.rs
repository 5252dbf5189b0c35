//! So many in so long, as the configuration and registrations write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many in so long: `500/s`, `50/m`, `1000/h`, `10000/d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; not 0.
    pub count: u32,
    /// In how long; not 0.
    pub period: Duration,
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as `500/s`, `50/m`, `1000/h` or `10000/d`, at most {}", Rate::MAX_COUNT)]
pub struct InvalidRate;

impl Rate {
    /// The largest count: what is faster than a million a second is no limit.
    pub const MAX_COUNT: u32 = 1_000_000;

    const UNITS: [(&str, Duration); 4] = [
        ("s", Duration::from_secs(1)),
        ("m", Duration::from_mins(1)),
        ("h", Duration::from_hours(1)),
        ("d", Duration::from_hours(24)),
    ];
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        // `parse` alone would take a sign.
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidRate);
        }
        let count = count.parse().map_err(|_| InvalidRate)?;
        let (_, period) = Self::UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(InvalidRate)?;
        if (1..=Self::MAX_COUNT).contains(&count) { Ok(Self { count, period }) } else { Err(InvalidRate) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::UNITS.into_iter().find(|(_, period)| *period == self.period) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{} in {:?}", self.count, self.period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["1/s", "500/s", "50/m", "1000/h", "1000000/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("50/m".parse(), Ok(Rate { count: 50, period: Duration::from_mins(1) }));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for wrong in
            ["", "5", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "5 / s", "5/S", "5/min", "1000001/s", "5/s/s"]
        {
            assert_eq!(wrong.parse::<Rate>(), Err(InvalidRate), "{wrong}");
        }
    }
}
