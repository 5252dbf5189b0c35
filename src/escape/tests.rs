use super::*;

fn by_serde(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).unwrap()
}

fn string(text: &str) -> Vec<u8> {
    let mut out = b"before".to_vec();
    json_string(text, &mut out);
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

#[test]
fn every_scalar_is_written_as_serde_writes_it() {
    let mut all = String::new();
    for scalar in '\0'..=char::MAX {
        let text = scalar.to_string();
        assert_eq!(string(&text), by_serde(&text), "{scalar:?}");
        all.push(scalar);
    }
    assert_eq!(string(&all), by_serde(&all));
}

/// A text with escapes here and there, a different one for each seed; every so many bytes one,
/// on average.
fn text(seed: u64, length: usize, every: u64) -> String {
    const SPECIAL: [char; 12] =
        ['"', '\\', '\n', '\t', '\u{8}', '\u{c}', '\r', '\0', '\u{1f}', '\u{7f}', 'é', '😀'];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let mut text = String::new();
    while text.len() < length {
        let choice = next();
        let special = SPECIAL[(next() % if choice % 7 == 0 { 12 } else { 5 }) as usize];
        text.push(if choice % every == 0 { special } else { char::from(b' ' + (next() % 80) as u8) });
    }
    text
}

#[test]
fn every_length_up_to_some_strides_and_any_density() {
    for every in [1, 2, 5, 25, 1 << 40] {
        for length in 0..if cfg!(miri) { 40 } else { 300 } {
            let text = text(length as u64, length, every);
            assert_eq!(string(&text), by_serde(&text), "{length} {every}");
            // At every distance from the beginning of the block that it is read with.
            for (from, _) in text.char_indices().take(20) {
                assert_eq!(string(&text[from..]), by_serde(&text[from..]));
            }
        }
    }
}

#[test]
fn long_texts_and_buffers_that_are_too_small() {
    for every in [1, 3, 25, 1000] {
        let text = text(every, if cfg!(miri) { 500 } else { 50_000 }, every);
        let mut tight = Vec::new();
        json_string(&text, &mut tight);
        assert_eq!(tight, by_serde(&text));
    }
}

/// What other machines do is the same.
#[test]
fn kernels_agree_on_short_texts() {
    for every in [1, 2, 5, 25, 1 << 40] {
        for length in 0..LONG {
            let text = text(length as u64, length, every);
            let text = &text.as_bytes()[..length];
            let room = || Vec::with_capacity(SHORT_ROOM);
            let (mut one, mut other, mut third) = (room(), room(), room());
            fill(&mut one, |cursor| (short(text, cursor), ()));
            fill(&mut other, |cursor| (block::in_blocks(text, cursor), ()));
            cursor::fill_anywhere(&mut third, |cursor| (short(text, cursor), ()));
            assert_eq!(one, other, "{length} {every}");
            assert_eq!(one, third, "{length} {every}");
        }
    }
}

/// Both kernels for long texts do the same.
#[test]
fn kernels_agree_on_long_texts() {
    for every in [1, 2, 25, 1000] {
        let text = text(every, if cfg!(miri) { 200 } else { 5_000 }, every);
        let room = || Vec::with_capacity(text.len() * ESCAPED + long::ROOM);
        let (mut one, mut other) = (room(), room());
        let left = fill(&mut one, |cursor| long(text.as_bytes(), cursor));
        assert!(left.len() < LONG);
        assert_eq!(left, fill(&mut other, |cursor| long::in_blocks(text.as_bytes(), cursor)));
        assert_eq!(one, other);
    }
}

#[test]
fn what_is_escaped_is_what_the_table_says() {
    for byte in 0..=u8::MAX {
        for at in 0..16 {
            let block = u128::from(0x2000_u16 + u16::from(byte)) << (8 * at);
            assert_eq!(block::escaped(block), block::escaped_by_table(block));
        }
    }
}

#[test]
fn short_texts_are_loaded_whole() {
    let text = b"0123456789abcdef";
    for from in 0..text.len() {
        let mut expected = [0; 16];
        expected[..16 - from].copy_from_slice(&text[from..]);
        if from > 0 {
            assert_eq!(block::load(&text[from..]), u128::from_le_bytes(expected));
        }
    }
}

#[test]
#[should_panic(expected = "callers make room")]
fn a_cursor_without_room_stops() {
    let mut out = Vec::with_capacity(7);
    fill(&mut out, |cursor| (cursor.put([0; 64], 1), ()));
}

#[test]
fn a_cursor_counts_what_it_is_told_to() {
    let mut out = Vec::with_capacity(64);
    fill(&mut out, |cursor| {
        let cursor = cursor.put(*b"abcdef", 3).put_all(b"xyz").put(*b"123", 0);
        (cursor, ())
    });
    assert_eq!(out, b"abcxyz");
}
