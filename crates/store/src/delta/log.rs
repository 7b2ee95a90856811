//! The file: superblocks, commits one after the other, records by their places.

use super::page::{self, Child, Page, Place, Sub};
use crate::{
    disk::{
        DiskError,
        layout::{crc, u16_at, u32_at, u64_at},
    },
    io::Medium,
};
use alloy_primitives::B256;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const MARK: &[u8; 8] = b"BRAIDDLT";
const FORMAT: u32 = 1;
/// Bytes of a superblock's page; commits begin after two of them.
const SUPER: u64 = 4096;
pub(super) const FIRST: u64 = 2 * SUPER;
const SUPER_LEN: usize = 8 + 4 + 8 + 8 + 4;

/// Before each commit: checksum of the head, of the body, length, number, version, hash, root.
pub(super) const HEAD: usize = 4 + 4 + 8 + 8 + 8 + 32 + ROOT;
/// Room for a root, and its length.
const ROOT: usize = 2 + 126;

/// One commit.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) version: u64,
    pub(super) hash: B256,
    pub(super) root: Option<Child>,
    /// Where it begins, its body's length, and the body's checksum.
    pub(super) at: u64,
    pub(super) body: u64,
    pub(super) body_crc: u32,
}

impl Commit {
    pub(super) fn end(&self) -> u64 {
        self.at + HEAD as u64 + self.body
    }

    /// Its head, as commit `number`.
    pub(super) fn encode(&self, id: u64, number: u64) -> Vec<u8> {
        let mut head = vec![0; 4];
        head.extend_from_slice(&self.body_crc.to_le_bytes());
        for field in [self.body, number, self.version] {
            head.extend_from_slice(&field.to_le_bytes());
        }
        head.extend_from_slice(self.hash.as_slice());
        let mut root = Vec::new();
        page::put_child(&mut root, self.root.as_ref(), 0);
        head.extend_from_slice(&(root.len() as u16).to_le_bytes());
        head.extend_from_slice(&root);
        head.resize(HEAD, 0);
        let checksum = crc(id, self.at, &head[4..]);
        head[..4].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    fn decode(head: &[u8], id: u64, at: u64, number: u64) -> Option<Commit> {
        if u32_at(head, 0) != crc(id, at, &head[4..]) || u64_at(head, 16) != number {
            return None;
        }
        let len = usize::from(u16_at(head, 64));
        let mut root = head.get(66..66 + len)?;
        let root = page::take_child(&mut root, &[])?;
        let (body_crc, body, version) = (u32_at(head, 4), u64_at(head, 8), u64_at(head, 24));
        Some(Commit { version, hash: B256::from_slice(&head[32..64]), root, at, body, body_crc })
    }
}

type Map = HashMap<Place, Arc<Page>, RandomState>;

/// Pages in memory: what is used goes into the first half; when that is full it becomes the second.
#[derive(Debug, Default)]
struct Cache {
    halves: [Map; 2],
}

/// Reads, checked, by place.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) id: u64,
    cache: Mutex<Cache>,
    /// Pages in memory, at most.
    most: usize,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl Log {
    pub(super) fn new(medium: Arc<dyn Medium>, id: u64, most: usize) -> Self {
        let (reads, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Log { medium, id, cache: Mutex::default(), most: most.max(2), reads, bytes }
    }

    /// Reads of the medium, and their bytes.
    pub(super) fn reads(&self) -> (u64, u64) {
        // Relaxed: counts that order nothing.
        (self.reads.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Writes a superblock: so many commits are durable.
    pub(super) fn write_superblock(&self, durable: u64) -> Result<(), DiskError> {
        let mut block = MARK.to_vec();
        block.extend_from_slice(&FORMAT.to_le_bytes());
        block.extend_from_slice(&self.id.to_le_bytes());
        block.extend_from_slice(&durable.to_le_bytes());
        let place = durable % 2 * SUPER;
        block.extend_from_slice(&crc(self.id, place, &block).to_le_bytes());
        block.resize(SUPER as usize, 0);
        self.medium.write_at(place, &block).map_err(DiskError::io("writing a superblock"))
    }

    /// What the superblocks say: the id of the store, and how many commits are durable.
    pub(super) fn superblock(medium: &dyn Medium) -> Result<(u64, u64), DiskError> {
        let mut best = None;
        for place in [0, SUPER] {
            let mut block = [0; SUPER_LEN];
            if medium.read_at(place, &mut block).is_err() || block[..8] != *MARK {
                continue;
            }
            let (id, durable) = (u64_at(&block, 12), u64_at(&block, 20));
            if u32_at(&block, 28) == crc(id, place, &block[..28]) && u32_at(&block, 8) == FORMAT {
                best = best.max(Some((durable, id)));
            }
        }
        let (durable, id) = best.ok_or_else(|| DiskError::Format("no superblock of a delta store".into()))?;
        Ok((id, durable))
    }

    /// All commits, of which the first `durable` must be there; a last one that is not whole is none.
    pub(super) fn commits(&self, durable: u64) -> Result<Vec<Commit>, DiskError> {
        let len = self.medium.len().map_err(DiskError::io("looking at the file"))?;
        let (mut commits, mut at) = (Vec::new(), FIRST);
        let mut head = [0; HEAD];
        while at + HEAD as u64 <= len {
            self.medium.read_at(at, &mut head).map_err(DiskError::io("reading a commit"))?;
            let number = commits.len() as u64;
            let Some(commit) = Commit::decode(&head, self.id, at, number) else { break };
            if commit.end() > len || (number >= durable && !self.is_whole(&commit)?) {
                break;
            }
            at = commit.end();
            commits.push(commit);
        }
        match commits.len() as u64 >= durable {
            true => Ok(commits),
            false => Err(DiskError::damaged("commit", at, format!("{durable} commits were durable"))),
        }
    }

    /// Whether the body of a commit is what was written.
    pub(super) fn is_whole(&self, commit: &Commit) -> Result<bool, DiskError> {
        let (mut at, end) = (commit.at + HEAD as u64, commit.end());
        let mut digest = crc32fast::Hasher::new();
        let mut part = vec![0; 1 << 16];
        while at < end {
            let len = part.len().min((end - at) as usize);
            self.medium.read_at(at, &mut part[..len]).map_err(DiskError::io("reading a commit"))?;
            digest.update(&part[..len]);
            at += len as u64;
        }
        Ok(digest.finalize() == commit.body_crc)
    }

    /// Writes a commit again as it stands there: a sync that failed may have left it in memory only, where later ones
    /// pass over it.
    pub(super) fn write_again(&self, commit: &Commit) -> Result<(), DiskError> {
        let (mut at, end) = (commit.at, commit.end());
        let mut part = vec![0; 1 << 16];
        while at < end {
            let len = part.len().min((end - at) as usize);
            self.medium.read_at(at, &mut part[..len]).map_err(DiskError::io("opening the store"))?;
            self.medium.write_at(at, &part[..len]).map_err(DiskError::io("opening the store"))?;
            at += len as u64;
        }
        Ok(())
    }

    /// The bytes at a place, whose first four are the checksum of the others.
    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; place.len()];
        self.medium.read_at(place.at(), &mut bytes).map_err(DiskError::io("reading a record"))?;
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() < 4 || u32_at(&bytes, 0) != crc(self.id, place.at(), &bytes[4..]) {
            return Err(DiskError::damaged("record", place.at(), "checksum"));
        }
        Ok(bytes)
    }

    /// Puts the checksum into bytes that are to stand at `at`.
    pub(super) fn seal(&self, at: u64, bytes: &mut [u8]) {
        let checksum = crc(self.id, at, &bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Remembers a page.
    pub(super) fn keep(&self, place: Place, page: Arc<Page>) {
        let cache = &mut *self.cache.lock();
        if cache.halves[0].len() >= self.most / 2 {
            cache.halves.swap(0, 1);
            cache.halves[0].clear();
        }
        cache.halves[0].insert(place, page);
    }

    /// The page of `sub`, as its record says.
    pub(super) fn page(&self, sub: &Sub) -> Result<Arc<Page>, DiskError> {
        if let Some(page) = self.cached(sub.page) {
            return Ok(page);
        }
        let broken = |place: Place| DiskError::damaged("record", place.at(), "no such page");
        let (mut records, mut next, mut page) = (Vec::new(), Some(sub.page), Page::default());
        while let Some(place) = next {
            // Each record is before the one that names it, so this ends.
            if records.last().is_some_and(|(last, _): &(Place, _)| place.at() >= last.at()) {
                return Err(broken(place));
            }
            let record = page::decode(&self.read(place)?, sub).ok_or_else(|| broken(place))?;
            next = record.prev;
            records.push((place, record));
        }
        for (place, record) in records.into_iter().rev() {
            page.depth = record.depth;
            match record.prev {
                None => page.base_bytes = place.len() as u32,
                Some(_) => {
                    page.deltas += 1;
                    page.delta_bytes += place.len() as u32;
                }
            }
            record.entries.into_iter().for_each(|(at, child)| page.set(at, child));
        }
        let page = Arc::new(page);
        self.keep(sub.page, page.clone());
        Ok(page)
    }

    fn cached(&self, place: Place) -> Option<Arc<Page>> {
        let cache = &mut *self.cache.lock();
        if let Some(page) = cache.halves[0].get(&place) {
            return Some(page.clone());
        }
        let page = cache.halves[1].remove(&place)?;
        cache.halves[0].insert(place, page.clone());
        Some(page)
    }
}
