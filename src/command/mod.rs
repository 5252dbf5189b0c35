//! The commands of `ringback`, a file each. A command takes its arguments and where to write, and
//! gives its exit code; only this page knows about the terminal.

pub mod check;
pub mod demo;
mod drawing;
mod input;
pub mod placeholders;
pub mod render;
pub mod serve;
pub mod token;
pub mod verify;

use crate::config::Environment;

pub use input::Format;

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
}

/// Runs a command on this process's own streams; the exit code.
#[must_use]
pub fn run(command: Command, environment: &Environment) -> u8 {
    // Not locked: the log is written to standard error meanwhile, by other threads.
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let mut stdin = std::io::stdin();
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
    };
    // Whoever reads our output has gone, as `head` does: nobody is left to tell.
    done.unwrap_or(1)
}
