//! A rendering is the template with each placeholder's own rendering in its place: valid JSON,
//! everything else kept, whatever the data.

use arbitrary::{Result, Unstructured};
use ringback::context::{Json, Name, Values};
use ringback::template::{Limits, RenderError, Template};

use super::{assert_is_json, assert_well_placed, material, render_in_every_way, values};

/// Behind this mark, in the form that a person can write, comes the context.
const MARK: &str = "\n--- context\n";

/// Bytes that begin with `t` are a template, the mark and a context; of all others a template and
/// data are made, of which is known what must come out.
pub fn check(bytes: &[u8]) {
    if let Some(written) = bytes.strip_prefix(b"t") {
        let written = String::from_utf8_lossy(written);
        let (template, context) = written.split_once(MARK).unwrap_or((&written, "{}"));
        as_written(template, context);
    } else {
        // Bytes that do not suffice for a template are no case.
        let _ = as_made(&mut Unstructured::new(bytes));
    }
}

fn as_written(template: &str, context: &str) {
    let Ok(Json::Object(members)) = Json::parse(context.as_bytes()) else { return };
    let data: Vec<(Name, Json)> =
        members.into_iter().filter_map(|(name, json)| Some((Name::from_text(&name)?, json))).collect();
    let Ok(template) = Template::compile(template, &Limits::default()) else { return };
    if let Ok(rendered) = render_in_every_way(&template, &values(&data)) {
        assert_is_json(&rendered);
    }
}

/// A piece of a template that is made.
enum Part {
    Source(String),
    Value(Placeholder),
    Text(Placeholder),
    /// Here the content of a name of that object begins or ends.
    NameBegin,
    NameEnd {
        object: usize,
        is_rendered: bool,
    },
}

struct Placeholder {
    /// As the template spells it, without brackets.
    expression: String,
    /// Where it is nothing but a name.
    name: Option<Name>,
    is_angle: bool,
}

impl Placeholder {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let (expression, name) = material::expression(u)?;
        Ok(Self { expression, name, is_angle: u.arbitrary()? })
    }

    fn spell(&self) -> String {
        let expression = &self.expression;
        if self.is_angle { format!("<{expression}>") } else { format!("{{{expression}}}") }
    }
}

#[derive(Default)]
struct Maker {
    parts: Vec<Part>,
    objects: usize,
}

impl Maker {
    fn source(&mut self, source: &str) {
        self.parts.push(Part::Source(source.to_owned()));
    }

    fn space(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let space = *u.choose(&["", "", " ", "\n\t", "\r\n"])?;
        self.source(space);
        Ok(())
    }

    fn value(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let most = if depth == 0 { 3 } else { 7 };
        match u.int_in_range(0..=most)? {
            0 => self.source(u.choose(&["1", "-0.50", "1E+2", "true", "false", "null", "\"\""])?),
            1 => self.parts.push(Part::Value(Placeholder::new(u)?)),
            2 | 3 => {
                self.source("\"");
                self.pieces(u)?;
                self.source("\"");
            }
            4 | 5 => {
                self.source("[");
                self.space(u)?;
                for index in 0..u.int_in_range(0..=3)? {
                    self.source(if index > 0 { "," } else { "" });
                    self.value(u, depth - 1)?;
                    self.space(u)?;
                }
                self.source("]");
            }
            _ => self.object(u, depth)?,
        }
        Ok(())
    }

    fn object(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let object = self.objects;
        self.objects += 1;
        self.source("{");
        self.space(u)?;
        for index in 0..u.int_in_range(0..=4)? {
            self.source(if index > 0 { "," } else { "" });
            self.source("\"");
            self.parts.push(Part::NameBegin);
            let is_rendered = self.pieces(u)?;
            self.parts.push(Part::NameEnd { object, is_rendered });
            self.source("\"");
            self.space(u)?;
            self.source(":");
            self.value(u, depth - 1)?;
            self.space(u)?;
        }
        self.source("}");
        Ok(())
    }

    /// The content of a string; whether there is a placeholder in it.
    fn pieces(&mut self, u: &mut Unstructured<'_>) -> Result<bool> {
        // Together they never open a placeholder, nor a brace in front of one.
        const TEXTS: &[&str] = &[
            "x",
            " {} ",
            "<br/>",
            "{0}",
            "\\\"",
            "\\u0041",
            "é😀",
            "\\\\",
            "<b>",
            "{ .",
            "a < b",
            "\\u007bemail}",
            "\\ud83d\\ude00",
            "\\n",
            "]],",
            "it's",
        ];
        let mut is_rendered = false;
        for _ in 0..u.int_in_range(0..=3)? {
            match u.int_in_range(0..=4)? {
                0 | 1 => self.source(u.choose(TEXTS)?),
                // Literals as long as any buffer.
                2 => {
                    let count = u.int_in_range(0..=200)?;
                    self.source(&"abcdefgh".repeat(count));
                }
                _ => {
                    self.parts.push(Part::Text(Placeholder::new(u)?));
                    is_rendered = true;
                }
            }
        }
        Ok(is_rendered)
    }
}

fn as_made(u: &mut Unstructured<'_>) -> Result<()> {
    let data = material::data(u)?;
    let mut maker = Maker::default();
    maker.space(u)?;
    maker.value(u, 4)?;
    maker.space(u)?;
    let parts = maker.parts;
    let source: String = parts
        .iter()
        .map(|part| match part {
            Part::Source(source) => source.clone(),
            Part::Value(placeholder) | Part::Text(placeholder) => placeholder.spell(),
            Part::NameBegin | Part::NameEnd { .. } => String::new(),
        })
        .collect();
    let template = Template::compile(&source, &Limits::default())
        .unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
    assert_well_placed(&source, template.warnings());
    let values = values(&data);
    let rendered = render_in_every_way(&template, &values);
    let expected = expected(&parts, &data, &values);
    match (rendered, expected) {
        (Ok(rendered), Expected::Text(expected)) => {
            assert_eq!(rendered, expected, "{source}");
            assert_is_json(&rendered);
        }
        // Of several things that are wrong the first is told; together placeholders may be more than
        // each alone.
        (Err(RenderError::DuplicateMember { .. }), Expected::Duplicate | Expected::Required)
        | (Err(RenderError::Required { .. }), Expected::Required)
        | (Err(RenderError::TooLarge { .. } | RenderError::Overworked { .. }), _) => {}
        (rendered, expected) => panic!("{rendered:?}\nbut expected was {expected:?}\nof {source}"),
    }
    Ok(())
}

#[derive(Debug)]
enum Expected {
    Text(String),
    Duplicate,
    Required,
}

/// What must come out: each placeholder is rendered alone, or without the engine where it is
/// nothing but a name.
fn expected(parts: &[Part], data: &[(Name, Json)], values: &Values<'_>) -> Expected {
    let mut expected = String::new();
    let mut begin = 0;
    let mut names: Vec<(usize, String, bool)> = Vec::new();
    let mut is_duplicate = false;
    for part in parts {
        let (placeholder, is_text) = match part {
            Part::Source(source) => {
                expected.push_str(source);
                continue;
            }
            Part::NameBegin => {
                begin = expected.len();
                continue;
            }
            Part::NameEnd { object, is_rendered } => {
                let name: String = serde_json::from_str(&format!("\"{}\"", &expected[begin..])).unwrap();
                is_duplicate |= names.iter().any(|(other, text, is_other_rendered)| {
                    other == object && *text == name && (*is_rendered || *is_other_rendered)
                });
                names.push((*object, name, *is_rendered));
                continue;
            }
            Part::Value(placeholder) => (placeholder, false),
            Part::Text(placeholder) => (placeholder, true),
        };
        let Some(alone) = alone(placeholder, is_text, values) else { return Expected::Required };
        if let Some(name) = placeholder.name {
            let json = data.iter().find(|(known, _)| *known == name).map_or(&Json::Null, |(_, json)| json);
            let without = if is_text { inside(&json.to_text()) } else { json.to_compact() };
            assert_eq!(alone, without);
        }
        expected.push_str(&alone);
    }
    if is_duplicate { Expected::Duplicate } else { Expected::Text(expected) }
}

/// A text inside a string, as serde writes it.
fn inside(text: &str) -> String {
    let string = serde_json::to_string(text).unwrap();
    string[1..string.len() - 1].to_owned()
}

/// A placeholder's rendering, alone; `None` if a value is required and missing.
fn alone(placeholder: &Placeholder, is_text: bool, values: &Values<'_>) -> Option<String> {
    let spelt = placeholder.spell();
    let source = if is_text { format!("\"{spelt}\"") } else { spelt };
    let template = Template::compile(&source, &Limits::default())
        .unwrap_or_else(|problems| panic!("{source}\n{problems:?}"));
    let mut out = Vec::new();
    template.render(values, &mut out).ok()?;
    let text = String::from_utf8(out).expect("a rendering is UTF-8");
    assert_is_json(&text);
    Some(if is_text { text[1..text.len() - 1].to_owned() } else { text })
}
