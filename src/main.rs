//! The command line of Ringback.

use std::process::ExitCode;

use clap::Parser;
use ringback::command::{self, Command};
use ringback::config::Environment;

/// Receives the webhooks of speech and telephony providers and delivers the JSON callback that each
/// customer asked for: at least once, signed, retried.
#[derive(Debug, Parser)]
#[command(name = "ringback", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ExitCode::from(command::run(arguments.command, &Environment::of_process()))
}
