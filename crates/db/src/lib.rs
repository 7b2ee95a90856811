//! Data folders: the state of a chain on disk, and the blocks, receipts and code that belong to it.
//!
//! [`DataFolder`] is open to write, in one process at a time; [`DataReader`] reads beside it. Versions of the
//! state are numbered as blocks are. What engines execute on is a [`LayeredState`]: a version, and above it what
//! blocks did that are not committed. `docs/STORE.md` says what is in a folder and what a crash leaves of it.
#![forbid(unsafe_code)]

mod ahead;
mod archive;
mod error;
mod folder;
mod forks;
mod guard;
mod layers;
mod reader;
mod snapshot;
mod tries;
mod verify;

pub use ahead::{
    AheadStats, BegunRoot, BegunVersion, PreparedAhead, Rooted, Told, root_ahead, version_ahead,
};
pub use archive::ArchiveStat;
pub use error::DbError;
pub use folder::{DataFolder, Finished};
pub use forks::{ForkId, ForkLimits, Forks};
pub use layers::{Layer, LayeredState, OverState};
pub use reader::DataReader;
pub use snapshot::{
    SnapshotBlock, SnapshotDecoder, SnapshotError, SnapshotHeader, SnapshotItem, SnapshotStat,
    SnapshotTotals, encode_snapshot, restore, restore_unless,
};
pub use tries::WitnessTries;
