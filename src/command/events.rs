//! `ringback events`: what came in at a running server.

use super::input::Console;
use super::server::{Column, Connection, Failure, Moment, Part, Session, Table, draw_record, run_at, text};
use crate::config::Environment;
use crate::context::Json;

/// Arguments of `ringback events`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show events, the newest first
    List {
        /// Posted to this source
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Of this type, such as call.ended
        #[arg(long = "type", value_name = "TYPE")]
        event_type: Option<String>,
        /// accepted, or rejected
        #[arg(long)]
        state: Option<String>,
        /// Of this call
        #[arg(long, value_name = "ID")]
        call: Option<String>,
        /// Received at this time or later: RFC 3339, or so long ago (`2h`)
        #[arg(long, value_name = "TIME", value_parser = Moment::read)]
        since: Option<Moment>,
        /// Received before this time
        #[arg(long, value_name = "TIME", value_parser = Moment::read)]
        until: Option<Moment>,
        #[command(flatten)]
        part: Part,
    },
    /// Show one, with its raw body
    Show {
        /// Which: `ev_…`
        id: String,
    },
}

/// Does it; the exit code.
#[must_use]
pub fn run(arguments: &Arguments, environment: &Environment, console: Console<'_>) -> u8 {
    run_at(&arguments.connection, environment, console, async |session| act(&arguments.action, session).await)
}

async fn act(action: &Action, session: &mut Session<'_>) -> Result<(), Failure> {
    match action {
        Action::List { source, event_type, state, call, since, until, part } => {
            let filters = [
                ("source", source.as_deref()),
                ("type", event_type.as_deref()),
                ("state", state.as_deref()),
                ("call_id", call.as_deref()),
                ("since", since.as_ref().map(Moment::as_str)),
                ("until", until.as_ref().map(Moment::as_str)),
            ];
            session.list(&["events"], &filters, part, Table::new(COLUMNS), row).await
        }
        Action::Show { id } => {
            let event = session.get(&["events", id], &[]).await?;
            session.show(&event, |event, console| draw_record(event, &[], console.out))
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::text("RECEIVED (UTC)", 19),
    Column::text("ID", 29),
    Column::text("SOURCE", 16),
    Column::text("STATE", 8),
    Column::text("CALL", 20),
    Column::text("TYPES", 60),
];

fn row(event: &Json) -> Vec<String> {
    let of = |name| text::of(event, name);
    let types = text::joined(event, "types");
    vec![text::time(event, "received_at"), of("id"), of("source"), of("state"), of("call_id"), types]
}
