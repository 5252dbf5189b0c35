//! The commands of `ringback`, a file each. A command takes its arguments and where to write, and
//! gives its exit code; only this page knows about the terminal.

pub mod callbacks;
pub mod calls;
pub mod check;
pub mod deliveries;
pub mod demo;
mod drawing;
pub mod events;
mod input;
pub mod placeholders;
pub mod render;
pub mod serve;
mod server;
pub mod store;
mod style;
pub mod token;
pub mod verify;

use std::io::IsTerminal as _;

use crate::config::Environment;

pub use input::{Console, Format};

/// What `ringback` is told to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run: receive events, deliver callbacks
    Serve(serve::Arguments),
    /// Show the main job on real input, in one process
    Demo(demo::Arguments),
    /// Check templates, and show every problem
    Check(check::Arguments),
    /// Render a template with given data
    Render(render::Arguments),
    /// Check a request's signature as a source would
    Verify(verify::Arguments),
    /// List the names that a template may use
    Placeholders(placeholders::Arguments),
    /// Make a token for the configuration
    Token(token::Arguments),
    /// Audit a store
    Store(store::Arguments),
    /// Register callbacks at a running server, show and change them, and deliver again
    Callbacks(callbacks::Arguments),
    /// What a running server sent, what came back, and once more
    Deliveries(deliveries::Arguments),
    /// What came in at a running server
    Events(events::Arguments),
    /// What a running server knows of calls
    Calls(calls::Arguments),
}

/// Runs a command on this process's own streams; the exit code.
#[must_use]
pub fn run(command: Command, environment: &Environment) -> u8 {
    // Not locked: the log is written to standard error meanwhile, by other threads.
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let mut stdin = std::io::stdin();
    let is_watched = std::io::stderr().is_terminal();
    let console = Console { stdin: &mut stdin, out: &mut out, err: &mut err, is_watched };
    let done = match command {
        Command::Serve(arguments) => Ok(serve::run(arguments, environment, &mut out, &mut err)),
        Command::Demo(arguments) => Ok(demo::run(&arguments, &mut out, &mut err)),
        Command::Check(arguments) => check::run(&arguments, &mut stdin, &mut out, &mut err),
        Command::Render(arguments) => render::run(&arguments, &mut stdin, &mut out, &mut err),
        Command::Verify(arguments) => {
            Ok(verify::run(&arguments, environment, &mut stdin, &mut out, &mut err))
        }
        Command::Placeholders(arguments) => placeholders::run(&arguments, &mut out),
        Command::Token(arguments) => Ok(token::run(&arguments, &mut out, &mut err)),
        Command::Store(arguments) => store::run(arguments, environment, &mut out, &mut err),
        Command::Callbacks(arguments) => Ok(callbacks::run(&arguments, environment, console)),
        Command::Deliveries(arguments) => Ok(deliveries::run(&arguments, environment, console)),
        Command::Events(arguments) => Ok(events::run(&arguments, environment, console)),
        Command::Calls(arguments) => Ok(calls::run(&arguments, environment, console)),
    };
    // Whoever reads our output has gone, as `head` does: nobody is left to tell.
    done.unwrap_or(1)
}
