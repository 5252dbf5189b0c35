//! The store's contract, run over every store that there is: a store joins with a line in
//! [`every_store`].
#![allow(clippy::unwrap_used, reason = "everything here is a part of tests")]

mod accepting;
mod claiming;
mod crashing;
mod embedded;
mod jobs;
mod reading;
mod registering;
mod sample;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringback::store::SharedStore;
use ringback::store::embedded::{Embedded, Options};

/// A place in which a store keeps its data, and the way to open it.
pub(crate) trait Place: Send + Sync {
    /// Opens the store, or opens it again.
    fn open(&self) -> SharedStore;

    /// Opens a store with what would be left if the power were cut now.
    fn open_after_power_cut(&self) -> SharedStore;
}

struct EmbeddedPlace {
    folder: tempfile::TempDir,
    cuts: std::sync::atomic::AtomicU32,
}

impl EmbeddedPlace {
    fn path(&self) -> PathBuf {
        let cuts = self.cuts.load(std::sync::atomic::Ordering::Relaxed);
        self.folder.path().join(format!("store-{cuts}.db"))
    }
}

impl Place for EmbeddedPlace {
    fn open(&self) -> SharedStore {
        Arc::new(open_embedded(&self.path()))
    }

    fn open_after_power_cut(&self) -> SharedStore {
        let before = self.path();
        self.cuts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        copy_as_after_power_cut(&before, &self.path());
        self.open()
    }
}

/// Copies a file and its log, which is what is left of a store whose process was killed.
pub(crate) fn copy_as_after_power_cut(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        std::fs::copy(with_suffix(from), with_suffix(to)).unwrap();
    }
}

pub(crate) const MAX_IN_FLIGHT: usize = 8;

pub(crate) fn open_embedded(path: &Path) -> Embedded {
    Embedded::open(path, Options { max_in_flight: MAX_IN_FLIGHT, ..Options::default() }).unwrap()
}

/// Runs a rule of the contract over every store.
pub(crate) fn every_store<F: Future<Output = ()>>(rule: impl Fn(Box<dyn Place>) -> F) {
    let places: [Box<dyn Place>; 1] = [Box::new(EmbeddedPlace {
        folder: tempfile::tempdir().unwrap(),
        cuts: std::sync::atomic::AtomicU32::new(0),
    })];
    for place in places {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(rule(place));
    }
}
