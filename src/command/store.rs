//! `ringback store`: what can be done with a store beside serving it.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::Format;
use crate::config::{Environment, Overrides, Settings, StoreAddress};
use crate::store::StoreError;
use crate::store::audit::Audit;
use crate::store::embedded::audit as audit_file;
use crate::store::redis::audit as audit_redis;

/// Everything is where it should be.
const CLEAN: u8 = 0;
/// Something is not.
const FINDINGS: u8 = 1;
/// The question cannot be answered: there is no such store, or an argument cannot be used.
const UNUSABLE: u8 = 2;

/// Arguments of `ringback store`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Audit a store, also beside a running server: whether everything in it is where it should be,
    /// once. Changes nothing
    Check(Check),
}

/// Arguments of `ringback store check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The store, in place of the configured one: sqlite:FILE, redis://HOST:PORT/DATABASE or
    /// redis-cluster://HOST:PORT,HOST:PORT
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Leave out what takes longest: holding the indices of an SQLite file against its tables
    #[arg(long)]
    pub quick: bool,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Runs a command on a store; the exit code.
///
/// # Errors
/// `out` cannot be written to.
pub fn run(
    arguments: Arguments,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    match arguments.what {
        What::Check(arguments) => check(arguments, environment, out, err),
    }
}

/// Writes what an audit found to `out`; the exit code is 0 where nothing is wrong, 1 where something
/// is, and 2 if the store cannot be audited.
fn check(
    arguments: Check,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let Check { config, store, quick, format } = arguments;
    let overrides = Overrides { config, store, ..Overrides::default() };
    let settings = match Settings::load(&overrides, environment) {
        Ok(settings) => settings,
        Err(problems) => {
            for problem in problems {
                let _ = writeln!(err, "{problem}");
            }
            return Ok(UNUSABLE);
        }
    };
    let audit = match audit(&settings.store, quick) {
        Ok(audit) => audit,
        Err(error) => {
            let _ = writeln!(err, "{error}");
            return Ok(UNUSABLE);
        }
    };
    match format {
        Format::Text => write_text(&audit, out)?,
        Format::Json => writeln!(out, "{}", show(&audit))?,
    }
    out.flush()?;
    Ok(if audit.is_clean() { CLEAN } else { FINDINGS })
}

fn audit(store: &StoreAddress, is_quick: bool) -> Result<Audit, StoreError> {
    match store {
        StoreAddress::Embedded(path) => audit_file(path, is_quick),
        StoreAddress::Redis(url) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| StoreError::Unusable(format!("the runtime cannot be started: {error}")))?;
            runtime.block_on(audit_redis(url.as_str()))
        }
    }
}

fn write_text(audit: &Audit, out: &mut dyn Write) -> io::Result<()> {
    let counts: Vec<String> = audit.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    writeln!(out, "format {}: {}", audit.format, counts.join(", "))?;
    for note in &audit.notes {
        writeln!(out, "note: {note}")?;
    }
    for finding in &audit.findings {
        writeln!(out, "{}: {}: {}", finding.kind, finding.subject, finding.detail)?;
    }
    match (audit.findings.len() as u64 + audit.more, audit.more) {
        (0, _) => writeln!(out, "everything is where it should be"),
        (1, _) => writeln!(out, "1 finding"),
        (all, 0) => writeln!(out, "{all} findings"),
        (all, more) => writeln!(out, "{all} findings, of which {more} are not shown"),
    }
}

fn show(audit: &Audit) -> serde_json::Value {
    let findings: Vec<_> = audit
        .findings
        .iter()
        .map(|finding| {
            json!({"kind": finding.kind.as_str(), "subject": finding.subject, "detail": finding.detail})
        })
        .collect();
    json!({
        "clean": audit.is_clean(),
        "format": audit.format,
        "counts": audit.counts,
        "notes": audit.notes,
        "findings": findings,
        "more": audit.more,
    })
}
