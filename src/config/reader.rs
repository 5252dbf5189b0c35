//! Reads a TOML tree key by key and collects what is wrong, each problem with its place.
//!
//! A [`Section`] is a table whose keys are taken one by one; whatever was not taken when it is
//! finished is an unknown key. Reading goes on behind every problem, so that all are found.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Environment, Place, Problem};
use crate::context::Json;

/// The text that is read, and its problems so far.
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    environment: &'a Environment,
    found: RefCell<Vec<Found>>,
    not_yet: RefCell<Vec<String>>,
}

/// Keys of the contract that are read and checked, and have no effect in this version.
const NOT_YET: [&str; 0] = [];

struct Found {
    offset: usize,
    key: String,
    reason: String,
    /// Whether something is said to be missing, which may be so only because the text is broken
    /// elsewhere.
    absence: bool,
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, environment: &'a Environment) -> Self {
        Self { file, text, environment, found: RefCell::default(), not_yet: RefCell::default() }
    }

    /// The keys that were taken and have no effect in this version.
    pub(super) fn not_yet(&self) -> Vec<String> {
        self.not_yet.take()
    }

    pub(super) fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Hands the top table to `read`, and the problems back beside what it returns.
    pub(super) fn read<T>(&self, read: impl FnOnce(Section<'_, 'a>) -> T) -> (T, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let value = read(Section::new(self, table.get_ref(), String::new(), table.span()));
        self.close(value, &errors)
    }

    /// The same for a text that is one value, such as an inline table.
    pub(super) fn read_value<T>(
        &self,
        key: &str,
        read: impl FnOnce(Entry<'_, 'a>) -> T,
    ) -> (T, Vec<Problem>) {
        let (value, errors) = DeValue::parse_recoverable(self.text);
        let value = read(Entry { document: self, value: &value, key: key.to_owned() });
        self.close(value, &errors)
    }

    fn close<T>(&self, value: T, errors: &[toml::de::Error]) -> (T, Vec<Problem>) {
        let mut found = self.found.take();
        let broken: Vec<Found> = errors.iter().map(|error| self.syntax_error(error)).collect();
        if !broken.is_empty() {
            // What the parser made of a broken line, or lost with it, is not the operator's doing.
            let lines: HashSet<usize> = broken.iter().map(|found| self.line(found.offset)).collect();
            found.retain(|found| !found.absence && !lines.contains(&self.line(found.offset)));
        }
        found.extend(broken);
        found.sort_by_key(|found| found.offset);
        let problem = |found: Found| {
            let place = Place::File(self.file.to_owned(), Some(self.line(found.offset)));
            Problem { place, key: found.key, reason: found.reason }
        };
        let mut problems: Vec<Problem> = found.into_iter().map(problem).collect();
        // One slip can break several things of a line in the same way.
        problems.dedup();
        (value, problems)
    }

    fn syntax_error(&self, error: &toml::de::Error) -> Found {
        let reason = error.message();
        let reason = reason.strip_suffix(", expected nothing").unwrap_or(reason);
        Found {
            offset: error.span().map_or(self.text.len(), |span| self.boundary(span.start)),
            key: String::new(),
            reason: format!("not TOML: {reason}"),
            absence: false,
        }
    }

    /// The line of a place, from 1.
    fn line(&self, offset: usize) -> usize {
        1 + self.text[..offset].matches('\n').count()
    }

    /// A place that the text can be cut at: a span behind the end, or inside a character, would
    /// be the parser's error.
    fn boundary(&self, offset: usize) -> usize {
        if self.text.is_char_boundary(offset) { offset } else { self.text.len() }
    }

    fn push(&self, span: &Range<usize>, key: &str, reason: String, absence: bool) {
        let offset = self.boundary(span.start);
        self.found.borrow_mut().push(Found { offset, key: key.to_owned(), reason, absence });
    }
}

/// A table that is being read.
pub(super) struct Section<'d, 'a> {
    document: &'d Document<'a>,
    table: &'d DeTable<'a>,
    key: String,
    span: Range<usize>,
    taken: Vec<&'static str>,
}

impl<'d, 'a> Section<'d, 'a> {
    fn new(document: &'d Document<'a>, table: &'d DeTable<'a>, key: String, span: Range<usize>) -> Self {
        Self { document, table, key, span, taken: Vec::new() }
    }

    /// The value of a key, if it is there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Entry<'d, 'a>> {
        self.taken.push(name);
        let value = self.table.get(name)?;
        let key = join(&self.key, name);
        if NOT_YET.iter().any(|not_yet| is_at(not_yet, &key)) {
            self.document.not_yet.borrow_mut().push(key.clone());
        }
        Some(Entry { document: self.document, value, key })
    }

    /// The value of a key that must be there; `otherwise` says what it is for.
    pub(super) fn require(&mut self, name: &'static str, otherwise: &str) -> Option<Entry<'d, 'a>> {
        let entry = self.take(name);
        if entry.is_none() {
            let reason = format!("missing: {otherwise}");
            self.document.push(&self.span, &join(&self.key, name), reason, true);
        }
        entry
    }

    /// A problem of a key that may or may not be there.
    pub(super) fn problem_at(&self, name: &str, reason: impl Into<String>) {
        let span = self.table.get(name).map_or(self.span.clone(), Spanned::span);
        self.document.push(&span, &join(&self.key, name), reason.into(), false);
    }

    /// A problem of the table as a whole.
    pub(super) fn problem(&self, reason: impl Into<String>) {
        self.document.push(&self.span, &self.key, reason.into(), true);
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn finish(self) {
        for name in self.table.keys() {
            let text: &str = name.get_ref();
            if self.taken.contains(&text) {
                continue;
            }
            let mut reason = "unknown key".to_owned();
            match closest(text, self.taken.iter().copied()) {
                Some(meant) => write!(reason, "; did you mean `{meant}`?"),
                None => write!(reason, "; there are {}", list(self.taken.iter().copied())),
            }
            .expect("a String takes everything");
            self.document.push(&name.span(), &join(&self.key, text), reason, false);
        }
    }
}

/// A value that is being read.
#[derive(Clone)]
pub(super) struct Entry<'d, 'a> {
    document: &'d Document<'a>,
    value: &'d Spanned<DeValue<'a>>,
    key: String,
}

impl<'d, 'a> Entry<'d, 'a> {
    pub(super) fn document(&self) -> &'d Document<'a> {
        self.document
    }

    pub(super) fn problem(&self, reason: impl Into<String>) {
        self.document.push(&self.value.span(), &self.key, reason.into(), false);
    }

    /// Something that this value names is not there.
    pub(super) fn absence(&self, reason: impl Into<String>) {
        self.document.push(&self.value.span(), &self.key, reason.into(), true);
    }

    fn expected(&self, what: &str) {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(format!("expected {what}, found {found}"));
    }

    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    pub(super) fn text(&self) -> Option<&'d str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.expected("a text");
        }
        text
    }

    /// A text that is not empty.
    pub(super) fn full_text(&self) -> Option<&'d str> {
        let text = self.text()?;
        if text.is_empty() {
            self.problem("must not be empty");
            return None;
        }
        Some(text)
    }

    /// A text that `read` understands.
    pub(super) fn parse<T, E: std::fmt::Display>(
        &self,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        read(self.text()?).map_err(|error| self.problem(error.to_string())).ok()
    }

    /// One of these names.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            self.problem(unknown(text, choices.iter().map(|(name, _)| *name)));
        }
        found.map(|(_, value)| *value)
    }

    /// An integer in these bounds.
    pub(super) fn integer(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.expected("an integer");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fits = number.filter(|number| bounds.contains(number));
        if fits.is_none() {
            self.problem(format!("expected an integer from {} to {}", bounds.start(), bounds.end()));
        }
        fits
    }

    /// An integer or text as a size or a duration: integers as their digits.
    pub(super) fn quantity<T>(&self, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match self.value.get_ref() {
            DeValue::Integer(integer) if integer.radix() == 10 => {
                read(integer.as_str()).map_err(|reason| self.problem(reason)).ok()
            }
            _ => self.parse(read),
        }
    }

    /// The items of a list, each read; those with problems are left out.
    pub(super) fn list<T>(&self, mut read: impl FnMut(Entry<'d, 'a>) -> Option<T>) -> Vec<T> {
        let Some(items) = self.value.get_ref().as_array() else {
            if self.value.get_ref().is_table() {
                self.problem(format!("expected a list of tables; each begins with [[{}]]", self.key));
            } else {
                self.expected("a list");
            }
            return Vec::new();
        };
        let item =
            |(index, value)| Entry { document: self.document, value, key: format!("{}[{index}]", self.key) };
        items.iter().enumerate().map(item).filter_map(&mut read).collect()
    }

    /// One item, or a list of them.
    pub(super) fn one_or_list<T>(&self, mut read: impl FnMut(Entry<'d, 'a>) -> Option<T>) -> Vec<T> {
        if self.is_list() {
            return self.list(read);
        }
        let one = Entry { document: self.document, value: self.value, key: self.key.clone() };
        read(one).into_iter().collect()
    }

    /// The entries of the table that this is, by their keys.
    pub(super) fn entries(&self) -> Option<Vec<(&'d str, Entry<'d, 'a>)>> {
        let Some(table) = self.value.get_ref().as_table() else {
            self.expected("a table");
            return None;
        };
        let entry = |(name, value): (&'d Spanned<Cow<'a, str>>, _)| {
            let name: &str = name.get_ref();
            (name, Entry { document: self.document, value, key: join(&self.key, name) })
        };
        Some(table.iter().map(entry).collect())
    }

    /// The value as JSON, which has no dates: one is the text that it is written as.
    pub(super) fn to_json(&self) -> Json {
        to_json(self.value.get_ref())
    }

    /// The table that this is.
    pub(super) fn section(&self) -> Option<Section<'d, 'a>> {
        let table = self.value.get_ref().as_table();
        if table.is_none() {
            self.expected("a table");
        }
        table.map(|table| Section::new(self.document, table, self.key.clone(), self.value.span()))
    }
}

fn to_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(&**text),
        DeValue::Integer(integer) => {
            let plain = Json::number(integer.as_str()).filter(|_| integer.radix() == 10);
            plain.unwrap_or_else(|| Json::from(integer.as_str()))
        }
        DeValue::Float(float) => Json::number(float.as_str()).unwrap_or_else(|| Json::from(float.as_str())),
        DeValue::Boolean(value) => Json::Bool(*value),
        DeValue::Datetime(date) => Json::from(&*date.to_string()),
        DeValue::Array(items) => Json::Array(items.iter().map(|item| to_json(item.get_ref())).collect()),
        DeValue::Table(table) => {
            let member = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
                let name: &str = name.get_ref();
                (name.into(), to_json(value.get_ref()))
            };
            Json::Object(table.iter().map(member).collect())
        }
    }
}

/// Whether a key is this one, whatever the indices in it.
fn is_at(path: &str, key: &str) -> bool {
    let without_index = |name: &'_ str| name.split('[').next().unwrap_or_default().to_owned();
    key.split('.').map(without_index).eq(path.split('.').map(str::to_owned))
}

fn join(section: &str, name: &str) -> String {
    // A key that is not bare is quoted, so that the line stays one line.
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let name = if bare && !name.is_empty() { name.to_owned() } else { format!("{name:?}") };
    if section.is_empty() { name } else { format!("{section}.{name}") }
}

/// The name that was probably meant.
pub(super) fn closest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    /// More letters than this are not mistyped in one name.
    const MAX_DISTANCE: usize = 3;
    let distance = |name: &str| strsim::damerau_levenshtein(text, name);
    names
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= MAX_DISTANCE.min(name.len() / 2))
        .min()
        .map(|(_, name)| name)
}

/// What to say of a name that there is not.
pub(super) fn unknown<'n>(text: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    let there_are = list(names.clone());
    match closest(text, names) {
        Some(meant) => format!("{text:?} is none of {there_are}; did you mean {meant:?}?"),
        None => format!("{text:?} is none of {there_are}"),
    }
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
