//! Everything that is tested from outside: one binary, a module each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod config;
mod signature;
