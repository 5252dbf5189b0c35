//! `ringback check`: compiles templates and shows every problem with its line.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::drawing;
use super::input::{Format, content_type, read_template};
use crate::template::{ContentType, Diagnostic, Limits, Template};

/// Every template is valid.
const VALID: u8 = 0;
/// At least one is not, or cannot be read.
const INVALID: u8 = 1;

/// The arguments of `ringback check`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The templates; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// For people, or for programs: a JSON object a file, each on a line of its own
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// What the templates are: application/json, application/x-www-form-urlencoded,
    /// application/xml, text/xml or text/plain
    #[arg(long, value_name = "T", default_value = "application/json", value_parser = content_type)]
    pub content_type: ContentType,
}

/// Checks the templates. For people, `err` gets the problems and warnings, drawn, and `out` a line
/// for each valid template; for programs, `out` gets everything. The exit code is 0 if all are
/// valid, else 1.
///
/// # Errors
/// A writer fails.
pub fn run(
    args: &Arguments,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let limits = Limits::default();
    let mut code = VALID;
    for file in &args.files {
        let checked = check(file, args.content_type, &limits, stdin);
        if !matches!(checked.verdict, Verdict::Valid(_)) {
            code = INVALID;
        }
        match args.format {
            Format::Text => checked.draw(file, out, err)?,
            Format::Json => writeln!(out, "{}", checked.to_json(file))?,
        }
    }
    out.flush()?;
    Ok(code)
}

struct Checked {
    source: String,
    verdict: Verdict,
}

enum Verdict {
    Valid(Template),
    Invalid(Vec<Diagnostic>),
    Unreadable(io::Error),
}

fn check(file: &Path, content_type: ContentType, limits: &Limits, stdin: &mut dyn Read) -> Checked {
    let bytes = match read_template(file, limits, stdin) {
        Ok(bytes) => bytes,
        Err(error) => return Checked { source: String::new(), verdict: Verdict::Unreadable(error) },
    };
    let verdict = match Template::text(&bytes) {
        Ok(text) => match Template::compile_as(text, content_type, limits) {
            Ok(template) => Verdict::Valid(template),
            Err(problems) => Verdict::Invalid(problems),
        },
        Err(problem) => Verdict::Invalid(vec![problem]),
    };
    Checked { source: String::from_utf8_lossy(&bytes).into_owned(), verdict }
}

impl Checked {
    fn draw(&self, file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        let name = drawing::name_of(file);
        match &self.verdict {
            Verdict::Valid(template) => {
                drawing::warnings(&name, &self.source, template.warnings(), err)?;
                let placeholders = drawing::count(template.placeholders().len(), "distinct placeholder");
                writeln!(out, "{name}: valid, {placeholders}")
            }
            Verdict::Invalid(problems) => drawing::problems(&name, &self.source, problems, err),
            Verdict::Unreadable(error) => writeln!(err, "{name}: cannot be read: {error}"),
        }
    }

    fn to_json(&self, file: &Path) -> serde_json::Value {
        let all = |problems: &[Diagnostic]| problems.iter().map(to_json).collect::<Vec<_>>();
        let file = drawing::name_of(file);
        match &self.verdict {
            Verdict::Valid(template) => json!({
                "file": file,
                "valid": true,
                "placeholders": template.placeholders(),
                "errors": [],
                "warnings": all(template.warnings()),
            }),
            Verdict::Invalid(problems) => {
                json!({"file": file, "valid": false, "placeholders": [], "errors": all(problems), "warnings": []})
            }
            Verdict::Unreadable(error) => {
                let error = json!({"code": "unreadable", "detail": error.to_string()});
                json!({"file": file, "valid": false, "placeholders": [], "errors": [error], "warnings": []})
            }
        }
    }
}

/// A problem with the members that the API gives it.
fn to_json(problem: &Diagnostic) -> serde_json::Value {
    let mut json = json!({
        "code": problem.code.as_str(),
        "detail": problem.message,
        "offset": problem.offset,
        "length": problem.length,
        "line": problem.line,
        "column": problem.column,
    });
    if let Some(suggestion) = &problem.suggestion {
        json["suggestion"] = suggestion.as_str().into();
    }
    json
}
