//! The callback template language: compiled once, rendered for every callback.

use crate::context::Values;

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

/// One problem (or warning) of a template, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of problem; its name is stable.
    pub code: Code,
    /// Where it begins, in bytes from the template's beginning.
    pub offset: usize,
    /// How many bytes it covers.
    pub length: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// One plain sentence.
    pub message: String,
    /// What to write instead, where that is known.
    pub suggestion: Option<String>,
}

/// The stable codes of a template's problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// `invalid_json`
    InvalidJson,
}

/// A template that compiled.
#[derive(Debug)]
pub struct Template {}

impl Template {
    /// Compiles a JSON template.
    ///
    /// # Errors
    /// All its problems, in the order of their places.
    pub fn compile(_source: &str, _limits: &Limits) -> Result<Self, Vec<Diagnostic>> {
        unimplemented!()
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        unimplemented!()
    }

    /// What is legal but probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &[Diagnostic] {
        unimplemented!()
    }

    /// The distinct paths that its placeholders name, as spelt, in the order of first use.
    #[must_use]
    pub fn placeholders(&self) -> Vec<&str> {
        unimplemented!()
    }

    /// Appends the rendering to `out`; on an error `out` is as it was before.
    ///
    /// # Errors
    /// The data cannot be rendered with this template.
    pub fn render(&self, _values: &Values<'_>, _out: &mut Vec<u8>) -> Result<(), RenderError> {
        unimplemented!()
    }
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
    /// A value that the `required` filter asks for is missing.
    #[error("`{name}` is required and has no value")]
    Required {
        /// The path as the template spells it.
        name: String,
    },
}
