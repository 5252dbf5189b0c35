//! The library that makes every sync slower.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles it into this folder.
pub(crate) fn library(folder: &Path) -> PathBuf {
    let library = folder.join("slow_sync.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/store/slow_sync.c");
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status()
        .expect("a C compiler is installed as `cc`");
    assert!(status.success(), "slow_sync.c does not compile");
    library
}
