//! What the fuzzers of `tests/fuzz` found of interest, and random bytes, through the same
//! properties.

#[path = "../fuzz/properties/lib.rs"]
#[allow(unreachable_pub, missing_docs, reason = "there it is a crate of its own")]
mod property;

use std::fs;
use std::path::{Path, PathBuf};

use property::{ALL, Property, escape};
use proptest::prelude::*;

use super::properties::soup;

/// The corpus of a target; there must be one.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{target}");
    files
}

fn property(target: &str) -> Property {
    ALL.into_iter().find(|(name, _)| *name == target).unwrap().1
}

#[test]
fn what_the_fuzzers_found_holds() {
    for (target, property) in ALL {
        for file in corpus(target) {
            let bytes = fs::read(&file).unwrap();
            // The name of the file, where a property panics; else nobody sees this.
            println!("{}", file.display());
            property(&bytes);
        }
    }
}

#[test]
fn every_folder_of_the_corpus_is_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(ALL.iter().any(|(target, _)| *target == name), "{name}");
    }
}

/// Text of each length around the borders of blocks, with each character that must be escaped at
/// each of its places.
#[test]
fn every_escape_at_every_place_of_a_block() {
    for length in 0..=140 {
        let plain = "a".repeat(length);
        escape::assert_escapes_as_serde("", &plain);
        for place in 0..length {
            for special in ["\"", "\\", "\n", "\u{1}", "\u{1f}", "é", "\u{7f}"] {
                let text = format!("{}{special}{}", &plain[..place], &plain[place + 1..]);
                escape::assert_escapes_as_serde("", &text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_of_any_kind_compiles_or_is_told_why(
        kind in prop::sample::select(&b"jfxtuh"[..]),
        text in prop_oneof![
            soup(),
            any::<String>(),
            soup().prop_map(|path| format!("https://example.com/{path}")),
        ],
    ) {
        property("compile")(&[&[kind], text.as_bytes()].concat());
    }

    #[test]
    fn any_bytes_are_json_or_told_where_not(bytes in prop::collection::vec(any::<u8>(), 0..40), text in soup()) {
        property("compile")(&bytes);
        property("json")(&bytes);
        property("json")(text.as_bytes());
    }

    #[test]
    fn renderings_are_what_they_should_be(bytes in prop::collection::vec(any::<u8>(), 100..1500)) {
        property("render")(&bytes);
    }

    #[test]
    fn filters_take_any_value(bytes in prop::collection::vec(any::<u8>(), 50..500)) {
        property("filters")(&bytes);
    }

    #[test]
    fn data_stays_in_its_place_in_urls_headers_forms_and_xml(
        bytes in prop::collection::vec(any::<u8>(), 200..1000),
    ) {
        property("url_and_header")(&bytes);
    }

    #[test]
    fn escaping_is_serdes(layout in any::<[u8; 4]>(), text in any::<String>()) {
        let [before, offset, length, more] = layout;
        property("escape")(&[&[before, offset, length % 12, more], text.as_bytes()].concat());
    }
}
