//! The providers that the same users have beside the five: what each says where, as data.
//!
//! A preset is a mapping as `[source.map]` has it, in a file of `src/provider/preset`. The shapes
//! are those of each provider's own documentation or client library; what is not documented is
//! left in `raw`. Speech providers that know nothing of the call are told it by the customer, in
//! the URL: `…/v1/ingest/SOURCE?call_id=42`.

use super::Mapping;
use crate::context::Json;

macro_rules! presets {
    ($($name:literal)*) => {
        const PRESETS: [(&str, &str); [$($name),*].len()] =
            [$(($name, include_str!(concat!("preset/", $name, ".json")))),*];
    };
}

presets! {
    "twilio" "assemblyai" "deepgram" "revai" "gladia" "speechmatics" "vapi" "retell" "elevenlabs"
    "vonage" "telnyx" "aircall" "dialpad" "callrail"
}

/// The names of all presets.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.into_iter().map(|(name, _)| name)
}

/// The preset of that name.
pub(super) fn mapping(name: &str) -> Option<(&'static str, Mapping)> {
    let (name, text) = PRESETS.into_iter().find(|(other, _)| *other == name)?;
    let table = Json::parse(text.as_bytes()).expect("a preset is JSON");
    let mut mapping = Mapping::default();
    for (entry, value) in table.as_object().expect("a preset is a table") {
        mapping.add(entry, value).unwrap_or_else(|error| panic!("{name}: {entry}: {error}"));
    }
    Some((name, mapping))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read_and_no_file_is_left_out() {
        for name in names() {
            assert_ne!(mapping(name).unwrap().1, Mapping::default(), "{name}");
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/provider/preset");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), names().count());
        assert!(mapping("Twilio").is_none());
    }
}
