//! Pages: read, checked, remembered.

use super::{
    error::DiskError,
    layout::{Geometry, PAGE, PAGE_HEAD, Ptr, u16_at, u32_at},
};
use crate::io::{Medium, ReadQueue};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A page whose checksum was right.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) bytes: Box<[u8]>,
    /// Where its last record ends.
    pub(super) used: usize,
}

impl Page {
    /// A page that was just made, or read and checked.
    pub(super) fn new(bytes: Box<[u8]>) -> Page {
        let used = usize::from(u16_at(&bytes, 4)).clamp(PAGE_HEAD, PAGE);
        Page { bytes, used }
    }
}

const SHARDS: usize = 64;

/// Idle queues that are kept: as many as there are workers in a common machine.
const QUEUES_KEPT: usize = 64;

/// Part of the pages in memory. What is used goes into `hot`; when that is half of what is allowed, it
/// becomes `cold`, and what was cold and not used since is forgotten.
#[derive(Debug, Default)]
struct Shard {
    hot: HashMap<Ptr, Arc<Page>, RandomState>,
    cold: HashMap<Ptr, Arc<Page>, RandomState>,
}

impl Shard {
    fn get(&mut self, ptr: Ptr, most: usize) -> Option<Arc<Page>> {
        if let Some(page) = self.hot.get(&ptr) {
            return Some(page.clone());
        }
        let page = self.cold.remove(&ptr)?;
        self.put(ptr, page.clone(), most);
        Some(page)
    }

    fn put(&mut self, ptr: Ptr, page: Arc<Page>, most: usize) {
        if self.hot.len() >= most.div_ceil(2) {
            self.cold = std::mem::take(&mut self.hot);
        }
        self.hot.insert(ptr, page);
    }
}

/// A part in lines of memory of its own, so that who uses one does not keep others from using another.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(Mutex<Shard>);

/// Why the page at an offset could not be read.
fn unread(offset: u64) -> impl Fn(io::Error) -> DiskError {
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => DiskError::damaged("page", offset, "the file ends before it"),
        _ => DiskError::io("reading a page")(error),
    }
}

/// Reads pages of segments. A page never changes and its pointer is never used for another, so what is
/// remembered is never wrong.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) geometry: Geometry,
    /// Where segments are.
    places: RwLock<HashMap<u64, u32, RandomState>>,
    shards: Box<[Apart]>,
    /// Pages in memory, at most, in each shard.
    most: usize,
    /// Pages that were read from the medium.
    reads: AtomicU64,
    /// Queues that nobody uses at the moment.
    queues: Mutex<Vec<Box<dyn ReadQueue>>>,
}

impl Pages {
    pub(super) fn new(medium: Arc<dyn Medium>, geometry: Geometry, cache_bytes: usize) -> Self {
        Pages {
            medium,
            geometry,
            places: RwLock::default(),
            shards: (0..SHARDS).map(|_| Apart::default()).collect(),
            most: (cache_bytes / PAGE / SHARDS).max(2),
            reads: AtomicU64::new(0),
            queues: Mutex::default(),
        }
    }

    /// Says where a segment is, or that it is gone.
    pub(super) fn set_place(&self, segment: u64, place: Option<u32>) {
        let mut places = self.places.write();
        match place {
            Some(place) => drop(places.insert(segment, place)),
            None => drop(places.remove(&segment)),
        }
    }

    /// Where in the file a pointer points.
    pub(super) fn locate(&self, ptr: Ptr) -> Result<u64, DiskError> {
        let place = self.places.read().get(&ptr.segment()).copied();
        match place {
            Some(place) if (ptr.offset() as u64) < self.geometry.segment => {
                Ok(self.geometry.place_at(place) + ptr.offset() as u64)
            }
            _ => Err(DiskError::damaged("node", ptr.0, "it is in no segment")),
        }
    }

    fn shard(&self, page: Ptr) -> &Mutex<Shard> {
        &self.shards[(page.0 / PAGE as u64) as usize % SHARDS].0
    }

    /// The page at `at`, if it is remembered.
    pub(super) fn cached(&self, at: Ptr) -> Option<Arc<Page>> {
        self.shard(at).lock().get(at, self.most)
    }

    /// The page that `ptr` points into.
    pub(super) fn get(&self, ptr: Ptr) -> Result<Arc<Page>, DiskError> {
        let at = ptr.page();
        if let Some(page) = self.cached(at) {
            return Ok(page);
        }
        let page = Arc::new(self.read(at)?);
        self.put(at, page.clone());
        Ok(page)
    }

    /// Remembers a page.
    pub(super) fn put(&self, at: Ptr, page: Arc<Page>) {
        self.shard(at).lock().put(at, page, self.most);
    }

    /// Forgets a page that hardly anybody will ask for.
    pub(super) fn forget(&self, at: Ptr) {
        let mut shard = self.shard(at).lock();
        shard.hot.remove(&at);
        shard.cold.remove(&at);
    }

    /// Reads a page from the medium, whether it is remembered or not.
    pub(super) fn read(&self, at: Ptr) -> Result<Page, DiskError> {
        let offset = self.locate(at)?;
        let mut bytes = vec![0; PAGE].into_boxed_slice();
        self.medium.read_at(offset, &mut bytes).map_err(unread(offset))?;
        self.checked(at, offset, bytes)
    }

    /// Checks and remembers a page that somebody else has read.
    pub(super) fn admit(&self, at: Ptr, read: io::Result<Box<[u8]>>) -> Result<Arc<Page>, DiskError> {
        let offset = self.locate(at)?;
        let page = Arc::new(self.checked(at, offset, read.map_err(unread(offset))?)?);
        self.put(at, page.clone());
        Ok(page)
    }

    fn checked(&self, at: Ptr, offset: u64, bytes: Box<[u8]>) -> Result<Page, DiskError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if u32_at(&bytes, 0) != self.geometry.page_crc(at, &bytes) {
            return Err(DiskError::damaged("page", offset, "checksum"));
        }
        Ok(Page::new(bytes))
    }

    /// A queue that nobody uses, or a new one; `None` if reads of this medium are waited for.
    pub(super) fn queue(&self) -> io::Result<Option<Box<dyn ReadQueue>>> {
        let idle = self.queues.lock().pop();
        idle.map_or_else(|| self.medium.queue(), |queue| Ok(Some(queue)))
    }

    /// Keeps a queue in which nothing is under way.
    pub(super) fn keep_queue(&self, queue: Box<dyn ReadQueue>) {
        let mut queues = self.queues.lock();
        if queues.len() < QUEUES_KEPT {
            queues.push(queue);
        }
    }

    /// Pages read from the medium so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}
