//! Tables for people: aligned, a head, a row a line.

use std::io::{self, Write};

use super::super::style::{BAD, BOLD, GOOD, PLAIN};
use super::text;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(in crate::command) struct Column {
    title: &'static str,
    /// The most characters of a cell; what is longer is cut.
    most: usize,
    is_number: bool,
}

impl Column {
    /// A column of texts, whose cells are cut to so many characters.
    pub(in crate::command) const fn text(title: &'static str, most: usize) -> Self {
        Self { title, most, is_number: false }
    }

    /// A column of numbers, which stand right.
    pub(in crate::command) const fn number(title: &'static str) -> Self {
        Self { title, most: 20, is_number: true }
    }
}

/// A table that is written part by part. Each part is aligned in itself, and no column becomes
/// narrower than it was.
pub(in crate::command) struct Table {
    columns: &'static [Column],
    widths: Vec<usize>,
    has_head: bool,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table without rows yet.
    pub(in crate::command) fn new(columns: &'static [Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Self { columns, widths, has_head: false }
    }

    /// Writes rows, a cell for each column, and before the first the head.
    pub(in crate::command) fn write(&mut self, rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let cut = |row: &Vec<String>| -> Vec<String> {
            row.iter().zip(self.columns).map(|(cell, column)| text::cut(cell, column.most)).collect()
        };
        let rows: Vec<Vec<String>> = rows.iter().map(cut).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if !self.has_head {
            let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
            writeln!(out, "{BOLD}{}{PLAIN}", self.line(&titles, false))?;
            self.has_head = true;
        }
        rows.iter().try_for_each(|row| writeln!(out, "{}", self.line(row, true)))
    }

    fn line(&self, row: &[String], is_painted: bool) -> String {
        let mut line = String::new();
        for (index, (cell, column)) in row.iter().zip(self.columns).enumerate() {
            let blanks = " ".repeat(self.widths[index].saturating_sub(cell.chars().count()));
            let (before, after) =
                if column.is_number { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            let (paint, plain) = match paint(cell).filter(|_| is_painted) {
                Some(paint) => (paint, PLAIN),
                None => ("", ""),
            };
            line.extend([before, paint, cell, plain, after, GAP]);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// The colour of a cell that is a state. The text says the same.
fn paint(cell: &str) -> Option<&'static str> {
    match cell {
        "delivered" | "active" | "accepted" => Some(GOOD),
        "dead" | "failed" | "paused" | "rejected" => Some(BAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_cut_and_never_become_narrower() {
        const COLUMNS: &[Column] =
            &[Column::text("ID", 5), Column::number("TRIES"), Column::text("STATE", 9)];
        let mut table = Table::new(COLUMNS);
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let mut out = Vec::new();
        table.write(&[row(["äbcdefg", "12", "dead"]), row(["b", "3", "queued"])], &mut out).unwrap();
        table.write(&[], &mut out).unwrap();
        table.write(&[row(["c\u{1b}", "4", "delivered"])], &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains(&format!("{BAD}dead{PLAIN}")), "{shown}");
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            plain,
            "ID     TRIES  STATE\näbcd…     12  dead\nb          3  queued\nc\\u{…      4  delivered\n"
        );
    }
}
