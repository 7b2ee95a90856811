//! A data folder, read beside the one who writes.

use crate::{
    ArchiveStat, DataFolder, DbError, LayeredState, SnapshotError, SnapshotStat, archive::Archive, snapshot,
};
use alloy_consensus::Header;
use alloy_primitives::B256;
use braid_store::disk::{DiskOptions, DiskReader, View};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A data folder, open to read. While another process writes, the state can be read and the archive cannot:
/// its file admits readers or one writer.
#[derive(Debug)]
pub struct DataReader {
    disk: DiskReader,
    archive: Result<Arc<Archive>, DbError>,
    path: PathBuf,
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
        let mut archive = Archive::read_only(path);
        if matches!(archive, Err(DbError::Archive { .. } | DbError::ArchiveDamaged { .. })) {
            // One that was left open by a process that died is put in order by who opens it to write.
            drop(DataFolder::open(path, options));
            archive = Archive::read_only(path);
        }
        Ok(DataReader { disk, archive: archive.map(Arc::new), path: path.into() })
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
    /// [`DbError::Empty`]; as [`DiskReader::view`].
    pub fn view(&self, version: Option<u64>, time: Duration) -> Result<View, DbError> {
        let version = match version {
            Some(version) => version,
            None => self.versions()?.last().ok_or(DbError::Empty)?.0,
        };
        Ok(self.disk.view(version, time)?)
    }

    /// As [`Self::view`], for engines. Without the archive, reading code fails.
    ///
    /// # Errors
    /// As [`Self::view`].
    pub fn state(&self, version: Option<u64>, time: Duration) -> Result<LayeredState, DbError> {
        Ok(LayeredState::new(self.view(version, time)?, self.archive.as_ref().ok().cloned()))
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
        let archive = self.archive()?;
        let view = self.view(version, time)?;
        let blocks = archive.snapshot(view.version())?;
        snapshot::write(&view, &blocks, |hash| archive.code(hash), &self.path, out)
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
        self.archive()?.stat(&self.path)
    }

    fn archive(&self) -> Result<&Archive, DbError> {
        self.archive.as_deref().map_err(Clone::clone)
    }
}
