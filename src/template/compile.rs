//! Tree to program: names and filters are resolved here, once, and never again.

use std::collections::HashSet;

use super::diagnostic::{Code, Problems};
use super::escaping::Escaping;
use super::filter::Filter;
use super::grammar::{decode, excerpt};
use super::program::{Expression, Members, Operation, OperationKind, Program, RenderedName};
use super::tree::{Form, NodeKind, Placeholder, Position, Span, Tree};
use super::{Limits, suggest};
use crate::context::{Kind, Name};

/// What a placeholder stands for; `None` if it is text that only looks like one.
type Resolved = Option<(Name, Option<Expression>)>;

/// Compiles a tree. The program is of use only if no problem was added.
pub(super) fn compile(
    source: &str,
    tree: &Tree,
    escaping: Escaping,
    limits: &Limits,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> Program {
    let resolved = resolve_all(source, tree, limits, problems, warnings);
    if !problems.is_empty() {
        return Program::default();
    }
    let mut emitter = Emitter { source, tree, program: Program::default(), copied: 0 };
    emitter.program.escaping = escaping;
    emitter.program.limit = limits.rendering;
    emitter.program.operations.reserve(tree.placeholders.len() + 1);
    emitter.program.paths.reserve_exact(tree.placeholders.len());
    emitter.emit(resolved);
    emitter.program
}

/// Resolves every placeholder. Those that are reported are `None`, too.
fn resolve_all(
    source: &str,
    tree: &Tree,
    limits: &Limits,
    problems: &mut Problems,
    warnings: &mut Problems,
) -> Vec<Resolved> {
    let mut count = 0;
    let mut tags = HashSet::new();
    let mut resolved = Vec::with_capacity(tree.placeholders.len());
    for placeholder in &tree.placeholders {
        if problems.is_full() {
            break;
        }
        let text = placeholder.name.of(source);
        let name = Name::from_text(text);
        if name.is_none() && looks_like_tag(text, placeholder) {
            let is_new = !tags.contains(text);
            if is_new && suggest::close(text, names()).is_none() {
                tags.insert(text);
                warn_of_tag(text, placeholder.span, warnings);
            }
            if tags.contains(text) {
                resolved.push(None);
                continue;
            }
        }
        count += 1;
        if count == limits.placeholders + 1 {
            let message =
                format!("a template may have {} placeholders, and this is one more", limits.placeholders);
            problems.add(Code::TooManyPlaceholders, placeholder.span, message);
        }
        resolved.push(resolve(source, placeholder, name, problems));
    }
    resolved
}

fn resolve(source: &str, placeholder: &Placeholder, name: Option<Name>, problems: &mut Problems) -> Resolved {
    match name {
        Some(name) => check_first_step(name, placeholder, problems),
        None => report_unknown(placeholder.name.of(source), placeholder, problems),
    }
    let filters: Box<[Filter]> =
        placeholder.filters.iter().filter_map(|call| Filter::compile(source, call, problems)).collect();
    let name = name?;
    let is_plain = placeholder.steps.is_empty() && placeholder.filters.is_empty();
    let expression = (!is_plain).then(|| Expression {
        name,
        steps: placeholder.steps.iter().map(|step| step.kind.clone()).collect(),
        filters,
        path: placeholder.path,
    });
    Some((name, expression))
}

fn names() -> impl Iterator<Item = &'static str> + Clone {
    Name::ALL.into_iter().map(Name::as_str)
}

/// Whether an unknown name may be a tag of HTML or XML: `<b>` in a string, of letters and digits.
/// It is one if it is not close to a known name.
fn looks_like_tag(text: &str, placeholder: &Placeholder) -> bool {
    placeholder.form == Form::Angle
        && placeholder.position == Position::Text
        && placeholder.steps.is_empty()
        && placeholder.filters.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn warn_of_tag(tag: &str, span: Span, warnings: &mut Problems) {
    let message = format!("`<{}>` is no known placeholder and stays text", excerpt(tag));
    let suggestion = suggest::meant(tag, names()).map(|name| format!("<{name}>"));
    warnings.suggest(Code::UnknownPlaceholder, span, message, suggestion);
}

fn report_unknown(text: &str, placeholder: &Placeholder, problems: &mut Problems) {
    problems.suggest(
        Code::UnknownPlaceholder,
        placeholder.name,
        format!("there is no placeholder `{}`", excerpt(text)),
        suggest::meant(text, names()).map(str::to_owned),
    );
}

fn check_first_step(name: Name, placeholder: &Placeholder, problems: &mut Problems) {
    let Some(first) = placeholder.steps.first() else { return };
    if !name.kind().has_members() {
        let article = if name.kind() == Kind::Id { "an" } else { "a" };
        let message = format!(
            "`{name}` is {article} {} and has nothing within it that a path could name",
            name.kind().as_str()
        );
        let last = placeholder.steps.last().unwrap_or(first);
        let span = Span { start: first.span.start, end: last.span.end };
        problems.suggest(Code::UnknownPlaceholder, span, message, Some(name.as_str().to_owned()));
    }
}

/// How many literals are copied from the arena, and not from pieces of it in operations: with more of
/// them the call that copies costs less than the operations.
const MANY_LITERALS: usize = 4 * Program::PIECE;

/// An object around the place that is being compiled.
struct Open {
    node: usize,
    /// Its index among the program's objects, once one of its names has a placeholder.
    members: Option<u32>,
}

struct Emitter<'a> {
    source: &'a str,
    tree: &'a Tree,
    program: Program,
    /// How much of the source is in the program, or left out of it.
    copied: usize,
}

impl Emitter<'_> {
    fn emit(&mut self, resolved: Vec<Resolved>) {
        let nodes = &self.tree.nodes;
        let mut resolved = resolved.into_iter();
        let mut placeholders = self.tree.placeholders.iter();
        let mut open: Vec<Open> = Vec::new();
        // The nodes of the names that have placeholders, in order.
        let mut rendered = Vec::new();
        let mut objects = Vec::new();
        // The name at hand: its node, and whether it has a placeholder yet.
        let mut name: Option<(usize, bool)> = None;
        for (index, node) in nodes.iter().enumerate() {
            if let Some((at, has_placeholder)) = name.filter(|(at, _)| nodes[*at].end as usize <= index) {
                if has_placeholder {
                    self.end_name(at);
                }
                name = None;
            }
            while let Some(object) = open.pop_if(|object| nodes[object.node].end as usize <= index) {
                self.end_object(&object);
            }
            match node.kind {
                NodeKind::Object => open.push(Open { node: index, members: None }),
                NodeKind::Name => name = Some((index, false)),
                NodeKind::Placeholder => {
                    let placeholder = placeholders.next().expect("one for each such node");
                    let Some((target, expression)) = resolved.next().expect("one for each placeholder")
                    else {
                        continue;
                    };
                    if let Some((at, has_placeholder)) = name.as_mut().filter(|(_, has)| !has) {
                        *has_placeholder = true;
                        rendered.push(*at);
                        let object = open.last_mut().expect("a name is within an object");
                        self.begin_name(*at, object, &mut objects);
                    }
                    self.placeholder(placeholder, target, expression);
                }
                NodeKind::Scalar | NodeKind::String | NodeKind::Array | NodeKind::Text => {}
            }
        }
        while let Some(object) = open.pop() {
            self.end_object(&object);
        }
        let end = self.source.len();
        self.operation(end, end, OperationKind::Piece, Operation::NO_NAME);
        for (members, node) in objects.into_iter().enumerate() {
            self.program.objects[members].fixed = self.fixed_names(node, &rendered);
        }
    }

    /// Copies the literals before `from`, leaves out what is before `to`, and adds an operation.
    fn operation(&mut self, from: usize, to: usize, kind: OperationKind, name: Name) {
        let mut literals = &self.source.as_bytes()[self.copied..from];
        self.copied = to;
        self.program.fixed += literals.len();
        if literals.len() > MANY_LITERALS {
            self.program.literals.extend_from_slice(literals);
            self.program.operations.push(Operation::literals(literals.len()));
            literals = &[];
        }
        while let Some((piece, rest)) = literals.split_first_chunk::<{ Program::PIECE }>() {
            self.program.operations.push(Operation::new(piece, OperationKind::Piece, Operation::NO_NAME));
            literals = rest;
        }
        if !literals.is_empty() || kind != OperationKind::Piece {
            self.program.operations.push(Operation::new(literals, kind, name));
        }
    }

    /// An operation that leaves nothing out and stands where the last one did.
    fn mark(&mut self, kind: OperationKind) {
        self.operation(self.copied, self.copied, kind, Operation::NO_NAME);
    }

    fn placeholder(&mut self, placeholder: &Placeholder, name: Name, expression: Option<Expression>) {
        let kind = match (placeholder.position, &expression) {
            (Position::Value, None) => OperationKind::Value,
            (Position::Text, None) if self.program.escaping == Escaping::Json => OperationKind::Text,
            (Position::Text, None) => OperationKind::OtherText,
            (Position::Value, Some(_)) => OperationKind::ExpressionValue,
            (Position::Text, Some(_)) => OperationKind::ExpressionText,
        };
        let span = placeholder.span.range();
        self.operation(span.start, span.end, kind, name);
        self.program.expressions.extend(expression);
        self.program.paths.push(placeholder.path);
    }

    fn begin_name(&mut self, node: usize, object: &mut Open, objects: &mut Vec<usize>) {
        let members = *object.members.get_or_insert_with(|| {
            objects.push(object.node);
            self.program.objects.push(Members::default());
            Span::new(objects.len() - 1, 0).start
        });
        self.program.objects[members as usize].rendered += 1;
        let span = self.tree.nodes[node].span;
        self.program.names.push(RenderedName { members, offset: span.start });
        let content = span.range().start + 1;
        self.operation(content, content, OperationKind::NameBegin, Operation::NO_NAME);
    }

    fn end_name(&mut self, node: usize) {
        let quote = self.tree.nodes[node].span.range().end - 1;
        self.operation(quote, quote, OperationKind::NameEnd, Operation::NO_NAME);
    }

    fn end_object(&mut self, object: &Open) {
        if object.members.is_some_and(|members| self.program.objects[members as usize].rendered > 1) {
            self.mark(OperationKind::ObjectEnd);
        }
    }

    /// The names of an object that have no placeholders.
    fn fixed_names(&self, object: usize, rendered: &[usize]) -> Box<[Box<str>]> {
        let nodes = &self.tree.nodes;
        let mut fixed = Vec::new();
        let mut name = object + 1;
        while name < nodes[object].end as usize {
            if rendered.binary_search(&name).is_err() {
                let span = nodes[name].span.range();
                fixed.push(decode(&self.source[span.start + 1..span.end - 1]).into_boxed_str());
            }
            let value = nodes[name].end as usize;
            name = nodes[value].end as usize;
        }
        fixed.sort_unstable();
        fixed.dedup();
        fixed.into_boxed_slice()
    }
}
