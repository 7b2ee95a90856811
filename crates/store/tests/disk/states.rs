//! Versions: their roots, what is read of them, proofs, roll-backs, retention, compaction.

use crate::{
    oracle::{World, address},
    seeds, small,
};
use alloy_primitives::{Address, U256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_core::{Reader, State};
use braid_store::{
    disk::{Batch, DiskError, DiskOptions, DiskStore},
    io::{FaultMedium, Faults},
};
use braid_testkit::Rng;
use std::{collections::BTreeMap, sync::Arc};

fn medium(seed: u64) -> FaultMedium {
    FaultMedium::new(seed, Faults::default())
}

#[test]
fn versions_are_those_of_the_oracle() {
    for seed in seeds(40) {
        let mut rng = Rng::new(seed);
        let options =
            DiskOptions { keep: 1 + rng.below(6) as usize, workers: 1 + seed as usize % 2, ..small() };
        let medium = medium(seed);
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
        let (mut worlds, mut world) = (BTreeMap::new(), World::default());
        let (accounts, mut version) = (1 + rng.below(60), 0);
        for step in 0..25 {
            let told = format!("step {step}; repeat with BRAID_SEED={seed}");
            version += 1 + rng.below(2);
            let changes = if rng.chance(10) { 200 } else { rng.below(20) };
            let batch = world.change(&mut rng, accounts, changes);
            let done = store.apply(version, &batch).unwrap_or_else(|error| panic!("{error} {told}"));
            assert_eq!((done.version, done.root), (version, world.root()), "{told}");
            worlds.insert(version, world.clone());
            while worlds.len() > options.keep {
                worlds.pop_first();
            }
            if rng.chance(15) {
                let to = *worlds.keys().nth(rng.below(worlds.len() as u64) as usize).unwrap();
                store.rollback(to).unwrap_or_else(|error| panic!("{error} {told}"));
                worlds.split_off(&(to + 1));
                world = worlds[&to].clone();
            }
            if rng.chance(15) {
                drop(store);
                store = DiskStore::open_on(Arc::new(medium.copy()), options).unwrap();
                drop(store);
                store = DiskStore::open_on(Arc::new(medium.clone()), options).unwrap();
            }
            let known: Vec<_> = worlds.iter().map(|(version, world)| (*version, world.root())).collect();
            assert_eq!(store.versions().collect::<Vec<_>>(), known, "{told}");
            store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
            for (version, world) in &worlds {
                let view = store.view(*version).unwrap();
                world.compare(&view, &format!("version {version} {told}"));
                let slots = [0, 1, 2, 299].map(U256::from);
                world.prove(&view, address(rng.below(accounts + 5)), &slots, &told);
            }
            assert_eq!(store.view(version + 1).unwrap_err(), DiskError::NoVersion(version + 1));
        }
    }
}

/// Hot and cold accounts for long enough that segments decay: the store stays small, and what is in it is
/// right throughout.
#[test]
fn compaction_keeps_up() {
    for seed in seeds(3) {
        let mut rng = Rng::new(seed);
        let medium = medium(seed);
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
        let (mut world, mut batch) = (World::default(), Batch::default());
        for number in 0..6000 {
            let slots = [(U256::from(number), U256::from(1))];
            let slots = &slots[..usize::from(number % 10 == 0)];
            batch.change(address(number), Some(TrieAccount::default()), false, slots.iter().copied());
            world.accounts.insert(address(number), (TrieAccount::default(), slots.iter().copied().collect()));
        }
        store.apply(0, &batch).unwrap();
        let (mut moved, mut most) = (0, 0);
        for version in 1..400 {
            let told = format!("version {version}; repeat with BRAID_SEED={seed}");
            let batch = world.change(&mut rng, 6000, 40);
            let done = store.apply(version, &batch).unwrap_or_else(|error| panic!("{error} {told}"));
            (moved, most) = (moved + done.moved, most.max(done.moved));
            if version % 50 == 0 {
                assert_eq!(done.root, world.root(), "{told}");
                store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
                world.compare(&store.view(version).unwrap(), &told);
                if version == 200 {
                    drop(store);
                    store = DiskStore::open_on(Arc::new(medium.clone()), small()).unwrap();
                }
            }
        }
        let stat = store.stat().unwrap();
        let (used, live) = (stat.segments as u64 * small().segment_bytes, stat.live_bytes);
        assert!(moved > 0, "nothing was moved: the test is without use");
        assert!(used <= live * 5 / 2, "{stat:?}");
        assert!(stat.places <= 2 * stat.segments, "{stat:?}");
        assert!(most < 1 << 20, "a commit moved {most} bytes");
    }
}

#[test]
fn a_view_stays_while_it_is_looked_at() {
    let mut store = DiskStore::create_on(Arc::new(medium(1)), small()).unwrap();
    let (mut rng, mut world) = (Rng::new(1), World::default());
    store.apply(0, &world.change(&mut rng, 50, 60)).unwrap();
    let (view, seen) = (store.view(0).unwrap(), world.clone());
    for version in 1..60 {
        store.apply(version, &world.change(&mut rng, 50, 30)).unwrap();
    }
    seen.compare(&view, "after sixty versions");
    assert_eq!(store.versions().count(), 60);
    let other = view.clone();
    drop(view);
    seen.compare(&other, "by a clone");
    assert_eq!(store.rollback(0), Ok(()), "only versions that go may not be read");
    drop(other);
    store.apply(1, &Batch::default()).unwrap();
    let pinned = store.view(1).unwrap();
    assert_eq!(store.rollback(0), Err(DiskError::Pinned(1)));
    drop(pinned);
    for version in 2..20 {
        store.apply(version, &Batch::default()).unwrap();
    }
    assert_eq!(store.view(0).unwrap_err(), DiskError::NoVersion(0));
    assert_eq!(store.versions().count(), small().keep);
    store.verify().unwrap();
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut store = DiskStore::create_on(Arc::new(medium(1)), small()).unwrap();
    assert_eq!(store.latest(), None);
    let mut batch = Batch::default();
    let (who, slot) = (address(1), (U256::from(1), U256::from(2)));
    batch.slots(who, [slot]);
    assert_eq!(store.apply(0, &batch), Err(DiskError::NoAccount(who)));
    let mut none = Batch::default();
    none.slots(who, [(slot.0, U256::ZERO)]);
    assert_eq!(store.apply(7, &none).unwrap().root, EMPTY_ROOT_HASH);
    assert_eq!(store.apply(7, &none), Err(DiskError::Order { version: 7, latest: 7 }));
    let stale = store.prepare(8, &none).unwrap();
    store.apply(8, &none).unwrap();
    assert_eq!(store.commit(stale), Err(DiskError::Stale { base: 1, latest: 2 }));
    assert_eq!(store.rollback(3), Err(DiskError::NoVersion(3)));
    assert!(matches!(store.apply(u64::MAX, &none), Err(DiskError::Limit { .. })));
    for options in [
        DiskOptions { keep: 0, ..small() },
        DiskOptions { workers: 0, ..small() },
        DiskOptions { segment_bytes: 4096, ..small() },
        DiskOptions { segment_bytes: 1 << 40, ..small() },
        DiskOptions { journal_bytes: 1 << 10, ..small() },
    ] {
        let refused = DiskStore::create_on(Arc::new(medium(1)), options);
        assert!(matches!(refused, Err(DiskError::Limit { .. })), "{options:?}");
    }
}

/// A version as the state before a block of some machine.
#[test]
fn a_version_is_a_state() {
    let mut store = DiskStore::create_on(Arc::new(medium(1)), small()).unwrap();
    let mut batch = Batch::default();
    batch.change(address(1), Some(TrieAccount::default()), false, [(U256::from(4), U256::from(5))]);
    store.apply(0, &batch).unwrap();
    let view = store.view(0).unwrap();
    let state = view.state(|reader, (address, slot): &(Address, U256)| {
        let value = reader.slot(address, slot)?;
        Ok((!value.is_zero()).then_some(value))
    });
    let mut reader = state.reader().unwrap();
    assert_eq!(reader.get(&(address(1), U256::from(4))), Ok(Some(U256::from(5))));
    assert_eq!(reader.get(&(address(1), U256::from(5))), Ok(None));
    assert_eq!(reader.get(&(address(2), U256::from(4))), Ok(None));
}

/// What was read or written lately is known without the device, also to readers of older versions that it has
/// not changed since.
#[test]
fn warm_reads_do_not_touch_the_device() {
    let medium = medium(1);
    // More than the few pages that are kept in any case.
    const COUNT: u64 = 6000;
    let options = DiskOptions { page_cache_bytes: 0, flat_entries: 1 << 16, ..small() };
    let mut store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
    let mut batch = Batch::default();
    for number in 0..COUNT {
        let slots = [(U256::from(number), U256::from(7))];
        batch.change(address(number), Some(TrieAccount::default()), false, slots);
    }
    store.apply(0, &batch).unwrap();
    let mut other = Batch::default();
    other.change(address(0), None, false, []);
    store.apply(1, &other).unwrap();
    let (old, new) = (store.view(0).unwrap(), store.view(1).unwrap());
    medium.set_faults(Faults { read_error_every: Some(1), ..Faults::default() });
    for number in 1..COUNT {
        for view in [&old, &new] {
            assert!(view.account(&address(number)).unwrap().is_some());
            assert_eq!(view.slot(&address(number), &U256::from(number)).unwrap(), U256::from(7));
        }
    }
    assert_eq!(new.account(&address(0)).unwrap(), None);
    medium.set_faults(Faults::default());
    assert!(old.account(&address(0)).unwrap().is_some());
    assert_eq!(old.slot(&address(0), &U256::ZERO).unwrap(), U256::from(7));
    assert_eq!(new.slot(&address(0), &U256::ZERO).unwrap(), U256::ZERO);
    let cold = DiskStore::open_on(Arc::new(medium.clone()), options).unwrap().view(1).unwrap();
    medium.set_faults(Faults { read_error_every: Some(1), ..Faults::default() });
    assert!(cold.account(&address(1)).is_err(), "a cold read needs the device");
}

/// Many threads read versions while others are made.
#[test]
fn threads_read_while_the_store_goes_on() {
    let options = DiskOptions { workers: 2, flat_entries: 256, page_cache_bytes: 1 << 16, ..small() };
    let mut store = DiskStore::create_on(Arc::new(medium(1)), options).unwrap();
    let (mut rng, mut world) = (Rng::new(9), World::default());
    store.apply(0, &world.change(&mut rng, 40, 60)).unwrap();
    std::thread::scope(|scope| {
        for version in 1..40 {
            let (view, seen) = (store.view(version - 1).unwrap(), world.clone());
            scope.spawn(move || seen.compare(&view, &format!("version {}", view.version())));
            store.apply(version, &world.change(&mut rng, 40, 20)).unwrap();
        }
    });
    store.verify().unwrap();
}

/// Sorting, planning of compaction and updates are shared, and nothing of what is written depends on it.
#[test]
fn workers_write_what_one_writes() {
    let folder = tempfile::tempdir().unwrap();
    for seed in seeds(2) {
        let told = format!("repeat with BRAID_SEED={seed}");
        let path = |workers: usize| folder.path().join(format!("{seed}-{workers}"));
        let options = |workers: usize| DiskOptions { workers, ..small() };
        let create = |workers| DiskStore::create(&path(workers), options(workers)).unwrap();
        let mut stores: Vec<(usize, DiskStore)> = [1, 2, 5].map(|workers| (workers, create(workers))).into();
        let (mut rng, mut moved) = (Rng::new(seed), 0);
        for version in 1..=40 {
            let mut batch = Batch::default();
            for _ in 0..if version % 8 == 1 { 1500 } else { 400 } {
                let address = Address::from_word(U256::from(rng.below(3000)).into());
                let account = TrieAccount { nonce: version, ..TrieAccount::default() };
                let slots: Vec<_> = (0..rng.below(4))
                    .map(|_| (U256::from(rng.below(40)), U256::from(rng.below(3) * version)))
                    .collect();
                let account = (rng.below(20) > 0).then_some(account);
                batch.change(address, account, rng.below(50) == 0, slots);
            }
            let mut committed = stores.iter_mut().map(|(_, store)| store.apply(version, &batch).unwrap());
            let first = committed.next().unwrap();
            for other in committed {
                assert_eq!(first, other, "version {version}; {told}");
            }
            moved += first.moved;
            if version == 25 {
                // Then nothing is known of the segments that are there.
                drop(std::mem::take(&mut stores));
                let open = |workers| DiskStore::open(&path(workers), options(workers)).unwrap();
                stores = [1, 2, 5].map(|workers| (workers, open(workers))).into();
            }
        }
        assert!(moved > 0, "nothing was written again; {told}");
        for (_, store) in &stores {
            store.verify().unwrap();
        }
    }
}

/// An account loses its slots in two versions, and the second of them is undone: what was known of its slots from
/// before the first stays unknown.
#[test]
fn slots_that_were_wiped_twice_are_not_there_after_a_roll_back() {
    let mut store = DiskStore::create_on(Arc::new(medium(1)), small()).unwrap();
    let (who, first) = (address(1), U256::from(1));
    for version in 0..3 {
        let mut batch = Batch::default();
        let slot = (first + U256::from(version), U256::from(7));
        batch.change(who, Some(TrieAccount::default()), version > 0, [slot]);
        store.apply(version, &batch).unwrap();
    }
    store.rollback(1).unwrap();
    assert_eq!(store.view(1).unwrap().slot(&who, &first).unwrap(), U256::ZERO);
    assert_eq!(store.view(0).unwrap().slot(&who, &first).unwrap(), U256::from(7));
}

/// Versions are held until the journal has no room for any more. Once they are not, the store goes on, whatever comes
/// first.
#[test]
fn a_journal_that_is_full_has_room_again() {
    for way in 0..4 {
        let options = DiskOptions { keep: 1 + way % 2, journal_bytes: 1 << 16, ..small() };
        let medium = medium(1);
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
        let (mut rng, mut world) = (Rng::new(1), World::default());
        store.apply(0, &world.change(&mut rng, 50, 60)).unwrap();
        let view = store.view(0).unwrap();
        let full = (1..).find_map(|version| store.apply(version, &Batch::default()).err());
        assert!(matches!(full, Some(DiskError::Limit { .. })), "{full:?}");
        let (next, count) = (store.latest().unwrap().0 + 1, store.versions().count());
        assert!(matches!(store.prune(1), Ok(0)), "it is read");
        assert!(matches!(store.apply(next, &Batch::default()), Err(DiskError::Limit { .. })));
        drop(view);
        let mut store = match way {
            3 => DiskStore::open_on(Arc::new(medium.clone()), options).unwrap(),
            _ => store,
        };
        match way {
            0 => assert_eq!(store.prune(5).unwrap(), count - 5),
            1 => store.rollback(3).unwrap(),
            _ => {}
        }
        let next = store.latest().unwrap().0 + 1;
        store.apply(next, &world.change(&mut rng, 50, 20)).unwrap();
        assert_eq!(store.versions().count(), options.keep);
        store.verify().unwrap();
        drop(store);
        let store = DiskStore::open_on(Arc::new(medium.restart()), options).unwrap();
        assert_eq!((store.latest(), store.versions().count()), (Some((next, world.root())), options.keep));
        store.verify().unwrap();
    }
}
