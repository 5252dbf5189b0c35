#![doc = include_str!("language.md")]
//!
//! # How it is made
//!
//! `grammar` reads text into a flat `tree`; `compile` resolves names and filters and makes a
//! flat `program` of it; `render` runs that into the caller's buffer, texts through `escape`.
//! Nothing here recurses with the depth of a template, reads a clock or does I/O; rendering without
//! filters that make new text allocates nothing but the output.

mod compile;
mod compiled;
mod content;
mod diagnostic;
mod escaping;
mod filter;
mod grammar;
mod header;
#[cfg(any(test, fuzzing))]
mod print;
mod program;
mod render;
mod suggest;
mod tree;
mod url;

use std::sync::Arc;

pub use content::ContentType;
pub use diagnostic::{Code, Diagnostic};
pub use header::{HeaderTemplate, RefusedHeaderName, check_header_name};
#[cfg(fuzzing)]
pub use print::assert_printed_tree_is_the_tree;
pub use url::UrlTemplate;

use crate::context::{Name, Values};
use compiled::Compiled;
use grammar::TextRules;

/// How large a template and its rendering may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of template text.
    pub template: usize,
    /// Placeholders in one template.
    pub placeholders: usize,
    /// Nesting of arrays and objects.
    pub depth: usize,
    /// Bytes of one rendering.
    pub rendering: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { template: 256 << 10, placeholders: 1_000, depth: 512, rendering: 8 << 20 }
    }
}

/// A template that compiled. A clone shares it.
#[derive(Clone, Debug)]
pub struct Template {
    compiled: Arc<Compiled>,
    content_type: ContentType,
}

impl Template {
    /// A template's bytes as text.
    ///
    /// # Errors
    /// They are not UTF-8; the problem says from where on.
    pub fn text(bytes: &[u8]) -> Result<&str, Diagnostic> {
        diagnostic::text(bytes)
    }

    /// Compiles a JSON template.
    ///
    /// # Errors
    /// All its problems, in the order of their places.
    pub fn compile(source: &str, limits: &Limits) -> Result<Self, Vec<Diagnostic>> {
        Self::compile_as(source, ContentType::Json, limits)
    }

    /// Compiles a template of any content type.
    ///
    /// # Errors
    /// All its problems, in the order of their places.
    pub fn compile_as(
        source: &str,
        content_type: ContentType,
        limits: &Limits,
    ) -> Result<Self, Vec<Diagnostic>> {
        let compiled =
            Compiled::new(source, content_type.escaping(), limits, |problems| match content_type {
                ContentType::Json => grammar::parse(source, limits.depth, problems),
                ContentType::Form | ContentType::Xml | ContentType::Text => {
                    let rules = TextRules {
                        has_angle_form: content_type.has_angle_form(),
                        literal_brace: content_type.literal_brace(),
                    };
                    grammar::parse_text(source, rules, problems)
                }
            })?;
        Ok(Self { compiled: Arc::new(compiled), content_type })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// What its text is.
    #[must_use]
    pub const fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// What is legal but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.compiled.warnings
    }

    /// The distinct paths that its placeholders name, as spelt, in the order of first use.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&str> {
        self.compiled.placeholders()
    }

    /// Appends the rendering to `out`; on an error `out` is as it was before.
    ///
    /// # Errors
    /// The data cannot be rendered with this template.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        self.compiled.render(values, out)
    }
}

/// The name that a text was probably meant to be, if it is none but like one.
#[must_use]
pub fn closest_name(text: &str) -> Option<Name> {
    suggest::meant(text, Name::ALL.into_iter().map(Name::as_str)).and_then(Name::from_text)
}

/// Why a rendering failed. Holds names, never data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The rendering would be larger than [`Limits::rendering`].
    #[error("the rendering is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Two members of one object have the same rendered name.
    #[error("two members of one object render to the same name (the second at line {line}, column {column})")]
    DuplicateMember {
        /// Line of the later of the two names.
        line: usize,
        /// Column of the later of the two names.
        column: usize,
    },
    /// The filters would have to read or make more than this, which is sixteen times
    /// [`Limits::rendering`].
    #[error("the template's filters would work on more than {limit} bytes")]
    Overworked {
        /// The limit in bytes.
        limit: usize,
    },
    /// A segment of a URL's path with placeholders is `.` or `..`, which would change the path.
    #[error("a segment of the URL's path renders to `.` or `..`")]
    DotSegment,
    /// A value that the `required` filter asks for is missing.
    #[error("`{name}` is required and has no value")]
    Required {
        /// The path as the template spells it.
        name: String,
    },
}
