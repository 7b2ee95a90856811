//! Readers that begin between a look and a write, and rings that are full.

use super::*;
use crate::{
    disk::lease::Held,
    io::{FaultMedium, Faults},
};
use alloy_primitives::U256;
use std::{io, sync::atomic::Ordering, time::Duration};

/// Takes a lease on a commit at the next write, once armed.
#[derive(Debug)]
struct Racing {
    medium: FaultMedium,
    folder: PathBuf,
    armed: AtomicBool,
    held: Mutex<Option<Held>>,
}

impl Medium for Racing {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.medium.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.armed.swap(false, Ordering::Relaxed) {
            *self.held.lock() = Held::take(&self.folder, (3, 4), Duration::from_secs(600)).ok();
        }
        self.medium.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.medium.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.medium.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.medium.set_len(len)
    }
}

fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    let slots = (0..1000).map(|slot| (U256::from(slot), U256::from(slot + number + 1)));
    batch.change(Address::ZERO, Some(TrieAccount::default()), false, slots);
    batch
}

fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 1 << 16, workers: 1, ..DiskOptions::default() }
}

/// A store with versions 0 to 3, of commits 1 to 4.
fn racing(folder: &Path) -> (Arc<Racing>, DiskStore) {
    let medium = Arc::new(Racing {
        medium: FaultMedium::new(1, Faults::default()),
        folder: folder.into(),
        armed: AtomicBool::new(false),
        held: Mutex::new(None),
    });
    let mut store = DiskStore::create_on(medium.clone(), options()).unwrap();
    store.folder = Some(folder.into());
    (0..4).for_each(|version| assert!(store.apply(version, &batch(version)).is_ok()));
    (medium, store)
}

/// A reader of another process looks after its lease is known and before the event is there: its version is
/// retained then, and the writer saw no lease.
#[test]
fn what_is_undone_is_not_written_over_while_somebody_has_begun_to_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let (medium, mut store) = racing(folder.path());
    medium.armed.store(true, Ordering::Relaxed);
    store.rollback(0).unwrap();
    assert!(medium.held.lock().is_some());
    assert!(!store.cooling.is_empty() && store.free.is_empty(), "{:?} {:?}", store.cooling, store.free);
    store.apply(1, &Batch::default()).unwrap();
    assert!(!store.cooling.is_empty() && store.free.is_empty(), "{:?} {:?}", store.cooling, store.free);
    *medium.held.lock() = None;
    store.rollback(0).unwrap();
    assert!(store.cooling.is_empty() && !store.free.is_empty());
}

/// Nor by who opens the store anew, also where no segment is behind it any more.
#[test]
fn what_went_is_not_written_over_after_opening_while_somebody_has_begun_to_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let (medium, mut store) = racing(folder.path());
    let last = |store: &DiskStore| store.ledger.segments.values().map(|segment| segment.place).max();
    store.prune(1).unwrap();
    (4..6).for_each(|version| assert!(store.apply(version, &batch(version)).is_ok()));
    medium.armed.store(true, Ordering::Relaxed);
    store.prune(1).unwrap();
    assert!(medium.held.lock().is_some() && !store.cooling.is_empty());
    let behind = store.places;
    assert!(last(&store).unwrap() + 1 < behind);
    drop(store);
    let mut store = DiskStore::open_on(medium.clone(), options()).unwrap();
    store.folder = Some(folder.path().into());
    store.heed_leases().unwrap();
    let used: BTreeSet<u32> = store.ledger.segments.values().map(|segment| segment.place).collect();
    store.apply(6, &batch(6)).unwrap();
    let mut places = store.ledger.segments.values().map(|segment| segment.place);
    assert!(places.all(|place| place >= behind || used.contains(&place)));
    assert!(last(&store).unwrap() >= behind);
}

#[test]
fn a_full_ring_takes_another_version() {
    let options = DiskOptions { keep: VERSIONS_MAX, workers: 1, ..DiskOptions::default() };
    let medium = Arc::new(FaultMedium::new(1, Faults::default()));
    let mut store = DiskStore::create_on(medium, options).unwrap();
    for version in 0..=VERSIONS_MAX as u64 {
        store.apply(version, &Batch::default()).unwrap();
    }
    assert_eq!(store.versions().count(), VERSIONS_MAX);
    let _first = store.view(1).unwrap();
    let more = store.apply(u64::MAX - 1, &Batch::default());
    assert!(matches!(more, Err(DiskError::Limit { what: "versions retained", .. })), "{more:?}");
}
