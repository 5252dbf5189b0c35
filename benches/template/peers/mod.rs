//! Who renders the callback, each in its best fair use: a context built for each rendering from
//! the record, JSON escaping that is right, a reused buffer where the interface takes one.

mod code;
mod engines;
mod liquid;
mod trees;

use std::hint::black_box;
use std::sync::Arc;

use crate::record::Record;

pub(crate) use code::{Copy, Hand, Sailfish};
pub(crate) use engines::{MiniJinja, compilers};

/// One who renders the callback.
pub(crate) trait Peer {
    /// Renders the record and shows the bytes.
    fn render(&mut self, record: &Arc<Record>) -> &[u8];

    /// Renders `count` times, taking the records in turn.
    fn repeat(&mut self, records: &[Arc<Record>], count: usize) {
        for record in records.iter().cycle().take(count) {
            black_box(self.render(black_box(record)));
        }
    }
}

/// The peers whose ratios are shown, as the table names them.
pub(crate) const COPY: &str = "copy of the bytes";
pub(crate) const HAND: &str = "hand-written";
pub(crate) const RINGBACK: &str = "ringback";
pub(crate) const SAILFISH: &str = "sailfish";
pub(crate) const MINIJINJA: &str = "minijinja";

/// Everyone, for records that all of them know beforehand: the copy needs the finished bytes.
pub(crate) fn all(records: &[Arc<Record>]) -> Vec<(&'static str, Box<dyn Peer>)> {
    vec![
        (COPY, Box::new(Copy::new(records)) as Box<dyn Peer>),
        (HAND, Box::new(Hand::default())),
        (RINGBACK, Box::new(Ringback::new())),
        (SAILFISH, Box::new(Sailfish::default())),
        ("askama", Box::new(code::Askama::default())),
        ("sonic-rs of a struct", Box::new(code::SonicRs::default())),
        ("serde_json of a struct", Box::new(code::SerdeJson::default())),
        ("tinytemplate", Box::new(engines::TinyTemplate::new())),
        (MINIJINJA, Box::new(MiniJinja::new())),
        ("upon", Box::new(engines::Upon::new())),
        ("tera", Box::new(engines::Tera::new())),
        ("handlebars", Box::new(engines::Handlebars::new())),
        ("liquid", Box::new(liquid::Liquid::new())),
        ("json-e", Box::new(trees::JsonE::new())),
        ("parse and substitute", Box::new(trees::Substitution::new())),
        ("chain of replacements", Box::new(trees::Replacements::default())),
    ]
}

/// The template engine of this package.
pub(crate) struct Ringback {
    template: ringback::template::Template,
    out: Vec<u8>,
}

impl Ringback {
    pub(crate) fn new() -> Self {
        let limits = ringback::template::Limits::default();
        let template =
            ringback::template::Template::compile(crate::record::TEMPLATE, &limits).expect("it compiles");
        Self { template, out: Vec::new() }
    }
}

impl Peer for Ringback {
    fn render(&mut self, record: &Arc<Record>) -> &[u8] {
        let mut values = ringback::context::Values::new();
        record.set(&mut values);
        self.out.clear();
        self.template.render(&values, &mut self.out).expect("it renders");
        &self.out
    }
}
