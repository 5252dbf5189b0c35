//! What a name was probably meant to be.

/// Whether two names are close: an optimal-string-alignment distance of 1, or of up to 2 where the
/// written name has more than 6 characters. The same name is not close, it is the name.
fn distance_if_close(written: &str, known: &str) -> Option<usize> {
    let length = written.chars().count();
    let most = if length > 6 { 2 } else { 1 };
    // A distance is at least the difference of the lengths. This is also what keeps an endless name
    // from being compared in full with every known one.
    if length.abs_diff(known.chars().count()) > most {
        return None;
    }
    // A slip puts one letter in and takes one out, at most. Most names end here, at little cost: a
    // template may have a thousand unknown time zones.
    let differing = (letters(written) ^ letters(known)).count_ones();
    if differing as usize > 2 * most {
        return None;
    }
    let distance = strsim::osa_distance(written, known);
    (1..=most).contains(&distance).then_some(distance)
}

/// The ASCII characters of a name, as a set.
fn letters(name: &str) -> u128 {
    name.bytes().filter(u8::is_ascii).fold(0, |letters, byte| letters | 1 << byte)
}

/// The known name that is closest to a written one, if any is close; of several the first.
pub(super) fn close<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .filter_map(|known| Some((distance_if_close(written, known)?, known)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The known name to suggest for a written one: a close one, else one that differs only in the
/// style of its letters (`callId`, `Call-ID`, `CALL_ID`).
pub(super) fn meant<'k>(written: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> Option<&'k str> {
    fn letters(name: &str) -> impl Iterator<Item = char> {
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase())
    }
    close(written, known.clone())
        .or_else(|| known.into_iter().find(|known| letters(written).eq(letters(known))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Name;

    fn names() -> impl Iterator<Item = &'static str> + Clone {
        Name::ALL.into_iter().map(Name::as_str)
    }

    #[test]
    fn tags_of_html_are_not_close_to_names() {
        for tag in
            ["a", "b", "i", "p", "br", "hr", "h1", "div", "span", "small", "main", "var", "table", "section"]
        {
            assert_eq!(close(tag, names()), None, "{tag}");
        }
    }

    #[test]
    fn one_slip_is_close_and_two_are_in_longer_names() {
        assert_eq!(close("emial", names()), Some("email"));
        assert_eq!(close("wieght", names()), Some("weight"));
        assert_eq!(close("rw", names()), Some("raw"));
        assert_eq!(close("wihgte", names()), None);
        assert_eq!(close("sepech_rnak", names()), Some("speech_rank"));
        assert_eq!(close("email", ["email"]), None);
    }

    #[test]
    fn another_style_of_letters_is_suggested() {
        assert_eq!(meant("callerUserId", names()), Some("caller_user_id"));
        assert_eq!(meant("EMAIL", names()), Some("email"));
        assert_eq!(meant("nonsense", names()), None);
    }
}
