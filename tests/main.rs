//! The tests of the whole, a module a subject.

mod api;
mod house;
mod interop;
mod path;
mod process;
mod support;
mod template;
