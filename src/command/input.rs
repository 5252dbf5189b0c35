//! What the commands read, and where they write.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::template::{ContentType, Limits};

/// Who reads the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// People
    #[default]
    Text,
    /// Programs
    Json,
}

/// Where a command reads and writes.
pub struct Console<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// What went wrong, and how far it is.
    pub err: &'a mut dyn Write,
    /// Whether somebody watches `err` on a terminal, so that progress may be drawn there.
    pub is_watched: bool,
}

/// Reads the value of `--content-type`.
pub(super) fn content_type(name: &str) -> Result<ContentType, String> {
    ContentType::from_name(name).ok_or_else(|| {
        "templates are made for application/json, application/x-www-form-urlencoded, application/xml, \
         text/xml and text/plain"
            .to_owned()
    })
}

/// Reads a template, or standard input where the file is `-`: no more of it than shows that it is
/// too large.
pub(super) fn read_template(file: &Path, limits: &Limits, stdin: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = read(file, limits.template.saturating_add(1), stdin)?;
    // The cut may have halved a character; that is not what is wrong with the template.
    if bytes.len() > limits.template
        && let Err(error) = str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
        bytes.resize(limits.template.saturating_add(1), b' ');
    }
    Ok(bytes)
}

/// Reads a file, or standard input where it is `-`, up to so many bytes.
pub(super) fn read(file: &Path, most: usize, stdin: &mut dyn Read) -> io::Result<Vec<u8>> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        stdin.take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(file)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
