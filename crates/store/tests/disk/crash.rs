//! Crashes at any write or sync, with unsynced sectors lost, torn and reordered.

use crate::{long, oracle::World, seeds, small};
use alloy_primitives::B256;
use braid_store::{
    disk::{DiskError, DiskOptions, DiskStore},
    io::{FaultMedium, Faults, Medium},
};
use braid_testkit::Rng;
use std::{collections::BTreeMap, sync::Arc};

/// What a store that crashes was told and has acknowledged.
struct Run {
    rng: Rng,
    world: World,
    worlds: BTreeMap<u64, World>,
    next: u64,
    options: DiskOptions,
    told: String,
}

impl Run {
    /// Commits and rolls back until the power fails; the versions that the step under way would leave.
    fn until_crash(&mut self, store: &mut DiskStore) -> BTreeMap<u64, World> {
        loop {
            let mut after = self.worlds.clone();
            let undo = self.rng.chance(10) && !after.is_empty();
            let done = if undo {
                let to = *after.keys().nth(self.rng.below(after.len() as u64) as usize).unwrap();
                after.split_off(&(to + 1));
                self.world = after[&to].clone();
                store.rollback(to)
            } else {
                let changes = if self.rng.chance(10) { 100 } else { self.rng.below(12) };
                let batch = self.world.change(&mut self.rng, 30, changes);
                after.insert(self.next, self.world.clone());
                while after.len() > self.options.keep {
                    after.pop_first();
                }
                store.apply(self.next, &batch).map(drop)
            };
            match done {
                Ok(()) => {
                    self.next = after.keys().last().map_or(0, |last| last + 1);
                    self.worlds = after;
                }
                Err(error) => {
                    assert!(matches!(error, DiskError::Io { .. }), "{error} {}", self.told);
                    return after;
                }
            }
        }
    }

    /// Opens what is left: at what was acknowledged, or at what the step under way would leave.
    fn reopen(&mut self, medium: &FaultMedium, after: &BTreeMap<u64, World>) -> DiskStore {
        let store = DiskStore::open_on(Arc::new(medium.clone()), self.options);
        let store = store.unwrap_or_else(|error| panic!("{error} {}", self.told));
        let roots = |worlds: &BTreeMap<u64, World>| -> Vec<(u64, B256)> {
            worlds.iter().map(|(version, world)| (*version, world.root())).collect()
        };
        let found: Vec<(u64, B256)> = store.versions().collect();
        if found == roots(after) {
            self.worlds.clone_from(after);
        } else {
            assert_eq!(found, roots(&self.worlds), "{}", self.told);
        }
        store.verify().unwrap_or_else(|error| panic!("{error} {}", self.told));
        if let Some((version, world)) = self.worlds.last_key_value() {
            world.compare(&store.view(*version).unwrap(), &self.told);
        }
        self.world = self.worlds.values().last().cloned().unwrap_or_default();
        self.next = self.worlds.keys().last().map_or(0, |last| last + 1);
        store
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_a_crash() {
    let (mut crashes, mut ahead) = (0, 0);
    let most = if long() { 10_000 } else { 200 };
    for seed in seeds(most / 8) {
        let mut rng = Rng::new(seed);
        let options = DiskOptions {
            keep: 1 + rng.below(5) as usize,
            // Small enough to change halves now and then.
            journal_bytes: (1 + rng.below(3)) << 16,
            ..small()
        };
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
        let (world, told) = (World::default(), format!("repeat with BRAID_SEED={seed}"));
        let mut run = Run { rng, world, worlds: BTreeMap::new(), next: 0, options, told };
        let mut medium = medium;
        for _ in 0..8 {
            // Often in the first step, so that what it wrote meets what the step before the crash left there.
            let within = if run.rng.chance(50) { 5 } else { 100 };
            let crash_at = Some(medium.writes() + run.rng.below(within));
            medium.set_faults(Faults { crash_at, ..Faults::default() });
            let after = run.until_crash(&mut store);
            assert!(medium.is_down());
            medium = medium.restart();
            let before = run.worlds.clone();
            store = run.reopen(&medium, &after);
            ahead += u64::from(run.worlds != before);
            crashes += 1;
        }
    }
    println!("{crashes} crashes, after {ahead} of them the store was one step ahead");
    assert!(crashes < 200 || ahead > 5, "the step under way never survived: {ahead} of {crashes}");
}

/// Two attempts at one commit write to the same pages. If the event of the second survives, and of one page
/// only what the first wrote there (which is whole, and of that very place), the commit did not happen.
#[test]
fn a_page_of_another_attempt_is_not_taken_for_one_of_this() {
    let (mut rng, mut world) = (Rng::new(1), World::default());
    let before = FaultMedium::new(1, Faults::default());
    let mut store = DiskStore::create_on(Arc::new(before.clone()), small()).unwrap();
    store.apply(0, &world.change(&mut rng, 30, 60)).unwrap();
    let attempt = |number: u64| {
        let (medium, mut world) = (before.copy(), world.clone());
        let mut store = DiskStore::open_on(Arc::new(medium.clone()), small()).unwrap();
        store.apply(1, &world.change(&mut Rng::new(number), 30, 60)).unwrap();
        medium
    };
    let (first, second, mut mixed) = (attempt(2), attempt(3), 0);
    let read = |medium: &FaultMedium, at: u64| {
        let mut page = [0; 4096];
        medium.read_at(at, &mut page).map(|()| page).ok()
    };
    let segments = 2 * 4096 + 2 * small().journal_bytes;
    for at in (segments..second.len().unwrap()).step_by(4096) {
        let (Some(old), Some(new)) = (read(&first, at), read(&second, at)) else { continue };
        if old == new || Some(new) == read(&before, at) {
            continue;
        }
        let medium = second.copy();
        medium.write_at(at, &old).unwrap();
        for place in [0, 4096] {
            medium.write_at(place, &read(&before, place).unwrap()).unwrap();
        }
        let store = DiskStore::open_on(Arc::new(medium), small()).unwrap();
        assert_eq!(store.latest(), Some((0, world.root())), "page at {at}");
        store.verify().unwrap();
        mixed += 1;
    }
    assert!(mixed > 2, "only {mixed} pages differ: the test is without use");
}

#[test]
fn a_crash_while_a_store_is_created_leaves_none_or_an_empty_one() {
    for seed in seeds(40) {
        for crash_at in 0..6 {
            let faults = Faults { crash_at: Some(crash_at), ..Faults::default() };
            let medium = FaultMedium::new(seed, faults);
            let created = DiskStore::create_on(Arc::new(medium.clone()), small());
            let opened = DiskStore::open_on(Arc::new(medium.restart()), small());
            match opened {
                Ok(store) => assert_eq!(store.latest(), None, "repeat with BRAID_SEED={seed}"),
                Err(error) => assert!(created.is_err(), "{error}; repeat with BRAID_SEED={seed}"),
            }
        }
    }
}

#[test]
fn a_full_device_is_said_and_harms_nothing() {
    for seed in seeds(20) {
        let mut rng = Rng::new(seed);
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
        let mut world = World::default();
        store.apply(0, &world.change(&mut rng, 30, 60)).unwrap();
        let mut refused = 0;
        for version in 1..40 {
            let told = format!("version {version}; repeat with BRAID_SEED={seed}");
            let before = world.clone();
            let batch = world.change(&mut rng, 30, 10);
            let capacity = Some(rng.below(1 << 20));
            medium.set_faults(Faults { capacity, ..Faults::default() });
            match store.apply(version, &batch) {
                Ok(_) => continue,
                Err(DiskError::Full { .. }) => refused += 1,
                Err(error) => panic!("{error} {told}"),
            }
            before.compare(&store.view(version - 1).unwrap(), &told);
            // Once there is room it goes on as if nothing had been.
            medium.set_faults(Faults::default());
            store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
            store.apply(version, &batch).unwrap_or_else(|error| panic!("{error} {told}"));
            assert_eq!(store.latest(), Some((version, world.root())), "{told}");
        }
        assert!(refused > 0, "never full; repeat with BRAID_SEED={seed}");
        store.verify().unwrap();
    }
}

#[test]
fn a_read_only_medium_is_said_and_harms_nothing() {
    let medium = FaultMedium::new(1, Faults::default());
    let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
    let (mut rng, mut world) = (Rng::new(1), World::default());
    store.apply(0, &world.change(&mut rng, 30, 60)).unwrap();
    medium.set_faults(Faults { read_only: true, ..Faults::default() });
    let seen = world.clone();
    let refused = store.apply(1, &world.change(&mut rng, 30, 10)).unwrap_err();
    assert!(matches!(refused, DiskError::ReadOnly { .. }), "{refused}");
    assert!(matches!(store.rollback(0), Err(DiskError::ReadOnly { .. })));
    seen.compare(&store.view(0).unwrap(), "read-only");
    store.verify().unwrap();
}

#[test]
fn after_a_failed_sync_nothing_is_written() {
    let medium = FaultMedium::new(1, Faults::default());
    let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
    let (mut rng, mut world) = (Rng::new(1), World::default());
    store.apply(0, &world.change(&mut rng, 30, 60)).unwrap();
    let before = world.clone();
    medium.set_faults(Faults { sync_fails: true, ..Faults::default() });
    let batch = world.change(&mut rng, 30, 10);
    assert!(matches!(store.apply(1, &batch), Err(DiskError::Io { .. })));
    medium.set_faults(Faults::default());
    let writes = medium.writes();
    assert_eq!(store.apply(1, &batch), Err(DiskError::Poisoned));
    assert_eq!(store.rollback(0), Err(DiskError::Poisoned));
    assert_eq!(medium.writes(), writes);
    before.compare(&store.view(0).unwrap(), "what was there can be read");
    drop(store);
    let store = DiskStore::open_on(Arc::new(medium.restart()), small()).unwrap();
    let (version, root) = store.latest().unwrap();
    assert!((version, root) == (0, before.root()) || (version, root) == (1, world.root()));
    store.verify().unwrap();
}

/// A system may hold for clean what it could not write. So what a store that is opened after a failed sync begins with
/// is durable, whether or not a later sync would have written it.
#[test]
fn what_is_found_after_a_failed_sync_survives_a_crash() {
    let mut ahead = 0;
    for seed in seeds(40) {
        let told = format!("repeat with BRAID_SEED={seed}");
        let (mut rng, mut world) = (Rng::new(seed), World::default());
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
        let before = rng.below(3);
        for version in 0..before {
            store.apply(version, &world.change(&mut rng, 30, 60)).unwrap();
        }
        medium.set_faults(Faults { sync_fails: true, ..Faults::default() });
        let batch = world.change(&mut rng, 30, 20);
        assert!(matches!(store.apply(before, &batch), Err(DiskError::Io { .. })), "{told}");
        medium.set_faults(Faults::default());
        drop(store);
        let store = DiskStore::open_on(Arc::new(medium.clone()), small()).unwrap();
        let found: Vec<_> = store.versions().collect();
        ahead += u64::from(store.latest().is_some_and(|(version, _)| version == before));
        drop(store);
        let store = DiskStore::open_on(Arc::new(medium.restart()), small());
        let store = store.unwrap_or_else(|error| panic!("{error} {told}"));
        assert_eq!(store.versions().collect::<Vec<_>>(), found, "{told}");
        store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
    }
    assert!(ahead > 0, "what was not synced was never found: the test is without use");
}

/// Of an event that could not be written all may be there but the end of its last page, which says nothing.
#[test]
fn a_commit_that_failed_does_not_come_back() {
    for seed in seeds(60) {
        let told = format!("repeat with BRAID_SEED={seed}");
        let (mut rng, mut world) = (Rng::new(seed), World::default());
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
        store.apply(0, &world.change(&mut rng, 30, 60)).unwrap();
        // The last write before the sync is that of the event.
        let batch = world.clone().change(&mut rng, 30, 5);
        let copy = medium.copy();
        let mut other = DiskStore::open_on(Arc::new(copy.clone()), small()).unwrap();
        let writes = copy.writes();
        other.apply(1, &batch).unwrap();
        let event = medium.writes() + copy.writes() - writes - 3;
        medium.set_faults(Faults { fails_at: Some(event), ..Faults::default() });
        let failed = store.apply(1, &batch).unwrap_err();
        assert!(matches!(failed, DiskError::Io { doing: "writing the journal", .. }), "{failed} {told}");
        medium.set_faults(Faults::default());
        store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
        let store = DiskStore::open_on(Arc::new(medium.restart()), small()).unwrap();
        assert_eq!(store.latest(), Some((0, world.root())), "{told}");
    }
}

/// A store is opened one step ahead, that step is undone, and what comes next is written in its place: the roll-back
/// was acknowledged, and so it stands, although the pages of the step are not what its event says any more.
#[test]
fn what_is_undone_after_a_crash_stays_undone_after_another() {
    let (mut ahead, apply) = (0, |store: &mut DiskStore, version, seed| {
        store.apply(version, &World::default().change(&mut Rng::new(seed), 60, 300))
    });
    for seed in seeds(60) {
        let told = format!("repeat with BRAID_SEED={seed}");
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
        apply(&mut store, 0, 1).unwrap();
        let first: Vec<_> = store.versions().collect();
        apply(&mut store, 1, 2).unwrap();
        let none = Faults::default();
        medium.set_faults(Faults { fails_at: Some(medium.writes() + 3), ..none });
        let failed = (2..9).find_map(|version| apply(&mut store, version, version + 1).err());
        assert!(failed.is_some(), "{told}");
        medium.set_faults(Faults { crash_at: Some(medium.writes()), ..none });
        medium.sync().unwrap_err();
        let medium = medium.restart();
        let mut store = DiskStore::open_on(Arc::new(medium.clone()), small()).unwrap();
        ahead += u64::from(store.latest().is_some_and(|(version, _)| version > 1));
        store.rollback(0).unwrap();
        medium.set_faults(Faults { crash_at: Some(medium.writes() + 3), ..none });
        let failed = apply(&mut store, 1, 90);
        assert!(failed.is_err() && medium.is_down(), "{told}");
        let store = DiskStore::open_on(Arc::new(medium.restart()), small());
        let store = store.unwrap_or_else(|error| panic!("{error} {told}"));
        assert_eq!(store.versions().take(1).collect::<Vec<_>>(), first, "{told}");
        assert!(store.versions().count() == 1 || store.view(1).unwrap().root() != first[0].1, "{told}");
        store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
    }
    assert!(ahead > 0, "the step under way never survived: the test is without use");
}
