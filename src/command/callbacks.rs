//! `ringback callbacks`: registrations at a running server.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::drawing::{self, Severity};
use super::input::Console;
use super::server::{
    Column, Connection, Failure, Moment, Part, Sent, Session, Table, draw_issues, draw_record, run_at, text,
};
use crate::config::Environment;
use crate::context::Json;

/// Arguments of `ringback callbacks`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show the account's callbacks, the newest first
    List {
        #[command(flatten)]
        part: Part,
    },
    /// Show one
    Show {
        /// Which: `cb_…`
        id: String,
    },
    /// Register one, and show its signing secret this once
    Create(Given),
    /// Change one, for later events: the members that are given
    Change {
        /// Which: `cb_…`
        id: String,
        #[command(flatten)]
        given: Given,
    },
    /// Hold one's deliveries back; they are collected
    Pause {
        /// Which: `cb_…`
        id: String,
    },
    /// Let a paused one deliver
    Resume {
        /// Which: `cb_…`
        id: String,
    },
    /// Remove one; what waits for it is cancelled
    Remove {
        /// Which: `cb_…`
        id: String,
    },
    /// Make a new signing secret, and show it this once; the old one signs beside it for a day
    RotateSecret {
        /// Which: `cb_…`
        id: String,
        /// Take the secret from this file in place of a generated one; `-` is standard input
        #[arg(long, value_name = "FILE")]
        secret: Option<PathBuf>,
    },
    /// Deliver a sample event now, and show what was sent and what came back; 1 if it was not
    /// delivered
    Test {
        /// Which: `cb_…`
        id: String,
        /// The sample's event type [default: the first of the callback's events]
        #[arg(long, value_name = "TYPE")]
        sample: Option<String>,
    },
    /// Deliver what it was to get once more, rendered anew
    Replay {
        /// Which: `cb_…`
        id: String,
        /// What was made at this time or later: RFC 3339, or so long ago (`2h`)
        #[arg(long, value_name = "TIME", value_parser = Moment::read, required_if_eq("only", "all"))]
        since: Option<Moment>,
        /// What was made before this time [default: now]
        #[arg(long, value_name = "TIME", value_parser = Moment::read)]
        until: Option<Moment>,
        /// Those that failed, or all that are not on their way still
        #[arg(long, value_enum, default_value_t)]
        only: Only,
        /// Go on where a replay was broken off
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
}

/// A request in a file.
#[derive(Clone, Debug, clap::Args)]
struct Given {
    /// The JSON object, as `POST /v1/callbacks` takes it; `-` is standard input
    file: PathBuf,
    /// Take `callback_data` from this file, a template as `ringback check` reads it
    #[arg(long, value_name = "TEMPLATE")]
    data: Option<PathBuf>,
}

/// What is replayed.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Only {
    #[default]
    Failed,
    All,
}

/// Does it; the exit code.
#[must_use]
pub fn run(arguments: &Arguments, environment: &Environment, console: Console<'_>) -> u8 {
    run_at(&arguments.connection, environment, console, async |session| act(&arguments.action, session).await)
}

async fn act(action: &Action, session: &mut Session<'_>) -> Result<(), Failure> {
    match action {
        Action::List { part } => session.list(&["callbacks"], &[], part, Table::new(COLUMNS), row).await,
        Action::Show { id } => {
            let callback = session.get(&["callbacks", id], &[]).await?;
            session.show(&callback, |callback, console| draw_record(callback, &[], console.out))
        }
        Action::Create(given) => {
            let sent = read(given, session)?;
            let registered = send(session, "POST", &["callbacks"], &sent).await?;
            session.show(&registered, |callback, console| {
                say_state(callback, "registered", console)?;
                say_secret(callback, console)?;
                draw_warnings(callback, &sent, console)
            })
        }
        Action::Change { id, given } => {
            let sent = read(given, session)?;
            let changed = send(session, "PATCH", &["callbacks", id], &sent).await?;
            session.show(&changed, |callback, console| {
                say_state(callback, "changed, for later events", console)?;
                draw_warnings(callback, &sent, console)
            })
        }
        Action::Pause { id } => set_state(session, id, "pause").await,
        Action::Resume { id } => set_state(session, id, "resume").await,
        Action::Remove { id } => {
            session.delete(&["callbacks", id], &[]).await?;
            let removed =
                Json::Object(vec![("id".into(), id.as_str().into()), ("state".into(), "removed".into())]);
            session.show(&removed, |_, console| {
                writeln!(console.out, "{} is removed, and what waited for it cancelled", text::line(id))
            })
        }
        Action::RotateSecret { id, secret } => rotate(session, id, secret.as_deref()).await,
        Action::Test { id, sample } => test(session, id, sample.as_deref()).await,
        Action::Replay { id, since, until, only, cursor } => {
            let only = match only {
                Only::Failed => "failed",
                Only::All => "all",
            };
            let mut request = json!({"only": only});
            for (name, moment) in [("since", since), ("until", until)] {
                if let Some(moment) = moment {
                    request[name] = moment.as_str().into();
                }
            }
            session.go_through(&["callbacks", id, "replay"], request, cursor.clone(), "replayed").await
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::text("ID", 29),
    Column::text("STATE", 6),
    Column::text("EVENTS", 24),
    Column::text("SENT TO", 60),
];

fn row(callback: &Json) -> Vec<String> {
    let sent_to = format!("{} {}", text::of(callback, "callback_method"), text::of(callback, "callback_url"));
    vec![text::of(callback, "id"), text::of(callback, "state"), text::joined(callback, "events"), sent_to]
}

fn read(given: &Given, session: &mut Session<'_>) -> Result<Sent, Failure> {
    let sent = Sent::of(drawing::name_of(&given.file), session.read(&given.file)?);
    let Some(file) = &given.data else { return Ok(sent) };
    let name = drawing::name_of(file);
    let template = String::from_utf8(session.read(file)?)
        .map_err(|_| Failure::Unusable(format!("{name}: not UTF-8: `ringback check` shows where")))?;
    sent.with_template(name, template)
}

/// Sends a request from a file. What is wrong with it is drawn in that file.
async fn send(session: &mut Session<'_>, method: &str, path: &[&str], sent: &Sent) -> Result<Json, Failure> {
    match session.send(method, path, sent).await {
        Err(failure @ Failure::Refused(_)) => Err(session.tell(&failure, Some(sent))?),
        answer => answer,
    }
}

fn say_state(callback: &Json, what: &str, console: &mut Console<'_>) -> io::Result<()> {
    let line = format!(
        "{} is {what}: {} on {}",
        text::of(callback, "id"),
        row(callback)[3],
        text::joined(callback, "events")
    );
    writeln!(console.out, "{}", text::line(&line))
}

fn say_secret(callback: &Json, console: &mut Console<'_>) -> io::Result<()> {
    let secret = text::of(callback, "secret");
    writeln!(console.out, "signing secret, shown this once: {}", text::line(&secret))
}

fn draw_warnings(callback: &Json, sent: &Sent, console: &mut Console<'_>) -> io::Result<()> {
    let warnings = callback.get("warnings").and_then(Json::as_array).unwrap_or_default();
    draw_issues(warnings, Severity::Warning, Some(sent), console.err)
}

async fn set_state(session: &mut Session<'_>, id: &str, verb: &str) -> Result<(), Failure> {
    let callback = session.post(&["callbacks", id, verb]).await?;
    session.show(&callback, |callback, console| {
        let reason = match text::of(callback, "state_reason") {
            reason if reason.is_empty() => reason,
            reason => format!(": {reason}"),
        };
        let line = format!("{} is {}{reason}", text::of(callback, "id"), text::of(callback, "state"));
        writeln!(console.out, "{}", text::line(&line))
    })
}

async fn rotate(session: &mut Session<'_>, id: &str, secret: Option<&Path>) -> Result<(), Failure> {
    let request = match secret {
        None => json!({}),
        Some(file) => {
            let bytes = session.read(file)?;
            let secret = str::from_utf8(&bytes)
                .map(str::trim)
                .map_err(|_| Failure::Unusable(format!("{}: not a secret's text", drawing::name_of(file))))?;
            json!({"secret": secret})
        }
    };
    let rotated = session.send("POST", &["callbacks", id, "rotate-secret"], &Sent::made(&request)).await?;
    session.show(&rotated, |callback, console| {
        say_secret(callback, console)?;
        match text::time(callback, "previous_secret_expires_at") {
            until if until.is_empty() => Ok(()),
            until => writeln!(console.out, "the one before signs beside it until {} UTC", text::line(&until)),
        }
    })
}

async fn test(session: &mut Session<'_>, id: &str, sample: Option<&str>) -> Result<(), Failure> {
    let request = sample.map_or_else(|| json!({}), |sample| json!({"sample": sample}));
    let tested = session.send("POST", &["callbacks", id, "test"], &Sent::made(&request)).await?;
    session.show(&tested, |tested, console| draw_record(tested, &[], console.out))?;
    if tested.get("delivered") == Some(&Json::Bool(true)) { Ok(()) } else { Err(Failure::Told) }
}
