//! `ringback calls`: what a running server knows of calls.

use super::input::Console;
use super::server::{Column, Connection, Failure, Part, Session, Table, draw_record, run_at, text};
use crate::config::Environment;
use crate::context::Json;

/// Arguments of `ringback calls`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Show calls, those first that were first heard of last
    List {
        #[command(flatten)]
        filter: Box<Filter>,
        #[command(flatten)]
        part: Part,
    },
    /// Show one, with all that is known of it
    Show {
        /// Which
        id: String,
        /// Its space, where calls of several spaces have this id
        #[arg(long, value_name = "NAME")]
        space: Option<String>,
    },
}

/// The filters of a registration.
#[derive(Clone, Debug, clap::Args)]
struct Filter {
    /// At least so many seconds long
    #[arg(long, value_name = "SECONDS")]
    min_duration: Option<String>,
    /// At most so many seconds long
    #[arg(long, value_name = "SECONDS")]
    max_duration: Option<String>,
    /// With this status
    #[arg(long, value_name = "STATUS")]
    call_status: Option<String>,
    /// Begun at this time or later
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Begun at this time or earlier
    #[arg(long, value_name = "TIME")]
    till: Option<String>,
    /// In this language
    #[arg(long)]
    language: Option<String>,
    /// With this in its transcript
    #[arg(long, value_name = "TEXT")]
    phrase: Option<String>,
    /// With this in its summary
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// With this in its rank's description
    #[arg(long, value_name = "TEXT")]
    rank_description: Option<String>,
    /// Ranked at least so high, of 100
    #[arg(long, value_name = "RANK")]
    rank_min: Option<String>,
    /// Ranked at most so high, of 100
    #[arg(long, value_name = "RANK")]
    rank_max: Option<String>,
}

/// Does it; the exit code.
#[must_use]
pub fn run(arguments: &Arguments, environment: &Environment, console: Console<'_>) -> u8 {
    run_at(&arguments.connection, environment, console, async |session| act(&arguments.action, session).await)
}

async fn act(action: &Action, session: &mut Session<'_>) -> Result<(), Failure> {
    match action {
        Action::List { filter, part } => {
            let filters = [
                ("min_duration", filter.min_duration.as_deref()),
                ("max_duration", filter.max_duration.as_deref()),
                ("call_status", filter.call_status.as_deref()),
                ("from", filter.from.as_deref()),
                ("till", filter.till.as_deref()),
                ("language", filter.language.as_deref()),
                ("phrase", filter.phrase.as_deref()),
                ("summary", filter.summary.as_deref()),
                ("rank_description", filter.rank_description.as_deref()),
                ("rank_min", filter.rank_min.as_deref()),
                ("rank_max", filter.rank_max.as_deref()),
            ];
            session.list(&["calls"], &filters, part, Table::new(COLUMNS), row).await
        }
        Action::Show { id, space } => {
            let query: Vec<_> = space.iter().map(|space| ("call_space", space.as_str())).collect();
            let call = session.get(&["calls", id], &query).await?;
            session.show(&call, |call, console| draw_record(call, &[], console.out))
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::text("FIRST HEARD OF", 19),
    Column::text("ID", 36),
    Column::text("SPACE", 12),
    Column::text("STATUS", 12),
    Column::number("SECONDS"),
    Column::number("RANK"),
    Column::text("SUMMARY", 40),
];

fn row(call: &Json) -> Vec<String> {
    let known = |name| call.get("context").map(|context| text::of(context, name)).unwrap_or_default();
    vec![
        text::time(call, "created_at"),
        text::of(call, "id"),
        text::of(call, "call_space"),
        known("call_status"),
        known("call_duration"),
        known("speech_rank"),
        known("speech_summary"),
    ]
}
