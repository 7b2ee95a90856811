//! A file as a medium.

use super::Medium;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// A file, through the page cache of the system; synced by `fdatasync`.
#[derive(Debug)]
pub struct FileMedium(File);

impl FileMedium {
    /// Creates a file that does not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or what the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).map(FileMedium)
    }

    /// Opens a file, to write as well if `write`.
    ///
    /// # Errors
    /// What the system says: no such file, no permission, a read-only file system.
    pub fn open(path: &Path, write: bool) -> io::Result<Self> {
        OpenOptions::new().read(true).write(write).open(path).map(FileMedium)
    }
}

impl Medium for FileMedium {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
