//! The tests of the whole, a module a subject.

mod api;
mod config;
mod delivery;
mod fixtures;
mod house;
mod interop;
mod path;
mod process;
mod signature;
mod store;
mod support;
mod template;
