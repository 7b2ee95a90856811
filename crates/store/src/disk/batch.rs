//! The changes of a block.

use super::{
    kinds::{AccountChange, Record, SlotChange},
    record::VALUE_MAX,
};
use alloy_primitives::{Address, U256, keccak256};
use alloy_trie::TrieAccount;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use rayon::prelude::*;

const _: () = assert!(VALUE_MAX >= 33);

#[derive(Clone, Debug)]
struct Entry {
    record: Record,
    wiped: bool,
    slots: Vec<(U256, U256)>,
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

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All slots that it sets.
    pub(super) fn all_slots(&self) -> impl Iterator<Item = (Address, U256, U256)> {
        self.entries
            .iter()
            .flat_map(|(address, entry)| entry.slots.iter().map(|(slot, value)| (*address, *slot, *value)))
    }

    /// The changes by hashed keys, sorted; hashed by all workers if it is `shared`.
    pub(crate) fn sorted(&self, shared: bool) -> Vec<AccountChange> {
        let entries: Vec<(&Address, &Entry)> = self.entries.iter().collect();
        let change = |(address, entry): (&Address, &Entry)| AccountChange {
            key: keccak256(address),
            address: Some(*address),
            record: entry.record,
            wiped: entry.wiped,
            slots: sorted_slots(&entry.slots),
            touches: Vec::new(),
        };
        let mut changes: Vec<AccountChange> = match shared {
            true => entries.into_par_iter().with_min_len(64).map(change).collect(),
            false => entries.into_iter().map(change).collect(),
        };
        match shared {
            true => changes.par_sort_unstable_by_key(|change| change.key),
            false => changes.sort_unstable_by_key(|change| change.key),
        }
        changes
    }
}

fn sorted_slots(slots: &[(U256, U256)]) -> Vec<SlotChange> {
    let mut sorted: Vec<SlotChange> = slots
        .iter()
        .map(|(slot, value)| SlotChange {
            key: keccak256(slot.to_be_bytes::<32>()),
            value: (!value.is_zero()).then(|| alloy_rlp::encode(value)),
        })
        .collect();
    sort_slots(&mut sorted);
    sorted
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
