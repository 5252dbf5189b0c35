//! Filters that read times.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::arguments::Arguments;
use crate::context::{Value, read_time};
use crate::template::suggest;

/// The database that is built in, whatever the machine has: a template means the same everywhere.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// What the zones are called. Looked up once: a template may have a thousand unknown ones.
static ZONE_NAMES: LazyLock<Box<[String]>> =
    LazyLock::new(|| ZONES.available().map(|zone| zone.to_string()).collect());

/// How `date` writes a time.
#[derive(Debug)]
pub(in crate::template) struct Format {
    /// strftime's, in the POSIX locale.
    format: Box<str>,
    zone: TimeZone,
}

impl Format {
    pub(super) fn compile(arguments: &mut Arguments<'_>) -> Option<Self> {
        let format = arguments.text()?;
        let sample = Self { format, zone: TimeZone::UTC };
        if let Err(error) = sample.write(Timestamp::UNIX_EPOCH) {
            return arguments.refuse_for(&format!("this format cannot be written: {error}"), None);
        }
        if !arguments.has_more() {
            return Some(sample);
        }
        let name = arguments.text()?;
        if let Ok(zone) = ZONES.get(&name) {
            return Some(Self { zone, ..sample });
        }
        let meant = suggest::meant(&name, ZONE_NAMES.iter().map(String::as_str));
        let message = "there is no such time zone in the IANA database";
        arguments.refuse_for(message, meant.map(|zone| format!("'{zone}'")))
    }

    pub(super) fn apply(&self, value: Value<'_>) -> Option<String> {
        self.write(read_time(value)?).ok()
    }

    fn write(&self, time: Timestamp) -> Result<String, jiff::Error> {
        let config = Config::new().custom(PosixCustom::new());
        BrokenDownTime::from(&time.to_zoned(self.zone.clone())).to_string_with_config(&config, &*self.format)
    }
}

/// A time as whole unix seconds, rounded down.
pub(super) fn unix(value: Value<'_>) -> Option<String> {
    let time = read_time(value)?;
    let is_before = time.subsec_nanosecond() < 0;
    Some((time.as_second() - i64::from(is_before)).to_string())
}
