//! One thing with its members, for people.

use std::io::{self, Write};

use super::super::style::{DIM, PLAIN};
use super::text;
use crate::context::Json;

/// The most characters of a member that stands beside its name; what is longer stands below it.
const BESIDE: usize = 100;

/// Writes the members of an object that are not null, each beside its name or, where it is long or
/// has parts, below. `left_out` are those that are shown otherwise.
pub(in crate::command) fn draw_record(json: &Json, left_out: &[&str], out: &mut dyn Write) -> io::Result<()> {
    draw(json, left_out, 0, out)
}

fn draw(json: &Json, left_out: &[&str], depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let members = json.as_object().unwrap_or_default();
    let shown =
        || members.iter().filter(|(name, value)| *value != Json::Null && !left_out.contains(&&**name));
    let beside: Vec<(&str, Option<String>)> =
        shown().map(|(name, value)| (&**name, in_a_line(value))).collect();
    let short = beside.iter().filter(|(_, value)| value.is_some());
    let width = short.map(|(name, _)| text::line(name).chars().count()).max().unwrap_or(0);
    let indent = "  ".repeat(depth);
    for ((name, line), (_, value)) in beside.iter().zip(shown()) {
        let name = text::line(name);
        if let Some(line) = line {
            writeln!(out, "{indent}{DIM}{name:width$}{PLAIN}  {line}")?;
        } else {
            writeln!(out, "{indent}{DIM}{name}{PLAIN}")?;
            draw_below(value, depth + 1, out)?;
        }
    }
    Ok(())
}

fn draw_below(value: &Json, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    match value {
        Json::Object(_) => draw(value, &[], depth, out),
        Json::Array(items) => {
            items.iter().try_for_each(|item| writeln!(out, "{indent}{}", text::line(&item.to_text())))
        }
        other => text::lines(&other.to_text()).try_for_each(|line| writeln!(out, "{indent}{line}")),
    }
}

/// A value that fits beside its name.
fn in_a_line(value: &Json) -> Option<String> {
    let text = match value {
        Json::Object(members) if members.is_empty() => "{}".to_owned(),
        Json::Object(_) => return None,
        Json::Array(items) if items.iter().any(|item| matches!(item, Json::Array(_) | Json::Object(_))) => {
            return None;
        }
        Json::Array(items) => items.iter().map(Json::to_text).collect::<Vec<_>>().join(", "),
        other => other.to_text(),
    };
    let fits = !text.contains('\n') && text.chars().nth(BESIDE).is_none();
    fits.then(|| text::line(&text).into_owned())
}
