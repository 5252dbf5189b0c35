//! Header values with placeholders, and the names that headers may have.

use std::sync::Arc;

use super::compiled::Compiled;
use super::diagnostic::{Code, Diagnostic, Problems};
use super::escaping::Escaping;
use super::grammar::{self, TextRules};
use super::tree::Span;
use super::{Limits, RenderError};
use crate::context::Values;

/// A header's value with placeholders, in UTF-8. Control characters in data are removed, so that
/// no value ends its header.
#[derive(Clone, Debug)]
pub struct HeaderTemplate(Arc<Compiled>);

impl HeaderTemplate {
    /// Compiles a header's value.
    ///
    /// # Errors
    /// All its problems, in the order of their places; `invalid_header` for a control character.
    pub fn compile(source: &str, limits: &Limits) -> Result<Self, Vec<Diagnostic>> {
        let compiled = Compiled::new(source, Escaping::Header, limits, |problems| {
            refuse_controls(source, problems);
            grammar::parse_text(source, TextRules { has_angle_form: true, literal_brace: None }, problems)
        })?;
        Ok(Self(Arc::new(compiled)))
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// What is legal but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.0.warnings
    }

    /// The distinct paths that its placeholders name, as spelt, in the order of first use.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&str> {
        self.0.placeholders()
    }

    /// Appends the value to `out`; on an error `out` is as it was before.
    ///
    /// # Errors
    /// The data cannot be rendered with this template.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        self.0.render(values, out)
    }
}

fn refuse_controls(source: &str, problems: &mut Problems) {
    for (at, control) in source.char_indices().filter(|(_, character)| character.is_control()) {
        let span = Span::new(at, at + control.len_utf8());
        problems.add(Code::InvalidHeader, span, "a header's value holds no control character");
    }
}

/// A name that no header of a callback may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedHeaderName {
    /// Not a token (RFC 9110, section 5.6.2).
    #[error("a header's name is of letters, digits and any of !#$%&'*+-.^_`|~")]
    NotAToken,
    /// One that belongs to the connection or to the signature.
    #[error("this header is set by Ringback itself, or belongs to the connection")]
    Reserved,
}

/// Checks the name of a header of a callback; it is fixed text.
///
/// # Errors
/// It is not a name of a header, or one that callbacks may not set: `Host`, `Content-Length`,
/// `Transfer-Encoding`, `Connection`, `Upgrade`, `TE`, `Trailer`, `Expect`, `Proxy-*`, `webhook-*`.
pub fn check_header_name(name: &str) -> Result<(), RefusedHeaderName> {
    const RESERVED: [&str; 8] =
        ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];
    const RESERVED_PREFIXES: [&str; 2] = ["proxy-", "webhook-"];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(RefusedHeaderName::NotAToken);
    }
    let name = name.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(RefusedHeaderName::Reserved);
    }
    Ok(())
}
