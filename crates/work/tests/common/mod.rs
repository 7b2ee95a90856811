//! What the tests of this crate share: a temporary folder with a tiny case, and the shared data.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Name of the tiny case's folder.
pub(crate) const TINY: &str = "50000";

/// The tiny case's files: name without `.zst`, and content.
pub(crate) const TINY_FILES: [(&str, &str); 4] = [
    ("block.json", include_str!("../fixtures/50000/block.json")),
    ("pre_state.json", include_str!("../fixtures/50000/pre_state.json")),
    ("post_state.json", include_str!("../fixtures/50000/post_state.json")),
    ("meta.json", include_str!("../fixtures/50000/meta.json")),
];

/// A tiny environment with inline code, storage, a block hash, every list of a transaction.
pub(crate) const ENVIRONMENT_FILES: [(&str, &str); 3] = [
    ("block.json", include_str!("../fixtures/environment/block.json")),
    ("txs.json", include_str!("../fixtures/environment/txs.json")),
    ("pre_state.json", include_str!("../fixtures/environment/pre_state.json")),
];

/// A temporary folder, removed when dropped.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only uniqueness within the process matters.
        let unique = format!("braid-work-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).expect("a temporary folder");
        Temp(path)
    }

    /// Writes files into a folder inside, each compressed unless it is `meta.json`.
    pub(crate) fn write(&self, folder: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.0.join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            put(&folder, name, content.as_bytes());
        }
        folder
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Path of a file of a case on disk.
pub(crate) fn on_disk(folder: &Path, name: &str) -> PathBuf {
    if name == "meta.json" { folder.join(name) } else { folder.join(format!("{name}.zst")) }
}

/// Writes one file, compressed unless it is `meta.json`.
pub(crate) fn put(folder: &Path, name: &str, content: &[u8]) {
    let bytes = match name {
        "meta.json" => content.to_vec(),
        _ => zstd::encode_all(content, 1).expect("compression"),
    };
    fs::write(on_disk(folder, name), bytes).expect("a written file");
}
