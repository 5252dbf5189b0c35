//! Lists, page by page: no more than one page is held.

use std::num::NonZeroUsize;

use super::{Failure, Session, Table};
use crate::context::Json;

/// The most rows that a server gives at once.
const PAGE: usize = 250;

/// Which part of a list is shown.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::command) struct Part {
    /// The most rows
    #[arg(long, value_name = "N", default_value = "50")]
    limit: NonZeroUsize,
    /// All rows
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Go on where a list ended before
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Session<'_> {
    /// Shows a list: its rows as they are to programs, as a table to people.
    pub(in crate::command) async fn list(
        &mut self,
        path: &[&str],
        filters: &[(&str, Option<&str>)],
        part: &Part,
        mut table: Table,
        row: fn(&Json) -> Vec<String>,
    ) -> Result<(), Failure> {
        let mut left = if part.all { usize::MAX } else { part.limit.get() };
        let mut cursor = part.cursor.clone();
        let mut is_empty = true;
        loop {
            let limit = left.min(PAGE).to_string();
            let mut query: Vec<(&str, &str)> =
                filters.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
            query.push(("limit", &limit));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = self.get(path, &query).await?;
            let rows = page.get("data").and_then(Json::as_array).ok_or_else(|| self.foreign())?;
            if self.is_for_programs() {
                rows.iter().try_for_each(|row| writeln!(self.console.out, "{}", row.to_compact()))?;
            } else {
                table.write(&rows.iter().map(row).collect::<Vec<_>>(), self.console.out)?;
            }
            // Whoever waits for the first rows need not wait for the last.
            self.console.out.flush()?;
            is_empty &= rows.is_empty();
            left = left.saturating_sub(rows.len());
            let next = page.get("next").and_then(Json::as_str).map(str::to_owned);
            match next {
                Some(next) if left == 0 => {
                    writeln!(self.console.err, "there is more: --cursor {next} goes on, --all shows all")?;
                    return Ok(());
                }
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        if is_empty && !self.is_for_programs() {
            writeln!(self.console.err, "nothing was found")?;
        }
        Ok(())
    }

    /// That an answer is not what a Ringback gives.
    pub(in crate::command) fn foreign(&self) -> Failure {
        Failure::Foreign { at: self.base.to_string(), status: 200 }
    }
}
