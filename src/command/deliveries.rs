//! `ringback deliveries`: what a running server sent, what came back, and once more.

use std::io;

use serde_json::json;

use super::input::Console;
use super::server::{Column, Connection, Failure, Moment, Part, Session, Table, draw_record, run_at, text};
use crate::config::Environment;
use crate::context::Json;

/// Arguments of `ringback deliveries`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show deliveries, the newest first
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        part: Part,
    },
    /// Show one: what is sent, and how the attempts went
    Show {
        /// Which: `dl_…`
        id: String,
    },
    /// Send again, now: same id, same bytes
    Retry {
        /// Which: `dl_…`
        #[arg(value_name = "ID", required_unless_present_any = FILTERS, conflicts_with_all = FILTERS)]
        ids: Vec<String>,
        #[command(flatten)]
        which: Which,
        /// Go on where a retry of many was broken off
        #[arg(long, value_name = "CURSOR", conflicts_with = "ids")]
        cursor: Option<String>,
    },
}

/// The arguments of [`Which`].
const FILTERS: [&str; 5] = ["callback", "call", "state", "since", "until"];

/// Which deliveries; those of which all that is said is true.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// Of this callback: `cb_…`
    #[arg(long, value_name = "ID")]
    callback: Option<String>,
    /// Of this call
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// In this state: queued, leased, delivered, dead, failed or cancelled
    #[arg(long)]
    state: Option<String>,
    /// Made at this time or later: RFC 3339, or so long ago (`2h`)
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    since: Option<Moment>,
    /// Made before this time
    #[arg(long, value_name = "TIME", value_parser = Moment::read)]
    until: Option<Moment>,
}

/// Does it; the exit code.
#[must_use]
pub fn run(arguments: &Arguments, environment: &Environment, console: Console<'_>) -> u8 {
    run_at(&arguments.connection, environment, console, async |session| act(&arguments.action, session).await)
}

async fn act(action: &Action, session: &mut Session<'_>) -> Result<(), Failure> {
    match action {
        Action::List { which, part } => {
            let filters = [
                ("callback_id", which.callback.as_deref()),
                ("call_id", which.call.as_deref()),
                ("state", which.state.as_deref()),
                ("since", which.since.as_ref().map(Moment::as_str)),
                ("until", which.until.as_ref().map(Moment::as_str)),
            ];
            session.list(&["deliveries"], &filters, part, Table::new(COLUMNS), row).await
        }
        Action::Show { id } => {
            let delivery = session.get(&["deliveries", id], &[]).await?;
            session.show(&delivery, draw)
        }
        Action::Retry { ids, which, cursor } if ids.is_empty() => {
            let mut request = json!({});
            for (name, value) in [
                ("callback", which.callback.as_deref()),
                ("call", which.call.as_deref()),
                ("state", which.state.as_deref()),
                ("since", which.since.as_ref().map(Moment::as_str)),
                ("until", which.until.as_ref().map(Moment::as_str)),
            ] {
                if let Some(value) = value {
                    request[name] = value.into();
                }
            }
            session.go_through(&["deliveries", "retry"], request, cursor.clone(), "retried").await
        }
        Action::Retry { ids, .. } => retry(session, ids).await,
    }
}

/// Each for itself: one that cannot be sent again is no reason to leave the others.
async fn retry(session: &mut Session<'_>, ids: &[String]) -> Result<(), Failure> {
    let mut done = Ok(());
    for id in ids {
        match session.post(&["deliveries", id, "retry"]).await {
            Ok(delivery) => session.show(&delivery, |delivery, console| {
                let line = format!("{} is {}", text::of(delivery, "id"), text::of(delivery, "state"));
                writeln!(console.out, "{}", text::line(&line))
            })?,
            Err(failure @ Failure::Refused(_)) => {
                write!(session.console().err, "{}: ", text::line(id))?;
                done = Err(session.tell(&failure, None)?);
            }
            Err(failure) => return Err(failure),
        }
    }
    done
}

const COLUMNS: &[Column] = &[
    Column::text("MADE (UTC)", 19),
    Column::text("ID", 29),
    Column::text("STATE", 9),
    Column::number("TRIES"),
    Column::text("CALL", 20),
    Column::text("EVENT", 20),
];

fn row(delivery: &Json) -> Vec<String> {
    let of = |name| text::of(delivery, name);
    vec![
        text::time(delivery, "created_at"),
        of("id"),
        of("state"),
        of("attempts"),
        of("call_id"),
        of("event_type"),
    ]
}

const ATTEMPTS: &[Column] = &[
    Column::number("TRY"),
    Column::text("STARTED (UTC)", 19),
    Column::number("MS"),
    Column::text("OUTCOME", 15),
    Column::number("STATUS"),
    Column::text("ERROR", 200),
];

fn draw(delivery: &Json, console: &mut Console<'_>) -> io::Result<()> {
    draw_record(delivery, &["attempts"], console.out)?;
    // The count that a row of the list has stands here as the attempts themselves.
    let attempts = delivery.get("attempts").and_then(Json::as_array).unwrap_or_default();
    if attempts.is_empty() {
        return Ok(());
    }
    writeln!(console.out)?;
    let row = |attempt: &Json| -> Vec<String> {
        let of = |name| text::of(attempt, name);
        vec![
            of("number"),
            text::time(attempt, "started_at"),
            of("latency_ms"),
            of("outcome"),
            of("status"),
            of("error"),
        ]
    };
    Table::new(ATTEMPTS).write(&attempts.iter().map(row).collect::<Vec<_>>(), console.out)?;
    // What the receiver said last is what helps to find out why.
    let said = attempts.iter().rev().find(|attempt| !text::of(attempt, "response").is_empty());
    let Some(said) = said else { return Ok(()) };
    writeln!(console.out, "\nthe response to attempt {}", text::line(&text::of(said, "number")))?;
    text::lines(&text::of(said, "response")).try_for_each(|line| writeln!(console.out, "  {line}"))
}
