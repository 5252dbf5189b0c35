//! The engines that take their templates as text when the program runs, as Ringback does.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Peer;
use crate::json_text::{Content, escape};
use crate::record::{Field, Kind, Placeholder, Record, TEMPLATE, braces_apart, spell};

/// An engine, by name, that makes of its template's text what it renders with; everything that it
/// would tell a person of a mistake included.
pub(crate) type Compiler = (&'static str, Box<dyn FnMut()>);

/// Who compiles the template, each from its own text.
pub(crate) fn compilers() -> Vec<Compiler> {
    use std::hint::black_box;
    let (minijinja, upon, handlebars, tera, tiny, liquid) = (
        MiniJinja::source(),
        Upon::source(),
        Handlebars::source(),
        Tera::source(),
        TinyTemplate::source(),
        super::liquid::Liquid::source(),
    );
    let limits = ringback::template::Limits::default();
    let mut jinja = minijinja::Environment::new();
    let upon_engine = Upon::engine();
    let parser = super::liquid::Liquid::parser();
    vec![
        (
            super::RINGBACK,
            Box::new(move || {
                let compiled = ringback::template::Template::compile(black_box(TEMPLATE), &limits);
                black_box(&compiled.expect("it compiles"));
            }) as Box<dyn FnMut()>,
        ),
        (
            super::MINIJINJA,
            Box::new(move || {
                jinja.add_template_owned("callback", black_box(minijinja.clone())).expect("it compiles");
            }),
        ),
        (
            "upon",
            Box::new(move || {
                black_box(&upon_engine.compile(black_box(upon.as_str())).expect("it compiles"));
            }),
        ),
        (
            "handlebars",
            Box::new(move || {
                black_box(&handlebars::Template::compile(black_box(&handlebars)).expect("it compiles"));
            }),
        ),
        (
            "tera",
            Box::new(move || {
                let mut engine = tera::Tera::default();
                engine.add_raw_template("callback.json", black_box(&tera)).expect("it compiles");
                black_box(&engine);
            }),
        ),
        (
            "tinytemplate",
            Box::new(move || {
                let mut engine = tinytemplate::TinyTemplate::new();
                engine.add_template("callback", black_box(&tiny)).expect("it compiles");
                black_box(&engine.render("none", &()).is_err());
            }),
        ),
        (
            "liquid",
            Box::new(move || {
                black_box(&parser.parse(black_box(&liquid)).map_err(drop).expect("it compiles"));
            }),
        ),
    ]
}

/// The values become a `serde_json::Value`; a formatter writes them.
pub(crate) struct TinyTemplate {
    engine: tinytemplate::TinyTemplate<'static>,
    out: String,
}

impl TinyTemplate {
    pub(crate) fn source() -> String {
        spell(
            |literal| literal.replace('{', "\\{"),
            |Placeholder { name, is_within_string, .. }| {
                if is_within_string { format!("{{{name} | content}}") } else { format!("{{{name}}}") }
            },
        )
    }

    pub(crate) fn new() -> Self {
        let mut engine = tinytemplate::TinyTemplate::new();
        engine.set_default_formatter(&|value, out| {
            write_json(value, out);
            Ok(())
        });
        engine.add_formatter("content", |value, out| {
            let Ok(()) = escape::<std::convert::Infallible>(value.as_str().unwrap_or_default(), |piece| {
                out.push_str(piece);
                Ok(())
            });
            Ok(())
        });
        engine.add_template("callback", Self::source().leak()).expect("it compiles");
        Self { engine, out: String::new() }
    }
}

fn write_json(value: &Json, out: &mut String) {
    match value {
        Json::String(text) => write!(out, "\"{}\"", Content(text)),
        Json::Null => out.write_str("null"),
        other => write!(out, "{other}"),
    }
    .expect("a String takes everything");
}

impl Peer for TinyTemplate {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out = self.engine.render("callback", &**record).expect("it renders");
        self.out.as_bytes()
    }
}

/// Asks the record for each value when it is needed; a formatter writes them.
pub(crate) struct MiniJinja {
    engine: minijinja::Environment<'static>,
    out: Vec<u8>,
}

#[derive(Debug)]
struct JinjaRecord(Arc<Record>);

impl minijinja::value::Object for JinjaRecord {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<minijinja::Value> {
        use minijinja::Value;
        Some(match self.0.field(key) {
            Field::Null => Value::from(()),
            Field::Text(text) => Value::from(text),
            Field::Number(number) => Value::from(number.value),
            Field::Topics(topics) => (0..topics.len())
                .map(|index| Value::from_object(JinjaTopic { record: Arc::clone(&self.0), index }))
                .collect(),
        })
    }
}

#[derive(Debug)]
struct JinjaTopic {
    record: Arc<Record>,
    index: usize,
}

impl minijinja::value::Object for JinjaTopic {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<minijinja::Value> {
        let topic = &self.record.speech_topics.items[self.index];
        (key == "text").then(|| minijinja::Value::from(topic.text.as_str()))
    }
}

impl MiniJinja {
    pub(crate) fn source() -> String {
        spell(str::to_owned, |Placeholder { name, kind, is_within_string }| match kind {
            Kind::Text if !is_within_string => format!("\"{{{{ {name} }}}}\""),
            Kind::Text | Kind::Number => format!("{{{{ {name} }}}}"),
            Kind::Optional => {
                format!("{{% if {name} is none %}}null{{% else %}}\"{{{{ {name} }}}}\"{{% endif %}}")
            }
            Kind::Topics => format!(
                "[{{% for topic in {name} %}}{{% if not loop.first %}},{{% endif %}}{{\"text\":\"{{{{ topic.text }}}}\"}}{{% endfor %}}]"
            ),
        })
    }

    pub(crate) fn new() -> Self {
        let mut engine = minijinja::Environment::new();
        engine.set_formatter(|out, _, value| match value.as_str() {
            Some(text) => escape(text, |piece| out.write_str(piece)).map_err(Into::into),
            None => write!(out, "{value}").map_err(Into::into),
        });
        engine.add_template_owned("callback", Self::source()).expect("it compiles");
        Self { engine, out: Vec::new() }
    }
}

impl Peer for MiniJinja {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        let template = self.engine.get_template("callback").expect("it is there");
        let context = minijinja::Value::from_object(JinjaRecord(Arc::clone(record)));
        template.render_captured_to(context, &mut self.out).expect("it renders");
        &self.out
    }
}

/// Asks the record for each value when it is needed; formatters write them.
pub(crate) struct Upon {
    engine: upon::Engine<'static>,
    out: Vec<u8>,
}

impl Upon {
    pub(crate) fn source() -> String {
        spell(braces_apart, |Placeholder { name, is_within_string, .. }| {
            if is_within_string { format!("{{{{ {name} | content }}}}") } else { format!("{{{{ {name} }}}}") }
        })
    }

    pub(crate) fn engine() -> upon::Engine<'static> {
        let mut engine = upon::Engine::new();
        engine.set_default_formatter(&write_upon);
        engine.add_formatter("content", |out, value| match value {
            upon::Value::String(text) => Ok(escape(text, |piece| out.write_str(piece))?),
            other => write_upon(out, other),
        });
        engine
    }

    pub(crate) fn new() -> Self {
        let mut engine = Self::engine();
        engine.add_template("callback", Self::source()).expect("it compiles");
        Self { engine, out: Vec::new() }
    }
}

fn write_upon(out: &mut upon::fmt::Formatter<'_>, value: &upon::Value) -> upon::fmt::Result {
    match value {
        upon::Value::None => out.write_str("null")?,
        upon::Value::Bool(value) => write!(out, "{value}")?,
        upon::Value::Integer(value) => write!(out, "{value}")?,
        upon::Value::Float(value) => write!(out, "{value}")?,
        upon::Value::String(text) => {
            out.write_char('"')?;
            escape(text, |piece| out.write_str(piece))?;
            out.write_char('"')?;
        }
        upon::Value::List(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                out.write_str(if index == 0 { "" } else { "," })?;
                write_upon(out, item)?;
            }
            out.write_char(']')?;
        }
        upon::Value::Map(members) => {
            out.write_char('{')?;
            for (index, (name, value)) in members.iter().enumerate() {
                write!(out, "{}\"{}\":", if index == 0 { "" } else { "," }, Content(name))?;
                write_upon(out, value)?;
            }
            out.write_char('}')?;
        }
    }
    Ok(())
}

impl Peer for Upon {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        use upon::Value;
        let value = |path: &[upon::ValueMember<'_>]| {
            let [upon::ValueMember { access: upon::ValueAccess::Key(name), .. }] = path else {
                return Err("no such path".to_owned());
            };
            Ok(match record.field(name) {
                Field::Null => Value::None,
                Field::Text(text) => Value::from(text),
                Field::Number(number) => Value::Integer(i64::try_from(number.value).expect("it is small")),
                Field::Topics(topics) => topics
                    .iter()
                    .map(|topic| Value::Map([("text".to_owned(), Value::from(topic.text.as_str()))].into()))
                    .collect::<Vec<_>>()
                    .into(),
            })
        };
        self.out.clear();
        let renderer = self.engine.template("callback").render_from_fn(value);
        renderer.to_writer(&mut self.out).expect("it renders");
        &self.out
    }
}

/// A context of all values; its escape function writes texts.
pub(crate) struct Tera {
    engine: tera::Tera,
    out: Vec<u8>,
}

impl Tera {
    pub(crate) fn source() -> String {
        spell(str::to_owned, |Placeholder { name, kind, is_within_string }| match kind {
            Kind::Text if !is_within_string => format!("\"{{{{ {name} }}}}\""),
            Kind::Text | Kind::Number => format!("{{{{ {name} }}}}"),
            Kind::Optional => {
                format!("{{% if {name} %}}\"{{{{ {name} }}}}\"{{% else %}}null{{% endif %}}")
            }
            Kind::Topics => format!(
                "[{{% for topic in {name} %}}{{% if not loop.first %}},{{% endif %}}{{\"text\":\"{{{{ topic.text }}}}\"}}{{% endfor %}}]"
            ),
        })
    }

    pub(crate) fn new() -> Self {
        let mut engine = tera::Tera::default();
        engine.set_escape_fn(|text, out| escape(text, |piece| out.write_all(piece.as_bytes())));
        engine.autoescape_on(vec![".json"]);
        engine.add_raw_template("callback.json", &Self::source()).expect("it compiles");
        Self { engine, out: Vec::new() }
    }
}

impl Peer for Tera {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        use tera::Value;
        let mut context = tera::Context::new();
        for (name, field) in record.fields() {
            let value = match field {
                Field::Null => Value::none(),
                Field::Text(text) => Value::from(text),
                Field::Number(number) => Value::from(number.value),
                Field::Topics(topics) => Value::from_serializable(topics),
            };
            context.insert_value(name, value);
        }
        self.out.clear();
        self.engine.render_to("callback.json", &context, &mut self.out).expect("it renders");
        &self.out
    }
}

/// The values become a `serde_json::Value`; its escape function makes texts.
pub(crate) struct Handlebars {
    engine: handlebars::Handlebars<'static>,
    out: Vec<u8>,
}

impl Handlebars {
    pub(crate) fn source() -> String {
        spell(braces_apart, |Placeholder { name, kind, is_within_string }| match kind {
            Kind::Text if !is_within_string => format!("\"{{{{{name}}}}}\""),
            Kind::Text | Kind::Number => format!("{{{{{name}}}}}"),
            Kind::Optional => format!("{{{{#if {name}}}}}\"{{{{{name}}}}}\"{{{{else}}}}null{{{{/if}}}}"),
            Kind::Topics => format!(
                "[{{{{#each {name}}}}}{{{{#unless @first}}}},{{{{/unless}}}}{{\"text\":\"{{{{text}}}}\"}}{{{{/each}}}}]"
            ),
        })
    }

    pub(crate) fn new() -> Self {
        let mut engine = handlebars::Handlebars::new();
        engine.register_escape_fn(|text| Content(text).to_string());
        engine.register_template_string("callback", Self::source()).expect("it compiles");
        Self { engine, out: Vec::new() }
    }
}

impl Peer for Handlebars {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        self.engine.render_to_write("callback", &**record, &mut self.out).expect("it renders");
        &self.out
    }
}
