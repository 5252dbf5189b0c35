//! The commands, each a function of its arguments and writers that returns an exit code.

pub mod token;
pub mod verify;
