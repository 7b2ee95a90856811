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
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_core::Write;
use braid_evm::{AccountDiff, AccountInfoDiff, EvmKey, EvmValue};
use braid_keccak::keccak256_many;
use braid_store::trie::{PartialTrie, TrieError, TrieNodes};
use braid_work::{
    Witness,
    witness::{WitnessError, state_root_after},
};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

/// Writes that are handed on together.
const BATCH: usize = 32;
/// Locations between two looks at whether execution has ended.
const STEP: usize = 16;
/// Slots that a block must change for their tries to be changed by several workers.
const SHARE_MIN: usize = 128;

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
#[derive(Debug)]
struct Storage<'a> {
    trie: PartialTrie<'a>,
    /// Slots that were set, to what, and what was there before.
    set: Map<U256, (U256, Option<Vec<u8>>)>,
    wants_hash: bool,
}

impl<'a> Storage<'a> {
    fn new(root: B256, nodes: &'a TrieNodes) -> Self {
        Storage { trie: PartialTrie::new(root, nodes), set: Map::default(), wants_hash: false }
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

/// The tries of a witness, changed ahead.
struct Ahead<'a> {
    nodes: &'a TrieNodes,
    accounts: PartialTrie<'a>,
    /// Accounts to which the way is known.
    revealed: Map<Address, ()>,
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

/// The hashes of keys.
fn hashed<T: AsRef<[u8]>>(plain: &[T]) -> Vec<B256> {
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
    storage: Option<Storage<'a>>,
    /// Else the root of its storage.
    storage_root: B256,
}

impl<'a> Ahead<'a> {
    fn new(root: B256, nodes: &'a TrieNodes) -> Self {
        let (revealed, storages) = (Map::default(), Map::default());
        Ahead { nodes, accounts: PartialTrie::new(root, nodes), revealed, storages }
    }

    /// The root of the storage of an account before the block; the way to it is revealed.
    fn storage_root(&mut self, address: Address, key: B256) -> Result<B256, WitnessError> {
        let Some(mut rlp) = self.accounts.value(key).map_err(in_trie(address))? else {
            return Ok(EMPTY_ROOT_HASH);
        };
        let account = TrieAccount::decode(&mut rlp)
            .map_err(|error| WitnessError::Rlp { address, reason: error.to_string() })?;
        Ok(account.storage_root)
    }

    /// Works on some locations; what fails is left for the end.
    fn take(&mut self, fed: &[Fed]) {
        let addresses: Vec<Address> = fed
            .iter()
            .map(|fed| match fed {
                Fed::Account(address) | Fed::Slot(address, ..) => *address,
            })
            .collect();
        let slots: Vec<[u8; 32]> = fed
            .iter()
            .map(|fed| match fed {
                Fed::Account(_) => [0; 32],
                Fed::Slot(_, slot, _) => slot.to_be_bytes(),
            })
            .collect();
        for ((fed, key), slot_key) in fed.iter().zip(hashed(&addresses)).zip(hashed(&slots)) {
            // What cannot be done ahead is met again at the end, and told there.
            drop(self.take_one(fed, key, slot_key));
        }
    }

    fn take_one(&mut self, fed: &Fed, key: B256, slot_key: B256) -> Result<(), WitnessError> {
        match *fed {
            Fed::Account(address) => {
                if self.revealed.insert(address, ()).is_none() {
                    self.storage_root(address, key)?;
                }
            }
            Fed::Slot(_, _, value) if value.is_zero() => {}
            Fed::Slot(address, slot, value) => {
                if !self.storages.contains_key(&address) {
                    let root = self.storage_root(address, key)?;
                    self.storages.insert(address, Storage::new(root, self.nodes));
                }
                if let Some(storage) = self.storages.get_mut(&address) {
                    let done = storage.set_ahead(slot, slot_key, value);
                    done.map_err(|error| WitnessError::Storage { address, error })?;
                }
            }
        }
        Ok(())
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
                storage = self.storages.remove(address).filter(|_| !change.wiped);
                if storage.is_none() && !change.wiped {
                    storage_root = self.storage_root(*address, key)?;
                }
                if storage.is_none() && !change.storage.is_empty() {
                    storage = Some(Storage::new(storage_root, self.nodes));
                }
            }
            let keys = from..slots.len();
            let slots = &change.storage;
            changes.push(Change { address: *address, key, info, slots, keys, storage, storage_root });
        }
        Ok((changes, hashed(&slots)))
    }

    /// The root after `diff`, whatever was done ahead.
    fn finish(
        mut self,
        diff: &BTreeMap<Address, AccountDiff>,
        clears_empty: bool,
    ) -> Result<B256, WitnessError> {
        let (mut changes, keys) = self.changes(diff, clears_empty)?;
        let finish = |change: &mut Change<'_, 'a>| {
            let Some(storage) = &mut change.storage else { return Ok(()) };
            let done = storage.finish(change.slots, &keys[change.keys.clone()]);
            done.map_err(|error| WitnessError::Storage { address: change.address, error })
        };
        match keys.len() >= SHARE_MIN {
            true => changes.par_iter_mut().with_min_len(8).try_for_each(finish)?,
            false => changes.iter_mut().try_for_each(finish)?,
        }
        // Storage tries before the accounts that they are of.
        let storages = changes.iter_mut().filter_map(|change| Some(&mut change.storage.as_mut()?.trie));
        PartialTrie::hash_all(storages, true);
        let mut rlp = Vec::with_capacity(128);
        for change in &changes {
            let Some(AccountInfoDiff { nonce, balance, code_hash, .. }) = change.info else { continue };
            let storage_root =
                change.storage.as_ref().map_or(change.storage_root, |storage| storage.trie.root());
            rlp.clear();
            TrieAccount { nonce, balance, storage_root, code_hash }.encode(&mut rlp);
            self.accounts.set(change.key, &rlp).map_err(in_trie(change.address))?;
        }
        // Removals last: what was inserted keeps branches from collapsing onto nodes that no witness has.
        for change in changes.iter().filter(|change| change.info.is_none()) {
            self.accounts.remove(change.key).map_err(in_trie(change.address))?;
        }
        Ok(self.accounts.root_shared())
    }
}

/// Works ahead until execution ends.
fn run(ahead: &mut Ahead<'_>, from: &Receiver<Vec<Fed>>, ended: &AtomicBool) -> (usize, Duration) {
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
            ahead.take(step);
            locations += step.len();
        }
        while !ended() && ahead.hash_one() {}
        busy += start.elapsed();
    }
    (locations, busy)
}

/// The thread that works ahead, for one block at a time; none if there can be none. It runs only where nobody else
/// wants to: if the system refuses that, execution is slowed down, and no more.
static ROOTER: LazyLock<Mutex<Option<ThreadPool>>> = LazyLock::new(|| {
    let start = |_| {
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    };
    let name = |_| "braid-root".to_owned();
    Mutex::new(ThreadPoolBuilder::new().num_threads(1).thread_name(name).start_handler(start).build().ok())
});

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
    diff: impl FnOnce(&T) -> &BTreeMap<Address, AccountDiff>,
) -> Result<(T, Result<B256, WitnessError>, AheadStats), E> {
    let (to, from) = channel();
    let ended = AtomicBool::new(false);
    let mut told = Told { batch: Vec::with_capacity(BATCH), to };
    let mut ahead = Ahead::new(witness.pre_state_root, nodes);
    let mut stats = AheadStats::default();
    // If it works for another block, nothing is done ahead: waiting for it could take for ever, as that block may be
    // the one from inside of which this one is executed.
    let done = match ROOTER.try_lock().as_deref() {
        Some(Some(rooter)) => rooter.in_place_scope(|scope| {
            let (ahead, stats) = (&mut ahead, &mut stats);
            let (ended, from) = (&ended, from);
            scope.spawn(move |_| (stats.locations, stats.ahead) = run(ahead, &from, ended));
            let done = execute(&mut told);
            ended.store(true, Ordering::Relaxed);
            drop(told);
            done
        }),
        _ => execute(&mut told),
    };
    let done = done?;
    let start = Instant::now();
    let diff = diff(&done);
    let root = ahead.finish(diff, clears_empty).ok();
    stats.again = root.is_none();
    let root = root.map_or_else(|| state_root_after(witness, diff, clears_empty), Ok);
    stats.after = start.elapsed();
    Ok((done, root, stats))
}
