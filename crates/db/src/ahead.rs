//! The state root of a block, begun while the block is executed.
//!
//! 1. The writes of transactions that are final are handed on in order ([`Told::feed`]). They show which accounts and
//!    slots the root will need, and mostly what slots will hold.
//! 2. A thread of the lowest priority, which runs where no worker does, reveals the ways to them in the tries of a
//!    witness, sets slots, and hashes storage tries. It works in small steps and stops when execution ends.
//! 3. Then the changes of the block are made, whatever was done ahead: a slot that was set otherwise is set again, and
//!    one that ends as it began is put back. So what was fed decides how long that takes, and not what the root is.
//! 4. Slots are removed at the end only, as without all this: a witness need not have the nodes that removing and
//!    adding again would ask for. If it lacks one all the same, all is done again without what was done ahead.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_core::Write;
use braid_evm::{AccountDiff, EvmKey, EvmValue};
use braid_store::trie::{PartialTrie, TrieError, TrieNodes};
use braid_work::{
    Witness,
    witness::{WitnessError, state_root_after},
};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Writes that are handed on together.
const BATCH: usize = 32;
/// Locations between two looks at whether execution has ended.
const STEP: usize = 16;

type Map<K, V> = HashMap<K, V, RandomState>;

/// One write, as far as roots are concerned.
enum Fed {
    Account(Address),
    Slot(Address, U256, U256),
}

/// Hands on what transactions write.
#[derive(Debug)]
pub struct Told {
    batch: Vec<Fed>,
    to: Sender<Vec<Fed>>,
}

impl std::fmt::Debug for Fed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fed::Account(address) => write!(f, "{address}"),
            Fed::Slot(address, slot, value) => write!(f, "{address} {slot}: {value}"),
        }
    }
}

impl Told {
    /// Takes the writes of the next transaction; see [`braid_evm::Feed`].
    pub fn feed(&mut self, writes: &[(EvmKey, Write<EvmValue>)]) {
        for (key, write) in writes {
            match (key, write) {
                (EvmKey::Account(address), _) => self.batch.push(Fed::Account(*address)),
                (EvmKey::Slot { address, generation: 0, slot }, Write::Put(EvmValue::Slot(value))) => {
                    self.batch.push(Fed::Slot(*address, *slot, *value));
                }
                // Of another life, or gone: that is for the end.
                _ => {}
            }
        }
        if self.batch.len() >= BATCH {
            // Nobody listens any more only if the rooter panicked, which its join tells.
            drop(self.to.send(std::mem::take(&mut self.batch)));
        }
    }
}

/// The storage trie of an account, some of it set ahead.
struct Storage<'a> {
    trie: PartialTrie<'a>,
    /// Slots that were set, to what, and what was there before.
    set: Map<U256, (U256, Option<Vec<u8>>)>,
    wants_hash: bool,
}

/// The tries of a witness, changed ahead.
struct Ahead<'a> {
    nodes: &'a TrieNodes,
    accounts: PartialTrie<'a>,
    /// Accounts to which the way is known.
    revealed: Map<Address, ()>,
    keys: Map<Address, B256>,
    slot_keys: Map<U256, B256>,
    storages: Map<Address, Storage<'a>>,
}

/// How a root that was begun ahead came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AheadStats {
    /// For how long the root was worked on while the block was executed.
    pub ahead: Duration,
    /// And after that.
    pub after: Duration,
    /// Accounts and slots that were looked at ahead.
    pub locations: usize,
    /// Whether all was done again without what was done ahead.
    pub again: bool,
}

fn in_trie(address: Address) -> impl Fn(TrieError) -> WitnessError {
    move |error| WitnessError::Account { address, error }
}

impl<'a> Ahead<'a> {
    fn new(root: B256, nodes: &'a TrieNodes) -> Self {
        Ahead {
            nodes,
            accounts: PartialTrie::new(root, nodes),
            revealed: Map::default(),
            keys: Map::default(),
            slot_keys: Map::default(),
            storages: Map::default(),
        }
    }

    fn key(&mut self, address: Address) -> B256 {
        *self.keys.entry(address).or_insert_with(|| keccak256(address))
    }

    fn slot_key(&mut self, slot: U256) -> B256 {
        *self.slot_keys.entry(slot).or_insert_with(|| keccak256(slot.to_be_bytes::<32>()))
    }

    /// The account before the block; the way to it is revealed.
    fn account(&mut self, address: Address) -> Result<Option<TrieAccount>, WitnessError> {
        let key = self.key(address);
        let Some(rlp) = self.accounts.find(key).map_err(in_trie(address))? else { return Ok(None) };
        let account = TrieAccount::decode(&mut rlp.as_slice())
            .map_err(|error| WitnessError::Rlp { address, reason: error.to_string() })?;
        Ok(Some(account))
    }

    /// The storage of an account as it was before the block, but for what is set.
    fn storage(&mut self, address: Address) -> Result<&mut Storage<'a>, WitnessError> {
        if !self.storages.contains_key(&address) {
            let before = self.account(address)?;
            let root = before.map_or(EMPTY_ROOT_HASH, |account| account.storage_root);
            let trie = PartialTrie::new(root, self.nodes);
            self.storages.insert(address, Storage { trie, set: Map::default(), wants_hash: false });
        }
        match self.storages.get_mut(&address) {
            Some(storage) => Ok(storage),
            None => unreachable!("it was put there"),
        }
    }

    /// Works on one location; what fails is left for the end.
    fn take(&mut self, fed: &Fed) -> Result<(), WitnessError> {
        match *fed {
            Fed::Account(address) => {
                if self.revealed.insert(address, ()).is_some() {
                    return Ok(());
                }
                self.account(address)?;
                Ok(())
            }
            Fed::Slot(address, slot, value) => {
                let key = self.slot_key(slot);
                if value.is_zero() {
                    return Ok(());
                }
                let storage = self.storage(address)?;
                let in_storage = |error| WitnessError::Storage { address, error };
                let before = match storage.set.get(&slot) {
                    Some((set, _)) if *set == value => return Ok(()),
                    Some((_, before)) => before.clone(),
                    None => storage.trie.find(key).map_err(in_storage)?,
                };
                storage.trie.insert(key, alloy_rlp::encode(value)).map_err(in_storage)?;
                storage.set.insert(slot, (value, before));
                storage.wants_hash = true;
                Ok(())
            }
        }
    }

    /// Hashes one storage trie that changed, if there is one.
    fn hash_one(&mut self) -> bool {
        let Some(storage) = self.storages.values_mut().find(|storage| storage.wants_hash) else {
            return false;
        };
        storage.wants_hash = false;
        storage.trie.root();
        true
    }

    /// The root after `diff`, whatever was done ahead.
    fn finish(
        mut self,
        diff: &BTreeMap<Address, AccountDiff>,
        clears_empty: bool,
    ) -> Result<B256, WitnessError> {
        let (mut gone, mut set) = (Vec::new(), Vec::new());
        for (address, change) in diff {
            let empty = |info: &braid_evm::AccountInfoDiff| {
                info.balance.is_zero() && info.nonce == 0 && info.code_hash == KECCAK256_EMPTY
            };
            let key = self.key(*address);
            let Some(info) = change.account.filter(|info| !(clears_empty && empty(info))) else {
                gone.push((address, key));
                continue;
            };
            if change.wiped {
                let (trie, set) = (PartialTrie::new(EMPTY_ROOT_HASH, self.nodes), Map::default());
                self.storages.insert(*address, Storage { trie, set, wants_hash: false });
            }
            if !change.storage.is_empty() || self.storages.contains_key(address) {
                self.set_slots(*address, &change.storage)?;
            }
            set.push((address, key, info));
        }
        // Storage tries before the accounts that they are of.
        self.storages.values().collect::<Vec<_>>().into_par_iter().for_each(|storage| {
            storage.trie.root_shared();
        });
        for (address, key, info) in set {
            let storage_root = match self.storages.get(address) {
                Some(storage) => storage.trie.root(),
                None => self.account(*address)?.map_or(EMPTY_ROOT_HASH, |account| account.storage_root),
            };
            let (nonce, balance, code_hash) = (info.nonce, info.balance, info.code_hash);
            let account = TrieAccount { nonce, balance, storage_root, code_hash };
            self.accounts.insert(key, alloy_rlp::encode(account)).map_err(in_trie(*address))?;
        }
        for (address, key) in gone {
            self.accounts.remove(key).map_err(in_trie(*address))?;
        }
        Ok(self.accounts.root_shared())
    }

    /// Makes the storage of an account what it is after the block.
    fn set_slots(&mut self, address: Address, slots: &BTreeMap<U256, U256>) -> Result<(), WitnessError> {
        let keys: Vec<(U256, B256, U256)> =
            slots.iter().map(|(slot, value)| (*slot, self.slot_key(*slot), *value)).collect();
        let storage = self.storage(address)?;
        let set = std::mem::take(&mut storage.set);
        let in_storage = |error| WitnessError::Storage { address, error };
        for (slot, key, value) in keys.iter().filter(|(_, _, value)| !value.is_zero()) {
            if set.get(slot).is_none_or(|(ahead, _)| ahead != value) {
                storage.trie.insert(*key, alloy_rlp::encode(value)).map_err(in_storage)?;
            }
        }
        let mut back: Vec<_> = set.into_iter().filter(|(slot, _)| !slots.contains_key(slot)).collect();
        back.sort_unstable_by_key(|(slot, _)| *slot);
        let (put, mut removed): (Vec<_>, Vec<_>) =
            back.into_iter().partition(|(_, (_, before))| before.is_some());
        let hashed = |slot: &U256| keccak256(slot.to_be_bytes::<32>());
        for (slot, (_, before)) in put {
            storage.trie.insert(hashed(&slot), before.unwrap_or_default()).map_err(in_storage)?;
        }
        for (slot, _) in removed.drain(..) {
            storage.trie.remove(hashed(&slot)).map_err(in_storage)?;
        }
        for (_, key, _) in keys.iter().filter(|(_, _, value)| value.is_zero()) {
            storage.trie.remove(*key).map_err(in_storage)?;
        }
        Ok(())
    }
}

/// Runs on a thread of its own until execution ends.
fn run<'a>(
    mut ahead: Ahead<'a>,
    from: &Receiver<Vec<Fed>>,
    ended: &AtomicBool,
) -> (Ahead<'a>, usize, Duration) {
    // Only where nobody else wants to run. If the system refuses, execution is slowed down, and no more.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    let (mut locations, mut busy) = (0, Duration::ZERO);
    // Relaxed: the flag carries no data; a late look only delays the stop.
    let ended = || ended.load(Ordering::Relaxed);
    while let Ok(mut batch) = from.recv() {
        let start = Instant::now();
        batch.extend(from.try_iter().flatten());
        for step in batch.chunks(STEP) {
            if ended() {
                break;
            }
            for fed in step {
                // What cannot be done ahead is met again at the end, and told there.
                drop(ahead.take(fed));
            }
            locations += step.len();
        }
        while !ended() && ahead.hash_one() {}
        busy += start.elapsed();
    }
    (ahead, locations, busy)
}

/// Executes a block by `execute`, which is given what takes the writes of transactions as they become final and
/// returns what it made and what that changed, and finds out the state root after it by a witness. `nodes` are those of
/// the witness. With `clears_empty` (EIP-161) an account that ends empty is not in the state.
///
/// # Errors
/// That of `execute`, or that of the root, as [`state_root_after`] has it.
pub fn root_ahead<T, E>(
    witness: &Witness,
    nodes: &TrieNodes,
    clears_empty: bool,
    execute: impl FnOnce(&mut Told) -> Result<T, E>,
    diff: impl FnOnce(&T) -> BTreeMap<Address, AccountDiff>,
) -> Result<(T, Result<B256, WitnessError>, AheadStats), E> {
    let (to, from) = channel();
    let ended = AtomicBool::new(false);
    let ahead = Ahead::new(witness.pre_state_root, nodes);
    let (done, ran) = thread::scope(|scope| {
        let ended = &ended;
        let rooter = scope.spawn(move || run(ahead, &from, ended));
        let mut told = Told { batch: Vec::with_capacity(BATCH), to };
        let done = execute(&mut told);
        ended.store(true, Ordering::Relaxed);
        drop(told);
        (done, rooter.join())
    });
    let done = done?;
    let start = Instant::now();
    let diff = diff(&done);
    let mut stats = AheadStats::default();
    let root = match ran {
        Ok((ahead, locations, busy)) => {
            (stats.locations, stats.ahead) = (locations, busy);
            ahead.finish(&diff, clears_empty).ok()
        }
        Err(_) => None,
    };
    stats.again = root.is_none();
    let root = root.map_or_else(|| state_root_after(witness, &diff, clears_empty), Ok);
    stats.after = start.elapsed();
    Ok((done, root, stats))
}
