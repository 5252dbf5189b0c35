//! The commands of `ringback`, a file each. A command takes its arguments and where to write, and
//! gives its exit code; only this page knows about the terminal.

pub mod check;
pub mod demo;
pub mod placeholders;
pub mod render;
pub mod serve;
pub mod token;
pub mod verify;

use crate::config::Environment;

/// What `ringback` is told to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run: receive events, deliver callbacks
    Serve(serve::Arguments),
    /// Show the main job on real input, in one process
    Demo(demo::Arguments),
    /// Compile templates and show every mistake
    Check(check::Arguments),
    /// Render a template with given data
    Render(render::Arguments),
    /// Check a request's signature as a source would
    Verify(verify::Arguments),
    /// List the names that a template may use
    Placeholders(placeholders::Arguments),
    /// Make a token for the configuration
    Token(token::Arguments),
}
