//! Long lives of a store to which everything happens, against a state in ordered maps.

use crate::{
    hashed::{NAMES, World, account, slot_key, value},
    long, seeds, small,
};
use alloy_primitives::{B256, U256, keccak256};
use braid_store::{
    disk::{Batch, Begun, DiskError, DiskOptions, DiskReader, DiskStore, Prepared, View},
    io::{FaultMedium, Faults, Medium},
};
use braid_testkit::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

enum Home {
    Medium(FaultMedium),
    Folder(tempfile::TempDir),
}

type Worlds = BTreeMap<u64, World>;

struct Life {
    rng: Rng,
    options: DiskOptions,
    home: Home,
    store: Option<DiskStore>,
    worlds: Worlds,
    /// Views of this process, and of readers under leases.
    views: Vec<(View, World)>,
    leases: Vec<(View, World)>,
    begun: Vec<(Begun, u64)>,
    told: String,
    counts: BTreeMap<&'static str, u64>,
}

impl Life {
    fn world(&self) -> World {
        self.worlds.values().next_back().cloned().unwrap_or_default()
    }

    fn latest(&self) -> Option<u64> {
        self.worlds.keys().next_back().copied()
    }

    fn next(&mut self) -> u64 {
        self.latest().map_or(0, |latest| latest + 1 + self.rng.below(2))
    }

    fn store(&mut self) -> &mut DiskStore {
        self.store.as_mut().unwrap()
    }

    fn pins(&self) -> BTreeSet<u64> {
        let views = self.views.iter().chain(&self.leases).map(|(view, _)| view.version());
        views.chain(self.begun.iter().map(|(_, version)| *version)).collect()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn after_commit(&self, version: u64, world: World) -> Worlds {
        let mut after = self.worlds.clone();
        let kept = (after.len() + 1).saturating_sub(self.options.keep);
        let oldest = after.keys().nth(kept).copied().unwrap_or(version);
        let floor = self.pins().first().map_or(oldest, |pin| oldest.min(*pin));
        after.insert(version, world);
        after.split_off(&floor)
    }

    /// Does something that makes the versions `after`, perhaps with a fault.
    fn act<T>(
        &mut self,
        after: Worlds,
        what: &'static str,
        act: impl FnOnce(&mut DiskStore) -> Result<T, DiskError>,
    ) -> Option<T> {
        self.count(what);
        let faulty = self.rng.chance(25);
        if let (Home::Medium(medium), true) = (&self.home, faulty) {
            let (rng, none) = (&mut self.rng, Faults::default());
            let at = Some(medium.writes() + rng.below(5));
            medium.set_faults(match rng.below(6) {
                0 => Faults { capacity: Some(rng.below(medium.len().unwrap() + 100_000)), ..none },
                1 => Faults { read_only: true, ..none },
                2 => Faults { sync_fails: true, ..none },
                3 => Faults { fails_at: at, ..none },
                4 => Faults { crash_at: at, ..none },
                _ => Faults { read_error_every: Some(2 + rng.below(20)), ..none },
            });
        }
        let done = act(self.store.as_mut().unwrap());
        if let Home::Medium(medium) = &self.home {
            medium.set_faults(Faults::default());
        }
        let error = match done {
            Ok(done) => {
                self.worlds = after;
                return Some(done);
            }
            Err(error) => error,
        };
        let Home::Medium(medium) = &self.home else { panic!("{what}: {error} {}", self.told) };
        assert!(faulty, "{what}: {error} {}", self.told);
        let right =
            matches!(error, DiskError::Io { .. } | DiskError::Full { .. } | DiskError::ReadOnly { .. });
        assert!(right, "{what}: {error:?} {}", self.told);
        let down = medium.is_down();
        let poisoned = self.store.as_mut().unwrap().prune(usize::MAX) == Err(DiskError::Poisoned);
        if down || poisoned {
            self.count(if down { "crashes" } else { "poisoned" });
            self.look();
            self.reopen(down, Some(after));
        } else {
            self.count("refused");
            let told = format!("after {what}: {error} {}", self.told);
            if !self.store().versions().eq([]) {
                self.store().verify().unwrap_or_else(|error| panic!("{error} {told}"));
            }
        }
        None
    }

    /// Closes the store and opens it again, after a power failure if `down`.
    fn reopen(&mut self, down: bool, after: Option<Worlds>) {
        self.count("opened");
        self.views.clear();
        self.begun.clear();
        self.store = None;
        let told = self.told.clone();
        let options = self.options;
        let store = match &mut self.home {
            Home::Medium(medium) => {
                if down || self.rng.chance(40) {
                    *medium = medium.restart();
                }
                DiskStore::open_on(Arc::new(medium.clone()), options)
            }
            Home::Folder(folder) => DiskStore::open(folder.path(), options),
        };
        self.store = Some(store.unwrap_or_else(|error| panic!("{error} {told}")));
        let roots = |worlds: &Worlds| -> Vec<(u64, B256)> {
            worlds.iter().map(|(version, world)| (*version, world.root())).collect()
        };
        let found: Vec<(u64, B256)> = self.store().versions().collect();
        match after {
            Some(after) if found == roots(&after) => self.worlds = after,
            _ => assert_eq!(found, roots(&self.worlds), "{told}"),
        }
        self.store().verify().unwrap_or_else(|error| panic!("{error} {told}"));
    }

    fn commit_plain(&mut self) {
        let (version, mut world) = (self.next(), self.world());
        let changes = if self.rng.chance(8) { 150 } else { self.rng.below(20) };
        let batch = world.change(&mut self.rng, changes);
        let root = world.root();
        let after = self.after_commit(version, world);
        if let Some(done) = self.act(after, "commits", |store| store.apply(version, &batch)) {
            assert_eq!(done.root, root, "{}", self.told);
        }
    }

    fn commit_hashed(&mut self) {
        let (version, mut world) = (self.next(), self.world());
        let changes = self.rng.below(30);
        let batch = world.change_hashed(&mut self.rng, changes);
        let root = world.root();
        let after = self.after_commit(version, world);
        if let Some(done) = self.act(after, "hashed", |store| store.apply_hashed(version, batch)) {
            assert_eq!(done.root, root, "{}", self.told);
        }
    }

    fn begin(&mut self) {
        let Some(latest) = self.latest() else { return };
        let mut begun = self.store().begin().unwrap();
        let (addresses, slots) = &*NAMES;
        let rng = &mut self.rng;
        for _ in 0..rng.below(40) {
            let address = addresses[rng.below(addresses.len() as u64) as usize];
            let slot = slots[rng.below(slots.len() as u64) as usize];
            begun.tell(&[(address, rng.chance(80).then(|| (slot, value(rng))))]);
            if rng.chance(50) {
                begun.step();
            }
        }
        self.begun.push((begun, latest));
    }

    /// Uses something that was begun, perhaps on another version than the latest.
    fn commit_begun(&mut self) {
        if self.begun.is_empty() {
            return;
        }
        let at = self.rng.below(self.begun.len() as u64) as usize;
        let (mut begun, _) = self.begun.swap_remove(at);
        let (version, mut world) = (self.next(), self.world());
        let (addresses, slots) = &*NAMES;
        let mut batch = Batch::default();
        for _ in 0..self.rng.below(30) {
            let rng = &mut self.rng;
            let address = addresses[rng.below(addresses.len() as u64) as usize];
            let (key, after, wiped) = (keccak256(address), account(rng), rng.chance(5));
            let set: Vec<(U256, U256)> = (0..rng.below(10))
                .map(|_| (slots[rng.below(slots.len() as u64) as usize], value(rng)))
                .collect();
            batch.change(address, Some(after), wiped, set.iter().copied());
            let (before, there) = world.0.entry(key).or_default();
            *before = after;
            if wiped {
                there.clear();
            }
            world.set(key, set.iter().map(|(slot, value)| (slot_key(slot), *value)));
            if rng.chance(70) {
                begun.tell(&set.iter().map(|set| (address, Some(*set))).collect::<Vec<_>>());
                while rng.chance(80) && begun.step() {}
            }
        }
        let root = world.root();
        // What is begun is given back when it is prepared.
        let after = self.after_commit(version, world);
        self.act(after, "begun", |store| {
            let prepared = store.prepare_begun(begun, None, version, &batch)?;
            assert_eq!(prepared.root(), root);
            store.commit(prepared)
        });
    }

    /// Versions on one another, of which some are committed.
    fn chain(&mut self) {
        let mut nodes: Vec<(Option<Prepared>, World, u64, Option<usize>)> = Vec::new();
        for _ in 0..1 + self.rng.below(6) {
            let parent = (!nodes.is_empty() && self.rng.chance(85))
                .then(|| nodes.len() - 1 - self.rng.below(2).min(nodes.len() as u64 - 1) as usize);
            let (mut world, version) = match parent {
                Some(parent) => (nodes[parent].1.clone(), nodes[parent].2 + 1),
                None => (self.world(), self.next()),
            };
            let changes = if self.rng.chance(15) { 100 } else { self.rng.below(15) };
            let batch = world.change(&mut self.rng, changes);
            let store = self.store.as_ref().unwrap();
            let prepared = match parent.and_then(|parent| nodes[parent].0.as_ref()) {
                Some(on) => store.prepare_on(on, version, &batch),
                None => store.prepare(version, &batch),
            };
            let prepared = prepared.unwrap_or_else(|error| panic!("{error} {}", self.told));
            assert_eq!(prepared.root(), world.root(), "{}", self.told);
            nodes.push((Some(prepared), world, version, parent));
        }
        let mut way = vec![self.rng.below(nodes.len() as u64) as usize];
        while let Some(parent) = nodes[way[way.len() - 1]].3 {
            way.push(parent);
        }
        let (mut last, opened) = (None, self.counts.get("opened").copied());
        for at in way.into_iter().rev() {
            let prepared = nodes[at].0.take().unwrap();
            let after = self.after_commit(nodes[at].2, nodes[at].1.clone());
            if self.act(after, "chained", |store| store.commit(prepared)).is_none() {
                return;
            }
            last = Some(at);
            match self.rng.below(10) {
                0 => self.prune(),
                1 => self.view(),
                _ => {}
            }
            // Nothing is known of what was prepared before the store was opened.
            if self.counts.get("opened").copied() != opened {
                return;
            }
        }
        // What is left is on something else.
        for (prepared, _, _, parent) in nodes {
            let Some(prepared) = prepared.filter(|_| parent != last) else { continue };
            if self.store.as_mut().unwrap().commit(prepared).is_ok() {
                panic!("something stale was committed: {}", self.told);
            }
        }
    }

    fn prune(&mut self) {
        let keep = 1 + self.rng.below(5) as usize;
        let Some(wanted) = self.worlds.keys().nth(self.worlds.len().saturating_sub(keep)).copied() else {
            return;
        };
        let floor = self.pins().first().map_or(wanted, |pin| wanted.min(*pin));
        let after = self.worlds.clone().split_off(&floor);
        self.act(after, "pruned", |store| store.prune(keep));
    }

    fn rollback(&mut self) {
        if self.worlds.is_empty() {
            return;
        }
        let to = *self.worlds.keys().nth(self.rng.below(self.worlds.len() as u64) as usize).unwrap();
        let mut after = self.worlds.clone();
        let going = after.split_off(&(to + 1));
        let pinned = self.pins().into_iter().find(|pin| going.contains_key(pin));
        if pinned.is_some() {
            let refused = self.store().rollback(to);
            assert!(matches!(refused, Err(DiskError::Pinned(_))), "{refused:?} {}", self.told);
            return;
        }
        self.act(after, "rolled back", |store| store.rollback(to));
    }

    fn view(&mut self) {
        if self.worlds.is_empty() {
            return;
        }
        let at = self.rng.below(self.worlds.len() as u64) as usize;
        let (version, world) =
            self.worlds.iter().nth(at).map(|(version, world)| (*version, world.clone())).unwrap();
        if let (Home::Folder(folder), true) = (&self.home, self.rng.chance(50)) {
            let options = DiskOptions { flat_entries: 64, page_cache_bytes: 0, ..self.options };
            let reader = DiskReader::open(folder.path(), options).unwrap();
            let view = reader.view(version, Duration::from_secs(600)).unwrap();
            self.leases.push((view, world));
        } else {
            let view = self.store().view(version).unwrap();
            self.views.push((view, world));
        }
    }

    fn look(&mut self) {
        let told = self.told.clone();
        let known: Vec<(u64, B256)> = self.store.as_ref().unwrap().versions().collect();
        assert_eq!(
            known.iter().map(|(version, _)| *version).collect::<Vec<_>>(),
            self.worlds.keys().copied().collect::<Vec<_>>(),
            "{told}"
        );
        let some = self.rng.below(self.worlds.len() as u64) as usize;
        let which: Vec<u64> = self
            .worlds
            .keys()
            .copied()
            .enumerate()
            .filter(|(at, _)| *at == some || at + 1 == self.worlds.len())
            .map(|(_, version)| version)
            .collect();
        for version in which {
            let view = self.store.as_ref().unwrap().view(version).unwrap();
            self.worlds[&version].compare(&mut self.rng, &view, &format!("version {version} {told}"));
        }
        for (view, world) in self.views.iter().chain(&self.leases) {
            world.compare(&mut self.rng, view, &format!("view of {} {told}", view.version()));
        }
    }

    fn check(&mut self) {
        self.look();
        if self.rng.chance(10) {
            let told = self.told.clone();
            self.store.as_ref().unwrap().verify().unwrap_or_else(|error| panic!("{error} {told}"));
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..34 => self.commit_plain(),
            34..40 => self.commit_hashed(),
            40..46 => self.begin(),
            46..54 => self.commit_begun(),
            54..64 => self.chain(),
            64..70 => self.rollback(),
            70..74 => self.prune(),
            74..82 => self.view(),
            82..88 if !self.views.is_empty() => {
                let at = self.rng.below(self.views.len() as u64) as usize;
                drop(self.views.swap_remove(at));
            }
            82..92 if !self.leases.is_empty() => {
                let at = self.rng.below(self.leases.len() as u64) as usize;
                drop(self.leases.swap_remove(at));
            }
            92..95 => self.begun.clear(),
            95..98 => self.reopen(false, None),
            _ => {}
        }
        if self.pins().len() > 6 {
            self.views.clear();
            self.leases.clear();
            self.begun.clear();
        }
        self.check();
    }
}

#[test]
fn whatever_happens_versions_are_those_of_the_oracle() {
    let steps = if long() { 400 } else { 60 };
    let mut counts = BTreeMap::<&str, u64>::new();
    for seed in seeds(if long() { 200 } else { 6 }) {
        let mut rng = Rng::new(seed ^ 0x5702);
        let options = DiskOptions {
            keep: 1 + rng.below(5) as usize,
            journal_bytes: (1 + rng.below(3)) << 16,
            page_cache_bytes: if rng.chance(50) { 0 } else { 1 << 20 },
            flat_entries: [0, 1 << 9, 1 << 14][rng.below(3) as usize],
            workers: 1 + rng.below(3) as usize,
            compact: rng.chance(90),
            ..small()
        };
        let (home, store) = match rng.chance(20) {
            true => {
                let folder = tempfile::tempdir().unwrap();
                let store = DiskStore::create(folder.path(), options).unwrap();
                (Home::Folder(folder), store)
            }
            false => {
                let medium = FaultMedium::new(seed, Faults::default());
                let store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
                (Home::Medium(medium), store)
            }
        };
        let mut life = Life {
            rng,
            options,
            home,
            store: Some(store),
            worlds: Worlds::new(),
            views: Vec::new(),
            leases: Vec::new(),
            begun: Vec::new(),
            told: String::new(),
            counts: BTreeMap::new(),
        };
        for step in 0..steps {
            life.told = format!("step {step}; repeat with BRAID_SEED={seed}");
            life.step();
        }
        life.counts.iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    let all = ["refused", "poisoned", "crashes", "rolled back", "chained", "hashed"];
    let one = std::env::var_os("BRAID_SEED").is_some();
    assert!(one || all.iter().all(|what| counts.contains_key(what)), "{counts:?}");
}
