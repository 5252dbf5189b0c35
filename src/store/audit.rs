//! What an audit of a store tells: whether everything in it is where its state demands, once.

use std::collections::BTreeMap;
use std::fmt;

/// How many findings are told one by one.
const TOLD: usize = 1_000;

/// What is wrong. Each kind has a name that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// The engine says that its own data is damaged.
    Damaged,
    /// Something stored cannot be read.
    Unreadable,
    /// A setting with which the store throws data away.
    Settings,
    /// A delivery waits, or is leased, and is in no queue: nobody would ever send it.
    Lost,
    /// A delivery is over, and is in a queue all the same: it would be sent again.
    Revenant,
    /// A delivery stands in a structure that its state does not have, or more than once.
    Misplaced,
    /// A delivery is missing in a list in which it should be found.
    Unlisted,
    /// A structure names something that is not there.
    Dangling,
    /// A delivery that is to be sent has no request.
    NoRequest,
    /// A request or an attempt belongs to no delivery.
    Orphan,
    /// A state that there is none of, or that its other members do not fit.
    State,
    /// Something is kept twice, and the two differ.
    Disagreement,
    /// A destination has something to send, and is in no line: it would never be served.
    Stranded,
    /// What a dead or failed delivery came from would be removed before it.
    KeptTooBriefly,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Damaged,
        Self::Unreadable,
        Self::Settings,
        Self::Lost,
        Self::Revenant,
        Self::Misplaced,
        Self::Unlisted,
        Self::Dangling,
        Self::NoRequest,
        Self::Orphan,
        Self::State,
        Self::Disagreement,
        Self::Stranded,
        Self::KeptTooBriefly,
    ];

    /// Its name, for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
            Self::Settings => "settings",
            Self::Lost => "lost",
            Self::Revenant => "revenant",
            Self::Misplaced => "misplaced",
            Self::Unlisted => "unlisted",
            Self::Dangling => "dangling",
            Self::NoRequest => "no_request",
            Self::Orphan => "orphan",
            Self::State => "state",
            Self::Disagreement => "disagreement",
            Self::Stranded => "stranded",
            Self::KeptTooBriefly => "kept_too_briefly",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// What it is wrong with: an id, as it prints, or the name of a structure.
    pub subject: String,
    /// A sentence that says what is wrong, without data.
    pub detail: String,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The version of the stored data.
    pub format: u32,
    /// How much there is of each kind of thing.
    pub counts: BTreeMap<&'static str, u64>,
    /// What there is to know of the settings, a sentence each.
    pub notes: Vec<String>,
    /// What is wrong, as far as it is told one by one.
    pub findings: Vec<Finding>,
    /// How many findings more there are.
    pub more: u64,
}

impl Audit {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn count(&mut self, what: &'static str, more: u64) {
        if more > 0 {
            *self.counts.entry(what).or_default() += more;
        }
    }

    pub(super) fn find(&mut self, kind: FindingKind, subject: impl fmt::Display, detail: impl Into<String>) {
        if self.findings.len() < TOLD {
            self.findings.push(Finding { kind, subject: subject.to_string(), detail: detail.into() });
        } else {
            self.more += 1;
        }
    }
}
