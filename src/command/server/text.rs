//! Foreign texts, made fit for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::context::Json;

/// A text in one line: what a terminal would obey or turn around (controls, line breaks, marks of
/// direction) is spelt as in a Rust literal.
pub(in crate::command) fn line(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unfit) {
        text.chars().fold(String::with_capacity(text.len() + 8), escape).into()
    } else {
        text.into()
    }
}

/// A text in its lines, each as [`line()`] makes it; tabs stay.
pub(in crate::command) fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|part| part.split('\t').map(line).collect::<Vec<_>>().join("\t"))
}

/// A text in one line of at most so many characters, with `…` where it was cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    let text = line(text);
    match text.char_indices().nth(most) {
        None => text.into_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A member in one line; nothing where it is null or missing.
pub(in crate::command) fn of(json: &Json, name: &str) -> String {
    json.get(name).map(Json::to_text).unwrap_or_default()
}

/// A time of an answer to the second, in UTC, as people write it.
pub(in crate::command) fn time(json: &Json, name: &str) -> String {
    let text = of(json, name);
    text.parse::<Timestamp>().map_or(text, |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// An array's texts, or what else stands there.
pub(in crate::command) fn joined(json: &Json, name: &str) -> String {
    match json.get(name).and_then(Json::as_array) {
        Some(items) => items.iter().map(Json::to_text).collect::<Vec<_>>().join(", "),
        None => of(json, name),
    }
}

fn escape(mut escaped: String, letter: char) -> String {
    if is_unfit(letter) {
        let _ = write!(escaped, "{}", letter.escape_default());
    } else {
        escaped.push(letter);
    }
    escaped
}

/// Unicode's control characters, and those of its format characters that turn a line around, break
/// it or cannot be seen.
fn is_unfit(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelt() {
        for (text, expected) in [
            ("plain, Zoë 日本 😀", "plain, Zoë 日本 😀"),
            ("\u{1b}[31mred\u{7}", r"\u{1b}[31mred\u{7}"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("a\u{202e}b", r"a\u{202e}b"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\tb\r\nc\u{1b}d\n").collect::<Vec<_>>(), ["a\tb", r"c\u{1b}d"]);
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        assert_eq!(
            (cut("abcd", 4), cut("äbcde", 4), cut("", 4)),
            ("abcd".into(), "äbc…".into(), String::new())
        );
    }
}
