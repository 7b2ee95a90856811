//! A file as a medium.

#[cfg(target_os = "linux")]
use super::uring;
use super::{Medium, ReadQueue, queue::Threads};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// How reads of a file are answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadWay {
    /// By the kernel, through `io_uring`.
    Uring,
    /// By threads that wait for one read each.
    Threads,
}

impl ReadWay {
    /// The better way that this system allows, found out by trying.
    pub fn best() -> ReadWay {
        static BEST: OnceLock<ReadWay> = OnceLock::new();
        *BEST.get_or_init(|| match uring_works() {
            true => ReadWay::Uring,
            false => ReadWay::Threads,
        })
    }
}

#[cfg(target_os = "linux")]
fn uring_works() -> bool {
    uring::works()
}

#[cfg(not(target_os = "linux"))]
fn uring_works() -> bool {
    false
}

/// A file, through the page cache of the system; synced by `fdatasync`.
#[derive(Debug)]
pub struct FileMedium {
    file: Arc<File>,
    way: Option<ReadWay>,
    /// Those that read, if anybody has asked for a queue of that kind.
    threads: Mutex<Option<Arc<Threads>>>,
}

impl FileMedium {
    /// Creates a file that does not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or what the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).map(Self::on)
    }

    /// Opens a file, to write as well if `write`.
    ///
    /// # Errors
    /// What the system says: no such file, no permission, a read-only file system.
    pub fn open(path: &Path, write: bool) -> io::Result<Self> {
        OpenOptions::new().read(true).write(write).open(path).map(Self::on)
    }

    fn on(file: File) -> Self {
        FileMedium { file: Arc::new(file), way: None, threads: Mutex::new(None) }
    }

    /// The same file, read in this way instead of the [best](ReadWay::best) where answers may come later.
    #[must_use]
    pub fn read_by(self, way: ReadWay) -> Self {
        FileMedium { way: Some(way), ..self }
    }

    fn by_threads(&self) -> io::Result<Box<dyn ReadQueue>> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = match &mut *threads {
            Some(threads) => threads,
            none => none.insert(Arc::new(Threads::new()?)),
        };
        Ok(Box::new(threads.queue(self.file.clone())))
    }

    #[cfg(target_os = "linux")]
    fn by_uring(&self) -> io::Result<Box<dyn ReadQueue>> {
        Ok(Box::new(uring::UringQueue::new(self.file.clone())?))
    }

    #[cfg(not(target_os = "linux"))]
    fn by_uring(&self) -> io::Result<Box<dyn ReadQueue>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl Medium for FileMedium {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn queue(&self) -> io::Result<Option<Box<dyn ReadQueue>>> {
        let queue = match self.way.unwrap_or(ReadWay::best()) {
            ReadWay::Threads => self.by_threads(),
            // What worked once may fail later: there is a limit on locked memory.
            ReadWay::Uring if self.way.is_none() => self.by_uring().or_else(|_| self.by_threads()),
            ReadWay::Uring => self.by_uring(),
        };
        queue.map(Some)
    }
}
