//! Values in memory by their plain keys, so that a warm read is one look-up and hashes nothing.
//!
//! 1. An entry says the value of a location from a commit (`since`) up to the latest one. So a reader of a
//!    version may use it if it is no older than that version.
//! 2. A commit changes the entries of what it changed, and the number of the latest commit, shard by shard
//!    before the new version can be read. A reader adds what it found in the trie only if its version is the
//!    shard's latest, under the same lock: what it found is the value up to then.
//! 3. Wiping the storage of an account leaves a mark. An entry of its slots that is older than the mark is
//!    none. A mark goes when no entry of before it can be left. There is one for an account: so before a roll-back
//!    takes one away, and with it those that it stands for, all entries go that are none.
//! 4. What is used stays: a full half becomes the old half, and what is in the old half and not used is
//!    forgotten.

use alloy_primitives::{Address, U256};
use alloy_trie::TrieAccount;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hash};

const SHARDS: usize = 64;

type Slot = (Address, U256);
type Map<K, V> = HashMap<K, V, RandomState>;

#[derive(Clone, Copy, Debug)]
struct Entry<V> {
    value: V,
    since: u64,
}

/// Two halves of entries; see rule 4.
#[derive(Debug)]
struct Halves<K, V> {
    hot: Map<K, Entry<V>>,
    old: Map<K, Entry<V>>,
}

impl<K, V> Default for Halves<K, V> {
    fn default() -> Self {
        Halves { hot: Map::default(), old: Map::default() }
    }
}

impl<K: Hash + Eq, V: Copy> Halves<K, V> {
    /// Adds an entry; whether the halves changed.
    fn put(&mut self, key: K, entry: Entry<V>, most: usize) -> bool {
        let full = self.hot.len() >= most;
        if full {
            self.old = std::mem::take(&mut self.hot);
        }
        self.hot.insert(key, entry);
        full
    }

    /// The entry at `key`, from whichever half; one of the old half has to be put back.
    fn find(&mut self, key: &K) -> Option<(Entry<V>, bool)> {
        match self.hot.get(key) {
            Some(entry) => Some((*entry, false)),
            None => self.old.remove(key).map(|entry| (entry, true)),
        }
    }

    /// Sets what a commit changed.
    fn set(&mut self, key: K, entry: Entry<V>, most: usize) -> bool {
        self.old.remove(&key);
        self.put(key, entry, most)
    }

    fn retain(&mut self, keep: impl Fn(&K, u64) -> bool) {
        self.hot.retain(|key, entry| keep(key, entry.since));
        self.old.retain(|key, entry| keep(key, entry.since));
    }
}

#[derive(Debug, Default)]
struct Shard {
    latest: u64,
    accounts: Halves<Address, Option<TrieAccount>>,
    slots: Halves<Slot, U256>,
    /// Accounts whose storage was wiped, and when: since the halves of slots last changed, and before.
    wiped: [Map<Address, u64>; 2],
}

impl Shard {
    fn put_slot(&mut self, key: Slot, entry: Entry<U256>, most: usize, set: bool) {
        let turned = match set {
            true => self.slots.set(key, entry, most),
            false => self.slots.put(key, entry, most),
        };
        if turned {
            let [new, old] = &mut self.wiped;
            *old = std::mem::take(new);
        }
    }

    fn wiped_since(&self, address: &Address, since: u64) -> bool {
        wiped_since(&self.wiped, address, since)
    }

    fn undo(&mut self, to: u64) {
        let Shard { latest, accounts, slots, wiped } = self;
        *latest = to;
        accounts.retain(|_, since| since <= to);
        slots.retain(|(address, _), since| since <= to && !wiped_since(wiped, address, since));
        wiped.iter_mut().for_each(|marks| marks.retain(|_, wiped| *wiped <= to));
    }
}

/// Whether an entry of a slot is older than a mark of its account.
fn wiped_since(wiped: &[Map<Address, u64>; 2], address: &Address, since: u64) -> bool {
    wiped.iter().any(|marks| marks.get(address).is_some_and(|wiped| since < *wiped))
}

/// What is known of the latest version without looking at the trie.
#[derive(Debug)]
pub(super) struct Flat {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Entries of a kind in half a shard.
    most: usize,
}

impl Flat {
    pub(super) fn new(entries: usize, latest: u64) -> Self {
        let shard = || Mutex::new(Shard { latest, ..Shard::default() });
        Flat {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::default(),
            most: (entries / SHARDS / 4).max(1),
        }
    }

    fn shard(&self, key: impl Hash) -> &Mutex<Shard> {
        &self.shards[(self.hasher.hash_one(key) >> 58) as usize % SHARDS]
    }

    /// What a reader of commit `at` may know of an account.
    pub(super) fn account(&self, at: u64, address: &Address) -> Option<Option<TrieAccount>> {
        let shard = &mut *self.shard(address).lock();
        let (entry, old) = shard.accounts.find(address)?;
        if old {
            shard.accounts.put(*address, entry, self.most);
        }
        (entry.since <= at).then_some(entry.value)
    }

    /// What a reader of commit `at` may know of a slot.
    pub(super) fn slot(&self, at: u64, address: &Address, slot: &U256) -> Option<U256> {
        let key = (*address, *slot);
        let shard = &mut *self.shard(key).lock();
        let (entry, old) = shard.slots.find(&key)?;
        if shard.wiped_since(address, entry.since) {
            return None;
        }
        if old {
            shard.put_slot(key, entry, self.most, false);
        }
        (entry.since <= at).then_some(entry.value)
    }

    /// Takes note of what a reader of commit `at` found.
    pub(super) fn found_account(&self, at: u64, address: Address, value: Option<TrieAccount>) {
        let mut shard = self.shard(address).lock();
        if shard.latest == at {
            shard.accounts.put(address, Entry { value, since: at }, self.most);
        }
    }

    /// Takes note of what a reader of commit `at` found.
    pub(super) fn found_slot(&self, at: u64, address: Address, slot: U256, value: U256) {
        let mut shard = self.shard((address, slot)).lock();
        if shard.latest == at {
            shard.put_slot((address, slot), Entry { value, since: at }, self.most, false);
        }
    }

    /// A commit: what it changed, each location once.
    pub(super) fn commit(
        &self,
        since: u64,
        wiped: &[Address],
        accounts: impl Iterator<Item = (Address, Option<TrieAccount>)>,
        slots: impl Iterator<Item = (Address, U256, U256)>,
    ) {
        let mut work: Vec<(Vec<_>, Vec<_>)> = vec![Default::default(); SHARDS];
        let place = |hash: u64| (hash >> 58) as usize % SHARDS;
        for account in accounts {
            work[place(self.hasher.hash_one(account.0))].0.push(account);
        }
        for (address, slot, value) in slots {
            let key = (address, slot);
            work[place(self.hasher.hash_one(key))].1.push((key, value));
        }
        for (shard, (accounts, slots)) in self.shards.iter().zip(work) {
            let shard = &mut *shard.lock();
            shard.latest = since;
            shard.wiped[0].extend(wiped.iter().map(|address| (*address, since)));
            for (address, value) in accounts {
                shard.accounts.set(address, Entry { value, since }, self.most);
            }
            for (key, value) in slots {
                shard.put_slot(key, Entry { value, since }, self.most, true);
            }
        }
    }

    /// A roll-back: the latest commit is `to` again.
    pub(super) fn rollback(&self, to: u64) {
        self.shards.iter().for_each(|shard| shard.lock().undo(to));
    }
}
