//! How words stand out on a terminal. A stream that is none, or that `NO_COLOR` speaks for, takes
//! these away.

/// Heads of tables, and what a text is about.
pub(super) const BOLD: &str = "\x1b[1m";
/// What is beside the point.
pub(super) const DIM: &str = "\x1b[2m";
/// What went well.
pub(super) const GOOD: &str = "\x1b[32m";
/// What did not.
pub(super) const BAD: &str = "\x1b[31m";
/// The end of each.
pub(super) const PLAIN: &str = "\x1b[0m";
