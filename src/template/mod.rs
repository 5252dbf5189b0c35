//! The callback template language: compiled once, rendered for every callback.

mod compile;
mod diagnostic;
mod escape;
mod filter;
mod grammar;
mod program;
mod render;
mod suggest;
mod tree;
mod write;

use std::collections::HashSet;
use std::sync::Arc;

pub use diagnostic::{Code, Diagnostic};

use crate::context::{Name, Values};
use diagnostic::{Place, Problems};
use program::Program;
use render::Stopped;
use tree::Span;

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
pub struct Template(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Box<str>,
    program: Program,
    warnings: Vec<Diagnostic>,
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
        let mut problems = Problems::default();
        let mut warnings = Problems::default();
        let most = limits.template.min(Span::MAX_TEXT);
        if source.len() > most {
            let most = source.floor_char_boundary(most);
            let message = format!("a template may have {} bytes, and here they end", limits.template);
            let end = source.len().min(Span::MAX_TEXT);
            problems.add(Code::TooLarge, Span::new(most, source.floor_char_boundary(end)), message);
            return Err(problems.locate(source));
        }
        let tree = grammar::parse(source, limits.depth, &mut problems);
        let program = compile::compile(source, &tree, limits, &mut problems, &mut warnings);
        if !problems.is_empty() {
            return Err(problems.locate(source));
        }
        let warnings = warnings.locate(source);
        Ok(Self(Arc::new(Compiled { source: source.into(), program, warnings })))
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
        let mut seen = HashSet::new();
        let paths = self.0.program.paths.iter().map(|path| path.of(&self.0.source));
        paths.filter(|path| seen.insert(*path)).collect()
    }

    /// Appends the rendering to `out`; on an error `out` is as it was before.
    ///
    /// # Errors
    /// The data cannot be rendered with this template.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let begin = out.len();
        render::run(&self.0.program, values, out).map_err(|stopped| {
            out.truncate(begin);
            self.0.error(&stopped)
        })
    }
}

impl Compiled {
    #[cold]
    fn error(&self, stopped: &Stopped) -> RenderError {
        match *stopped {
            Stopped::Overworked => {
                RenderError::Overworked { limit: self.program.limit.saturating_mul(render::WORK_PER_BYTE) }
            }
            Stopped::TooLarge => RenderError::TooLarge { limit: self.program.limit },
            Stopped::Duplicate(name) => {
                let place = Place::of(&self.source, self.program.names[name].offset as usize);
                RenderError::DuplicateMember { line: place.line, column: place.column }
            }
            Stopped::Required(expression) => {
                let path = self.program.expressions[expression].path;
                RenderError::Required { name: path.of(&self.source).to_owned() }
            }
        }
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
    /// A value that the `required` filter asks for is missing.
    #[error("`{name}` is required and has no value")]
    Required {
        /// The path as the template spells it.
        name: String,
    },
}
