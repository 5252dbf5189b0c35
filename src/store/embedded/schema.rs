//! The file: who owns it, what is in it, which version it has.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::store::StoreError;

/// `RgBk` in the file's header: this SQLite database is ours.
const APPLICATION_ID: i32 = 0x5267_426b;

/// The version of the tables below. A newer binary reads older files, an older binary refuses
/// newer ones.
pub(super) const FORMAT: i32 = 11;

/// What makes a file of the format before into one of this format, oldest first.
const MIGRATIONS: [(i32, &str); 13] = [
    (2, "ALTER TABLE callback ADD COLUMN deadline INTEGER NOT NULL DEFAULT 60000000;"),
    (3, super::jobs::TABLES),
    (4, super::circuits::TABLE),
    (5, "ALTER TABLE queue ADD COLUMN order_key BLOB;"),
    (6, super::announcements::TABLE),
    (7, super::speech_requests::TABLES),
    (8, super::search::TABLES),
    (8, super::erasing::INDEXES),
    (9, super::stored::MIGRATION),
    (9, super::stored::TRIGGERS),
    (10, super::late::TABLES),
    (11, super::stored::WITHOUT_ADDED),
    (11, super::seen::TABLES),
];

/// How large the write-ahead log is left on disk once it has been written back.
pub(super) const JOURNAL_SIZE_LIMIT: u32 = 192 << 20;

/// Bodies of some KiB fill such pages well, and each page of the log costs two system calls.
pub(super) const PAGE_SIZE: u32 = 8_192;

/// The writer's page cache in KiB: holds the hot inner pages of every table.
const WRITER_CACHE_KIB: u32 = 32 << 10;

/// A reader's page cache in KiB.
const READER_CACHE_KIB: u32 = 4 << 10;

/// How long a reader waits while SQLite recovers the log of an unclean end.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// Statements kept prepared per connection; more than there are in the source.
const STATEMENTS: usize = 112;

/// Times are microseconds since the Unix epoch, ids 16 bytes in the order of their making.
///
/// - What is written again and again (`queue`: one small row for each delivery that waits) is
///   apart from what is written once (`request`, `event`) and from what is kept for reading
///   (`delivery`, `attempt`).
/// - `call` has keys in random order and cannot help it, and what belongs to a call or a registration is
///   indexed by these; `seen` is filled many rows at a time; everything else grows at its right edge.
const TABLES: &str = "
CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    stored INTEGER NOT NULL DEFAULT 0   -- bytes
) STRICT;

CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    id BLOB NOT NULL,
    source TEXT NOT NULL,
    provider TEXT NOT NULL,
    rejected TEXT,                  -- why; NULL if it was accepted
    types TEXT NOT NULL,            -- names, separated by commas
    call_space TEXT,
    call_id TEXT,
    received_at INTEGER NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    content_type TEXT NOT NULL,
    keep INTEGER NOT NULL,          -- 1: as long as failed deliveries are kept
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_by_id ON event (account, id);

CREATE TABLE seen (
    digest BLOB NOT NULL,
    source TEXT NOT NULL,
    event BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (digest, source)
) STRICT, WITHOUT ROWID;

CREATE TABLE call (
    number INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    space TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    context BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX call_by_key ON call (account, id, space);

CREATE TABLE callback (
    id BLOB PRIMARY KEY,
    account INTEGER NOT NULL,
    max_in_flight INTEGER NOT NULL,
    rate_count INTEGER,
    rate_period INTEGER,
    paused INTEGER NOT NULL,
    pause_reason TEXT,              -- NULL if its state is active
    removed_at INTEGER,             -- what is removed stays as a stone that nothing grows under
    definition BLOB NOT NULL,
    deadline INTEGER NOT NULL DEFAULT 60000000
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery (
    account INTEGER NOT NULL,
    id BLOB NOT NULL,
    callback BLOB NOT NULL,
    destination BLOB,               -- NULL if it is the callback's own
    event BLOB NOT NULL,
    event_type TEXT NOT NULL,
    call_id TEXT,
    state INTEGER NOT NULL,         -- 0 open, 2 delivered, 3 dead, 4 failed, 5 cancelled
    reason TEXT,
    attempts INTEGER NOT NULL,
    request INTEGER,                -- NULL if there is none, or not any more
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_by_callback ON delivery (callback, id);
CREATE INDEX delivery_by_call ON delivery (account, call_id, id) WHERE call_id IS NOT NULL;
CREATE INDEX delivery_finished ON delivery (account, state, id) WHERE state <> 0;

CREATE TABLE request (
    number INTEGER PRIMARY KEY,
    method TEXT NOT NULL,
    url TEXT NOT NULL,
    content_type TEXT NOT NULL,
    headers TEXT NOT NULL,          -- JSON: [[name, value], …]
    body BLOB NOT NULL,
    account INTEGER                 -- whose bytes these are
) STRICT;

CREATE TABLE queue (
    delivery BLOB PRIMARY KEY,
    account INTEGER NOT NULL,
    callback BLOB NOT NULL,
    destination BLOB,
    request INTEGER NOT NULL,
    due INTEGER NOT NULL,
    tried INTEGER NOT NULL,         -- attempts of the present run through the schedule
    crashes INTEGER NOT NULL,       -- in a row
    recorded INTEGER NOT NULL,      -- rows in attempt
    leased_at INTEGER,              -- NULL while it waits
    order_key BLOB                  -- NULL if it waits for no other
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
    delivery BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    latency INTEGER NOT NULL,       -- microseconds
    outcome TEXT NOT NULL,
    status INTEGER,
    error TEXT,
    response BLOB NOT NULL,
    PRIMARY KEY (delivery, sequence)
) STRICT, WITHOUT ROWID;

-- One row that readiness overwrites.
CREATE TABLE probe (at INTEGER NOT NULL) STRICT;
INSERT INTO probe (at) VALUES (0);
";

/// What came later and what an older binary need not know of: it reads and writes such a file too.
const LATER: &str = "
-- Answers that a repeated request gets again.
CREATE TABLE IF NOT EXISTS answered (
    account INTEGER NOT NULL,
    key BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    answer BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answered_by_expiry ON answered (expires_at);

-- Deliveries that were made anew.
CREATE TABLE IF NOT EXISTS replayed (
    delivery BLOB PRIMARY KEY,
    successor BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The lock that makes this process the file's only owner, as long as it lives.
#[derive(Debug)]
pub(super) struct Ownership {
    _lock: File,
}

/// Locks the file at `path` for this process, creating its folder if there is none.
pub(super) fn own(path: &Path) -> Result<Ownership, StoreError> {
    let unusable = |what: &str, error: &io::Error| {
        StoreError::Unusable(format!("{} cannot be {what}: {error}", path.display()))
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| {
            StoreError::Unusable(format!("the folder {} cannot be created: {error}", folder.display()))
        })?;
    }
    if path.is_dir() {
        return Err(StoreError::Unusable(format!("{} is a folder, not a file", path.display())));
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let lock = private_file(&lock_path).map_err(|error| unusable("locked", &error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::Unusable(format!(
                "{} is in use by another ringback process",
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(unusable("locked", &error)),
    }
    // SQLite gives its own files the mode of this one: bodies are not for other users to read.
    private_file(path).map_err(|error| unusable("opened for writing", &error))?;
    Ok(Ownership { _lock: lock })
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens the connection that writes, and makes or checks the tables.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let opened = (|| {
        let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
        plan_once(&connection)?;
        Ok(connection)
    })();
    let connection = opened.map_err(|error| unusable(path, &error))?;
    let format = format_of(&connection, path)?;
    prepare(&connection, format).map_err(|error| unusable(path, &error))?;
    sync_folder(path)?;
    Ok(connection)
}

/// The format of the file; none if there is nothing in it yet.
fn format_of(connection: &Connection, path: &Path) -> Result<Option<i32>, StoreError> {
    let read = || {
        // The first statement that reads the file: what is no database fails here.
        let format = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))?;
        let application =
            connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?;
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((format, application, tables))
    };
    let (format, application, tables) = read().map_err(|error| unusable(path, &error))?;
    if format == 0 && application == 0 && tables == 0 {
        return Ok(None);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Unusable(format!(
            "{} is an SQLite database of another program",
            path.display()
        )));
    }
    if format > FORMAT {
        return Err(StoreError::Unusable(format!(
            "{} was written by a newer ringback (format {format}; this one reads up to {FORMAT}): \
             start the newer one, or restore a backup",
            path.display()
        )));
    }
    Ok(Some(format))
}

/// Opens a file to look at it, and only that; and its format.
pub(super) fn open_for_audit(path: &Path) -> Result<(Connection, i32), StoreError> {
    if !path.is_file() {
        return Err(StoreError::Unusable(format!("there is no file {}", path.display())));
    }
    let connection = open_reader(path).map_err(|error| unusable(path, &error))?;
    match format_of(&connection, path)? {
        Some(format) => Ok((connection, format)),
        None => Err(StoreError::Unusable(format!("there is nothing in {} yet", path.display()))),
    }
}

fn prepare(connection: &Connection, format: Option<i32>) -> rusqlite::Result<()> {
    if format.is_none() {
        // Before anything is written; afterwards it stays.
        connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    // What is brought up or recovered is durable with its commit.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "journal_size_limit", JOURNAL_SIZE_LIMIT, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    connection.pragma_update(None, "foreign_keys", false)?;
    let Some(format) = format else {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} {jobs} {circuits} {announcements} {speech_requests} {search} {erasing} {stored} \
             {late} {seen} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;",
            jobs = super::jobs::TABLES,
            circuits = super::circuits::TABLE,
            announcements = super::announcements::TABLE,
            speech_requests = super::speech_requests::TABLES,
            search = super::search::TABLES,
            erasing = super::erasing::INDEXES,
            stored = super::stored::TRIGGERS,
            late = super::late::TABLES,
            seen = super::seen::TABLES,
        ))?;
        return connection.execute_batch(&[LATER, super::standing::INDEX].concat());
    };
    if format < FORMAT {
        let steps = MIGRATIONS.iter().filter(|(to, _)| format < *to).map(|(_, step)| *step);
        let steps: String = steps.collect();
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {steps} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    }
    connection.execute_batch(&[LATER, super::standing::INDEX].concat())?;
    Ok(())
}

/// From now on somebody else syncs what is committed, before anybody is answered. SQLite still syncs
/// what it writes back.
pub(super) fn leave_syncs(path: &Path, writer: &Connection) -> Result<(), StoreError> {
    writer.pragma_update(None, "synchronous", "normal").map_err(|error| unusable(path, &error))
}

/// Opens a connection that writes the log back, and nothing else.
pub(super) fn open_log(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    plan_once(&connection)?;
    connection.busy_timeout(READER_PATIENCE)?;
    connection.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Keeps statements and their plans. Without the stability guarantee SQLite plans a statement anew
/// for each value that might bear on a partial index, which took a fifth of the writer's time.
fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Each connection is used by one thread at a time, so SQLite need not lock.
fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// The names of the file and its log must survive a power cut as well as their contents.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| {
        StoreError::Unusable(format!("the folder {} cannot be synced: {error}", folder.display()))
    })
}

pub(super) fn no_thread(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unusable(format!("no thread for {}: {error}", path.display()))
}

pub(super) fn unusable(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.display();
    StoreError::Unusable(match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => format!("{path} is not an SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => format!("{path} is damaged: {error}"),
        Some(ErrorCode::DiskFull) => format!("there is no room on the disk of {path}"),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            format!("{path} or the folder around it cannot be written: {error}")
        }
        _ => format!("{path} cannot be opened: {error}"),
    })
}
