//! How the store stands, for operators; and what the writer measures of itself.

use jiff::Timestamp;
use rusqlite::Connection;

use super::Embedded;
use super::desk::{Desk, micros};
use super::failure::WriteError;
use super::writer::Write;
use crate::metric::{Histogram, durations, sizes};
use crate::store::{Standing, StoreError};

/// Of how many destinations of each line the oldest delivery is looked for.
const LINE: usize = 1_000;

/// What older binaries need not know of: paused registrations are counted without reading the others.
pub(super) const INDEX: &str = "
CREATE INDEX IF NOT EXISTS callback_paused ON callback (removed_at) WHERE paused = 1;
";

/// What is measured of each transaction.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    /// How long its commit took.
    pub(super) commit: Histogram,
    /// How many writes it held.
    pub(super) batch: Histogram,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            commit: durations(
                "ringback_store_commit_duration_seconds",
                "How long commits of the embedded store took, with their sync.",
            ),
            batch: sizes(
                "ringback_store_batch_writes",
                "How many writes shared a commit of the embedded store.",
            ),
        }
    }
}

/// What the scheduler knows.
struct Look;

impl Write for Look {
    type Outcome = Standing;

    fn write(&self, desk: &mut Desk) -> Result<Standing, WriteError> {
        let oldest_due = desk.scheduler.oldest_due(micros(Timestamp::now()), LINE);
        Ok(Standing {
            queued: desk.scheduler.queued() as u64,
            leased: desk.scheduler.in_flight() as u64,
            oldest_due: oldest_due.and_then(|at| Timestamp::from_microsecond(at).ok()),
            ..Standing::default()
        })
    }
}

impl Embedded {
    /// What is measured of its writes, for those who show it.
    #[must_use]
    pub fn meters(&self) -> [Histogram; 2] {
        [self.meter.commit.clone(), self.meter.batch.clone()]
    }

    pub(super) async fn look_at_standing(&self) -> Result<Standing, StoreError> {
        let standing = self.write_first(Look).await?;
        let (open_circuits, paused_callbacks, jobs, leased_jobs) = self.readers.read(count).await?;
        let waiting_jobs = jobs.saturating_sub(leased_jobs);
        Ok(Standing { open_circuits, paused_callbacks, waiting_jobs, leased_jobs, ..standing })
    }
}

fn count(connection: &Connection) -> rusqlite::Result<(u64, u64, u64, u64)> {
    let count = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    Ok((
        count("SELECT count(*) FROM circuit")?.unsigned_abs(),
        count(
            "SELECT count(*) FROM callback INDEXED BY callback_paused WHERE paused = 1 AND removed_at IS NULL",
        )?
        .unsigned_abs(),
        count("SELECT count(*) FROM job INDEXED BY job_open WHERE ended IS NULL")?.unsigned_abs(),
        count("SELECT count(leased_until) FROM job INDEXED BY job_open WHERE ended IS NULL")?.unsigned_abs(),
    ))
}
