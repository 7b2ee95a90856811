//! What can go wrong with a data folder.

use alloy_primitives::B256;
use braid_core::StoreError;
use braid_store::disk::DiskError;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

/// Why something cannot be done with a data folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// Of the state.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Of the archive: blocks, receipts, code.
    #[error("archive: {doing}: {reason}")]
    Archive {
        /// What was being done.
        doing: &'static str,
        /// The reason.
        reason: String,
    },
    /// The file of the archive is not what was written.
    #[error("the archive {} is damaged: {reason}", path.display())]
    ArchiveDamaged {
        /// The file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// Another process has the archive open: to write, or to read it while this one wants to write. The state can be
    /// read all the same.
    #[error("the archive {} is open in another process", path.display())]
    ArchiveBusy {
        /// The file.
        path: PathBuf,
    },
    /// A folder has blocks, and no state that goes with them.
    #[error("{} has an archive of blocks, and its file `state` is not there", path.display())]
    NoState {
        /// The folder.
        path: PathBuf,
    },
    /// The archive is of a later format.
    #[error("archive of format {is}, known are formats up to {known}")]
    Format {
        /// Its format.
        is: u64,
        /// The latest that is known.
        known: u64,
    },
    /// Something that must be there is not.
    #[error("the archive lacks the {what} of block {number}")]
    Missing {
        /// What.
        what: &'static str,
        /// Of which block.
        number: u64,
    },
    /// Something is there and is not what it should be.
    #[error("damaged {what} of block {number}: {reason}")]
    Damaged {
        /// What.
        what: &'static str,
        /// Of which block.
        number: u64,
        /// How that shows.
        reason: String,
    },
    /// There is no data folder.
    #[error("{}: no data folder", path.display())]
    NoFolder {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The folder is of another chain.
    #[error("the folder is of the chain that begins with {stored}, not with {given}")]
    OtherChain {
        /// Hash of its genesis block.
        stored: B256,
        /// Hash of the one given.
        given: B256,
    },
    /// The folder has a state and no blocks: nothing says which chain it is of.
    #[error(
        "the folder has the state after block {latest} and no blocks, so that no chain can go on from it"
    )]
    NoBlocks {
        /// The latest version.
        latest: u64,
    },
    /// The folder follows a chain: a version without a block would leave nothing for the next block to follow.
    #[error(
        "the folder follows a chain, up to block {latest}: what has no header cannot come next (`braid sync` imports blocks)"
    )]
    HasBlocks {
        /// The latest version.
        latest: u64,
    },
    /// Something of a block is not kept.
    #[error("the {what} of block {number} is not kept: what is begins with block {from}")]
    NotKept {
        /// What.
        what: &'static str,
        /// Of which block.
        number: u64,
        /// The first block of which it is kept.
        from: u64,
    },
    /// The version is not retained.
    #[error("version {version} is not retained: those from {first} to {last} are")]
    NoVersion {
        /// The version.
        version: u64,
        /// The oldest that is.
        first: u64,
        /// The latest.
        last: u64,
    },
    /// The folder has no version yet.
    #[error("the folder is empty: nothing was imported")]
    Empty,
    /// A block that does not come next.
    #[error("block {number} does not follow block {latest}")]
    Order {
        /// The block.
        number: u64,
        /// The latest in the folder.
        latest: u64,
    },
    /// The state after a block is not what its header says.
    #[error("block {number}: state root {got}, the header has {header}")]
    StateRoot {
        /// The block.
        number: u64,
        /// The root of the state.
        got: B256,
        /// The root in the header.
        header: B256,
    },
    /// More than a limit allows.
    #[error("{what} would be {is}, limit {limit}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// How many there would be.
        is: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Told to stop.
    #[error("interrupted")]
    Cancelled,
    /// There is no such fork.
    #[error("no fork {0}")]
    NoFork(u64),
    /// A state could not be read.
    #[error(transparent)]
    State(#[from] StoreError),
}

impl DbError {
    /// A stable word for the kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            DbError::Disk(DiskError::Locked { .. }) => "locked",
            DbError::Disk(DiskError::Full { .. }) => "full",
            DbError::Disk(DiskError::ReadOnly { .. }) => "read_only",
            DbError::Disk(DiskError::NoVersion(_)) | DbError::NoVersion { .. } => "no_version",
            DbError::Disk(DiskError::Pinned(_)) => "pinned",
            DbError::Disk(DiskError::Damaged { .. }) | DbError::Damaged { .. } => "damaged",
            DbError::Disk(_) => "disk",
            DbError::ArchiveDamaged { .. } => "damaged",
            DbError::Archive { .. } => "archive",
            DbError::ArchiveBusy { .. } => "archive_busy",
            DbError::NoState { .. } => "no_state",
            DbError::Format { .. } => "format",
            DbError::Missing { .. } => "missing",
            DbError::NoFolder { .. } => "no_folder",
            DbError::OtherChain { .. } => "other_chain",
            DbError::NoBlocks { .. } => "no_blocks",
            DbError::HasBlocks { .. } => "has_blocks",
            DbError::NotKept { .. } => "not_kept",
            DbError::Empty => "empty",
            DbError::Order { .. } => "order",
            DbError::StateRoot { .. } => "state_root",
            DbError::Limit { .. } => "limit",
            DbError::Cancelled => "cancelled",
            DbError::NoFork(_) => "no_fork",
            DbError::State(_) => "state",
        }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::State(error) => error,
            other => StoreError::Failed(other.to_string()),
        }
    }
}

/// An error if told to stop.
pub(crate) fn go_on(stop: &AtomicBool) -> Result<(), DbError> {
    // Relaxed: the flag carries no data; a late look only delays the stop.
    if stop.load(Ordering::Relaxed) { Err(DbError::Cancelled) } else { Ok(()) }
}

/// An error of the store, which of a version that is gone says which are there.
pub(crate) fn of_versions(error: DiskError, versions: impl IntoIterator<Item = (u64, B256)>) -> DbError {
    let DiskError::NoVersion(version) = error else { return error.into() };
    let mut versions = versions.into_iter().map(|(version, _)| version);
    match versions.next() {
        Some(first) => DbError::NoVersion { version, first, last: versions.last().unwrap_or(first) },
        None => DbError::Empty,
    }
}
