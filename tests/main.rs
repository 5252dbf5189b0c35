//! The tests of the whole, a module a subject.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod config;
mod delivery;
mod fixtures;
mod house;
mod interop;
mod path;
mod process;
mod signature;
mod support;
mod template;
