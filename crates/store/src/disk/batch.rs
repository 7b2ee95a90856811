//! The changes of a block.

use super::{
    kinds::{AccountChange, Record, SlotChange, Value},
    record::VALUE_MAX,
    sorted::Sorted,
};
use crate::trie::Crew;
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Encodable;
use alloy_trie::TrieAccount;
use braid_keccak::keccak256_many;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

const _: () = assert!(VALUE_MAX >= 33);

/// Keys that are hashed together.
const TOGETHER: usize = 64;

/// What is said of an account.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) wiped: bool,
    pub(super) slots: Vec<(U256, U256)>,
}

/// Changes of accounts and their slots that make one version of another. What is changed twice is as it was
/// changed last.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    entries: HashMap<Address, Entry, RandomState>,
}

impl Batch {
    fn entry(&mut self, address: Address) -> &mut Entry {
        self.entries.entry(address).or_insert_with(|| Entry {
            record: Record::Keep,
            wiped: false,
            slots: Vec::new(),
        })
    }

    /// Sets the account at `address`, or removes it and its storage. If `wiped`, its slots so far are gone;
    /// `slots` are set, a value of zero is an empty slot, and all others stay as they are. The storage root of
    /// `account` is not looked at: it follows from the slots.
    pub fn change(
        &mut self,
        address: Address,
        account: Option<TrieAccount>,
        wiped: bool,
        slots: impl IntoIterator<Item = (U256, U256)>,
    ) {
        let entry = self.entry(address);
        let gone = account.is_none();
        if gone || wiped {
            entry.slots.clear();
        }
        // Who was removed and is there again has lost its slots on the way.
        entry.wiped |= wiped || gone;
        entry.record = account.map_or(Record::Remove, Record::Set);
        if !gone {
            entry.slots.extend(slots);
        }
    }

    /// Sets slots of an account whose record stays as it is. That the account exists is checked when the batch
    /// is prepared.
    pub fn slots(&mut self, address: Address, slots: impl IntoIterator<Item = (U256, U256)>) {
        let entry = self.entry(address);
        if entry.record != Record::Remove {
            entry.slots.extend(slots);
        }
    }

    /// Number of accounts that are changed, or whose slots are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of accounts and slots that are changed.
    pub(super) fn changes(&self) -> usize {
        self.entries.values().map(|entry| 1 + entry.slots.len()).sum()
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The changes by hashed keys, sorted.
    pub(crate) fn sorted(&self) -> Vec<AccountChange> {
        self.sorted_by(&mut Crew::alone(), Sorted::default()).changes
    }

    /// The changes by hashed keys, sorted by a crew, in the memory of others.
    pub(super) fn sorted_by(&self, crew: &mut Crew<'_>, spare: Sorted) -> Sorted {
        let entries: Vec<(&Address, &Entry)> = self.entries.iter().collect();
        Sorted::of(&entries, crew, spare)
    }
}

/// The hashes of keys, of `N` bytes each.
pub(super) fn hashed<T, const N: usize>(all: &[T], key: impl Fn(&T) -> [u8; N]) -> Vec<B256> {
    let mut hashes = Vec::new();
    hash_into(&mut hashes, all, key);
    hashes
}

/// Makes `hashes` those of keys, of `N` bytes each.
pub(super) fn hash_into<T, const N: usize>(hashes: &mut Vec<B256>, all: &[T], key: impl Fn(&T) -> [u8; N]) {
    hashes.resize(all.len(), B256::ZERO);
    for (some, hashes) in all.chunks(TOGETHER).zip(hashes.chunks_mut(TOGETHER)) {
        let mut keys = [[0; N]; TOGETHER];
        keys.iter_mut().zip(some).for_each(|(into, one)| *into = key(one));
        keccak256_many(&keys[..some.len()], hashes);
    }
}

/// Changes of slots that are set, sorted.
pub(super) fn set_slots<'a>(slots: impl Iterator<Item = (&'a U256, &'a U256)>) -> Vec<SlotChange> {
    let plain: Vec<(&U256, &U256)> = slots.collect();
    let keys = hashed(&plain, |(slot, _)| slot.to_be_bytes::<32>());
    let set = keys.iter().zip(plain);
    let mut slots: Vec<SlotChange> =
        set.map(|(key, (_, value))| SlotChange { key: *key, value: slot_value(value) }).collect();
    slots.sort_unstable_by_key(|change| change.key);
    slots
}

/// The value of a slot as it stands in its leaf; none if that is empty.
pub(super) fn slot_value(value: &U256) -> Option<Value> {
    (!value.is_zero()).then(|| {
        let (mut rlp, len) = ([0; 33], value.length());
        value.encode(&mut &mut rlp[..]);
        Value::from_slice(&rlp[..len])
    })
}

/// By key, each once.
pub(super) fn sort_slots(slots: &mut Vec<SlotChange>) {
    // Stable, so that the last of those with one key is the last that was said of it.
    slots.sort_by_key(|change| change.key);
    slots.dedup_by(|later, earlier| {
        let same = later.key == earlier.key;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}
