//! A disk that is slow to sync, or fails to.

use super::*;

/// Accepts on a task of its own.
fn accepting(store: &SharedStore, new: &Acceptance) -> tokio::task::JoinHandle<Result<Accepted, StoreError>> {
    let (store, new) = (store.clone(), new.clone());
    tokio::spawn(async move { store.accept(new).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_or_told_of_what_is_not_durable() {
    let (bench, disk) = Bench::on_disk();
    let store = bench.shared();
    let (first, other) = (acceptance(8), acceptance(8));
    let first_answer = accepting(&store, &first);
    bench.has_committed(1).await;
    assert_eq!(store.recall(&first.dedupe, None).await.unwrap().duplicate_of, None);
    // While that is being synced, others are written.
    let mut again = acceptance(8);
    again.dedupe = first.dedupe.clone();
    let repeated = accepting(&store, &again);
    let other_answer = accepting(&store, &other);
    bench.has_committed(2).await;
    let read = tokio::spawn({
        let (store, account, id) = (store.clone(), other.event.account.clone(), other.event.id);
        async move { store.event(&account, id).await }
    });
    assert!(!first_answer.is_finished());

    disk.send(Ok(())).unwrap();
    assert_eq!(first_answer.await.unwrap().unwrap(), Accepted::Stored);
    let known = store.recall(&first.dedupe, None).await.unwrap().duplicate_of;
    assert_eq!(known, Some(first.event.id));
    assert!(!other_answer.is_finished() && !read.is_finished());
    drop(disk);
    assert_eq!(other_answer.await.unwrap().unwrap(), Accepted::Stored);
    assert_eq!(repeated.await.unwrap().unwrap(), Accepted::Duplicate(first.event.id));
    assert!(read.await.unwrap().unwrap().is_some());
    assert_eq!(drain(&store).await, 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_sync_that_failed_nothing_is_taken_until_the_file_is_opened_anew() {
    let (bench, disk) = Bench::on_disk();
    let store = bench.shared();
    let new = acceptance(8);
    disk.send(Err(std::io::Error::other("no disk"))).unwrap();
    drop(disk);
    assert_eq!(reason(&store.accept(new.clone()).await.unwrap_err()), "the disk fails");
    assert_eq!(reason(&store.accept(acceptance(8)).await.unwrap_err()), "the disk fails");
    assert_eq!(reason(&store.ready().await.unwrap_err()), "the disk fails");
    assert_eq!(store.recall(&new.dedupe, None).await.unwrap().duplicate_of, None);
    let account = new.event.account.clone();
    assert_eq!(reason(&store.event(&account, new.event.id).await.unwrap_err()), "the disk fails");
    assert!(store.claim(1).await.is_err());
    store.close().await;
    drop(store);

    let bench = Bench::open(bench.folder, "");
    let store = bench.shared();
    // It may have come to the disk or not; here it has, and the provider asks again.
    assert_eq!(store.accept(new.clone()).await.unwrap(), Accepted::Duplicate(new.event.id));
    assert_eq!(store.accept(acceptance(8)).await.unwrap(), Accepted::Stored);
    assert_eq!(drain(&store).await, 2);
    store.close().await;
}
