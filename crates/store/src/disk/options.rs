//! What a store is told, and what it tells.

use super::{error::DiskError, workers::Workers};
use alloy_primitives::B256;
use std::time::Duration;

/// Versions that are retained, at most; more than `keep` are only while somebody reads. Tests have few.
pub(super) const VERSIONS_MAX: usize = if cfg!(test) { 1 << 9 } else { 1 << 16 };
const WORKERS_MAX: usize = 256;
/// How a store works. The sizes of segments and journal count when it is created, and stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Versions that are retained: the latest and those before it. At least 1.
    pub keep: usize,
    /// Bytes of a segment: a power of two from 64 KiB to 16 MiB.
    pub segment_bytes: u64,
    /// Bytes of each half of the journal, a multiple of 4096: room for what is known of all segments and
    /// retained versions. Not taken on the device before it is used.
    pub journal_bytes: u64,
    /// Pages kept in memory, in bytes.
    pub page_cache_bytes: usize,
    /// Accounts, and slots, kept in memory by their plain keys.
    pub flat_entries: usize,
    /// Threads that hash, 1 to 256.
    pub workers: usize,
    /// Whether segments that decay are emptied.
    pub compact: bool,
}

impl Default for DiskOptions {
    fn default() -> Self {
        DiskOptions {
            keep: 128,
            segment_bytes: 2 << 20,
            journal_bytes: 64 << 20,
            page_cache_bytes: 256 << 20,
            flat_entries: 1 << 20,
            workers: std::thread::available_parallelism().map_or(1, |count| count.get().min(16)),
            compact: true,
        }
    }
}

impl DiskOptions {
    pub(super) fn check(&self) -> Result<(), DiskError> {
        let limit = |what, is: usize, limit: usize| {
            Err(DiskError::Limit { what, is: is as u64, limit: limit as u64 })
        };
        match () {
            () if self.keep == 0 => limit("versions to keep", 0, 1),
            () if self.keep > VERSIONS_MAX => limit("versions to keep", self.keep, VERSIONS_MAX),
            () if self.workers == 0 => limit("workers", 0, 1),
            () if self.workers > WORKERS_MAX => limit("workers", self.workers, WORKERS_MAX),
            () => Ok(()),
        }
    }

    /// The threads beside the caller's.
    pub(super) fn pool(&self) -> Result<Option<Workers>, DiskError> {
        (self.workers > 1).then(|| Workers::new(self.workers - 1)).transpose()
    }
}

/// What a commit did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The version.
    pub version: u64,
    /// Its state root.
    pub root: B256,
    /// Bytes written to the device: pages, journal, superblock.
    pub bytes: u64,
    /// Bytes of records that were to be written again to empty segments.
    pub moved: u64,
}

/// For how long a commit was at work on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// Handing pages, journal and superblock to the system.
    pub write: Duration,
    /// Waiting until they are durable.
    pub sync: Duration,
}

/// How a store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskStat {
    /// Retained versions.
    pub versions: usize,
    /// Segments in use.
    pub segments: usize,
    /// Segments that the file has room for, in use or not.
    pub places: usize,
    /// Bytes of the file, without holes being counted out.
    pub file_bytes: u64,
    /// Bytes of nodes of the latest version.
    pub current_bytes: u64,
    /// Bytes of nodes of retained versions.
    pub live_bytes: u64,
    /// Pages read from the device since the store was opened.
    pub page_reads: u64,
}
