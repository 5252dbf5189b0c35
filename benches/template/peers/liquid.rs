//! Liquid: two filters of our own write JSON, as its standard ones escape for HTML only.

use std::fmt;
use std::sync::Arc;

use liquid::model::{Value, ValueView};
use liquid_core::parser::{FilterArguments, FilterReflection, ParameterReflection};
use liquid_core::{Filter, ParseFilter, Runtime};

use super::Peer;
use crate::json_text::Content;
use crate::record::{Placeholder, Record, braces_apart, spell};

pub(crate) struct Liquid {
    template: liquid::Template,
    out: Vec<u8>,
}

impl Liquid {
    pub(crate) fn source() -> String {
        spell(braces_apart, |Placeholder { name, is_within_string, .. }| {
            format!("{{{{ {name} | {} }}}}", if is_within_string { "content" } else { "json" })
        })
    }

    pub(crate) fn parser() -> liquid::Parser {
        liquid::ParserBuilder::new()
            .filter(Escaping { is_value: true })
            .filter(Escaping { is_value: false })
            .build()
            .expect("two filters")
    }

    pub(crate) fn new() -> Self {
        let template = Self::parser().parse(&Self::source()).expect("it compiles");
        Self { template, out: Vec::new() }
    }
}

impl Peer for Liquid {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        self.out.clear();
        let values = liquid::to_object(&**record).expect("an object");
        self.template.render_to(&mut self.out, &values).expect("it renders");
        &self.out
    }
}

/// A value as JSON, or a text as the content of a string.
#[derive(Clone, Copy, Debug)]
struct Escaping {
    is_value: bool,
}

impl fmt::Display for Escaping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FilterReflection for Escaping {
    fn name(&self) -> &'static str {
        if self.is_value { "json" } else { "content" }
    }

    fn description(&self) -> &'static str {
        "JSON"
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}

impl ParseFilter for Escaping {
    fn parse(&self, _: FilterArguments<'_>) -> liquid_core::Result<Box<dyn Filter>> {
        Ok(Box::new(*self))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

impl Filter for Escaping {
    fn evaluate(&self, input: &dyn ValueView, _: &dyn Runtime) -> liquid_core::Result<Value> {
        let text = if self.is_value {
            let mut out = String::new();
            write(input, &mut out).expect("a String takes everything");
            out
        } else {
            Content(&input.to_kstr()).to_string()
        };
        Ok(Value::scalar(text))
    }
}

fn write(value: &dyn ValueView, out: &mut String) -> fmt::Result {
    use fmt::Write as _;
    if let Some(items) = value.as_array() {
        out.push('[');
        for (index, item) in items.values().enumerate() {
            out.push_str(if index == 0 { "" } else { "," });
            write(item, out)?;
        }
        out.push(']');
    } else if let Some(members) = value.as_object() {
        out.push('{');
        for (index, (name, value)) in members.iter().enumerate() {
            write!(out, "{}\"{}\":", if index == 0 { "" } else { "," }, Content(&name))?;
            write(value, out)?;
        }
        out.push('}');
    } else if value.is_nil() {
        out.push_str("null");
    } else if value.type_name() == "whole number" {
        write!(out, "{}", value.render())?;
    } else {
        write!(out, "\"{}\"", Content(&value.to_kstr()))?;
    }
    Ok(())
}
