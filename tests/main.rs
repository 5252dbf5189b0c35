//! The tests of the whole, a module a subject.

mod template;
