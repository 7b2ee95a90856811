//! Where real blocks are.

use std::path::{Path, PathBuf};

/// Folder of the shared data: `BRAID_DATA`, or `shared/data` beside the workspace. If there is none, says
/// so; the test that asked has nothing to do then.
pub fn data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("BRAID_DATA").map_or_else(beside, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no data at {} (set BRAID_DATA)", folder.display());
        return None;
    }
    Some(folder)
}
