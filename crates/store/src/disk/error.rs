//! What can go wrong with a store on disk.

use alloy_primitives::Address;
use braid_core::StoreError;
use std::{io, path::PathBuf};

/// Why an operation of a store on disk cannot be done. Retained versions are as they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The medium failed.
    #[error("{doing}: {reason}")]
    Io {
        /// What the store was doing.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The device is full. The last version stands; commits go on once there is room.
    #[error("{doing}: the device is full")]
    Full {
        /// What the store was doing.
        doing: &'static str,
    },
    /// The file, or what it is on, may only be read.
    #[error("{doing}: read-only")]
    ReadOnly {
        /// What the store was doing.
        doing: &'static str,
    },
    /// Another process (or another store of this one) writes here.
    #[error("{} is locked by another writer", path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
    },
    /// There is a store already where one should be created.
    #[error("{} exists already", path.display())]
    Exists {
        /// Its file.
        path: PathBuf,
    },
    /// Bytes are not what was written.
    #[error("damaged {what} at byte {at}: {reason}")]
    Damaged {
        /// Superblock, journal, page, node, root.
        what: &'static str,
        /// Where in the file, or in the space of pointers for a node.
        at: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Not a store, or one of another format.
    #[error("not a store: {0}")]
    Format(String),
    /// A number that must stay within a limit.
    #[error("{what} is {is}, the limit is {limit}")]
    Limit {
        /// What it counts.
        what: &'static str,
        /// What it is.
        is: u64,
        /// The most (or least) that it may be.
        limit: u64,
    },
    /// The version is not retained.
    #[error("version {0} is not retained")]
    NoVersion(u64),
    /// Versions only go up.
    #[error("version {version} does not follow version {latest}")]
    Order {
        /// The version to be.
        version: u64,
        /// The latest there is.
        latest: u64,
    },
    /// Something was committed or rolled back after this was prepared.
    #[error("prepared on commit {base}, which is not the latest ({latest})")]
    Stale {
        /// Number of the commit it was prepared on.
        base: u64,
        /// Number of the latest.
        latest: u64,
    },
    /// Somebody still reads what would go.
    #[error("version {0} is being read")]
    Pinned(u64),
    /// A reader of another process did not renew its lease in time, so its version may be gone.
    #[error("the lease on version {0} has expired")]
    LeaseExpired(u64),
    /// Slots of an account that there is not.
    #[error("slots of account {0}, which does not exist")]
    NoAccount(Address),
    /// A sync failed before, so what is on the device is not known. Open the store again.
    #[error("a write failed and left the device in an unknown state: open the store again")]
    Poisoned,
}

impl DiskError {
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> DiskError {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full { doing },
            io::ErrorKind::ReadOnlyFilesystem => DiskError::ReadOnly { doing },
            _ => DiskError::Io { doing, reason: error.to_string() },
        }
    }

    pub(crate) fn damaged(what: &'static str, at: u64, reason: impl Into<String>) -> DiskError {
        DiskError::Damaged { what, at, reason: reason.into() }
    }
}

impl From<DiskError> for StoreError {
    fn from(error: DiskError) -> Self {
        StoreError::Failed(error.to_string())
    }
}
