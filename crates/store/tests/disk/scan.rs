//! Versions read whole by hashed keys, and made of whole parts.

use crate::{oracle::World, seeds, small};
use alloy_primitives::{B256, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use braid_store::{
    disk::{DiskOptions, DiskStore, Entry, HashedBatch, View},
    io::{FaultMedium, Faults},
};
use braid_testkit::Rng;
use std::sync::Arc;

fn store(seed: u64, options: DiskOptions) -> DiskStore {
    DiskStore::create_on(Arc::new(FaultMedium::new(seed, Faults::default())), options).unwrap()
}

fn entries(view: &View) -> Vec<Entry> {
    view.entries().map(|entry| entry.unwrap()).collect()
}

/// Reads every version whole, and puts it into another store in parts of any size.
#[test]
fn what_is_read_whole_makes_the_same_version() {
    for seed in seeds(60) {
        let mut rng = Rng::new(seed);
        let options = DiskOptions { workers: 1 + seed as usize % 2, ..small() };
        let (mut from, mut world) = (store(seed, options), World::default());
        for version in 1..=1 + rng.below(8) {
            let batch = world.change(&mut rng, 80, 60);
            from.apply(version, &batch).unwrap();
        }
        let told = format!("repeat with BRAID_SEED={seed}");
        let view = from.view(from.latest().unwrap().0).unwrap();
        let all = entries(&view);
        let (mut account, mut slot) = (None, None);
        for entry in &all {
            match entry {
                Entry::Account { key, .. } => {
                    assert!(account.is_none_or(|last: B256| last < *key), "{told}");
                    (account, slot) = (Some(*key), None);
                }
                Entry::Slot { key, value } => {
                    assert!(account.is_some() && !value.is_zero(), "{told}");
                    assert!(slot.is_none_or(|last: B256| last < *key), "{told}");
                    slot = Some(*key);
                }
            }
        }
        let mut to = store(seed + 1, options);
        let (mut batch, mut version, mut last) = (HashedBatch::default(), 0, None);
        for entry in &all {
            if batch.len() as u64 > rng.below(200) {
                version += 1;
                to.apply_hashed(version, std::mem::take(&mut batch)).unwrap();
            }
            match entry {
                Entry::Account { key, account } => {
                    last = Some((*key, *account));
                    batch.account(*key, *account);
                }
                Entry::Slot { key, value } => {
                    // The account is named again if its slots go on in another part.
                    if let Some((key, account)) = last.filter(|_| batch.is_empty()) {
                        batch.account(key, account);
                    }
                    batch.slot(*key, *value);
                }
            }
        }
        let done = to.apply_hashed(version + 1, batch).unwrap();
        assert_eq!(done.root, view.root(), "{told}");
        let copy = to.view(done.version).unwrap();
        assert_eq!(entries(&copy), all, "{told}");
        world.compare(&copy, &told);
        to.verify().unwrap_or_else(|error| panic!("{error} {told}"));
        // What is cached by plain keys does not outlive such a version.
        let mut more = HashedBatch::default();
        if let Some((key, account)) = last {
            more.account(key, alloy_trie::TrieAccount { nonce: account.nonce + 1, ..account });
            let next = to.apply_hashed(done.version + 1, more).unwrap();
            assert_ne!(next.root, done.root, "{told}");
            let view = to.view(next.version).unwrap();
            let nonces = |view: &View| {
                entries(view).iter().fold(0, |sum, entry| match entry {
                    Entry::Account { account, .. } => sum + account.nonce,
                    Entry::Slot { .. } => sum,
                })
            };
            assert_eq!(nonces(&view), nonces(&copy) + 1, "{told}");
            let mut plain = 0;
            for at in 0..80 {
                let address = crate::oracle::address(at);
                plain += view.account(&address).unwrap().map_or(0, |account| account.nonce);
            }
            assert_eq!(plain, nonces(&view), "read by plain keys; {told}");
        }
    }
}

#[test]
fn an_empty_version_has_no_entries_and_what_is_set_twice_is_as_it_was_set_last() {
    let mut store = store(1, small());
    let done = store.apply_hashed(3, HashedBatch::default()).unwrap();
    assert_eq!((done.version, done.root), (3, EMPTY_ROOT_HASH));
    assert_eq!(entries(&store.view(3).unwrap()), []);
    let account = |nonce| alloy_trie::TrieAccount { nonce, ..Default::default() };
    let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let mut batch = HashedBatch::default();
    // Of no account.
    batch.slot(one, U256::ONE);
    assert!(batch.is_empty());
    batch.account(two, account(1));
    batch.slot(two, U256::from(5));
    batch.slot(one, U256::from(7));
    batch.account(one, account(2));
    batch.account(two, account(3));
    batch.slot(two, U256::from(6));
    store.apply_hashed(4, batch).unwrap();
    let found = entries(&store.view(4).unwrap());
    let nonces: Vec<(B256, u64)> = found
        .iter()
        .filter_map(|entry| match entry {
            Entry::Account { key, account } => Some((*key, account.nonce)),
            Entry::Slot { .. } => None,
        })
        .collect();
    assert_eq!(nonces, [(one, 2), (two, 3)]);
    let slots =
        [Entry::Slot { key: one, value: U256::from(7) }, Entry::Slot { key: two, value: U256::from(6) }];
    assert_eq!(found[2..], slots);
    store.verify().unwrap();
}
