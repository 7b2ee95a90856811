//! The tries of a witness, changed from block to block.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_evm::{AccountDiff, AccountInfoDiff};
use braid_keccak::keccak256_many;
use braid_store::trie::{Crew, PartialTrie, TrieError, TrieNodes};
use braid_work::{Witness, witness::WitnessError};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

/// Slots that a block must change for their tries to be changed by several workers.
const SHARE_MIN: usize = 128;

type Map<K, V> = HashMap<K, V, RandomState>;

/// The storage trie of an account, some of it set ahead.
#[derive(Clone, Debug)]
struct Storage<'a> {
    /// The root before the block.
    before: B256,
    trie: PartialTrie<'a>,
    /// Slots that were set, to what, and what was there before.
    set: Map<U256, (U256, Option<Vec<u8>>)>,
    wants_hash: bool,
}

impl<'a> Storage<'a> {
    fn new(before: B256, trie: PartialTrie<'a>) -> Self {
        Storage { before, trie, set: Map::default(), wants_hash: false }
    }

    /// Sets a slot ahead.
    fn set_ahead(&mut self, slot: U256, key: B256, value: U256) -> Result<(), TrieError> {
        let before = match self.set.get(&slot) {
            Some((set, _)) if *set == value => return Ok(()),
            Some((_, before)) => before.clone(),
            None => self.trie.find(key)?,
        };
        self.trie.set(key, &alloy_rlp::encode(value))?;
        self.set.insert(slot, (value, before));
        self.wants_hash = true;
        Ok(())
    }

    /// Makes the storage what it is after the block, whatever was set ahead. `keys` are those of `slots`.
    fn finish(&mut self, slots: &BTreeMap<U256, U256>, keys: &[B256]) -> Result<(), TrieError> {
        let set = std::mem::take(&mut self.set);
        let mut rlp = Vec::with_capacity(33);
        for ((slot, value), key) in slots.iter().zip(keys).filter(|((_, value), _)| !value.is_zero()) {
            if set.get(slot).is_none_or(|(ahead, _)| ahead != value) {
                rlp.clear();
                value.encode(&mut rlp);
                self.trie.set(*key, &rlp)?;
            }
        }
        let mut back: Vec<_> = set.into_iter().filter(|(slot, _)| !slots.contains_key(slot)).collect();
        back.sort_unstable_by_key(|(slot, _)| *slot);
        let hashed = |slot: &U256| keccak256(slot.to_be_bytes::<32>());
        for (slot, (_, before)) in &back {
            if let Some(before) = before {
                self.trie.set(hashed(slot), before)?;
            }
        }
        for (slot, _) in back.iter().filter(|(_, (_, before))| before.is_none()) {
            self.trie.remove(hashed(slot))?;
        }
        for ((_, _), key) in slots.iter().zip(keys).filter(|((_, value), _)| value.is_zero()) {
            self.trie.remove(*key)?;
        }
        Ok(())
    }
}

/// The hashes of keys.
pub(crate) fn hashed<T: AsRef<[u8]>>(plain: &[T]) -> Vec<B256> {
    let mut keys = vec![B256::ZERO; plain.len()];
    keccak256_many(plain, &mut keys);
    keys
}

/// What a block does to an account.
struct Change<'d, 'a> {
    address: Address,
    key: B256,
    /// None if it goes.
    info: Option<AccountInfoDiff>,
    slots: &'d BTreeMap<U256, U256>,
    /// Where the keys of the slots are.
    keys: Range<usize>,
    /// If slots change, or were changed ahead.
    storage: Option<Box<Storage<'a>>>,
    /// Else the root of its storage.
    storage_root: B256,
}

/// Makes storages what they are after the block, and hashes them. Each worker takes some, and as one that changes more
/// than all others is hashed by all.
fn finish_storages(
    changes: &mut [Change<'_, '_>],
    keys: &[B256],
    crew: &mut Crew<'_>,
) -> Result<(), WitnessError> {
    let workers = crew.workers().min(1 + keys.len() / SHARE_MIN);
    let mut with_storage: Vec<_> = changes.iter_mut().filter(|change| change.storage.is_some()).collect();
    // The heaviest first, each to who has least.
    with_storage.sort_by_key(|change| Reverse(change.keys.len()));
    let even = with_storage.first().is_none_or(|first| first.keys.len() <= keys.len() / workers);
    let mut groups: Vec<(usize, Vec<&mut Change<'_, '_>>)> = Vec::new();
    groups.resize_with(workers, Default::default);
    for change in with_storage {
        if let Some((weight, group)) = groups.iter_mut().min_by_key(|(weight, _)| *weight) {
            *weight += 1 + change.keys.len();
            group.push(change);
        }
    }
    let finish = |group: &mut [&mut Change<'_, '_>]| {
        for change in &mut *group {
            let Some(storage) = &mut change.storage else { continue };
            let done = storage.finish(change.slots, &keys[change.keys.clone()]);
            done.map_err(|error| WitnessError::Storage { address: change.address, error })?;
        }
        if even {
            let tries = group.iter_mut().filter_map(|change| Some(&mut change.storage.as_mut()?.trie));
            PartialTrie::hash_all(tries, &mut Crew::alone());
        }
        Ok(())
    };
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| Mutex::new((group, Ok(())))).collect();
    crew.split(workers, &|at| {
        let (group, done) = &mut *groups[at].lock();
        *done = finish(group);
    });
    groups.into_iter().try_for_each(|group| group.into_inner().1)?;
    if !even {
        let tries = changes.iter_mut().filter_map(|change| Some(&mut change.storage.as_mut()?.trie));
        PartialTrie::hash_all(tries, crew);
    }
    Ok(())
}

/// The tries that a witness reveals, to be changed as a block changes the state. All nodes of the witness are verified
/// and decoded once, when they are made, as they have to be before anything of the witness is believed.
#[derive(Clone, Debug)]
pub struct WitnessTries<'a> {
    nodes: &'a TrieNodes,
    accounts: PartialTrie<'a>,
    /// By the hash of the address.
    storages: Map<B256, Box<Storage<'a>>>,
}

impl<'a> WitnessTries<'a> {
    /// Those of a witness, of which `nodes` are the nodes.
    pub fn new(witness: &Witness, nodes: &'a TrieNodes) -> Self {
        let mut accounts = PartialTrie::new(witness.pre_state_root, nodes);
        // Each node stands in one place, but for storages that are equal; what is beyond is revealed when asked for.
        let mut room = 2 * witness.nodes.len();
        room = room.saturating_sub(accounts.reveal(room));
        let mut storages = Map::default();
        for (key, mut rlp) in accounts.revealed() {
            let Ok(account) = TrieAccount::decode(&mut rlp) else { continue };
            if account.storage_root != EMPTY_ROOT_HASH && room > 0 {
                let mut trie = PartialTrie::new(account.storage_root, nodes);
                room = room.saturating_sub(trie.reveal(room));
                storages.insert(*key, Box::new(Storage::new(account.storage_root, trie)));
            }
        }
        WitnessTries { nodes, accounts, storages }
    }

    /// The root of the storage of an account before the block.
    fn storage_root(&mut self, address: Address, key: B256) -> Result<B256, WitnessError> {
        let in_trie = |error| WitnessError::Account { address, error };
        let Some(mut rlp) = self.accounts.value(key).map_err(in_trie)? else { return Ok(EMPTY_ROOT_HASH) };
        let account = TrieAccount::decode(&mut rlp)
            .map_err(|error| WitnessError::Rlp { address, reason: error.to_string() })?;
        Ok(account.storage_root)
    }

    /// The storage of an account, which had this root before the block, some of it set ahead. It is gone from here.
    fn take_storage(&mut self, key: B256, before: B256) -> Box<Storage<'a>> {
        match self.storages.remove(&key) {
            Some(storage) if storage.before == before => storage,
            _ => Box::new(Storage::new(before, PartialTrie::new(before, self.nodes))),
        }
    }

    /// Makes sure that the way to an account is known.
    pub(crate) fn look(&mut self, address: Address, key: B256) -> Result<(), WitnessError> {
        self.storage_root(address, key).map(drop)
    }

    /// Sets a slot, which is not zero, before it is certain that it ends so.
    pub(crate) fn set_ahead(
        &mut self,
        (address, key): (Address, B256),
        (slot, slot_key): (U256, B256),
        value: U256,
    ) -> Result<(), WitnessError> {
        let before = self.storage_root(address, key)?;
        let mut storage = self.take_storage(key, before);
        let done = storage.set_ahead(slot, slot_key, value);
        self.storages.insert(key, storage);
        done.map_err(|error| WitnessError::Storage { address, error })
    }

    /// Hashes one storage trie that was changed ahead, if there is one.
    pub(crate) fn hash_one(&mut self) -> bool {
        let Some(storage) = self.storages.values_mut().find(|storage| storage.wants_hash) else {
            return false;
        };
        storage.wants_hash = false;
        storage.trie.root();
        true
    }

    /// What a block does to accounts, and the keys of all slots that it changes.
    fn changes<'d>(
        &mut self,
        diff: &'d BTreeMap<Address, AccountDiff>,
        clears_empty: bool,
    ) -> Result<(Vec<Change<'d, 'a>>, Vec<B256>), WitnessError> {
        let addresses: Vec<&Address> = diff.keys().collect();
        let count = diff.values().map(|change| change.storage.len()).sum();
        let mut slots: Vec<[u8; 32]> = Vec::with_capacity(count);
        let mut changes = Vec::with_capacity(diff.len());
        for ((address, change), key) in diff.iter().zip(hashed(&addresses)) {
            let empty = |info: &AccountInfoDiff| {
                info.balance.is_zero() && info.nonce == 0 && info.code_hash == KECCAK256_EMPTY
            };
            let info = change.account.filter(|info| !(clears_empty && empty(info)));
            let from = slots.len();
            let (mut storage, mut storage_root) = (None, EMPTY_ROOT_HASH);
            if info.is_some() {
                slots.extend(change.storage.keys().map(|slot| slot.to_be_bytes::<32>()));
                if !change.wiped {
                    storage_root = self.storage_root(*address, key)?;
                }
                let ahead = self.storages.get(&key).is_some_and(|storage| !storage.set.is_empty());
                if !change.storage.is_empty() || (ahead && !change.wiped) {
                    storage = Some(self.take_storage(key, storage_root));
                }
            }
            let keys = from..slots.len();
            let slots = &change.storage;
            changes.push(Change { address: *address, key, info, slots, keys, storage, storage_root });
        }
        Ok((changes, hashed(&slots)))
    }

    /// Changes the tries as the block does, whatever was done ahead; the root after it. With `clears_empty` (EIP-161) an
    /// account that ends empty is not in the state.
    ///
    /// # Errors
    /// If the witness lacks a node that the change needs, or has one that is not right. The tries are good for nothing
    /// then. What was done ahead may need nodes that the block does not.
    pub fn root_after(
        &mut self,
        diff: &BTreeMap<Address, AccountDiff>,
        clears_empty: bool,
        crew: &mut Crew<'_>,
    ) -> Result<B256, WitnessError> {
        let (mut changes, keys) = self.changes(diff, clears_empty)?;
        // Storage tries before the accounts that they are of.
        finish_storages(&mut changes, &keys, crew)?;
        let mut rlp = Vec::with_capacity(128);
        let in_trie = |address| move |error| WitnessError::Account { address, error };
        for change in &mut changes {
            let Some(AccountInfoDiff { nonce, balance, code_hash, .. }) = change.info else { continue };
            let mut storage_root = change.storage_root;
            if let Some(mut storage) = change.storage.take() {
                storage_root = storage.trie.root();
                storage.before = storage_root;
                self.storages.insert(change.key, storage);
            }
            rlp.clear();
            TrieAccount { nonce, balance, storage_root, code_hash }.encode(&mut rlp);
            self.accounts.set(change.key, &rlp).map_err(in_trie(change.address))?;
        }
        // Removals last: what was inserted keeps branches from collapsing onto nodes that no witness has.
        for change in changes.iter().filter(|change| change.info.is_none()) {
            self.accounts.remove(change.key).map_err(in_trie(change.address))?;
        }
        Ok(self.accounts.root_by(crew))
    }
}
