//! Readers of other processes, in threads of this one, while versions come and go.

use crate::{hashed::World, long, small};
use alloy_primitives::B256;
use braid_store::disk::{DiskError, DiskOptions, DiskReader, DiskStore};
use braid_testkit::Rng;
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// All states that there ever were, by their roots.
type Known = Mutex<HashMap<B256, World>>;

/// Reads retained versions under leases until told to stop; how many.
fn read(path: &Path, options: DiskOptions, seed: u64, known: &Known, over: &AtomicBool) -> u64 {
    let options = DiskOptions { flat_entries: 64, page_cache_bytes: 0, ..options };
    let (reader, mut rng) = (DiskReader::open(path, options).unwrap(), Rng::new(seed));
    let mut viewed = 0;
    while !over.load(Ordering::Relaxed) {
        let versions = reader.versions().unwrap();
        let Some((version, _)) = versions.get(rng.below(versions.len() as u64) as usize) else { continue };
        let view = match reader.view(*version, Duration::from_secs(600)) {
            Err(DiskError::NoVersion(_)) => continue,
            view => view.unwrap(),
        };
        let world = known.lock().unwrap().get(&view.root()).cloned().expect("a state that there was");
        (0..1 + rng.below(4)).for_each(|_| world.compare(&mut rng, &view, "beside a writer"));
        viewed += 1;
    }
    viewed
}

/// Commits, rolls back, prunes and opens anew.
fn write(path: &Path, options: DiskOptions, steps: u64, known: &Known) {
    let (mut rng, mut store) = (Rng::new(steps), DiskStore::open(path, options).unwrap());
    for _ in 0..steps {
        let latest = store.latest();
        let retained: Vec<u64> = store.versions().map(|(version, _)| version).collect();
        match rng.below(12) {
            0 if latest.is_some() => {
                let to = retained[rng.below(retained.len() as u64) as usize];
                let done = store.rollback(to);
                assert!(matches!(done, Ok(()) | Err(DiskError::Pinned(_))), "{done:?}");
            }
            1 => drop(store.prune(1).unwrap()),
            2 => {
                drop(store);
                store = DiskStore::open(path, options).unwrap();
            }
            _ => {
                let version = latest.map_or(0, |(latest, _)| latest + 1);
                let mut known = known.lock().unwrap();
                let mut world = latest.map_or_else(World::default, |(_, root)| known[&root].clone());
                let changes = if rng.chance(10) { 60 } else { 6 };
                let batch = world.change(&mut rng, changes);
                known.insert(world.root(), world);
                drop(known);
                store.apply(version, &batch).unwrap();
            }
        }
    }
    store.verify().unwrap();
}

#[test]
fn readers_beside_a_writer_see_versions_that_there_were() {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskOptions { keep: 3, journal_bytes: 1 << 16, ..small() };
    let (known, over) = (Known::default(), AtomicBool::new(false));
    drop(DiskStore::create(folder.path(), options).unwrap());
    write(folder.path(), options, 8, &known);
    thread::scope(|scope| {
        let (path, known, over) = (folder.path(), &known, &over);
        let readers: Vec<_> =
            (0..3).map(|seed| scope.spawn(move || read(path, options, seed, known, over))).collect();
        let writer = scope.spawn(move || write(path, options, if long() { 5000 } else { 150 }, known));
        let written = writer.join();
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
        written.unwrap();
    });
}
