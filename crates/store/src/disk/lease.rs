//! Who may write, and what readers of other processes still need.
//!
//! 1. The writer holds the lock on the file `lock` of the folder. The system lets go of it when the process
//!    ends, however it ends.
//! 2. A reader of another process has a file in `leases` that says which commit it reads and until when, and
//!    holds the lock on it. A lease ends when it is given back, when its time is over, or when its reader
//!    ends, which the writer sees by the lock.
//! 3. A reader makes its lease known first and then looks whether the version is (still) retained. The writer
//!    lets a version go first (durably) and then looks at the leases before it writes to places that became
//!    free. So a reader that finds its version retained is one that the writer sees.
//! 4. A reader trusts what it read only if its lease was not over afterwards.
//! 5. A reader that cannot write a lease (a read-only medium, one that is full, no permission) shares the writer's lock
//!    instead: nobody writes while it reads, and where somebody does, it is refused.

use super::{
    error::DiskError,
    layout::{crc, u32_at, u64_at},
};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    hash::{BuildHasher, Hasher},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

const LEASES: &str = "leases";
const DOING: &str = "looking after leases";
/// Number of the commit, end in milliseconds since 1970, checksum.
const LEN: usize = 20;
/// The writer waits so much longer than a reader: clocks of one machine, read by two threads.
const GRACE_MILLIS: u64 = 1000;

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// A number that nobody else draws.
pub(crate) fn unique() -> u64 {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(now_millis());
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// The writer's lock on a folder, while it lasts.
#[derive(Debug)]
pub(super) struct WriterLock {
    _file: File,
}

impl WriterLock {
    pub(super) fn take(folder: &Path) -> Result<Self, DiskError> {
        let (path, doing) = (folder.join("lock"), "locking the store");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(DiskError::io(doing))?;
        match file.try_lock() {
            Ok(()) => Ok(WriterLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path }),
            Err(TryLockError::Error(error)) => Err(DiskError::io(doing)(error)),
        }
    }
}

/// A reader's lease.
#[derive(Debug)]
pub(super) struct Lease {
    file: File,
    path: PathBuf,
    version: u64,
    seq: u64,
    time: Duration,
    end_millis: AtomicU64,
}

/// That nobody writes, while it lasts: a share of the writer's lock.
#[derive(Debug)]
pub(super) struct SharedLock {
    _file: File,
}

impl SharedLock {
    pub(super) fn take(folder: &Path) -> Result<Self, DiskError> {
        let path = folder.join("lock");
        let file = File::open(&path).map_err(DiskError::io(DOING))?;
        match file.try_lock_shared() {
            Ok(()) => Ok(SharedLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DiskError::Locked { path }),
            Err(TryLockError::Error(error)) => Err(DiskError::io(DOING)(error)),
        }
    }
}

/// How a reader of another process holds a version.
#[derive(Debug)]
pub(super) enum Held {
    Lease(Lease),
    Lock { _lock: SharedLock },
}

impl Held {
    /// By a lease on a commit for `time`; where none can be written, by a share of the writer's lock.
    pub(super) fn take(folder: &Path, commit: (u64, u64), time: Duration) -> Result<Self, DiskError> {
        let error = match Lease::take(folder, commit, time) {
            Ok(lease) => return Ok(Held::Lease(lease)),
            Err(error) => error,
        };
        let unwritable = matches!(
            error.kind(),
            ErrorKind::ReadOnlyFilesystem
                | ErrorKind::PermissionDenied
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
        );
        let lock = if unwritable { SharedLock::take(folder).ok() } else { None };
        lock.map(|lock| Held::Lock { _lock: lock }).ok_or_else(|| DiskError::io(DOING)(error))
    }
}

impl Lease {
    /// Makes known that a commit is read for `time`, unless renewed.
    fn take(folder: &Path, (version, seq): (u64, u64), time: Duration) -> io::Result<Self> {
        let leases = folder.join(LEASES);
        fs::create_dir_all(&leases)?;
        let name = format!("{:016x}", unique());
        let (draft, path) = (leases.join(format!("{name}.draft")), leases.join(name));
        let file = OpenOptions::new().write(true).create_new(true).open(&draft)?;
        let lease = Lease { file, path, version, seq, time, end_millis: AtomicU64::new(0) };
        let known =
            lease.file.lock().and_then(|()| lease.extend()).and_then(|()| fs::rename(&draft, &lease.path));
        known.inspect_err(|_| drop(fs::remove_file(&draft)))?;
        Ok(lease)
    }

    fn extend(&self) -> io::Result<()> {
        let end = now_millis().saturating_add(self.time.as_millis() as u64);
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.seq.to_le_bytes());
        bytes[8..16].copy_from_slice(&end.to_le_bytes());
        let checksum = crc(0, 0, &bytes[..16]);
        bytes[16..].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&bytes, 0)?;
        self.end_millis.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the lease last for its time from now on.
    pub(super) fn renew(&self) -> Result<(), DiskError> {
        self.check()?;
        let end = self.end_millis.load(Ordering::Relaxed);
        self.extend().map_err(DiskError::io(DOING))?;
        // Who was stopped in between may have come too late.
        if now_millis() >= end {
            self.end_millis.store(0, Ordering::Relaxed);
        }
        self.check()
    }

    /// Whether what was read before this call can be trusted.
    pub(super) fn check(&self) -> Result<(), DiskError> {
        match now_millis() < self.end_millis.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(DiskError::LeaseExpired(self.version)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If it stays, its time ends it.
        drop(fs::remove_file(&self.path));
    }
}

/// The commits that readers of other processes need; leases that are over are removed. One that cannot be read
/// counts as one of everything.
pub(super) fn leased(folder: &Path) -> Result<Vec<u64>, DiskError> {
    let entries = match fs::read_dir(folder.join(LEASES)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DiskError::io(DOING)(error)),
    };
    let mut needed = Vec::new();
    for entry in entries {
        let path = entry.map_err(DiskError::io(DOING))?.path();
        if path.extension().is_some() {
            continue;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(DiskError::io(DOING)(error)),
        };
        let over = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(DiskError::io(DOING)(error)),
        };
        let mut bytes = [0; LEN];
        let whole =
            file.read_exact_at(&mut bytes, 0).is_ok() && u32_at(&bytes, 16) == crc(0, 0, &bytes[..16]);
        let end = u64_at(&bytes, 8).saturating_add(GRACE_MILLIS);
        if over || (whole && end < now_millis()) {
            drop(fs::remove_file(&path));
        } else {
            needed.push(if whole { u64_at(&bytes, 0) } else { 0 });
        }
    }
    Ok(needed)
}
