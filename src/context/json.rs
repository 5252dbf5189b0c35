//! Foreign JSON, kept as it was written: numbers in their spelling, members in their order.

pub(crate) mod writer;

use super::Value;

/// A JSON value. Unlike `serde_json::Value` it keeps the spelling of numbers (`12.0`, integers
/// beyond 2^53), the order of members, and members of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number in its spelling, which is valid JSON.
    Number(Box<str>),
    /// A text.
    Text(Box<str>),
    /// An array.
    Array(Vec<Json>),
    /// An object: its members in their order.
    Object(Vec<(Box<str>, Json)>),
}

/// Why a text is not JSON, or not JSON that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (byte {offset})")]
pub struct InvalidJson {
    /// Where, in bytes from the beginning.
    pub offset: usize,
    /// What, in a few words that hold none of the data.
    pub reason: &'static str,
}

impl Json {
    /// The deepest nesting that is read.
    pub const MAX_DEPTH: usize = 512;

    /// Reads one JSON text (RFC 8259, UTF-8). A lone surrogate (`"\ud800"`) becomes U+FFFD; a
    /// leading byte order mark is ignored.
    ///
    /// # Errors
    /// The first place where it is not JSON, or where it is nested deeper than
    /// [`Self::MAX_DEPTH`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidJson> {
        Self::parse_to_depth(bytes, Self::MAX_DEPTH)
    }

    /// As [`Self::parse`], for our own documents, which wrap a foreign one in a few levels more.
    pub(super) fn parse_to_depth(bytes: &[u8], max_depth: usize) -> Result<Self, InvalidJson> {
        match str::from_utf8(bytes) {
            Ok(text) => Reader::new(text, max_depth).document(),
            Err(error) => {
                // What comes before the bad byte may be wrong earlier; the first place is told.
                let valid = error.valid_up_to();
                let text = str::from_utf8(&bytes[..valid]).expect("valid up to there");
                match Reader::new(text, max_depth).document() {
                    Err(earlier) if earlier.offset < valid => Err(earlier),
                    _ => Err(InvalidJson { offset: valid, reason: "not UTF-8" }),
                }
            }
        }
    }

    /// A number from its spelling, if that is JSON's.
    #[must_use]
    pub fn number(spelling: &str) -> Option<Self> {
        let end = number_end(spelling.as_bytes(), 0).ok()?;
        (end == spelling.len()).then(|| Self::Number(spelling.into()))
    }

    /// Appends the value as compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        Value::from(self).write(out);
    }

    /// A member of an object: of several by that name the last, as most readers do.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => {
                members.iter().rev().find(|(key, _)| &**key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, where it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members in their order, where it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(Box<str>, Self)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The text form, as inside a string of a template: a text is its characters, a number its
    /// spelling, null is empty, an array or object is its compact JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Number(text) | Self::Text(text) => text.to_string(),
            Self::Array(_) | Self::Object(_) => self.to_compact(),
        }
    }

    /// The value as compact JSON.
    #[must_use]
    pub fn to_compact(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).expect("made of texts")
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// How many bytes from the front stand for themselves in a JSON string: none of `"`, `\` and the
/// controls below 0x20. Looks at eight bytes at a time; transcripts are long.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // A byte below `n` (at most 0x80) raises its high bit. A borrow may raise one above a
        // true one, never below it, so the lowest is always true.
        let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = (below(word, 0x20) | quote | backslash) & HIGHS;
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    done + bytes[done..].iter().position(|byte| !is_plain(*byte)).unwrap_or(bytes.len() - done)
}

/// The end of the number that begins at `start`, or where it stops being one.
fn number_end(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let some_digits = |from: usize| match digits(from) {
        end if end == from => Err(from),
        end => Ok(end),
    };
    let mut at = start;
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { some_digits(at)? };
    if bytes.get(at) == Some(&b'.') {
        at = some_digits(at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = some_digits(at)?;
    }
    Ok(at)
}

/// Reads one document without recursion: what is open waits on a stack of its own.
struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    max_depth: usize,
    open: Vec<Open>,
    /// Where a text with escapes is put together before it gets its own box.
    unescaped: String,
}

/// An array or object whose end has not come yet.
enum Open {
    Array(Vec<Json>),
    /// With the name whose value comes next.
    Object(Vec<(Box<str>, Json)>, Box<str>),
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, max_depth: usize) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, bytes: text.as_bytes(), at, max_depth, open: Vec::new(), unescaped: String::new() }
    }

    fn document(mut self) -> Result<Json, InvalidJson> {
        let document = 'document: loop {
            // A value begins here, or the first item or member of one.
            let mut value = match self.peek() {
                Some(b'{') => {
                    self.descend()?;
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                        Json::Object(Vec::new())
                    } else {
                        let name = self.name()?;
                        self.open.push(Open::Object(Vec::new(), name));
                        continue;
                    }
                }
                Some(b'[') => {
                    self.descend()?;
                    if self.peek() == Some(b']') {
                        self.at += 1;
                        Json::Array(Vec::new())
                    } else {
                        self.open.push(Open::Array(Vec::new()));
                        continue;
                    }
                }
                Some(b'"') => Json::Text(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.literal("true", Json::Bool(true))?,
                Some(b'f') => self.literal("false", Json::Bool(false))?,
                Some(b'n') => self.literal("null", Json::Null)?,
                _ => return Err(self.wrong("a value is expected")),
            };
            // It ends here, and with it perhaps what it stands in.
            loop {
                let Some(open) = self.open.pop() else { break 'document value };
                let next = self.peek();
                match open {
                    Open::Array(mut items) => {
                        items.push(value);
                        match next {
                            Some(b',') => {
                                self.at += 1;
                                self.open.push(Open::Array(items));
                                continue 'document;
                            }
                            Some(b']') => value = Json::Array(items),
                            _ => return Err(self.wrong("`,` or `]` is expected")),
                        }
                    }
                    Open::Object(mut members, name) => {
                        members.push((name, value));
                        match next {
                            Some(b',') => {
                                self.at += 1;
                                let name = self.name()?;
                                self.open.push(Open::Object(members, name));
                                continue 'document;
                            }
                            Some(b'}') => value = Json::Object(members),
                            _ => return Err(self.wrong("`,` or `}` is expected")),
                        }
                    }
                }
                self.at += 1;
            }
        };
        match self.peek() {
            None => Ok(document),
            Some(_) => Err(self.wrong("the text goes on after its value")),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn wrong(&self, reason: &'static str) -> InvalidJson {
        let reason = if self.at == self.bytes.len() { "the text ends too early" } else { reason };
        InvalidJson { offset: self.at, reason }
    }

    fn descend(&mut self) -> Result<(), InvalidJson> {
        if self.open.len() >= self.max_depth {
            return Err(self.wrong("nested too deeply"));
        }
        self.at += 1;
        Ok(())
    }

    /// A member's name, and the colon behind it.
    fn name(&mut self) -> Result<Box<str>, InvalidJson> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a member's name in quotes is expected"));
        }
        let name = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.wrong("`:` is expected"));
        }
        self.at += 1;
        Ok(name)
    }

    fn literal(&mut self, spelling: &str, value: Json) -> Result<Json, InvalidJson> {
        let rest = &self.bytes[self.at..];
        let same = spelling.bytes().zip(rest).take_while(|(ours, theirs)| ours == *theirs).count();
        self.at += same;
        if same == spelling.len() { Ok(value) } else { Err(self.wrong("a value is expected")) }
    }

    fn number(&mut self) -> Result<Json, InvalidJson> {
        let start = self.at;
        match number_end(self.bytes, start) {
            Ok(end) => {
                self.at = end;
                Ok(Json::Number(self.text[start..end].into()))
            }
            Err(at) => {
                self.at = at;
                Err(self.wrong("a digit is expected"))
            }
        }
    }

    /// A string, whose opening quote is here.
    fn string(&mut self) -> Result<Box<str>, InvalidJson> {
        self.at += 1;
        let start = self.at;
        self.at += plain_run(&self.bytes[start..]);
        if self.bytes.get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(self.text[start..self.at - 1].into());
        }
        self.unescaped.clear();
        let mut run = start;
        loop {
            self.unescaped.push_str(&self.text[run..self.at]);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(self.unescaped.as_str().into());
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    self.unescaped.push(character);
                }
                _ => return Err(self.wrong("a control character must be escaped")),
            }
            run = self.at;
            self.at += plain_run(&self.bytes[run..]);
        }
    }

    /// The character that an escape stands for, whose backslash was just read.
    fn escape(&mut self) -> Result<char, InvalidJson> {
        let character = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_unit_and_its_pair();
            }
            _ => return Err(self.wrong("not an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn code_unit_and_its_pair(&mut self) -> Result<char, InvalidJson> {
        let unit = self.hex4()?;
        let high = u32::from(unit);
        if (0xd800..0xdc00).contains(&high) && self.bytes[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let low = u32::from(self.hex4()?);
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).expect("a pair is a character"));
            }
            // No pair: what follows stands for itself and is read again.
            self.at = before;
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u16, InvalidJson> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = match self.bytes.get(self.at) {
                Some(byte @ b'0'..=b'9') => byte - b'0',
                Some(byte @ b'a'..=b'f') => byte - b'a' + 10,
                Some(byte @ b'A'..=b'F') => byte - b'A' + 10,
                _ => return Err(self.wrong("four hexadecimal digits are expected")),
            };
            unit = unit << 4 | u16::from(digit);
            self.at += 1;
        }
        Ok(unit)
    }
}

#[cfg(test)]
mod tests;
