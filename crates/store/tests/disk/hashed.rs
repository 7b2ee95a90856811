//! A state by hashed keys in ordered maps, many of which share their first nibbles.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount, proof::verify_proof};
use braid_store::disk::{Batch, Entry, HashedBatch, View};
use braid_testkit::Rng;
use std::{collections::BTreeMap, sync::LazyLock};

/// Addresses and slots, of which many share the first nibbles of their hashes.
pub(crate) static NAMES: LazyLock<(Vec<Address>, Vec<U256>)> = LazyLock::new(|| {
    let crowded = |hash: &dyn Fn(u64) -> B256| {
        let mut groups: BTreeMap<[u8; 2], Vec<u64>> = BTreeMap::new();
        for number in 0..120_000 {
            let hash = hash(number);
            groups.entry([hash[0], hash[1]]).or_default().push(number);
        }
        let mut groups: Vec<Vec<u64>> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut names: Vec<u64> =
            groups.into_iter().take(12).flat_map(|group| group.into_iter().take(5)).collect();
        names.extend(0..40);
        names
    };
    let address = |number: u64| Address::from_word(U256::from(number + 1).into());
    let addresses = crowded(&|number| keccak256(address(number)));
    let slots = crowded(&|number| keccak256(U256::from(number).to_be_bytes::<32>()));
    (addresses.into_iter().map(address).collect(), slots.into_iter().map(U256::from).collect())
});

pub(crate) fn slot_key(slot: &U256) -> B256 {
    keccak256(slot.to_be_bytes::<32>())
}

/// Accounts by their hashed addresses, without storage roots, and their slots by their hashed numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct World(pub(crate) BTreeMap<B256, (TrieAccount, BTreeMap<B256, U256>)>);

fn root_of(leaves: impl Iterator<Item = (B256, Vec<u8>)>) -> B256 {
    let mut builder = HashBuilder::default();
    leaves.for_each(|(key, value)| builder.add_leaf(Nibbles::unpack(key), &value));
    builder.root()
}

impl World {
    pub(crate) fn account(&self, key: &B256) -> Option<TrieAccount> {
        let (account, slots) = self.0.get(key)?;
        let storage_root = root_of(slots.iter().map(|(key, value)| (*key, alloy_rlp::encode(value))));
        Some(TrieAccount { storage_root, ..*account })
    }

    pub(crate) fn slot(&self, key: &B256, slot: &B256) -> U256 {
        self.0.get(key).and_then(|(_, slots)| slots.get(slot)).copied().unwrap_or_default()
    }

    pub(crate) fn root(&self) -> B256 {
        root_of(self.0.keys().filter_map(|key| Some((*key, alloy_rlp::encode(self.account(key)?)))))
    }

    pub(crate) fn set(&mut self, key: B256, slots: impl Iterator<Item = (B256, U256)>) {
        let Some((_, there)) = self.0.get_mut(&key) else { return };
        for (slot, value) in slots {
            match value.is_zero() {
                true => there.remove(&slot),
                false => there.insert(slot, value),
            };
        }
    }

    pub(crate) fn change(&mut self, rng: &mut Rng, changes: u64) -> Batch {
        let (addresses, slots) = &*NAMES;
        let mut batch = Batch::default();
        for _ in 0..changes {
            let address = addresses[rng.below(addresses.len() as u64) as usize];
            let key = keccak256(address);
            let wide = if rng.chance(4) { 300 } else { 8 };
            let set: Vec<(U256, U256)> = (0..rng.below(wide))
                .map(|_| (slots[rng.below(slots.len() as u64) as usize], value(rng)))
                .collect();
            let hashed = || set.iter().map(|(slot, value)| (slot_key(slot), *value));
            match rng.below(10) {
                0 => {
                    batch.change(address, None, rng.chance(50), set.iter().copied());
                    self.0.remove(&key);
                }
                1..5 if self.0.contains_key(&key) => {
                    batch.slots(address, set.iter().copied());
                    self.set(key, hashed());
                }
                _ => {
                    let (after, wiped) = (account(rng), rng.chance(25));
                    batch.change(address, Some(after), wiped, set.iter().copied());
                    let (before, there) = self.0.entry(key).or_default();
                    *before = after;
                    if wiped {
                        there.clear();
                    }
                    self.set(key, hashed());
                }
            }
        }
        batch
    }

    /// Keys that share any number of nibbles with others, so that accounts have the same owner bytes, too.
    pub(crate) fn change_hashed(&mut self, rng: &mut Rng, changes: u64) -> HashedBatch {
        let mut batch = HashedBatch::default();
        let near = |rng: &mut Rng, mut key: B256| {
            let at = rng.below(64) as usize;
            key[at / 2] ^= (1 + rng.below(15) as u8) << if at.is_multiple_of(2) { 4 } else { 0 };
            key
        };
        for _ in 0..changes {
            let some = self.0.keys().nth(rng.below(self.0.len() as u64) as usize).copied();
            let mut key = some.unwrap_or_else(|| keccak256(rng.bits().to_be_bytes()));
            if rng.chance(40) && self.0.len() < 300 {
                key = near(rng, key);
            }
            let after = account(rng);
            batch.account(key, after);
            self.0.entry(key).or_default().0 = after;
            for _ in 0..rng.below(6) {
                let there = &self.0[&key].1;
                let some = there.keys().nth(rng.below(there.len() as u64) as usize).copied();
                let mut slot = some.unwrap_or_else(|| keccak256(rng.bits().to_be_bytes()));
                if rng.chance(60) && there.len() < 60 {
                    slot = near(rng, slot);
                }
                let value = value(rng);
                batch.slot(slot, value);
                self.set(key, [(slot, value)].into_iter());
            }
        }
        batch
    }

    pub(crate) fn compare(&self, rng: &mut Rng, view: &View, told: &str) {
        let (addresses, slots) = &*NAMES;
        let mut reader = view.reader();
        for _ in 0..rng.below(20) {
            let address = addresses[rng.below(addresses.len() as u64) as usize];
            let key = keccak256(address);
            assert_eq!(reader.account(&address).unwrap(), self.account(&key), "{address} {told}");
            for _ in 0..rng.below(12) {
                let slot = slots[rng.below(slots.len() as u64) as usize];
                let value = self.slot(&key, &slot_key(&slot));
                assert_eq!(reader.slot(&address, &slot).unwrap(), value, "{address} {slot} {told}");
            }
        }
        if rng.chance(15) {
            self.prove(rng, view, told);
        }
        if rng.chance(10) {
            self.list(view, told);
        }
    }

    fn prove(&self, rng: &mut Rng, view: &View, told: &str) {
        let (addresses, slots) = &*NAMES;
        let address = addresses[rng.below(addresses.len() as u64) as usize];
        let some: Vec<U256> = (0..3).map(|_| slots[rng.below(slots.len() as u64) as usize]).collect();
        let proof = view.proof(address, &some).unwrap();
        let key = keccak256(address);
        assert_eq!(proof.account, self.account(&key), "{told}");
        let expected = proof.account.map(alloy_rlp::encode);
        verify_proof(view.root(), Nibbles::unpack(key), expected, &proof.proof).unwrap();
        for slot in &proof.slots {
            let hashed = slot_key(&slot.slot);
            assert_eq!(slot.value, self.slot(&key, &hashed), "{told}");
            let expected = (!slot.value.is_zero()).then(|| alloy_rlp::encode(slot.value));
            verify_proof(proof.storage_root(), Nibbles::unpack(hashed), expected, &slot.proof).unwrap();
        }
    }

    fn list(&self, view: &View, told: &str) {
        let mut there = World::default();
        let mut last = B256::ZERO;
        for entry in view.entries() {
            match entry.unwrap_or_else(|error| panic!("{error} {told}")) {
                Entry::Account { key, account } => {
                    assert_eq!(Some(account), self.account(&key), "{told}");
                    there.0.insert(key, (self.0[&key].0, BTreeMap::new()));
                    last = key;
                }
                Entry::Slot { key, value } => drop(there.0.get_mut(&last).unwrap().1.insert(key, value)),
            }
        }
        assert_eq!(&there, self, "{told}");
    }
}

pub(crate) fn account(rng: &mut Rng) -> TrieAccount {
    let code_hash = keccak256(rng.below(3).to_be_bytes());
    TrieAccount { nonce: rng.below(3), balance: U256::from(rng.below(1000)), code_hash, ..Default::default() }
}

pub(crate) fn value(rng: &mut Rng) -> U256 {
    U256::from(rng.below(3)) << (rng.below(250) as usize)
}
