//! The layout of deltas against an oracle that computes roots anew, and against the other layout.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root, storage_root},
};
use braid_store::{
    Layout,
    delta::{DeltaOptions, DeltaStore},
    disk::{Batch, DiskError, DiskOptions, DiskStore},
    io::{FaultMedium, Faults, Medium},
};
use braid_testkit::Rng;
use std::{collections::BTreeMap, sync::Arc};

fn seeds(count: u64) -> std::ops::Range<u64> {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    repeat.map_or(0..count, |seed| seed..seed + 1)
}

/// A state in memory: accounts with their slots.
type World = BTreeMap<Address, (TrieAccount, BTreeMap<U256, U256>)>;

fn address(of: u64) -> Address {
    Address::from_slice(&keccak256(of.to_le_bytes())[..20])
}

/// The root, computed anew.
fn root(world: &World) -> B256 {
    let slots = |slots: &BTreeMap<U256, U256>| {
        let hashed = slots.iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), *value));
        storage_root(hashed.collect::<BTreeMap<_, _>>())
    };
    let accounts = world.iter().map(|(address, (account, storage))| {
        (keccak256(address), TrieAccount { storage_root: slots(storage), ..*account })
    });
    state_root(accounts.collect::<BTreeMap<_, _>>())
}

/// Draws a batch and makes it happen in `world`.
fn draw(rng: &mut Rng, world: &mut World, people: u64) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..1 + rng.below(40) {
        let address = address(rng.below(people));
        let there = world.contains_key(&address);
        let slots: Vec<(U256, U256)> = (0..rng.below(6))
            .map(|_| (U256::from(rng.below(12)), U256::from(rng.below(3) * rng.below(1000))))
            .collect();
        match rng.below(10) {
            0 | 1 if there => {
                batch.change(address, None, false, []);
                world.remove(&address);
                continue;
            }
            2 | 3 if there => {
                batch.slots(address, slots.iter().copied());
            }
            kind => {
                let wiped = kind == 4;
                let account = TrieAccount {
                    nonce: rng.below(5),
                    balance: U256::from(rng.bits()),
                    ..Default::default()
                };
                batch.change(address, Some(account), wiped, slots.iter().copied());
                let entry = world.entry(address).or_default();
                entry.0 = account;
                if wiped {
                    entry.1.clear();
                }
            }
        }
        let storage = &mut world.get_mut(&address).expect("there").1;
        for (slot, value) in slots {
            match value.is_zero() {
                true => drop(storage.remove(&slot)),
                false => drop(storage.insert(slot, value)),
            }
        }
    }
    batch
}

fn compare(store: &impl Layout, version: u64, world: &World, people: u64, seed: u64) {
    let of = |version| store.roots().into_iter().find(|(at, _)| *at == version).expect("retained").1;
    assert_eq!(of(version), root(world), "seed {seed}, version {version}");
    for who in 0..people {
        let address = address(who);
        let known = world.get(&address);
        let account = store.account(version, &address).expect("readable");
        let plain = account.map(|account| (account.nonce, account.balance));
        assert_eq!(plain, known.map(|(account, _)| (account.nonce, account.balance)), "seed {seed}, {who}");
        for slot in (0..12).map(U256::from) {
            let value = known.and_then(|(_, storage)| storage.get(&slot)).copied().unwrap_or_default();
            let read = store.slot(version, &address, &slot).expect("readable");
            assert_eq!(read, value, "seed {seed}, version {version}, slot {slot} of {who}");
        }
    }
}

#[test]
fn random_batches_have_the_roots_and_values_of_the_oracle() {
    for seed in seeds(30) {
        let mut rng = Rng::new(seed);
        // Few accounts meet every shape of a trie, many fill pages.
        let people = [3, 12, 60, 900][rng.below(4) as usize];
        let options = DeltaOptions::chained([0, 1, 3, 8, 100][rng.below(5) as usize]);
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DeltaStore::create_on(Arc::new(medium.clone()), options).expect("a new store");
        let (mut world, mut worlds) = (World::new(), Vec::new());
        for version in 1..=25 {
            let batch = draw(&mut rng, &mut world, people);
            store.commit(version * 2, &batch).expect("a commit");
            worlds.push((version * 2, world.clone()));
            assert_eq!(
                store.roots().last(),
                Some(&(version * 2, root(&world))),
                "seed {seed}, version {version}"
            );
            if rng.below(6) == 0 {
                store = DeltaStore::open_on(Arc::new(medium.clone()), options).expect("the same store");
            }
        }
        store.verify().expect("whole");
        let store = DeltaStore::open_on(Arc::new(medium), options).expect("the same store");
        for (version, world) in worlds.iter().step_by(6) {
            compare(&store, *version, world, people, seed);
        }
        assert_eq!(store.view(3).err(), Some(DiskError::NoVersion(3)));
    }
}

#[test]
fn both_layouts_are_the_same_state() {
    for seed in seeds(4) {
        let mut rng = Rng::new(seed);
        let mut worlds: Vec<Box<dyn Layout>> = vec![
            Box::new(delta(Arc::new(FaultMedium::new(seed, Faults::default())))),
            Box::new(disk(Arc::new(FaultMedium::new(seed, Faults::default())))),
        ];
        let mut world = World::new();
        for version in 1..=20 {
            let batch = draw(&mut rng, &mut world, 300);
            let roots: Vec<B256> =
                worlds.iter_mut().map(|layout| layout.apply(version, &batch).expect("a commit")).collect();
            assert_eq!(roots, [root(&world); 2], "seed {seed}, version {version}");
        }
        assert_eq!(worlds[0].roots(), worlds[1].roots());
        for _ in 0..300 {
            let (version, who, slot) =
                (1 + rng.below(20), address(rng.below(300)), U256::from(rng.below(12)));
            let [a, b] = [0, 1].map(|at| worlds[at].account(version, &who).expect("readable"));
            assert_eq!(a, b, "seed {seed}, version {version}, {who}");
            let [a, b] = [0, 1].map(|at| worlds[at].slot(version, &who, &slot).expect("readable"));
            assert_eq!(a, b, "seed {seed}, version {version}, slot {slot} of {who}");
        }
    }
}

fn delta(medium: Arc<dyn Medium>) -> DeltaStore {
    DeltaStore::create_on(medium, DeltaOptions::default()).expect("a new store")
}

fn disk(medium: Arc<dyn Medium>) -> DiskStore {
    let options = DiskOptions { workers: 1, journal_bytes: 1 << 20, ..DiskOptions::default() };
    DiskStore::create_on(medium, options).expect("a new store")
}

#[test]
fn after_a_crash_it_opens_at_what_was_acknowledged_or_the_next() {
    let (mut last, mut next) = (0, 0);
    for seed in seeds(120) {
        let mut rng = Rng::new(seed);
        let crash_at = Some(6 + rng.below(30));
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = delta(Arc::new(medium.clone()));
        medium.set_faults(Faults { crash_at, ..Faults::default() });
        let (mut world, mut roots) = (World::new(), vec![]);
        let (mut acknowledged, mut version) = (0, 0);
        while !medium.is_down() {
            version += 1;
            let batch = draw(&mut rng, &mut world, 40);
            roots.push(root(&world));
            if store.commit(version, &batch).is_ok() {
                acknowledged = version;
            }
            assert!(version < 100, "seed {seed}: the power never failed");
        }
        let store = DeltaStore::open_on(Arc::new(medium.restart()), DeltaOptions::default());
        let store = store.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        store.verify().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = store.versions().last().map_or(0, |(version, _)| version);
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "seed {seed}: {found}, not {acknowledged}"
        );
        let expected: Vec<(u64, B256)> = (1..).zip(roots).take(found as usize).collect();
        assert_eq!(store.roots(), expected, "seed {seed}");
        if found == acknowledged { last += 1 } else { next += 1 }
    }
    assert!(std::env::var_os("BRAID_SEED").is_some() || (last > 5 && next > 5), "{last} last, {next} next");
}

#[test]
fn damage_is_found_when_read_or_by_verify() {
    let medium = FaultMedium::new(7, Faults::default());
    let mut store = delta(Arc::new(medium.clone()));
    let (mut rng, mut world) = (Rng::new(7), World::new());
    for version in 1..=12 {
        let batch = draw(&mut rng, &mut world, 60);
        store.commit(version, &batch).expect("a commit");
    }
    let bits = medium.len().expect("a length") * 8;
    for _ in 0..300 {
        let copy = medium.copy();
        // Of the superblocks one may be damaged; a bit of theirs that no one reads is none.
        copy.flip(8192 * 8 + rng.below(bits - 8192 * 8));
        let Ok(store) = DeltaStore::open_on(Arc::new(copy), DeltaOptions::default()) else { continue };
        assert!(store.verify().is_err(), "a damaged bit");
        for who in 0..60 {
            // An answer that is given is right.
            if let Ok(account) = store.account(12, &address(who)) {
                let known = world.get(&address(who)).map(|(account, _)| (account.nonce, account.balance));
                assert_eq!(account.map(|account| (account.nonce, account.balance)), known);
            }
        }
    }
    for place in [0, 4096] {
        let copy = medium.copy();
        copy.flip((place + 10) * 8);
        let store =
            DeltaStore::open_on(Arc::new(copy), DeltaOptions::default()).expect("the other superblock");
        assert_eq!(store.versions().count(), 12);
    }
}

#[test]
fn a_device_that_is_full_or_fails_leaves_the_last_version() {
    for faults in [
        Faults { capacity: Some(20_000), ..Faults::default() },
        Faults { read_only: true, ..Faults::default() },
        Faults { sync_fails: true, ..Faults::default() },
    ] {
        let medium = FaultMedium::new(3, Faults::default());
        let mut store = delta(Arc::new(medium.clone()));
        let (mut rng, mut world) = (Rng::new(3), World::new());
        for version in 1..=5 {
            let batch = draw(&mut rng, &mut world, 20);
            store.commit(version, &batch).expect("a commit");
        }
        let before = (store.roots(), world.clone());
        medium.set_faults(faults);
        let mut later = 6;
        let error = loop {
            match store.commit(later, &draw(&mut rng, &mut world, 2000)) {
                Ok(_) => later += 1,
                Err(error) => break error,
            }
            assert!(later < 200, "{faults:?}: nothing failed");
        };
        medium.set_faults(Faults::default());
        if faults.sync_fails {
            assert_eq!(store.commit(later, &Batch::default()).err(), Some(DiskError::Poisoned), "{error}");
        } else {
            assert_eq!(
                store.commit(4, &Batch::default()).err(),
                Some(DiskError::Order { version: 4, latest: later - 1 })
            );
            store.commit(later, &Batch::default()).expect("a commit once there is room");
        }
        let store = DeltaStore::open_on(Arc::new(medium), DeltaOptions::default()).expect("the same store");
        assert_eq!(store.roots()[..5], before.0[..5], "{faults:?}: {error}");
        compare(&store, 5, &before.1, 20, 3);
    }
}

#[test]
fn what_is_found_after_a_failed_sync_survives_a_crash() {
    for seed in seeds(20) {
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = delta(Arc::new(medium.clone()));
        let (mut rng, mut world) = (Rng::new(seed), World::new());
        store.commit(1, &draw(&mut rng, &mut world, 40)).expect("a commit");
        medium.set_faults(Faults { sync_fails: true, ..Faults::default() });
        assert!(store.commit(2, &draw(&mut rng, &mut world, 40)).is_err());
        medium.set_faults(Faults::default());
        let open = |medium: FaultMedium| DeltaStore::open_on(Arc::new(medium), DeltaOptions::default());
        let found = open(medium.clone()).expect("the same store").roots();
        let left = open(medium.restart()).map(|store| store.roots());
        assert_eq!(left, Ok(found), "seed {seed}");
    }
}

#[test]
fn what_no_store_has_written_is_refused() {
    let medium = FaultMedium::new(1, Faults::default());
    medium.write_at(0, &[7; 10_000]).expect("room");
    let opened = DeltaStore::open_on(Arc::new(medium), DeltaOptions::default());
    assert!(matches!(opened, Err(DiskError::Format(_))), "{opened:?}");
    let options = DeltaOptions::chained(5000);
    let made = DeltaStore::create_on(Arc::new(FaultMedium::new(1, Faults::default())), options);
    assert!(matches!(made, Err(DiskError::Limit { limit: 1024, .. })), "{made:?}");
    let mut store = delta(Arc::new(FaultMedium::new(1, Faults::default())));
    let mut batch = Batch::default();
    batch.slots(address(1), [(U256::from(1), U256::from(1))]);
    assert_eq!(store.commit(1, &batch).err(), Some(DiskError::NoAccount(address(1))));
}
