//! `ringback placeholders`: the names that a template may use.

use std::io::{self, Write};

use serde_json::json;

use super::input::Format;
use super::style::{BOLD, DIM, PLAIN};
use crate::context::Name;

/// The arguments of `ringback placeholders`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// For people, or for programs: a JSON array of objects
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Writes the catalogue to `out`; the exit code is 0.
///
/// # Errors
/// The writer fails.
pub fn run(args: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    match args.format {
        Format::Text => write_table(out)?,
        Format::Json => write_json(out)?,
    }
    out.flush()?;
    Ok(0)
}

fn write_json(out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<_> = Name::ALL
        .into_iter()
        .map(|name| {
            json!({
                "name": name.as_str(),
                "type": name.kind().as_str(),
                "group": name.group().as_str(),
                "meaning": name.meaning(),
                "example": serde_json::from_str::<serde_json::Value>(name.example()).unwrap_or_default(),
            })
        })
        .collect();
    serde_json::to_writer_pretty(&mut *out, &names)?;
    writeln!(out)
}

/// A table for each group, the groups in the order of their first names, all with the same columns.
fn write_table(out: &mut dyn Write) -> io::Result<()> {
    let width = |column: fn(Name) -> &'static str| {
        Name::ALL.into_iter().map(|name| column(name).chars().count()).max().unwrap_or(0)
    };
    let (names, types) = (width(Name::as_str), width(|name| name.kind().as_str()));
    let meanings = width(Name::meaning);
    let mut groups = Vec::new();
    for name in Name::ALL {
        if !groups.contains(&name.group()) {
            groups.push(name.group());
        }
    }
    for (index, group) in groups.into_iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{BOLD}{}{PLAIN}", group.as_str())?;
        for name in Name::ALL.into_iter().filter(|name| name.group() == group) {
            writeln!(
                out,
                "  {:names$}  {DIM}{:types$}{PLAIN}  {:meanings$}  {DIM}{}{PLAIN}",
                name.as_str(),
                name.kind().as_str(),
                name.meaning(),
                name.example(),
            )?;
        }
    }
    Ok(())
}
