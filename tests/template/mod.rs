//! The template language.

mod core;
