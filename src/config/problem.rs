//! What is wrong with a configuration, one line each.

use std::fmt::{self, Write as _};

/// One problem: where it is, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, as in `account[0].tokens[0].sha256`; empty where the problem is not at a key.
    pub key: String,
    /// A sentence that says the mend. Holds no secret.
    pub reason: String,
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the configuration file, at this line, from 1; none if it is the file itself.
    File(String, Option<usize>),
    /// In an argument or an environment variable of this name.
    Override(&'static str),
}

impl Problem {
    pub(super) fn of_override(name: &'static str, reason: impl Into<String>) -> Self {
        Self { place: Place::Override(name), key: String::new(), reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(file, Some(line)) => write!(f, "{}:{line}: ", OneLine(file))?,
            Place::File(file, None) => write!(f, "{}: ", OneLine(file))?,
            Place::Override(name) => write!(f, "{name}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", OneLine(&self.key))?;
        }
        OneLine(&self.reason).fmt(f)
    }
}

/// A text whose control characters are escaped: a problem stays one line, whatever a name or a
/// path in it holds.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}
