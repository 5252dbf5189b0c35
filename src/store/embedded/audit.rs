//! Whether everything in a file is where its state demands.
//!
//! Reads only, and beside a process that writes: each question is one statement, which sees the file
//! as it is at one moment.

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};

use super::desk::state;
use super::schema;
use crate::event::{CallbackId, DeliveryId, JobId, SpeechRequestId};
use crate::store::audit::{Audit, FindingKind as Kind};
use crate::store::{DeliveryState, StoreError};

/// How many faults SQLite tells of its own.
const ENGINE_FAULTS: u32 = 100;

/// Audits the file at `path`. A quick audit does not hold SQLite's indices against its tables, which
/// takes most of the time. Blocks.
///
/// # Errors
/// [`StoreError::Unusable`]: there is no file, it cannot be read, is something else than a store, or
/// was written by a newer version.
pub fn audit(path: &Path, is_quick: bool) -> Result<Audit, StoreError> {
    let (connection, format) = schema::open_for_audit(path)?;
    let mut audit = Audit { format: format.unsigned_abs(), ..Audit::default() };
    if format < schema::FORMAT {
        audit
            .notes
            .push(format!("the file has format {format}; the next start brings it up to {}", schema::FORMAT));
    }
    let failed = |error: rusqlite::Error| schema::unusable(path, &error);
    let asked = ask_engine(&connection, is_quick, &mut audit);
    go_on(asked, &["the file"], &mut audit).map_err(failed)?;
    let tables = tables(&connection).map_err(failed)?;
    let has = |needed: &[&str]| needed.iter().all(|table| tables.iter().any(|there| there == table));
    for question in QUESTIONS.iter().filter(|question| has(question.tables)) {
        let asked = question.ask(&connection, &mut audit);
        go_on(asked, question.tables, &mut audit).map_err(failed)?;
    }
    for table in ["event", "call", "callback", "delivery", "queue", "job", "speech_request", "announcement"] {
        if has(&[table]) {
            let asked = look_for_accounts(&connection, table, &mut audit);
            go_on(asked, &[table], &mut audit).map_err(failed)?;
        }
    }
    for (what, table, sql) in COUNTS {
        if has(&[table]) {
            let counted = count(&connection, what, sql, &mut audit);
            go_on(counted, &[table], &mut audit).map_err(failed)?;
        }
    }
    let counted = count_states(&connection, &mut audit);
    go_on(counted, &["delivery"], &mut audit).map_err(failed)?;
    Ok(audit)
}

/// What is damaged is a finding, and the other questions are asked all the same.
fn go_on(asked: rusqlite::Result<()>, tables: &[&str], audit: &mut Audit) -> rusqlite::Result<()> {
    match asked {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            audit.find(Kind::Damaged, tables.join(", "), "SQLite cannot read all of it");
            Ok(())
        }
        other => other,
    }
}

fn ask_engine(connection: &Connection, is_quick: bool, audit: &mut Audit) -> rusqlite::Result<()> {
    let check = if is_quick { "quick_check" } else { "integrity_check" };
    let mut statement = connection.prepare(&format!("PRAGMA {check}({ENGINE_FAULTS})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let told: String = row.get(0)?;
        if told != "ok" {
            // SQLite names pages, tables and indices, and no data.
            audit.find(Kind::Damaged, "the file", told);
        }
    }
    Ok(())
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// What is counted, in which table.
const COUNTS: [(&str, &str, &str); 7] = [
    ("events", "event", "SELECT count(*) FROM event"),
    ("calls", "call", "SELECT count(*) FROM call"),
    ("registrations", "callback", "SELECT count(*) FROM callback WHERE removed_at IS NULL"),
    ("jobs", "job", "SELECT count(*) FROM job"),
    ("not rendered yet", "late", "SELECT count(*) FROM late"),
    ("queued", "queue", "SELECT count(*) FROM queue WHERE leased_at IS NULL"),
    ("leased", "queue", "SELECT count(*) FROM queue WHERE leased_at IS NOT NULL"),
];

fn count(connection: &Connection, what: &'static str, sql: &str, audit: &mut Audit) -> rusqlite::Result<()> {
    let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    audit.count(what, count.unsigned_abs());
    Ok(())
}

fn count_states(connection: &Connection, audit: &mut Audit) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT state, count(*) FROM delivery WHERE state <> 0 GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let state = match row.get::<_, i64>(0)? {
            state::DELIVERED => DeliveryState::Delivered.as_str(),
            state::DEAD => DeliveryState::Dead.as_str(),
            state::FAILED => DeliveryState::Failed.as_str(),
            state::CANCELLED => DeliveryState::Cancelled.as_str(),
            _ => continue,
        };
        audit.count(state, row.get::<_, i64>(1)?.unsigned_abs());
    }
    Ok(())
}

fn look_for_accounts(connection: &Connection, table: &str, audit: &mut Audit) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!(
        "SELECT DISTINCT account FROM {table} WHERE account NOT IN (SELECT id FROM account)"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let subject = format!("account {}", row.get::<_, i64>(0)?);
        audit.find(
            Kind::Dangling,
            subject,
            format!("rows of `{table}` are of an account that there is none of"),
        );
    }
    Ok(())
}

/// What the rows of an answer name.
#[derive(Clone, Copy)]
enum Subject {
    Delivery,
    Registration,
    Job,
    SpeechRequest,
    /// By its number.
    Row(&'static str),
}

impl Subject {
    fn print(self, id: ValueRef<'_>) -> String {
        let bytes = match id {
            ValueRef::Blob(bytes) => <[u8; 16]>::try_from(bytes).ok(),
            _ => None,
        };
        match (self, bytes, id) {
            (Self::Delivery, Some(id), _) => DeliveryId::from_bytes(id).to_string(),
            (Self::Registration, Some(id), _) => CallbackId::from_bytes(id).to_string(),
            (Self::Job, Some(id), _) => JobId::from_bytes(id).to_string(),
            (Self::SpeechRequest, Some(id), _) => SpeechRequestId::from_bytes(id).to_string(),
            (Self::Row(table), _, ValueRef::Integer(number)) => format!("{table} {number}"),
            _ => "a row whose id is none".to_owned(),
        }
    }
}

/// A statement that finds what must not be.
struct Question {
    kind: Kind,
    /// Those that it reads: a file of an older format may not have them yet.
    tables: &'static [&'static str],
    subject: Subject,
    detail: &'static str,
    sql: &'static str,
}

impl Question {
    fn ask(&self, connection: &Connection, audit: &mut Audit) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(self.sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            audit.find(self.kind, self.subject.print(row.get_ref(0)?), self.detail);
        }
        Ok(())
    }
}

const QUESTIONS: &[Question] = &[
    Question {
        kind: Kind::Lost,
        tables: &["delivery", "queue"],
        subject: Subject::Delivery,
        detail: "it is open, and not in the queue: nobody would ever send it",
        sql: "SELECT id FROM delivery d WHERE state = 0 \
              AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.delivery = d.id)",
    },
    Question {
        kind: Kind::Revenant,
        tables: &["delivery", "queue"],
        subject: Subject::Delivery,
        detail: "it is over, and in the queue: it would be sent again",
        sql: "SELECT q.delivery FROM queue q JOIN delivery d ON d.account = q.account AND d.id = q.delivery \
              WHERE d.state <> 0",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["delivery", "queue"],
        subject: Subject::Delivery,
        detail: "it is in the queue, and there is no such delivery of this account",
        sql: "SELECT delivery FROM queue q WHERE NOT EXISTS \
              (SELECT 1 FROM delivery d WHERE d.account = q.account AND d.id = q.delivery)",
    },
    Question {
        kind: Kind::Disagreement,
        tables: &["delivery", "queue"],
        subject: Subject::Delivery,
        detail: "its row in the queue names another registration, destination or request than its own",
        sql: "SELECT q.delivery FROM queue q JOIN delivery d ON d.account = q.account AND d.id = q.delivery \
              WHERE q.callback <> d.callback OR q.destination IS NOT d.destination \
              OR nullif(q.request, 0) IS NOT d.request",
    },
    Question {
        kind: Kind::NoRequest,
        tables: &["delivery", "queue", "request"],
        subject: Subject::Delivery,
        detail: "it is in the queue, and its request is not there",
        // 0: its call was erased while it was under way.
        sql: "SELECT delivery FROM queue q WHERE q.request <> 0 AND NOT EXISTS \
              (SELECT 1 FROM request r WHERE r.number = q.request)",
    },
    Question {
        kind: Kind::NoRequest,
        tables: &["delivery", "request"],
        subject: Subject::Delivery,
        detail: "it was rendered, and its request is not there: it can neither be shown nor sent again",
        // One whose call was erased has none, and no attempts either.
        sql: "SELECT id FROM delivery d WHERE state NOT IN (0, 4) AND request IS NOT NULL AND NOT EXISTS \
              (SELECT 1 FROM request r WHERE r.number = d.request)",
    },
    Question {
        kind: Kind::Misplaced,
        tables: &["delivery"],
        subject: Subject::Delivery,
        detail: "it shares its request with another: when one is removed, the other loses it",
        sql: "SELECT id FROM delivery WHERE request IN (SELECT request FROM delivery \
              WHERE request IS NOT NULL GROUP BY request HAVING count(*) > 1)",
    },
    Question {
        kind: Kind::Orphan,
        tables: &["delivery", "request"],
        subject: Subject::Row("request"),
        detail: "it belongs to no delivery, and is never removed",
        sql: "SELECT number FROM request WHERE number NOT IN \
              (SELECT request FROM delivery WHERE request IS NOT NULL)",
    },
    Question {
        kind: Kind::NoRequest,
        tables: &["delivery", "late", "snapshot"],
        subject: Subject::Delivery,
        detail: "it is not rendered yet, and what it is rendered from is not there",
        sql: "SELECT d.id FROM late l JOIN delivery d ON d.request = l.request \
              WHERE l.event <> d.event OR NOT EXISTS (SELECT 1 FROM snapshot s WHERE s.event = l.event)",
    },
    Question {
        kind: Kind::NoRequest,
        tables: &["delivery", "late", "callback", "former_definition"],
        subject: Subject::Delivery,
        detail: "it is not rendered yet, and the definition that it names is not there",
        // What waits for one that was removed is cancelled.
        sql: "SELECT d.id FROM late l JOIN delivery d ON d.request = l.request \
              JOIN callback c ON c.id = l.callback WHERE c.removed_at IS NULL AND c.version <> l.version \
              AND NOT EXISTS (SELECT 1 FROM former_definition f WHERE f.callback = l.callback AND f.version = l.version)",
    },
    Question {
        kind: Kind::State,
        tables: &["delivery", "late"],
        subject: Subject::Delivery,
        detail: "it is over, and waits to be rendered",
        sql: "SELECT d.id FROM late l JOIN delivery d ON d.request = l.request WHERE d.state IN (2, 4, 5)",
    },
    Question {
        kind: Kind::Orphan,
        tables: &["late", "request"],
        subject: Subject::Row("request"),
        detail: "it waits to be rendered, and is not there",
        sql: "SELECT request FROM late WHERE request NOT IN (SELECT number FROM request)",
    },
    Question {
        kind: Kind::Orphan,
        tables: &["snapshot", "late"],
        subject: Subject::Row("snapshot"),
        detail: "nothing is rendered from it, and it is never removed",
        sql: "SELECT number FROM snapshot WHERE event NOT IN (SELECT event FROM late)",
    },
    Question {
        kind: Kind::Orphan,
        tables: &["former_definition", "late"],
        subject: Subject::Registration,
        detail: "a definition that it had is named by no delivery, and never removed",
        sql: "SELECT callback FROM former_definition f WHERE NOT EXISTS \
              (SELECT 1 FROM late l WHERE l.callback = f.callback AND l.version = f.version)",
    },
    Question {
        kind: Kind::Orphan,
        tables: &["delivery", "attempt"],
        subject: Subject::Delivery,
        detail: "there are attempts of it, and no such delivery",
        sql: "SELECT DISTINCT delivery FROM attempt WHERE delivery NOT IN (SELECT id FROM delivery)",
    },
    Question {
        kind: Kind::Disagreement,
        tables: &["delivery", "attempt"],
        subject: Subject::Delivery,
        detail: "it counts other attempts than are recorded",
        sql: "SELECT id FROM delivery d WHERE (state = 4 OR request IS NOT NULL) AND attempts <> \
              (SELECT count(*) FROM attempt a WHERE a.delivery = d.id AND a.outcome <> 'crashed')",
    },
    Question {
        kind: Kind::Disagreement,
        tables: &["queue", "attempt"],
        subject: Subject::Delivery,
        detail: "the queue counts other attempts than are recorded",
        sql: "SELECT delivery FROM queue q WHERE recorded <> \
              (SELECT count(*) FROM attempt a WHERE a.delivery = q.delivery)",
    },
    Question {
        kind: Kind::Disagreement,
        tables: &["delivery", "attempt"],
        subject: Subject::Delivery,
        detail: "it is delivered, and no attempt says so",
        sql: "SELECT id FROM delivery d WHERE state = 2 AND request IS NOT NULL AND NOT EXISTS \
              (SELECT 1 FROM attempt a WHERE a.delivery = d.id AND a.outcome = 'delivered')",
    },
    Question {
        kind: Kind::State,
        tables: &["delivery"],
        subject: Subject::Delivery,
        detail: "its state, its end and its reason do not fit together",
        sql: "SELECT id FROM delivery WHERE state NOT IN (0, 2, 3, 4, 5) \
              OR (state = 0) <> (finished_at IS NULL) OR (state IN (3, 4, 5)) <> (reason IS NOT NULL) \
              OR (state = 4 AND request IS NOT NULL)",
    },
    Question {
        kind: Kind::Unreadable,
        tables: &["delivery"],
        subject: Subject::Delivery,
        detail: "an id that it names is none",
        sql: "SELECT id FROM delivery WHERE length(id) <> 16 OR length(callback) <> 16 OR length(event) <> 16 \
              OR length(destination) <> 16",
    },
    Question {
        kind: Kind::Unreadable,
        tables: &["delivery", "request"],
        subject: Subject::Delivery,
        detail: "the headers of its request cannot be read",
        sql: "SELECT d.id FROM delivery d JOIN request r ON r.number = d.request WHERE NOT json_valid(r.headers)",
    },
    Question {
        kind: Kind::KeptTooBriefly,
        tables: &["delivery", "event"],
        subject: Subject::Delivery,
        detail: "it is dead or failed, and its event would be removed before it",
        sql: "SELECT d.id FROM delivery d JOIN event e ON e.account = d.account AND e.id = d.event \
              WHERE d.state IN (3, 4) AND e.keep = 0",
    },
    Question {
        kind: Kind::Disagreement,
        // The last of them came after the count.
        tables: &["account", "event", "call", "request", "snapshot"],
        subject: Subject::Row("account"),
        detail: "it counts other bytes than are stored for it",
        sql: "SELECT id FROM account a LEFT JOIN (SELECT account, sum(bytes) AS bytes FROM ( \
              SELECT account, length(body) AS bytes FROM event \
              UNION ALL SELECT account, length(context) FROM call \
              UNION ALL SELECT account, length(body) FROM request \
              UNION ALL SELECT account, length(bytes) FROM snapshot) GROUP BY account) held \
              ON held.account = a.id WHERE a.stored <> coalesce(held.bytes, 0)",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["queue", "callback"],
        subject: Subject::Delivery,
        detail: "it waits for a registration that there never was",
        sql: "SELECT delivery FROM queue WHERE callback NOT IN (SELECT id FROM callback)",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["circuit", "callback", "delivery"],
        subject: Subject::Registration,
        detail: "its circuit is open, and there is no such destination",
        sql: "SELECT destination FROM circuit WHERE destination NOT IN \
              (SELECT id FROM callback WHERE removed_at IS NULL \
              UNION SELECT coalesce(destination, callback) FROM delivery)",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["announcement", "callback"],
        subject: Subject::Row("announcement"),
        detail: "it tells of a registration that there never was",
        sql: "SELECT number FROM announcement WHERE callback NOT IN (SELECT id FROM callback)",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["job", "call"],
        subject: Subject::Job,
        detail: "it is not over, and its call is not there",
        sql: "SELECT id FROM job j WHERE ended IS NULL AND NOT EXISTS \
              (SELECT 1 FROM call c WHERE c.account = j.account AND c.id = j.call_id AND c.space = j.call_space)",
    },
    Question {
        kind: Kind::State,
        tables: &["job"],
        subject: Subject::Job,
        detail: "it says that it is over and when, but not both",
        sql: "SELECT id FROM job WHERE (ended IS NULL) <> (ended_at IS NULL)",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["speech_request", "callback"],
        subject: Subject::SpeechRequest,
        detail: "what it sends is not there",
        sql: "SELECT id FROM speech_request WHERE id NOT IN (SELECT id FROM callback)",
    },
    Question {
        kind: Kind::Dangling,
        tables: &["requested_call", "speech_request"],
        subject: Subject::SpeechRequest,
        detail: "calls wait for it, and it is not there",
        sql: "SELECT DISTINCT request FROM requested_call WHERE request NOT IN (SELECT id FROM speech_request)",
    },
];
