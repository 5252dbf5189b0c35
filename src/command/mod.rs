//! The commands of `ringback`, a file each. A command takes its arguments and where to write, and
//! gives its exit code; only this page knows about the terminal.

pub mod serve;
pub mod token;
pub mod verify;

use crate::config::Environment;

/// What `ringback` is told to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run: receive events, deliver callbacks
    Serve(serve::Arguments),
    /// Check a request's signature as a source would
    Verify(verify::VerifyArgs),
    /// Make a token for the configuration
    Token(token::TokenArgs),
}

/// Runs a command on this process's own streams; the exit code.
#[must_use]
pub fn run(command: Command, environment: &Environment) -> u8 {
    // Not locked: the log is written to standard error meanwhile, by other threads.
    let (mut out, mut err) = (anstream::stdout(), anstream::stderr());
    let done = match command {
        Command::Serve(arguments) => Ok(serve::run(arguments, environment, &mut out, &mut err)),
        Command::Verify(arguments) => {
            verify::run(&arguments, environment, &mut std::io::stdin().lock(), &mut out, &mut err)
        }
        Command::Token(arguments) => token::run(&arguments, &mut out, &mut err),
    };
    // Whoever reads our output has gone, as `head` does: nobody is left to tell.
    done.unwrap_or(1)
}
