//! Data by a seeded generator: the same in every run, and without a period that a processor's
//! predictors could learn.

/// `SplitMix64` (Steele, Lea, Flood 2014).
pub(crate) struct Chance(u64);

/// What transcripts are made of; some words need escapes, some are not ASCII.
const WORDS: &[&str] = &[
    "agent:",
    "customer:",
    "the",
    "offer",
    "is",
    "sent",
    "by",
    "mail",
    "José",
    "Zoë",
    "\"yes\"",
    "please",
    "invoice",
    "tomorrow",
    "a\\b",
    "good\nmorning",
    "Straße",
    "thanks",
    "call",
    "again",
    "on",
    "Monday",
    "12",
    "€",
    "annual",
    "plan",
    "questions",
    "answered",
    "all",
    "friendly",
    "interested",
    "new",
];

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("less than a usize")
    }

    /// A number from `first` to `last`.
    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// What `then` makes of a number from `first` to `last`.
    pub(crate) fn between_then<T>(
        &mut self,
        first: usize,
        last: usize,
        then: fn(&mut Self, usize) -> T,
    ) -> T {
        let number = self.between(first, last);
        then(self, number)
    }

    /// One of them.
    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// So many words.
    pub(crate) fn words(&mut self, count: usize) -> String {
        (0..count).map(|_| self.of(WORDS)).collect::<Vec<_>>().join(" ")
    }

    /// A text of `bytes` bytes of which about 4 in 100 characters need escapes, at random places:
    /// quotes, backslashes and line breaks, and now and then another control character, `rare`. About
    /// as many are not ASCII.
    pub(crate) fn text(&mut self, bytes: usize, rare: char) -> String {
        let mut text = String::with_capacity(bytes + 4);
        while text.len() < bytes {
            let character = match self.below(1_000) {
                0..13 => '"',
                13..25 => '\\',
                25..38 => '\n',
                38..40 => rare,
                40..70 => self.of(&['é', 'ß', 'ã', 'ж']),
                70..78 => '€',
                78..80 => '😀',
                80..230 => ' ',
                _ => char::from(self.of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.")),
            };
            text.push(character);
        }
        while text.len() > bytes {
            text.pop();
        }
        while text.len() < bytes {
            text.push('x');
        }
        text
    }
}
