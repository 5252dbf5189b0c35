//! `ringback render`: renders a template with given data.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::drawing;
use super::input::{content_type, read, read_template};
use crate::context::{Facts, Json, Name, Value, Values};
use crate::template::{ContentType, Limits, Template, closest_name};

/// It is rendered.
const RENDERED: u8 = 0;
/// The template or the data was refused.
const REFUSED: u8 = 1;

/// The most bytes of data that are read: far more than a context has.
const MOST_CONTEXT: usize = 64 << 20;

/// The arguments of `ringback render`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The template; `-` is standard input
    pub file: PathBuf,
    /// The data: a JSON object of names as `ringback placeholders` lists them, in a file, on
    /// standard input (`-`), or written here: `{"call_id": "42"}`
    #[arg(long, value_name = "C")]
    pub context: PathBuf,
    /// What the template is: application/json, application/x-www-form-urlencoded, application/xml,
    /// text/xml or text/plain
    #[arg(long, value_name = "T", default_value = "application/json", value_parser = content_type)]
    pub content_type: ContentType,
}

/// Writes the rendering to `out`, nothing added; problems and warnings go to `err`. The exit code
/// is 0, or 1 if the template or the data is refused.
///
/// # Errors
/// A writer fails.
pub fn run(
    args: &Arguments,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let Some(template) = compile(args, stdin, err)? else { return Ok(REFUSED) };
    let Some(facts) = read_facts(&args.context, stdin, err)? else { return Ok(REFUSED) };
    let mut values = Values::new();
    for (name, value) in facts.iter() {
        values.set(name, Value::from(value));
    }
    let mut rendered = Vec::new();
    if let Err(error) = template.render(&values, &mut rendered) {
        writeln!(err, "{}: {error}", drawing::name_of(&args.file))?;
        return Ok(REFUSED);
    }
    out.write_all(&rendered)?;
    out.flush()?;
    Ok(RENDERED)
}

fn compile(args: &Arguments, stdin: &mut dyn Read, err: &mut dyn Write) -> io::Result<Option<Template>> {
    let name = drawing::name_of(&args.file);
    let limits = Limits::default();
    let bytes = match read_template(&args.file, &limits, stdin) {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "{name}: cannot be read: {error}")?;
            return Ok(None);
        }
    };
    let compiled = match Template::text(&bytes) {
        Ok(text) => Template::compile_as(text, args.content_type, &limits),
        Err(problem) => Err(vec![problem]),
    };
    let source = String::from_utf8_lossy(&bytes);
    match compiled {
        Ok(template) => {
            drawing::warnings(&name, &source, template.warnings(), err)?;
            Ok(Some(template))
        }
        Err(problems) => {
            drawing::problems(&name, &source, &problems, err)?;
            Ok(None)
        }
    }
}

/// Reads the data, each value in its name's type.
fn read_facts(context: &Path, stdin: &mut dyn Read, err: &mut dyn Write) -> io::Result<Option<Facts>> {
    let written_here = context.to_str().filter(|text| text.trim_start().starts_with('{'));
    let (name, bytes) = match written_here {
        Some(text) => ("the context".to_owned(), Ok(text.as_bytes().to_vec())),
        None => (drawing::name_of(context), read(context, MOST_CONTEXT, stdin)),
    };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            writeln!(err, "{name}: cannot be read: {error}")?;
            return Ok(None);
        }
    };
    let members = match Json::parse(&bytes) {
        Ok(Json::Object(members)) => members,
        Ok(_) => {
            writeln!(err, "{name}: the data is a JSON object of names, such as {{\"call_id\": \"42\"}}")?;
            return Ok(None);
        }
        Err(error) => {
            writeln!(err, "{name}: not JSON: {error}")?;
            return Ok(None);
        }
    };
    let mut facts = Facts::new();
    let mut warnings = Vec::new();
    let mut is_known = true;
    for (member, value) in members {
        if let Some(name) = Name::from_text(&member) {
            facts.put(name, value, &mut warnings);
        } else {
            is_known = false;
            let mend = match closest_name(&member) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`ringback placeholders` lists all".to_owned(),
            };
            writeln!(err, "{name}: there is no name `{}`; {mend}", member.escape_debug())?;
        }
    }
    for warning in warnings {
        writeln!(err, "{name}: {warning}")?;
    }
    Ok(is_known.then_some(facts))
}
