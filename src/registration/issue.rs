//! What is wrong with a request, one entry a problem.

use crate::template::Diagnostic;

/// One problem of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Where, as a JSON pointer into the request (RFC 6901): `/callback_data`.
    pub pointer: String,
    /// What kind of problem; its name is stable.
    pub code: &'static str,
    /// A sentence that says the problem and the mend.
    pub detail: String,
    /// The place inside a template.
    pub place: Option<Place>,
    /// What to write instead, where that is known.
    pub suggestion: Option<String>,
}

/// A place inside a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In bytes from the beginning.
    pub offset: usize,
    /// How many bytes.
    pub length: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Issue {
    /// A problem of a whole member.
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into(), place: None, suggestion: None }
    }

    /// The pointer of a member of the object at another pointer: its name is escaped.
    #[must_use]
    pub fn pointer(object: &str, name: &str) -> String {
        format!("{object}/{}", name.replace('~', "~0").replace('/', "~1"))
    }

    /// A problem inside a template, which stands at `pointer`.
    #[must_use]
    pub fn in_template(pointer: &str, diagnostic: &Diagnostic) -> Self {
        Self {
            pointer: pointer.to_owned(),
            code: diagnostic.code.as_str(),
            detail: diagnostic.message.clone(),
            place: Some(Place {
                offset: diagnostic.offset,
                length: diagnostic.length,
                line: diagnostic.line,
                column: diagnostic.column,
            }),
            suggestion: diagnostic.suggestion.clone(),
        }
    }
}
