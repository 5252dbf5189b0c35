//! What went wrong, in a line that says what, where and what to do; what a server found wrong with
//! a request, each with its place.

use std::cell::OnceCell;
use std::io::{self, Write};

use super::super::drawing::{self, Mark, Severity};
use super::super::input::Format;
use super::text;
use crate::context::Json;
use crate::delivery::client::AskError;

/// Something was refused, or could not be done.
const FAILED: u8 = 1;
/// The arguments cannot be used.
const UNUSABLE: u8 = 2;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(in crate::command) enum Failure {
    /// An argument cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A file cannot be read.
    #[error("{name}: cannot be read: {source}")]
    Input { name: String, source: io::Error },
    /// There was no answer.
    #[error("{at}: {source}; --url or RINGBACK_URL says where the server is")]
    NoAnswer { at: String, source: AskError },
    /// There was one that no Ringback gives.
    #[error(
        "{at}: answered with {status}, and not as a Ringback does; --url or RINGBACK_URL says where one is"
    )]
    Foreign { at: String, status: u16 },
    /// The server would not.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// It has been told already.
    #[error("it was not all done")]
    Told,
    /// The output cannot be written: whoever reads it has gone.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// No runtime.
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] io::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl Failure {
    /// Tells it; the exit code.
    pub(super) fn tell(&self, format: Format, err: &mut dyn Write) -> u8 {
        // If this cannot be written, nobody is left to tell.
        let _ = self.write(format, None, err);
        match self {
            Self::Unusable(_) => UNUSABLE,
            _ => FAILED,
        }
    }

    /// Writes it; the places of what is wrong with a request are drawn where that is at hand.
    pub(in crate::command) fn write(
        &self,
        format: Format,
        sent: Option<&Sent>,
        err: &mut dyn Write,
    ) -> io::Result<()> {
        match (self, format) {
            (Self::Told | Self::Output(_), _) => Ok(()),
            (Self::Refused(refusal), Format::Json) => writeln!(err, "{}", refusal.problem.to_compact()),
            (Self::Refused(refusal), Format::Text) => {
                writeln!(err, "{self}")?;
                refusal.draw_errors(sent, err)
            }
            (_, Format::Json) => {
                writeln!(err, "{}", serde_json::json!({"code": self.code(), "detail": self.to_string()}))
            }
            (_, Format::Text) => writeln!(err, "{self}"),
        }
    }

    /// A stable name of what has no problem document.
    fn code(&self) -> &'static str {
        match self {
            Self::Unusable(_) => "unusable_argument",
            Self::Input { .. } => "unreadable",
            Self::NoAnswer { .. } => "no_answer",
            Self::Foreign { .. } => "not_a_ringback",
            Self::Refused(_) => "refused",
            Self::Told | Self::Output(_) | Self::Runtime(_) => "failed",
        }
    }
}

/// A problem document (RFC 9457).
#[derive(Debug, thiserror::Error)]
#[error("{at}: {status} {}", self.sentence())]
pub(in crate::command) struct Refusal {
    at: String,
    status: u16,
    problem: Json,
}

impl Refusal {
    /// Reads one; `None` where it is none.
    pub(super) fn read(at: String, status: u16, problem: Json) -> Option<Self> {
        let is_one = ["code", "detail"].iter().all(|name| problem.get(name).and_then(Json::as_str).is_some());
        is_one.then_some(Self { at, status, problem })
    }

    /// Whether the same request may be answered in a moment.
    pub(super) fn is_too_fast(&self) -> bool {
        self.status == 429 && self.member("code") == "rate_limited"
    }

    fn member(&self, name: &str) -> &str {
        self.problem.get(name).and_then(Json::as_str).unwrap_or_default()
    }

    fn sentence(&self) -> String {
        let (code, detail) = (text::line(self.member("code")), text::line(self.member("detail")));
        // The server speaks of headers, which nobody at a command line writes.
        if self.status == 401 {
            return format!(
                "{code}: the server does not know this token; RINGBACK_TOKEN or --token gives another"
            );
        }
        format!("{code}: {detail}")
    }

    fn draw_errors(&self, sent: Option<&Sent>, err: &mut dyn Write) -> io::Result<()> {
        let errors = self.problem.get("errors").and_then(Json::as_array).unwrap_or_default();
        draw_issues(errors, Severity::Error, sent, err)
    }
}

/// Writes entries of `errors` or `warnings`: a line each, or a drawing where the text that it means
/// is at hand.
pub(in crate::command) fn draw_issues(
    issues: &[Json],
    severity: Severity,
    sent: Option<&Sent>,
    err: &mut dyn Write,
) -> io::Result<()> {
    for issue in issues {
        let text_of = |name: &str| issue.get(name).and_then(Json::as_str);
        let number_of = |name: &str| issue.get(name)?.to_text().parse::<usize>().ok();
        let pointer = text_of("pointer").unwrap_or_default();
        let (code, detail) = (text_of("code").unwrap_or_default(), text_of("detail").unwrap_or_default());
        let suggestion = text_of("suggestion");
        let place = number_of("offset").zip(number_of("length")).zip(number_of("line"));
        let source = sent.and_then(|sent| sent.text_at(pointer));
        match (place, source) {
            (Some(((offset, length), line)), Some((name, source)))
                if offset <= source.len() && source.is_char_boundary(offset) =>
            {
                let (code, message) = (text::line(code), text::line(detail));
                let mark = Mark { code: &code, message: &message, offset, length, line, suggestion };
                drawing::draw(&name, &source, &mark, severity, err)?;
            }
            _ => {
                let column = number_of("line").zip(number_of("column"));
                let place = column.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
                let meant = suggestion.map(|meant| format!("; did you mean `{}`?", text::line(meant)));
                let of = if matches!(severity, Severity::Warning) { "warning: " } else { "" };
                let pointer = if pointer.is_empty() { "the request".into() } else { text::line(pointer) };
                writeln!(err, "  {of}{pointer}{place}: {}{}", text::line(detail), meant.unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// A body that was sent, and the files that it came from.
pub(in crate::command) struct Sent {
    bytes: Vec<u8>,
    /// What people call the file.
    name: String,
    /// The file of `callback_data`, where that has one of its own.
    template: Option<(String, String)>,
    /// Its JSON, read when the first place in it is looked for.
    json: OnceCell<Option<serde_json::Value>>,
}

impl Sent {
    /// A file's content as it is.
    pub(in crate::command) fn of(name: String, bytes: Vec<u8>) -> Self {
        Self { bytes, name, template: None, json: OnceCell::new() }
    }

    /// A request that a program made.
    pub(in crate::command) fn made(request: &serde_json::Value) -> Self {
        Self::of("the request".to_owned(), request.to_string().into_bytes())
    }

    /// Puts a template into the request, in place of none: its file's name and its text.
    pub(in crate::command) fn with_template(self, file: String, template: String) -> Result<Self, Failure> {
        const MEMBER: &str = "callback_data";
        let name = &self.name;
        let members = match Json::parse(&self.bytes) {
            Ok(Json::Object(members)) => members,
            Ok(_) => return Err(Failure::Unusable(format!("{name}: not a JSON object"))),
            Err(error) => return Err(Failure::Unusable(format!("{name}: not JSON: {error}"))),
        };
        if members.iter().any(|(member, _)| &**member == MEMBER) {
            let both = format!("{name} has a `{MEMBER}` already: take it out, or leave --data away");
            return Err(Failure::Unusable(both));
        }
        let data = (MEMBER.into(), Json::from(template.as_str()));
        let bytes = Json::Object(members.into_iter().chain([data]).collect()).to_compact().into_bytes();
        Ok(Self { bytes, template: Some((file, template)), ..self })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text that a pointer (RFC 6901) means, and how people know it.
    fn text_at(&self, pointer: &str) -> Option<(String, String)> {
        if let Some((file, template)) = &self.template
            && pointer == "/callback_data"
        {
            return Some((file.clone(), template.clone()));
        }
        let json = self.json.get_or_init(|| serde_json::from_slice(&self.bytes).ok());
        let text = json.as_ref()?.pointer(pointer)?.as_str()?;
        Some((format!("{}#{pointer}", self.name), text.to_owned()))
    }
}
