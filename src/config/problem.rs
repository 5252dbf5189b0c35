//! What is wrong with a configuration, one line each.

use std::fmt;

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
            Place::File(file, Some(line)) => write!(f, "{file}:{line}: ")?,
            Place::File(file, None) => write!(f, "{file}: ")?,
            Place::Override(name) => write!(f, "{name}: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)
    }
}
