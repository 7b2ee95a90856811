//! The one who writes.
//!
//! A commit, with what is written and synced when:
//! 1. The new nodes are laid out after the last page used. Nothing is written to a page, or to a place of a
//!    segment, that an acknowledged version may need.
//! 2. Their pages are written; then the event, which names them, to the journal.
//! 3. One sync makes both durable. From here on the version is acknowledged, whatever happens.
//! 4. The superblock that is older is overwritten with the number of the commit. The sync of the next commit
//!    makes that durable; until then the journal is what tells.
//! 5. Segments that the event let go may be written to by the next commit, unless a reader of another
//!    process needs them.
//!
//! An error before 3 leaves the store as it was (of an event that could not be written nothing is left that counts).
//! An error in 3 or 4 leaves it unknown what is on the device:
//! no more is written until the store is opened again, which finds this version or the one before.

use super::{
    append::Run,
    batch::Batch,
    compact::Decay,
    error::DiskError,
    flat::Flat,
    journal::{Extent, Journal},
    layered::{self, Laid, Room},
    layout::{Geometry, PAGE, PAGE_HEAD, Ptr, SUPERBLOCKS, Superblock},
    lease::{self, WriterLock},
    ledger::{Commit, Event, Ledger, Version, by_segment},
    options::{CommitTimes, Committed, DiskOptions, DiskStat, VERSIONS_MAX},
    pages::{Page, Pages},
    prepare::Prepared,
    read::{Readers, Root, Shared, View},
    share::Works,
    sorted::{PlainSlots, Sorted},
    verify::{self, Verified},
    workers::Workers,
};
use crate::io::{FileMedium, Medium};
use alloy_primitives::{Address, B256};
use alloy_trie::TrieAccount;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

/// Runs whose memory is kept for the next commit.
const SPARE_MAX: usize = 8;
pub(super) const FILE: &str = "state";
/// Bytes that are written again at a time.
const AGAIN: u64 = 1 << 20;

/// Memory for the next version, of the last one.
#[derive(Debug, Default)]
pub(super) struct Spare {
    pub(super) works: Works,
    pub(super) sorted: Sorted,
}

/// A store on disk, open to write.
#[derive(Debug)]
pub struct DiskStore {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    journal: Journal,
    pub(super) options: DiskOptions,
    pub(super) pool: Option<Workers>,
    pub(super) decay: Decay,
    /// Places that may be written to.
    pub(super) free: BTreeSet<u32>,
    /// Places that became free and may still be read.
    cooling: Vec<u32>,
    pub(super) places: u32,
    /// Number of what was committed last, zero if that was not here.
    pub(super) last: u64,
    /// Bytes of records that the last commit wrote.
    pub(super) wrote: u64,
    times: CommitTimes,
    poisoned: bool,
    /// Memory of the last runs.
    spare_runs: Vec<Vec<u8>>,
    pub(super) spare: Mutex<Spare>,
    /// Whether what the next version changes is not expected to be in memory.
    pub(super) cold: AtomicBool,
    folder: Option<PathBuf>,
}

/// The two superblocks, of which one at least must be whole.
pub(super) fn superblocks(medium: &dyn Medium) -> Result<[Result<Superblock, DiskError>; 2], DiskError> {
    let mut blocks = [0, 1].map(|place| Err(DiskError::damaged("superblock", place * PAGE as u64, "unread")));
    for (place, block) in (0..SUPERBLOCKS).zip(&mut blocks) {
        let mut page = [0; PAGE];
        *block = match medium.read_at(place * PAGE as u64, &mut page) {
            Ok(()) => Superblock::decode(&page, place),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(DiskError::damaged("superblock", place * PAGE as u64, "the file ends before its end"))
            }
            Err(error) => Err(DiskError::io("reading a superblock")(error)),
        };
    }
    Ok(blocks)
}

/// Writes again what is there.
fn write_again(medium: &dyn Medium, extents: &[Extent]) -> Result<(), DiskError> {
    for (at, len) in extents {
        let (mut at, end) = (*at, at + len);
        while at < end {
            let mut bytes = vec![0; (end - at).min(AGAIN) as usize];
            medium.read_at(at, &mut bytes).map_err(DiskError::io("opening the store"))?;
            medium.write_at(at, &bytes).map_err(DiskError::io("opening the store"))?;
            at += bytes.len() as u64;
        }
    }
    Ok(())
}

/// What the superblocks know together.
pub(super) fn best(blocks: &[Result<Superblock, DiskError>; 2]) -> Result<Superblock, DiskError> {
    match blocks {
        [Ok(a), Ok(b)] if a.geometry != b.geometry => {
            Err(DiskError::Format("superblocks of different stores".into()))
        }
        [Ok(a), Ok(b)] => Ok(if a.durable > b.durable { *a } else { *b }),
        [Ok(one), Err(_)] | [Err(_), Ok(one)] => Ok(*one),
        [Err(error), Err(_)] => Err(error.clone()),
    }
}

/// What readers need of a ledger.
pub(super) fn share(
    medium: Arc<dyn Medium>,
    geometry: Geometry,
    ledger: &Ledger,
    options: &DiskOptions,
) -> Shared {
    let pages = Pages::new(medium, geometry, options.page_cache_bytes);
    for (number, segment) in &ledger.segments {
        pages.set_place(*number, Some(segment.place));
    }
    let roots = ledger.versions.iter().map(|version| (version.version, root_of(version)));
    let readers = Readers { roots: roots.collect(), ..Readers::default() };
    let latest = ledger.latest().map_or(0, |version| version.seq);
    Shared {
        pages,
        flat: Flat::new(options.flat_entries, latest),
        readers: readers.into(),
        lock: None.into(),
    }
}

pub(super) fn root_of(version: &Version) -> Root {
    Root { version: version.version, seq: version.seq, ptr: version.root, hash: version.hash }
}

/// Makes a folder, and those above it that are not there.
fn make_durably(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_durably(above)?;
    match fs::create_dir(folder) {
        Err(error) if !folder.is_dir() => return Err(error),
        _ => {}
    }
    // One that may not be read cannot be synced.
    fs::File::open(above).map_or(Ok(()), |above| above.sync_all())
}

impl DiskStore {
    /// Creates a store in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`DiskError::Exists`] if there is one, [`DiskError::Locked`], a size that may not be, or what the device
    /// says.
    pub fn create(folder: &Path, options: DiskOptions) -> Result<Self, DiskError> {
        let doing = "creating the store";
        make_durably(folder).map_err(DiskError::io(doing))?;
        let lock = WriterLock::take(folder)?;
        let (path, draft) = (folder.join(FILE), folder.join("state.draft"));
        if path.exists() {
            return Err(DiskError::Exists { path });
        }
        drop(fs::remove_file(&draft));
        let medium: Arc<dyn Medium> = Arc::new(FileMedium::create(&draft).map_err(DiskError::io(doing))?);
        let mut store = Self::create_on(medium, options)?;
        fs::rename(&draft, &path).map_err(DiskError::io(doing))?;
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(DiskError::io(doing))?;
        store.keep(folder, lock);
        Ok(store)
    }

    /// Opens the store in a folder, at the last version that was acknowledged, or the next one if it was written
    /// as a whole.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if somebody writes there, [`DiskError::ReadOnly`], [`DiskError::Damaged`], or what
    /// the device says.
    pub fn open(folder: &Path, options: DiskOptions) -> Result<Self, DiskError> {
        let lock = WriterLock::take(folder)?;
        let medium = FileMedium::open(&folder.join(FILE), true);
        let medium = medium.map_err(DiskError::io("opening the store"))?;
        let mut store = Self::open_on(Arc::new(medium), options)?;
        store.keep(folder, lock);
        store.heed_leases()?;
        Ok(store)
    }

    /// Creates a store on a medium of its own, of which nobody else must know.
    ///
    /// # Errors
    /// As [`create`](Self::create), but for locks.
    pub fn create_on(medium: Arc<dyn Medium>, options: DiskOptions) -> Result<Self, DiskError> {
        options.check()?;
        let (segment, journal) = (options.segment_bytes, options.journal_bytes);
        let geometry = Geometry { id: lease::unique(), segment, journal };
        geometry.check()?;
        let (ledger, journal) = Journal::create(&*medium, &geometry)?;
        let doing = "creating the store";
        // First what the superblocks speak of.
        medium.sync().map_err(DiskError::io(doing))?;
        for place in 0..SUPERBLOCKS {
            let page = Superblock { geometry, durable: 0 }.encode(place);
            medium.write_at(place * PAGE as u64, &page).map_err(DiskError::io(doing))?;
        }
        medium.sync().map_err(DiskError::io(doing))?;
        Self::assemble(medium, geometry, ledger, journal, options)
    }

    /// Opens the store on a medium, of which nobody else must know.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for locks.
    pub fn open_on(medium: Arc<dyn Medium>, options: DiskOptions) -> Result<Self, DiskError> {
        options.check()?;
        let blocks = superblocks(&*medium)?;
        let block = best(&blocks)?;
        let (ledger, journal, unproved) = Journal::recover(&*medium, &block)?;
        let doing = "opening the store";
        // What was found may be in memory only, if the process died and the machine not, or a sync failed; what
        // comes next is built on it.
        write_again(&*medium, &unproved)?;
        medium.sync().map_err(DiskError::io(doing))?;
        // Superblocks prove it before it can be undone: pages of what is undone are written over, and without them an
        // event that is not proved did not happen, nor what came after it. The better one is the last.
        let found = Superblock { geometry: block.geometry, durable: ledger.seq };
        let better = u64::from(blocks[0] != Ok(block));
        for place in [1 - better, better] {
            let page = found.encode(place);
            medium.write_at(place * PAGE as u64, &page).map_err(DiskError::io(doing))?;
            medium.sync().map_err(DiskError::io(doing))?;
        }
        Self::assemble(medium, block.geometry, ledger, journal, options)
    }

    fn assemble(
        medium: Arc<dyn Medium>,
        geometry: Geometry,
        ledger: Ledger,
        journal: Journal,
        options: DiskOptions,
    ) -> Result<Self, DiskError> {
        let used: BTreeSet<u32> = ledger.segments.values().map(|segment| segment.place).collect();
        let places = used.last().map_or(0, |last| last.saturating_add(1));
        let free = (0..places).filter(|place| !used.contains(place)).collect();
        let cold = !ledger.versions.is_empty();
        Ok(DiskStore {
            shared: Arc::new(share(medium, geometry, &ledger, &options)),
            ledger,
            journal,
            options,
            pool: options.pool()?,
            decay: Decay::default(),
            free,
            cooling: Vec::new(),
            places,
            last: 0,
            wrote: 0,
            times: CommitTimes::default(),
            poisoned: false,
            spare_runs: Vec::new(),
            spare: Mutex::default(),
            cold: AtomicBool::new(cold),
            folder: None,
        })
    }

    /// Remembers whose folder it is. Whoever still looks at a version keeps others from writing there.
    fn keep(&mut self, folder: &Path, lock: WriterLock) {
        self.folder = Some(folder.to_owned());
        *self.shared.lock.lock() = Some(lock);
    }

    /// Readers may have leases on what became free before the store was opened, also behind the last segment.
    fn heed_leases(&mut self) -> Result<(), DiskError> {
        self.cooling = std::mem::take(&mut self.free).into_iter().collect();
        if !self.all_retained() {
            let Pages { medium, geometry, .. } = &self.shared.pages;
            let len = medium.len().map_err(DiskError::io("looking at the file"))?;
            let behind = len.saturating_sub(geometry.place_at(0)).div_ceil(geometry.segment);
            self.places = self.places.max(u32::try_from(behind).unwrap_or(self.places));
        }
        self.cool();
        Ok(())
    }

    /// The latest version and its root, if there is any.
    pub fn latest(&self) -> Option<(u64, B256)> {
        self.ledger.latest().map(|latest| (latest.version, latest.hash))
    }

    /// Retained versions and their roots, ascending.
    pub fn versions(&self) -> impl Iterator<Item = (u64, B256)> {
        self.ledger.versions.iter().map(|version| (version.version, version.hash))
    }

    /// A retained version, which stays while it is looked at.
    ///
    /// # Errors
    /// [`DiskError::NoVersion`].
    pub fn view(&self, version: u64) -> Result<View, DiskError> {
        self.shared.view(version)
    }

    /// For how long the last commit, roll-back or prune of this store was at work on the device; nothing if there
    /// was none.
    pub fn last_times(&self) -> CommitTimes {
        self.times
    }

    /// How the store stands.
    ///
    /// # Errors
    /// What the device says.
    pub fn stat(&self) -> Result<DiskStat, DiskError> {
        let (pages, segments) = (&self.shared.pages, &self.ledger.segments);
        Ok(DiskStat {
            versions: self.ledger.versions.len(),
            segments: segments.len(),
            places: self.places as usize,
            file_bytes: pages.medium.len().map_err(DiskError::io("looking at the file"))?,
            current_bytes: segments.values().map(|segment| segment.current).sum(),
            live_bytes: segments.values().map(|segment| segment.live).sum(),
            page_reads: pages.reads(),
        })
    }

    /// Looks at every bit that a retained version reaches, and at superblocks and journal, on the device.
    ///
    /// # Errors
    /// [`DiskError::Damaged`] with the first thing that is not as it was written, or what the device says.
    pub fn verify(&self) -> Result<Verified, DiskError> {
        Ok(self.verify_with(&AtomicBool::new(false), |_| {})?.unwrap_or_default())
    }

    /// As [`verify`](Self::verify), unless `stop` is set meanwhile; then `None`. Tells the accounts of retained versions,
    /// each at least once as it stands in any of them.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        stop: &AtomicBool,
        mut account: impl FnMut(&TrieAccount),
    ) -> Result<Option<Verified>, DiskError> {
        let medium = &self.shared.pages.medium;
        let blocks = superblocks(&**medium)?;
        if let Some(error) = blocks.iter().find_map(|block| block.as_ref().err()) {
            return Err(error.clone());
        }
        let (ledger, ..) = Journal::recover(&**medium, &best(&blocks)?)?;
        if ledger != self.ledger {
            return Err(DiskError::damaged("journal", 0, "it tells another story"));
        }
        let options = DiskOptions { flat_entries: 0, ..self.options };
        let anew = share(medium.clone(), self.shared.pages.geometry, &ledger, &options);
        verify::verify(&anew.pages, &ledger, stop, &mut account)
    }

    /// Makes a prepared version durable. When this returns, it is.
    ///
    /// # Errors
    /// [`DiskError::Stale`] if something was committed since; [`DiskError::Full`], [`DiskError::ReadOnly`] or
    /// what the device says, after which the store is as it was, or [`DiskError::Poisoned`] from then on.
    pub fn commit(&mut self, prepared: Prepared) -> Result<Committed, DiskError> {
        self.writable(self.ledger.seq)?;
        let next = prepared.lineage.last().is_none_or(|on| *on == self.last);
        if !next || (prepared.lineage.is_empty() && prepared.root_base != self.ledger.seq) {
            return Err(DiskError::Stale { base: prepared.root_base, latest: self.ledger.seq });
        }
        let Prepared { id, version, hash, node, mut works, moves, slots, laid, .. } = prepared;
        let laid = laid.into_inner().map(|(laid, _)| laid).unwrap_or_else(|| {
            let places = self.free.iter().copied().chain(self.places..);
            let room = Room { open: self.ledger.open_place(), next_segment: self.ledger.next_segment };
            let spare = std::mem::take(&mut self.spare_runs);
            Arc::new(layered::lay(self.shared.pages.geometry, &room, places, spare, (&works, node)))
        });
        let Laid { root, runs, opened, open } = &*laid;
        let (root, open, opened) = (*root, *open, opened.clone());
        let born = runs.iter().map(|run| (run.segment, run.born)).collect();
        let mut dead = works.take_died();
        let died = by_segment(&mut dead);
        let version = Version::new((version, self.ledger.seq + 1), (root, hash), born, died);
        let mut digest = crc32fast::Hasher::new();
        runs.iter().flat_map(Run::checksums).for_each(|checksum| digest.update(&checksum));
        let commit = Commit {
            oldest: self.announce(version.seq)?,
            opened,
            open: open.or(self.ledger.open),
            written: runs.iter().map(|run| (run.segment, run.first, run.pages())).collect(),
            digest: digest.finalize(),
            version,
        };
        let (event, bytes) = self.write_commit(commit, runs).inspect_err(|_| {
            self.shared.readers.lock().floor = 0;
        })?;
        let gone = self.happen(&event)?;
        self.last = id;
        let Event::Commit(commit) = &event else { return Err(DiskError::Poisoned) };
        for (segment, place) in &commit.opened {
            self.shared.pages.set_place(*segment, Some(*place));
            self.free.remove(place);
            self.places = self.places.max(place + 1);
        }
        let pages: Vec<(Ptr, Page)> = runs.iter().flat_map(Run::split).collect();
        let written = pages.iter().map(|(at, page)| (*at, page.used - PAGE_HEAD));
        let empty = self.decay.commit(&moves, &commit.opened, &gone, written, &dead);
        self.publish(pages, &works, &slots);
        // Only readers of older versions need these.
        empty.into_iter().for_each(|at| self.shared.pages.forget(at));
        works.clear();
        let spare = self.spare.get_mut();
        spare.works = works;
        spare.sorted.take_back(slots);
        self.wrote = commit.version.born_bytes();
        let runs = Arc::try_unwrap(laid).map(|laid| laid.runs).unwrap_or_default();
        self.spare_runs = runs.into_iter().map(|run| run.bytes).take(SPARE_MAX).collect();
        self.let_go(&gone);
        Ok(Committed { version: commit.version.version, root: hash, bytes, moved: moves.bytes })
    }

    /// Prepares and commits.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`commit`](Self::commit).
    pub fn apply(&mut self, version: u64, batch: &Batch) -> Result<Committed, DiskError> {
        let prepared = self.prepare(version, batch)?;
        self.commit(prepared)
    }

    /// Undoes all versions after `to`. When this returns, that is durable.
    ///
    /// # Errors
    /// [`DiskError::NoVersion`]; [`DiskError::Pinned`] if one of those that go is being read; or as
    /// [`commit`](Self::commit).
    pub fn rollback(&mut self, to: u64) -> Result<(), DiskError> {
        self.writable(self.ledger.seq)?;
        let kept = self.ledger.find(to).ok_or(DiskError::NoVersion(to))?.seq;
        let leased = self.leased()?;
        {
            let readers = self.shared.readers.lock();
            let mut going = self.ledger.versions.iter().filter(|version| version.seq > kept);
            // A lease that cannot be read is on any of them.
            let read = |seq| readers.pins.contains_key(&seq) || leased.contains(&seq) || leased.contains(&0);
            if let Some(pinned) = going.find(|version| read(version.seq)) {
                return Err(DiskError::Pinned(pinned.version));
            }
        }
        let event = Event::Rollback(to);
        // Nobody may begin to read what goes.
        let going = self.shared.readers.lock().roots.split_off(&(to + 1));
        if let Err(error) = self.write(&event, &[]) {
            self.shared.readers.lock().roots.extend(going);
            return Err(error);
        }
        let gone = self.happen(&event)?;
        self.last = 0;
        self.decay.forget();
        self.shared.flat.rollback(kept);
        self.let_go(&gone);
        Ok(())
    }

    pub(super) fn writable(&self, base: u64) -> Result<(), DiskError> {
        match self.ledger.seq {
            _ if self.poisoned => Err(DiskError::Poisoned),
            latest if latest != base => Err(DiskError::Stale { base, latest }),
            _ => Ok(()),
        }
    }

    pub(super) fn leased(&self) -> Result<Vec<u64>, DiskError> {
        self.folder.as_deref().map_or(Ok(Vec::new()), lease::leased)
    }

    /// The lowest commit that is retained once commit `seq` is; lower ones are not read any more.
    fn announce(&self, seq: u64) -> Result<u64, DiskError> {
        let leased = self.leased()?;
        let versions = &self.ledger.versions;
        let kept = (versions.len() + 1).saturating_sub(self.options.keep);
        let oldest = versions.get(kept).map_or(seq, |version| version.seq);
        let mut readers = self.shared.readers.lock();
        let read = readers.pins.keys().next().copied().into_iter().chain(leased).min();
        readers.floor = oldest.min(read.unwrap_or(oldest));
        Ok(readers.floor)
    }

    /// Writes a commit. Where the journal has no room for what is retained, what goes with the commit goes before it.
    fn write_commit(&mut self, commit: Commit, runs: &[Run]) -> Result<(Event, u64), DiskError> {
        let versions = &self.ledger.versions;
        let is = versions.len() + 1 - versions.partition_point(|version| version.seq < commit.oldest);
        if is > VERSIONS_MAX {
            let (is, limit) = (is as u64, VERSIONS_MAX as u64);
            return Err(DiskError::Limit { what: "versions retained", is, limit });
        }
        let latest = self.ledger.latest().map_or(0, |latest| latest.seq);
        let (alone, oldest) = (commit.oldest > latest, commit.oldest.min(latest));
        let goes = versions.front().is_some_and(|front| front.seq < oldest);
        let event = Event::Commit(commit);
        match self.write(&event, runs) {
            Err(DiskError::Limit { .. }) if goes => self.let_go_before(oldest)?,
            written => return Ok((event, written?)),
        }
        let Event::Commit(mut commit) = event else { return Err(DiskError::Poisoned) };
        commit.version.seq = self.ledger.seq + 1;
        if alone {
            commit.oldest = commit.version.seq;
        }
        let event = Event::Commit(commit);
        let bytes = self.write(&event, runs)?;
        Ok((event, bytes))
    }

    /// Steps 2 to 4 of the protocol; bytes written.
    pub(super) fn write(&mut self, event: &Event, runs: &[Run]) -> Result<u64, DiskError> {
        let (medium, geometry) = (self.shared.pages.medium.clone(), self.shared.pages.geometry);
        let (start, mut bytes) = (Instant::now(), 0);
        for run in runs {
            let at = geometry.place_at(run.place) + u64::from(run.first) * PAGE as u64;
            medium.write_at(at, &run.bytes).map_err(DiskError::io("writing pages"))?;
            bytes += run.bytes.len() as u64;
        }
        let journal = match self.journal.append(&*medium, &geometry, &self.ledger, event) {
            Ok(journal) => journal,
            Err(error) => {
                self.poisoned = self.journal.take_back(&*medium, &geometry, self.ledger.seq + 1).is_err();
                return Err(error);
            }
        };
        bytes += journal.bytes_since(&self.journal);
        self.poisoned = true;
        let written = start.elapsed();
        medium.sync().map_err(DiskError::io("syncing a commit"))?;
        let synced = start.elapsed();
        let block = Superblock { geometry, durable: self.ledger.seq + 1 };
        let (place, page) = (block.place(), block.encode(block.place()));
        let doing = "writing a superblock";
        medium.write_at(place * PAGE as u64, &page).map_err(DiskError::io(doing))?;
        (self.journal, self.poisoned) = (journal, false);
        let sync = synced.saturating_sub(written);
        self.times = CommitTimes { write: start.elapsed().saturating_sub(sync), sync };
        Ok(bytes + PAGE as u64)
    }

    /// Lets readers know of a commit that is durable.
    fn publish(&self, pages: Vec<(Ptr, Page)>, works: &Works, slots: &[PlainSlots]) {
        for (at, page) in pages {
            self.shared.pages.put(at, Arc::new(page));
        }
        let Some(latest) = self.ledger.latest() else { return };
        let accounts = works.all().flat_map(|work| work.accounts.iter().copied());
        let wiped: Vec<Address> = works.all().flat_map(|work| work.wiped.iter().copied()).collect();
        self.shared.flat.commit(latest.seq, &wiped, accounts, slots.iter().flatten().copied());
        let oldest = self.ledger.versions.front().map_or(0, |oldest| oldest.seq);
        let mut readers = self.shared.readers.lock();
        readers.roots.insert(latest.version, root_of(latest));
        readers.roots.retain(|_, root| root.seq >= oldest);
    }

    pub(super) fn let_go(&mut self, gone: &[(u64, u32)]) {
        for (segment, place) in gone {
            self.shared.pages.set_place(*segment, None);
            self.cooling.push(*place);
        }
        self.cool();
    }

    /// Places that became free are written to once no reader of another process can need them. Where that
    /// cannot be found out, they wait.
    fn cool(&mut self) {
        if self.cooling.is_empty() {
            return;
        }
        if self.all_retained() {
            self.free.extend(self.cooling.drain(..));
        }
    }

    /// Whether all leases are known to be on versions that are retained: somebody may have begun to read one that went
    /// meanwhile, whether it was old or undone.
    fn all_retained(&self) -> bool {
        let versions = &self.ledger.versions;
        let retained = |seq: u64| versions.binary_search_by_key(&seq, |version| version.seq).is_ok();
        self.leased().is_ok_and(|leased| leased.into_iter().all(retained))
    }

    /// Makes an event that is durable happen here.
    pub(super) fn happen(&mut self, event: &Event) -> Result<Vec<(u64, u32)>, DiskError> {
        let gone = self.ledger.apply(self.ledger.seq + 1, event);
        self.poisoned |= gone.is_err();
        gone
    }
}

#[cfg(test)]
mod tests;
