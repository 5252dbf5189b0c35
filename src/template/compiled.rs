//! What all kinds of templates are once they are compiled.

use std::collections::HashSet;

use super::diagnostic::{Code, Diagnostic, Place, Problems};
use super::escaping::Escaping;
use super::program::Program;
use super::render::{self, Stopped};
use super::tree::{Span, Tree};
use super::{Limits, RenderError, compile};
use crate::context::Values;

/// A program, with the text that it was compiled from.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) source: Box<str>,
    pub(super) program: Program,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Compiled {
    /// Compiles what `parse` makes of the text, which it is asked for only if the text is not too
    /// long; what it adds to the problems is told with the others.
    pub(super) fn new(
        source: &str,
        escaping: Escaping,
        limits: &Limits,
        parse: impl FnOnce(&mut Problems) -> Tree,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Problems::default();
        let most = limits.template.min(Span::MAX_TEXT);
        if source.len() > most {
            let begin = source.floor_char_boundary(most);
            let end = source.floor_char_boundary(source.len().min(Span::MAX_TEXT));
            let message = format!("a template may have {} bytes, and here they end", limits.template);
            problems.add(Code::TooLarge, Span::new(begin, end), message);
            return Err(problems.locate(source));
        }
        let tree = parse(&mut problems);
        let mut warnings = Problems::default();
        let program = compile::compile(source, &tree, escaping, limits, &mut problems, &mut warnings);
        if !problems.is_empty() {
            return Err(problems.locate(source));
        }
        Ok(Self { source: source.into(), program, warnings: warnings.locate(source) })
    }

    /// The distinct paths of the placeholders, in the order of first use.
    pub(super) fn placeholders(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let paths = self.program.paths.iter().map(|path| path.of(&self.source));
        paths.filter(|path| seen.insert(*path)).collect()
    }

    /// Appends the rendering to `out`; on an error `out` is as it was before.
    pub(super) fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let begin = out.len();
        render::run(&self.program, values, out).map_err(|stopped| {
            out.truncate(begin);
            self.error(&stopped)
        })
    }

    #[cold]
    fn error(&self, stopped: &Stopped) -> RenderError {
        match *stopped {
            Stopped::TooLarge => RenderError::TooLarge { limit: self.program.limit },
            Stopped::Overworked => {
                RenderError::Overworked { limit: self.program.limit.saturating_mul(render::WORK_PER_BYTE) }
            }
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
