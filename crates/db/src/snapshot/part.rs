//! What is in the making: a snapshot under another name, a folder beside its place.
//!
//! 1. Whoever makes one holds the lock on it. So two who make the same do not write into each other's, and what a
//!    process that died left is told from what is being made, because the system lets go of the lock.
//! 2. Nothing is removed, or written over, that does not carry Braid's mark: a snapshot's first bytes; in a folder, a
//!    file of the name [`MARK`], which is what is locked, and besides it only names that a folder has.

use super::{error::SnapshotError, format, io_at, sync_parent};
use crate::DbError;
use braid_store::disk::DiskError;
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

/// What a folder has while it is being restored, and not after.
const MARK: &str = "restoring";
/// What else it may have.
const NAMES: [&str; 6] = ["archive.draft", "archive.redb", "leases", "lock", "state", "state.draft"];

/// The same place with more behind the name.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(more);
    path.with_file_name(name)
}

/// The folder that something is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether `file` is what is found at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: fs::Metadata, other: fs::Metadata| one.dev() == other.dev() && one.ino() == other.ino();
    file.metadata().and_then(|one| Ok(same(one, fs::symlink_metadata(path)?))).unwrap_or(false)
}

/// Whether a snapshot of the data folder `folder` may be put at `out`: nothing is there, or a file, and not one of
/// the folder.
pub(super) fn check_out(folder: &Path, out: &Path) -> Result<(), SnapshotError> {
    let place = |reason| Err(SnapshotError::Place { path: out.into(), reason });
    match fs::symlink_metadata(out) {
        Ok(there) if !there.is_file() => return place("a snapshot replaces nothing but a regular file"),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_at(out, "looking at it")(error)),
        _ => {}
    }
    if out.file_name().is_none() {
        return place("not the name of a file");
    }
    let canonical = |path: &Path| fs::canonicalize(path).map_err(io_at(path, "looking at it"));
    match canonical(parent(out))?.starts_with(canonical(folder)?) {
        true => place("within the data folder"),
        false => Ok(()),
    }
}

/// A snapshot that is being written: beside its place, under a name that nobody else uses. It is removed if it is not
/// [put in place](Self::place).
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    placed: bool,
}

impl Draft {
    /// Begins one for `out`, and removes those for `out` that processes left that died.
    pub(super) fn create(out: &Path) -> Result<Self, SnapshotError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_left(out);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = beside(out, &format!(".{}-{count}.part", std::process::id()));
            let failed = io_at(&path, "writing a snapshot");
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                // Of a process of the same number, or nothing of ours.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                file => {
                    let draft = Draft { file: file.map_err(&failed)?, path, placed: false };
                    draft.file.lock().map_err(&failed)?;
                    return Ok(draft);
                }
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, durably. It must be synced.
    pub(super) fn place(mut self, out: &Path) -> Result<(), SnapshotError> {
        let placed = fs::rename(&self.path, out);
        self.placed = placed.is_ok();
        placed.and_then(|()| sync_parent(out)).map_err(io_at(out, "putting the snapshot in place"))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Removes drafts for `out` that nobody writes any more. One that stays is in nobody's way.
fn remove_left(out: &Path) {
    let Some(name) = out.file_name().map(OsStr::as_encoded_bytes) else { return };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let is_draft = |entry: &fs::DirEntry| {
        let whole = entry.file_name();
        let more = whole.as_encoded_bytes().strip_prefix(name).and_then(|more| more.strip_prefix(b"."));
        let numbers = more.and_then(|more| more.strip_suffix(b".part"));
        let mut parts = numbers.unwrap_or_default().split(|byte| *byte == b'-');
        let two = parts.next().is_some_and(digits) && parts.next().is_some_and(digits);
        two && parts.next().is_none() && entry.file_type().is_ok_and(|kind| kind.is_file())
    };
    for entry in fs::read_dir(parent(out)).into_iter().flatten().flatten().filter(is_draft) {
        let (path, mut mark) = (entry.path(), [0; format::MARK.len()]);
        let Ok(mut file) = File::open(&path) else { continue };
        let ours = file.try_lock().is_ok() && file.read_exact(&mut mark).is_ok() && mark == format::MARK;
        if ours && is_at(&file, &path) {
            drop(fs::remove_file(&path));
        }
    }
}

/// A folder that is being restored, beside its place. It is removed if it is not [put in place](Self::place).
pub(super) struct Part {
    /// Locked, and named [`MARK`].
    _mark: File,
    path: PathBuf,
    placed: bool,
}

impl Part {
    /// Begins one for `folder`; what a process that died left of it is removed.
    pub(super) fn take(folder: &Path) -> Result<Self, SnapshotError> {
        let path = beside(folder, ".part");
        let failed = io_at(&path, "making the folder");
        loop {
            match fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            let locked = match check_part(&path).and_then(|()| lock(&path)) {
                Ok(locked) => locked,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    let reason = "in the way, and not what restoring left";
                    return Err(SnapshotError::Place { path, reason });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(DbError::Disk(DiskError::Locked { path }).into());
                }
                Err(error) => return Err(failed(error)),
            };
            // Who had the lock before may have put the folder in place, or removed it.
            if is_at(&locked, &path.join(MARK)) {
                clear(&path).map_err(io_at(&path, "removing what was left"))?;
                return Ok(Part { _mark: locked, path, placed: false });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, durably.
    pub(super) fn place(mut self, folder: &Path) -> Result<(), SnapshotError> {
        let failed = io_at(folder, "putting the folder in place");
        fs::rename(&self.path, folder).map_err(&failed)?;
        self.placed = true;
        fs::remove_file(folder.join(MARK)).and_then(|()| sync_parent(folder)).map_err(failed)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The mark goes last, so that what is left half removed is known as that.
        if !self.placed && clear(&self.path).is_ok() {
            drop(fs::remove_file(self.path.join(MARK)));
            drop(fs::remove_dir(&self.path));
        }
    }
}

/// Whether a folder is empty, or one in the making; else [`ErrorKind::InvalidInput`].
fn check_part(path: &Path) -> io::Result<()> {
    let foreign = || Err(io::Error::from(ErrorKind::InvalidInput));
    if !fs::symlink_metadata(path)?.is_dir() {
        return foreign();
    }
    let (mut empty, mut marked) = (true, false);
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let (name, is_mark) = (entry.file_name(), entry.file_name() == MARK && entry.file_type()?.is_file());
        if !is_mark && !NAMES.iter().any(|known| name == *known) {
            return foreign();
        }
        empty = false;
        marked |= is_mark;
    }
    if empty || marked { Ok(()) } else { foreign() }
}

/// The mark in a folder, which is made if it is not there, locked; [`ErrorKind::WouldBlock`] if somebody else has it.
fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(MARK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::from(ErrorKind::WouldBlock)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes all but the mark.
fn clear(path: &Path) -> io::Result<()> {
    for name in NAMES {
        let path = path.join(name);
        let removed = match fs::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}
