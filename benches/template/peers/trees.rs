//! The peers that make a tree of JSON values and serialise it, and the one that only replaces.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Peer;
use crate::json_text::Content;
use crate::record::{Field, Placeholder, Record, TEMPLATE, spell};

/// A template that is JSON, with operators as objects.
pub(crate) struct JsonE {
    template: Json,
    out: Vec<u8>,
}

impl JsonE {
    pub(crate) fn new() -> Self {
        let source = spell(str::to_owned, |Placeholder { name, is_within_string, .. }| {
            if is_within_string { format!("${{{name}}}") } else { json!({ "$eval": name }).to_string() }
        });
        Self { template: serde_json::from_str(&source).expect("it is JSON"), out: Vec::new() }
    }
}

impl Peer for JsonE {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        let context = serde_json::to_value(&**record).expect("it is JSON");
        let rendered = json_e::render(&self.template, &context).expect("it renders");
        serde_json::to_writer(&mut self.out, &rendered).expect("it serialises");
        &self.out
    }
}

/// What is written first where callbacks are customer's templates: the template is read as JSON,
/// each string in it is looked through for placeholders, and the result is serialised.
pub(crate) struct Substitution {
    template: String,
    out: Vec<u8>,
}

impl Substitution {
    pub(crate) fn new() -> Self {
        let template = spell(str::to_owned, |Placeholder { name, is_within_string, .. }| {
            if is_within_string { format!("{{{name}}}") } else { format!("\"{{{name}}}\"") }
        });
        Self { template, out: Vec::new() }
    }
}

impl Peer for Substitution {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        let mut tree = serde_json::from_str(&self.template).expect("it is JSON");
        substitute(&mut tree, record);
        serde_json::to_writer(&mut self.out, &tree).expect("it serialises");
        &self.out
    }
}

fn substitute(tree: &mut Json, record: &Record) {
    match tree {
        Json::Array(items) => items.iter_mut().for_each(|item| substitute(item, record)),
        Json::Object(members) => members.values_mut().for_each(|value| substitute(value, record)),
        Json::String(text) => {
            let whole = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            *tree = match whole.filter(|name| !name.contains('{')) {
                Some(name) => match record.field(name) {
                    Field::Null => Json::Null,
                    Field::Text(text) => text.into(),
                    Field::Number(number) => number.value.into(),
                    Field::Topics(topics) => serde_json::to_value(topics).expect("it is JSON"),
                },
                None => within(text, record).into(),
            };
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn within(text: &str, record: &Record) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').expect("a placeholder ends");
        out.push_str(before);
        match record.field(name) {
            Field::Null => {}
            Field::Text(text) => out.push_str(text),
            Field::Number(number) => out.push_str(&number.spelling),
            Field::Topics(topics) => {
                out.push_str(&serde_json::to_string(topics).expect("it is JSON"));
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// `str::replace` for each placeholder. Right only because no value of the records looks like a
/// placeholder, and because it may look at what is before each one.
#[derive(Default)]
pub(crate) struct Replacements {
    out: String,
}

impl Peer for Replacements {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        self.out.push_str(TEMPLATE);
        for (name, field) in record.fields() {
            // A text may stand within a string or for a value; whoever replaces replaces both.
            let (placeholder, value) = match field {
                Field::Null => (format!("{{{name}}}"), "null".to_owned()),
                Field::Text(text) => {
                    self.out = self.out.replace(&format!(":{{{name}}}"), &format!(":\"{}\"", Content(text)));
                    (format!("{{{name}}}"), Content(text).to_string())
                }
                Field::Number(number) => (format!("{{{name}}}"), number.spelling.clone()),
                Field::Topics(topics) => {
                    (format!("{{{name}}}"), serde_json::to_string(topics).expect("it is JSON"))
                }
            };
            self.out = self.out.replace(&placeholder, &value);
        }
        self.out.as_bytes()
    }
}
