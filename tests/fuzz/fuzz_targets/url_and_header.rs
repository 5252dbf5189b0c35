#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringback_properties::url_and_header::check(bytes));
