//! A data folder, read beside the one who writes.

use crate::{
    ArchiveStat, DataFolder, DbError, LayeredState, SnapshotError, SnapshotStat, archive::Archive,
    error::of_versions, snapshot, verify,
};
use alloy_consensus::Header;
use alloy_primitives::{B256, KECCAK256_EMPTY};
use braid_store::disk::{DiskError, DiskOptions, DiskReader, Verified, View};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

/// A data folder, open to read. While another process writes, the state can be read and the archive cannot: its file
/// admits readers or one writer, which waits for readers for some seconds. So the archive is opened once somebody asks
/// for what is in it.
#[derive(Debug)]
pub struct DataReader {
    disk: DiskReader,
    archive: OnceLock<Arc<Archive>>,
    path: PathBuf,
    options: DiskOptions,
}

impl DataReader {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// [`DbError`].
    pub fn open(path: &Path, options: DiskOptions) -> Result<Self, DbError> {
        if !path.join("state").exists() {
            return Err(DbError::NoFolder { path: path.into() });
        }
        let disk = DiskReader::open(path, options)?;
        Ok(DataReader { disk, archive: OnceLock::new(), path: path.into(), options })
    }

    /// Retained versions and their roots at this moment, ascending.
    ///
    /// # Errors
    /// What the device says.
    pub fn versions(&self) -> Result<Vec<(u64, B256)>, DbError> {
        Ok(self.disk.versions()?)
    }

    /// A retained version, the latest if none is named, under a lease for `time`.
    ///
    /// # Errors
    /// [`DbError::Empty`], [`DbError::NoVersion`]; as [`DiskReader::view`].
    pub fn view(&self, version: Option<u64>, time: Duration) -> Result<View, DbError> {
        let version = match version {
            Some(version) => version,
            None => self.versions()?.last().ok_or(DbError::Empty)?.0,
        };
        match self.disk.view(version, time) {
            Err(error @ DiskError::NoVersion(_)) => Err(of_versions(error, self.versions()?)),
            done => Ok(done?),
        }
    }

    /// As [`Self::view`], for engines. Without the archive, reading code fails.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn state(&self, version: Option<u64>, time: Duration) -> Result<LayeredState, DbError> {
        Ok(LayeredState::new(self.view(version, time)?, self.archive().ok()))
    }

    /// Writes the whole state of a version, the latest if none is named, and of its chain what the next block needs to
    /// know, to one file, which is replaced if it is there. It is held by a lease for `time`, renewed with every part of about a megabyte.
    ///
    /// # Errors
    /// [`SnapshotError`]; then there is no such file, or the one that was there before.
    pub fn snapshot(
        &self,
        version: Option<u64>,
        time: Duration,
        out: &Path,
    ) -> Result<SnapshotStat, SnapshotError> {
        self.snapshot_unless(version, time, out, &AtomicBool::new(false))
    }

    /// As [`Self::snapshot`], unless `stop` is set meanwhile.
    ///
    /// # Errors
    /// [`DbError::Cancelled`] within [`SnapshotError::Folder`]; as [`Self::snapshot`].
    pub fn snapshot_unless(
        &self,
        version: Option<u64>,
        time: Duration,
        out: &Path,
        stop: &AtomicBool,
    ) -> Result<SnapshotStat, SnapshotError> {
        let archive = self.archive()?;
        let view = self.view(version, time)?;
        let blocks = archive.snapshot(view.version())?;
        snapshot::write(&view, &blocks, |hash| archive.code(hash), &self.path, out, stop)
    }

    /// As [`DataFolder::verify_unless`], for a folder that may only be read. Nobody can open it to write meanwhile.
    ///
    /// # Errors
    /// [`Locked`](DiskError::Locked) if somebody writes; as [`DataFolder::verify_unless`].
    pub fn verify_unless(&self, stop: &AtomicBool) -> Result<(Verified, u64, u64), DbError> {
        let mut codes = BTreeSet::new();
        let verified = self.disk.verify_with(stop, |account| {
            codes.extend(Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY));
        })?;
        let (verified, archive) = (verified.ok_or(DbError::Cancelled)?, self.archive()?);
        let blocks = verify::blocks(&archive, &self.versions()?, stop)?;
        Ok((verified, blocks, archive.verify_codes(&codes, stop)?))
    }

    /// The header of a block; `None` if there is no such block.
    ///
    /// # Errors
    /// [`DbError::ArchiveBusy`]; as [`DataFolder::header`].
    pub fn header(&self, number: u64) -> Result<Option<Header>, DbError> {
        let (archive, versions) = (self.archive()?, self.versions()?);
        let latest = versions.last().map(|(latest, _)| *latest).filter(|latest| number <= *latest);
        latest.map_or(Ok(None), |latest| archive.kept_header(number, latest))
    }

    /// How the archive stands.
    ///
    /// # Errors
    /// [`DbError::ArchiveBusy`], or what the archive says.
    pub fn archive_stat(&self) -> Result<ArchiveStat, DbError> {
        let latest = self.versions()?.last().map(|(latest, _)| *latest);
        self.archive()?.stat(latest)
    }

    fn archive(&self) -> Result<Arc<Archive>, DbError> {
        let open = || {
            let mut archive = Archive::read_only(&self.path);
            if matches!(archive, Err(DbError::Archive { .. } | DbError::ArchiveDamaged { .. })) {
                // One that was left open by a process that died is put in order by who opens it to write.
                drop(DataFolder::open(&self.path, self.options));
                archive = Archive::read_only(&self.path);
            }
            archive.map(Arc::new)
        };
        if let Some(archive) = self.archive.get() {
            return Ok(archive.clone());
        }
        // What hinders it now may not do so later.
        let archive = open()?;
        Ok(self.archive.get_or_init(|| archive).clone())
    }
}
