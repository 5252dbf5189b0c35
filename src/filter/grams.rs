//! Runs of one to three characters, as numbers: a text can be in another only if its runs are. Two
//! runs may have one number, so that what is found by them is only a candidate.

use super::{Filter, Needle, Occasion};

/// The most different runs of a text that are kept. A text that has more is found by every search
/// in texts: no language has so many, and what is not language must not fill the file.
const MOST: usize = 16_384;

/// The most runs of a text that a search looks up.
const LOOKED_UP: usize = 12;

/// FNV-1a, 32 bits: stored, so it must be the same for ever.
pub fn fnv(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A text in which a filter looks for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Transcript = 1,
    Summary = 2,
    RankDescription = 3,
}

impl Field {
    const ALL: [Self; 3] = [Self::Transcript, Self::Summary, Self::RankDescription];

    fn gram(self, run: &str) -> u32 {
        fnv(std::iter::once(self as u8).chain(run.bytes()))
    }

    /// What every text has that is there at all.
    fn there(self) -> u32 {
        self.gram("")
    }

    /// What a text has that has too many.
    fn dense(self) -> u32 {
        self.gram("dense")
    }
}

/// All that an event's, or a call's, texts have, each once.
pub(super) fn of(occasion: &Occasion<'_>) -> Vec<u32> {
    let mut all = Vec::new();
    for (field, text) in [
        (Field::Transcript, occasion.transcript()),
        (Field::Summary, occasion.summary()),
        (Field::RankDescription, occasion.rank_description()),
    ] {
        if !text.is_empty() {
            all.push(field.there());
            all.extend(of_text(field, text).unwrap_or_else(|| vec![field.dense()]));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// What a text has, each once; `None` if that is too much.
fn of_text(field: Field, text: &str) -> Option<Vec<u32>> {
    let mut found: Vec<u32> = Vec::new();
    let tidy = |found: &mut Vec<u32>| {
        found.sort_unstable();
        found.dedup();
    };
    for (at, _) in text.char_indices() {
        let rest = &text[at..];
        let ends = rest.char_indices().map(|(end, character)| end + character.len_utf8());
        found.extend(ends.take(3).map(|end| field.gram(&rest[..end])));
        if found.len() > 4 * MOST {
            tidy(&mut found);
            if found.len() > MOST {
                return None;
            }
        }
    }
    tidy(&mut found);
    (found.len() <= MOST).then_some(found)
}

/// What a text has to have, so that another may be in it.
#[derive(Debug)]
pub struct Wanted {
    /// A text with this may have anything.
    pub dense: u32,
    /// Any other has all of these; there is one at least.
    pub all_of: Vec<u32>,
}

impl Wanted {
    /// What a filter looks for, text by text.
    #[must_use]
    pub fn of(filter: &Filter) -> Vec<Self> {
        [
            (Field::Transcript, &filter.phrase),
            (Field::Summary, &filter.summary),
            (Field::RankDescription, &filter.rank_description),
        ]
        .into_iter()
        .filter_map(|(field, needle)| Some(Self::new(field, needle.as_ref()?)))
        .collect()
    }

    /// Whether a text of these may have anything.
    #[must_use]
    pub fn may_be_dense(occasion: &Occasion<'_>) -> bool {
        let grams = occasion.grams();
        Field::ALL.into_iter().any(|field| grams.contains(&field.dense()))
    }

    fn new(field: Field, needle: &Needle) -> Self {
        let text = needle.lower();
        let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let width = (starts.len() - 1).min(3);
        let mut all_of: Vec<u32> = if width == 0 {
            vec![field.there()]
        } else {
            let runs = starts.len() - width;
            // Spread over the whole, its beginning and its end among them.
            let picked = (0..runs.min(LOOKED_UP)).map(|number| match runs.min(LOOKED_UP) - 1 {
                0 => 0,
                last => number * (runs - 1) / last,
            });
            picked.map(|at| field.gram(&text[starts[at]..starts[at + width]])).collect()
        };
        let mut seen = std::collections::HashSet::new();
        all_of.retain(|gram| seen.insert(*gram));
        Self { dense: field.dense(), all_of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(needle: &str, text: &str) -> bool {
        let lower = text.to_lowercase();
        let has = of_text(Field::Summary, &lower).unwrap();
        let wanted = Wanted::new(Field::Summary, &needle.to_owned().into());
        wanted.all_of.iter().all(|gram| has.contains(gram) || *gram == Field::Summary.there())
    }

    #[test]
    fn whatever_is_in_a_text_is_found_in_it_and_hardly_anything_else() {
        let text =
            "Grüß Gott, ΣΊΣΥΦΟΣ! Die Zahl ist 4711, und das ist eine ganze Menge Zeugs für einen Satz.";
        let lower = text.to_lowercase();
        let starts: Vec<usize> = lower.char_indices().map(|(at, _)| at).chain([lower.len()]).collect();
        for from in 0..starts.len() {
            for to in from..starts.len() {
                assert!(finds(&lower[starts[from]..starts[to]], text), "{from} {to}");
            }
        }
        assert!(finds("GRÜẞ GOTT", text));
        for other in ["x", "qu", "gott grüß", "4712", "ζ"] {
            assert!(!finds(other, text), "{other}");
        }
    }

    #[test]
    fn a_text_that_has_too_much_is_dense() {
        let text: String = (0x3400..0x9fff).chain(0xac00..0xd7a3).filter_map(char::from_u32).collect();
        assert_eq!(of_text(Field::Transcript, &text), None);
        let long = "the same again and again, ".repeat(100_000);
        assert!(of_text(Field::Transcript, &long).unwrap().len() < 100);
    }
}
