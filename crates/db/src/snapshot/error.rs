//! What can go wrong with a snapshot.

use crate::DbError;
use alloy_primitives::B256;
use std::path::PathBuf;

/// Why a snapshot cannot be written, read or restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The system failed.
    #[error("{}: {doing}: {reason}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The bytes cannot be read: what the system said.
    #[error("reading: {0}")]
    Read(String),
    /// Not a snapshot at all.
    #[error("not a snapshot: {0}")]
    NotOne(&'static str),
    /// Of a format that this program does not know.
    #[error("snapshot of format {is}, known are formats up to {known}")]
    Format {
        /// Its format.
        is: u32,
        /// The latest that is known.
        known: u32,
    },
    /// It ends too early.
    #[error("cut off within part {part}")]
    Cut {
        /// The part, counted from 0; that after the last if the end is missing.
        part: u64,
    },
    /// Bytes are not what was written, or not what may be.
    #[error("part {part} is damaged: {reason}")]
    Damaged {
        /// The part, counted from 0.
        part: u64,
        /// How that shows.
        reason: String,
    },
    /// More than a limit allows.
    #[error("{what} is {is}, limit {limit}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        is: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A block is not the one that has to stand where it does.
    #[error("block {number}: {reason}")]
    Chain {
        /// The block.
        number: u64,
        /// How that shows.
        reason: String,
    },
    /// What was restored has another root than the snapshot says.
    #[error("the state has root {got}, the snapshot says {expected}")]
    Root {
        /// The root of what was restored.
        got: B256,
        /// The root in the snapshot.
        expected: B256,
    },
    /// An account names code that is not there.
    #[error("code {0} is missing")]
    MissingCode(B256),
    /// No account names this code.
    #[error("code {0} belongs to no account")]
    StrayCode(B256),
    /// There is something where the folder is to be.
    #[error("{} exists already", path.display())]
    Exists {
        /// It.
        path: PathBuf,
    },
    /// What is where something is to be written is nothing that may be replaced.
    #[error("{}: {reason}", path.display())]
    Place {
        /// It.
        path: PathBuf,
        /// Why it may not.
        reason: &'static str,
    },
    /// Of the data folder.
    #[error(transparent)]
    Folder(#[from] DbError),
}

impl SnapshotError {
    /// A stable word for the kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            SnapshotError::Io { .. } | SnapshotError::Read(_) => "io",
            SnapshotError::NotOne(_) => "not_a_snapshot",
            SnapshotError::Format { .. } => "format",
            SnapshotError::Cut { .. } => "cut",
            SnapshotError::Damaged { .. } => "damaged",
            SnapshotError::Limit { .. } => "limit",
            SnapshotError::Chain { .. } => "chain",
            SnapshotError::Root { .. } => "state_root",
            SnapshotError::MissingCode(_) => "missing_code",
            SnapshotError::StrayCode(_) => "stray_code",
            SnapshotError::Exists { .. } => "exists",
            SnapshotError::Place { .. } => "place",
            SnapshotError::Folder(error) => error.kind(),
        }
    }
}
