//! `ringback serve`: runs until it is told to stop.

use std::io::Write;
use std::path::PathBuf;

use crate::assembly;
use crate::config::{Environment, Overrides, Settings, Token};
use crate::delivery::client::MAX_KEPT;
use crate::descriptors;
use crate::http::MAX_CONNECTIONS;
use crate::shutdown::Shutdown;
use crate::telemetry;

/// The exit code of a configuration that cannot be used.
const UNUSABLE: u8 = 2;

/// Arguments of `ringback serve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file. Without one, Ringback runs for trying it out: on loopback, with one
    /// account whose token is printed once, and one unverified source per provider.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on, in place of the configured one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The store, in place of the configured one: sqlite:FILE, redis://HOST:PORT/DATABASE or
    /// redis-cluster://HOST:PORT,HOST:PORT.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Check the configuration, say what is wrong with it, and exit.
    #[arg(long)]
    check: bool,
}

/// Runs; the exit code.
pub fn run(arguments: Arguments, environment: &Environment, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let overrides = Overrides { config: arguments.config, listen: arguments.listen, store: arguments.store };
    let mut settings = match Settings::load(&overrides, environment) {
        Ok(settings) => settings,
        Err(problems) => {
            for problem in problems {
                let _ = writeln!(err, "{problem}");
            }
            return UNUSABLE;
        }
    };
    if arguments.check {
        for warning in settings.warnings() {
            let _ = writeln!(err, "warning: {warning}");
        }
        let _ = writeln!(out, "the configuration is good");
        return 0;
    }
    if let Err(error) = telemetry::install(environment) {
        let _ = writeln!(err, "{error}");
        return UNUSABLE;
    }
    let token = match settings.adopt_first_token() {
        Ok(token) => token,
        Err(error) => {
            let _ = writeln!(err, "{error}");
            return UNUSABLE;
        }
    };

    descriptors::make_room(most_descriptors(&settings));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(err, "the runtime cannot be started: {error}");
            return 1;
        }
    };
    runtime.block_on(async {
        let shutdown = match Shutdown::on_signal() {
            Ok(shutdown) => shutdown,
            Err(error) => {
                let _ = writeln!(err, "signals cannot be listened to: {error}");
                return 1;
            }
        };
        let running = match assembly::start(&settings, &shutdown).await {
            Ok(running) => running,
            Err(error) => {
                let _ = writeln!(err, "{error}");
                // Its hash is kept already: the next start will not make another.
                if let Some(token) = &token {
                    say_token(token, out);
                }
                return UNUSABLE;
            }
        };
        for warning in settings.warnings() {
            tracing::warn!("{warning}");
        }
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let address = running.address();
        let _ = writeln!(out, "ringback {} listening on {scheme}://{address}", env!("CARGO_PKG_VERSION"));
        let console = match running.operator_address() {
            Some(operators) => {
                let _ = writeln!(out, "operators: http://{operators}");
                format!("http://{operators}/")
            }
            None => format!("{scheme}://{address}/"),
        };
        let _ = writeln!(out, "the console: {console}");
        if settings.trying_out {
            say_how_to_begin(&settings, token.as_ref(), out);
        }
        let _ = out.flush();
        drop(token);
        let good = running.finished().await;
        tracing::info!("stopped");
        u8::from(!good)
    })
}

/// How many files and connections may be open at once, about.
fn most_descriptors(settings: &Settings) -> usize {
    /// Files of the store, connections to Redis and to providers, and what the runtime needs.
    const OTHERS: usize = 256;

    let listeners = 1 + usize::from(settings.operator_listen.is_some());
    listeners * MAX_CONNECTIONS + settings.delivery.max_in_flight + MAX_KEPT + OTHERS
}

/// What somebody who tries Ringback out needs next.
fn say_how_to_begin(settings: &Settings, token: Option<&Token>, out: &mut dyn Write) {
    let _ = writeln!(out, "no configuration file: running for trying it out");
    for source in &settings.sources {
        let _ = writeln!(
            out,
            "  POST /v1/ingest/{}  takes events of {}, unverified",
            source.name, source.provider
        );
    }
    match token {
        Some(token) => say_token(token, out),
        None => {
            let _ = writeln!(out, "  the token is the one that the first start printed");
        }
    }
}

fn say_token(token: &Token, out: &mut dyn Write) {
    let _ = writeln!(out, "  token, shown this once: {}", token.expose());
}
