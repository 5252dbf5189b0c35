#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringback_properties::escape::check(bytes));
