//! What templates and data are made of, put together as the fuzzer's bytes say.

use std::fmt::Write as _;

use arbitrary::{Result, Unstructured};
use ringback::context::{Json, Name};

/// Texts that hold what could go wrong.
const TEXTS: &[&str] = &[
    "",
    "x",
    "{call_id}",
    "<email>",
    "\",\"x\":\"",
    "\\\"}\n\u{1}</script>",
    "\u{0}\t\r\n\u{7f}\u{85}",
    "é😀\u{fffe}\u{ffff}",
    "..",
    ".",
    "/../%2e\\?#&=",
    "ß ŉ ǰ İ ﬁ",
    "true",
    "0",
    "007",
    "-1.50e+3",
    "1700000000",
    "2026-03-30T14:22:00Z",
    "2026-03-30 14:22:00",
    "[1,[\"a\"],{\"b\":null}]",
    "{\"text\":\"\\ud800\"}",
    "a,b,,c",
    "]]>&amp;<!--",
];

/// A text: one of those that hold what could go wrong, any, or a long one.
pub(super) fn text(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=4)? {
        0 | 1 => (*u.choose(TEXTS)?).to_owned(),
        2 => u.arbitrary::<&str>()?.to_owned(),
        3 => {
            let [one, other] = [u.choose(TEXTS)?, u.choose(TEXTS)?];
            format!("{one}{other}")
        }
        _ => {
            let piece = u.arbitrary::<&str>()?;
            let piece: String = piece.chars().take(8).collect();
            piece.repeat(u.int_in_range(0..=100)?)
        }
    })
}

/// The spelling of a number.
pub(super) fn number(u: &mut Unstructured<'_>) -> Result<String> {
    let mut spelling = if u.arbitrary()? { "-".to_owned() } else { String::new() };
    let first = u.arbitrary::<u64>()?;
    spelling.push_str(&first.to_string());
    // A zero in front would make it none.
    for _ in 0..if first == 0 { 0 } else { u.int_in_range(0..=2)? } {
        spelling.push_str(&u.arbitrary::<u32>()?.to_string());
    }
    if u.arbitrary()? {
        let (fraction, width) = (u.arbitrary::<u16>()?, u.int_in_range(0..=12)?);
        write!(spelling, ".{fraction:0>width$}").expect("a text takes all");
    }
    if u.ratio(1, 4)? {
        spelling.push_str(u.choose(&["e", "E+", "E-", "e0"])?);
        spelling.push_str(&u.arbitrary::<u16>()?.to_string());
    }
    Ok(spelling)
}

/// Any value, not deep.
pub(super) fn json(u: &mut Unstructured<'_>, depth: usize) -> Result<Json> {
    let most = if depth == 0 { 4 } else { 7 };
    Ok(match u.int_in_range(0..=most)? {
        0 => Json::Null,
        1 => Json::Bool(u.arbitrary()?),
        2 => Json::number(&number(u)?).expect("spelt as JSON spells numbers"),
        3 | 4 => Json::Text(text(u)?.into()),
        5 => {
            let mut items = Vec::new();
            for _ in 0..u.int_in_range(0..=4)? {
                items.push(json(u, depth - 1)?);
            }
            Json::Array(items)
        }
        _ => {
            let mut members = Vec::new();
            for _ in 0..u.int_in_range(0..=4)? {
                let name = match u.int_in_range(0..=3)? {
                    0 => text(u)?,
                    _ => (*u.choose(&["a", "b", "text", "x-y"])?).to_owned(),
                };
                members.push((name.into(), json(u, depth - 1)?));
            }
            Json::Object(members)
        }
    })
}

/// A value for some of the names.
pub(super) fn data(u: &mut Unstructured<'_>) -> Result<Vec<(Name, Json)>> {
    // The last one may be as deep as our reader takes it.
    let mut deep = json(u, 1)?;
    for _ in 0..*u.choose(&[0, 0, 0, 1, 130, 508])? {
        deep = Json::Array(vec![deep]);
    }
    let few = [json(u, 3)?, json(u, 3)?, deep];
    let mut data = Vec::new();
    for name in Name::ALL {
        match u.int_in_range(0..=3)? {
            0 => {}
            which => data.push((name, few[which - 1].clone())),
        }
    }
    Ok(data)
}

/// A text in single quotes, as a template spells it.
fn quoted(text: &str) -> String {
    let mut quoted = "'".to_owned();
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("''"),
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(character)).expect("a text takes all");
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('\'');
    quoted
}

/// A filter with arguments that it takes.
pub(super) fn filter(u: &mut Unstructured<'_>) -> Result<String> {
    const PLAIN: &[&str] = &[
        "upper",
        "lower",
        "trim",
        "capitalize",
        "first",
        "last",
        "length",
        "unix",
        "round",
        "text",
        "number",
        "bool",
        "json",
        "sha256",
        "urlencode",
        "base64",
        "required",
    ];
    const FORMATS: &[&str] =
        &["'%Y-%m-%d'", "'%F %T%z', 'Europe/Lisbon'", "'%s %%', 'Asia/Kathmandu'", "'%A %d %B %j %U'", "''"];
    let text = |u: &mut Unstructured<'_>| -> Result<String> { Ok(quoted(&text(u)?)) };
    let some_text = |u: &mut Unstructured<'_>| -> Result<String> {
        let text = self::text(u)?;
        Ok(quoted(if text.is_empty() { "a" } else { &text }))
    };
    Ok(match u.int_in_range(0..=12)? {
        0..=3 => (*u.choose(PLAIN)?).to_owned(),
        4 => match u.int_in_range(0..=3)? {
            0 => format!("default: {}", number(u)?),
            1 => format!("default: {}", u.choose(&["null", "true", "false"])?),
            _ => format!("default:{}", text(u)?),
        },
        5 if u.arbitrary()? => format!("truncate: {}", u.int_in_range(0..=20)?),
        5 => format!("truncate:{} , {}", u.int_in_range(0..=20)?, text(u)?),
        6 => format!("replace: {}, {}", some_text(u)?, text(u)?),
        7 => format!("split: {}", some_text(u)?),
        8 => format!("join: {}", text(u)?),
        9 => format!("pluck: {}", u.choose(&["'text'", "'a'", "''"])?),
        10 => format!("date: {}", u.choose(FORMATS)?),
        11 => format!("round: {}", u.int_in_range(0..=100)?),
        _ => match u.int_in_range(0..=2)? {
            0 => "duration: 'hms'".to_owned(),
            1 => "duration:'ms'".to_owned(),
            _ => format!("mask: {}", u.arbitrary::<u8>()?),
        },
    })
}

/// A placeholder without its brackets, and where it is only a name, that name.
pub(super) fn expression(u: &mut Unstructured<'_>) -> Result<(String, Option<Name>)> {
    let name = *u.choose(&Name::ALL)?;
    let mut expression = name.to_string();
    if name.kind().has_members() {
        for _ in 0..u.int_in_range(0..=2)? {
            expression.push_str(u.choose(&[
                ".a",
                ".text",
                ".x-y",
                "[0]",
                "[1]",
                "['b']",
                "['']",
                "['it''s']",
            ])?);
        }
    }
    let filters = u.int_in_range(0..=3)?;
    for _ in 0..filters {
        expression.push_str(u.choose(&["|", "| "])?);
        expression.push_str(&filter(u)?);
    }
    let is_plain = expression == name.as_str();
    Ok((expression, is_plain.then_some(name)))
}
