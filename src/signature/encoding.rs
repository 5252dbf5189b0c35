//! Hexadecimal and base64, as tolerantly as providers write them, and bare numbers.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};

/// Reads hexadecimal digits of either case.
pub(crate) fn read_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// Writes lower-case hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn digit(character: u8) -> Option<u8> {
    // A hexadecimal digit is below 16, so that the cast loses nothing.
    #[allow(clippy::cast_possible_truncation, reason = "the digit is below 16")]
    char::from(character).to_digit(16).map(|value| value as u8)
}

/// Reads base64 of the standard or of the URL-safe alphabet, with its padding or without.
pub(crate) fn read_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { URL_SAFE_PAD_INDIFFERENT } else { STANDARD_PAD_INDIFFERENT };
    engine.decode(text).ok()
}

/// Writes base64 of the standard alphabet, padded.
pub(crate) fn write_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads a number that is written in digits alone, such as unix seconds.
pub(crate) fn read_digits(text: &str) -> Option<i64> {
    // `parse` alone would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_in_either_case_and_written_in_lower() {
        assert_eq!(read_hex("00fFA9"), Some(vec![0, 255, 0xa9]));
        assert_eq!(write_hex(&[0, 255, 0xa9]), "00ffa9");
        assert_eq!(read_hex(""), Some(vec![]));
        for wrong in ["0", "0g", "+1", " 1", "é"] {
            assert_eq!(read_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn base64_is_read_in_every_common_spelling() {
        for spelling in ["+/8=", "+/8", "-_8=", "-_8"] {
            assert_eq!(read_base64(spelling), Some(vec![0xfb, 0xff]), "{spelling}");
        }
        for wrong in ["+_8=", "a", "a b=", "+/8==", "+/9="] {
            assert_eq!(read_base64(wrong), None, "{wrong}");
        }
        assert_eq!(write_base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(read_digits("1614265330"), Some(1_614_265_330));
        for wrong in ["", "-1", "+1", "1.0", " 1", "99999999999999999999"] {
            assert_eq!(read_digits(wrong), None, "{wrong}");
        }
    }
}
