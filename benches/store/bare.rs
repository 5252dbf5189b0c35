//! What the stores are measured against: the least that keeps the same bytes.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::load::{Load, Measured, RECORD, call};
use crate::redis_server::RedisServer;

/// A file to which one thread appends what waits, with one `fdatasync` for all of it.
pub(crate) async fn append_only(folder: &Path, load: &Load) -> Measured {
    let mut file = File::create(folder.join("append-only")).expect("the folder can be written");
    let (outbox, inbox) = sync_channel::<(Vec<u8>, oneshot::Sender<()>)>(load.callers);
    let writer = std::thread::spawn(move || {
        while let Ok(first) = inbox.recv() {
            let mut batch = first.0;
            let mut waiting = vec![first.1];
            while let Ok((record, answer)) = inbox.try_recv() {
                batch.extend(record);
                waiting.push(answer);
            }
            file.write_all(&batch).expect("there is room");
            file.sync_data().expect("the disk works");
            for answer in waiting {
                answer.send(()).expect("the caller waits");
            }
        }
    });
    let started = Instant::now();
    let latencies = call(load.time, load.callers, move || append(outbox.clone())).await;
    let time = started.elapsed();
    writer.join().expect("the writer ends with its callers");
    Measured { time, done: latencies.len() as u64, latencies }
}

async fn append(outbox: SyncSender<(Vec<u8>, oneshot::Sender<()>)>) {
    let (answer, done) = oneshot::channel();
    outbox.try_send((vec![b'x'; RECORD], answer)).expect("it has room for every caller");
    done.await.expect("the writer answers");
}

/// One connection over which all callers send at once, as the store has one.
pub(crate) async fn bare_set(server: &RedisServer, load: &Load) -> Measured {
    let client = redis::Client::open(server.url()).expect("it is a URL");
    let connection = client.get_multiplexed_async_connection().await.expect("it answers");
    let turn = AtomicU64::new(0);
    let started = Instant::now();
    let latencies = call(load.time, load.callers, move || {
        let mut connection = connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(turn.fetch_add(1, Ordering::Relaxed)).arg(vec![b'x'; RECORD]);
        async move { set.exec_async(&mut connection).await.expect("it answers") }
    })
    .await;
    Measured { time: started.elapsed(), done: latencies.len() as u64, latencies }
}
