//! The changes of a block.

use super::{
    kinds::{AccountChange, Record, SlotChange, Value},
    record::VALUE_MAX,
};
use crate::trie::Crew;
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Encodable;
use alloy_trie::TrieAccount;
use braid_keccak::keccak256_many;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

const _: () = assert!(VALUE_MAX >= 33);

/// Less accounts and slots than this for each worker are not shared.
const SHARE_MIN: usize = 256;
/// Keys that are hashed together.
const TOGETHER: usize = 64;

/// Slots by plain keys, and their values.
pub(super) type PlainSlots = Vec<(Address, U256, U256)>;

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

    /// The changes by hashed keys, sorted, and all slots that are set; hashed by a crew.
    pub(crate) fn sorted(&self, crew: &mut Crew<'_>) -> (Vec<AccountChange>, PlainSlots) {
        let entries: Vec<(&Address, &Entry)> = self.entries.iter().collect();
        let all: usize = entries.iter().map(|(_, entry)| 1 + entry.slots.len()).sum();
        let workers = crew.workers().min(all / SHARE_MIN).max(1);
        // Each hashes some addresses, and then has the accounts of a range of hashes.
        let share = entries.len().div_ceil(workers).max(1);
        let keys: Vec<Mutex<Vec<B256>>> = (0..workers).map(|_| Mutex::default()).collect();
        crew.split(workers, &|at| {
            let mine = entries.chunks(share).nth(at).unwrap_or_default();
            *keys[at].lock() = hashed(mine, |(address, _)| address.0.0);
        });
        let keys: Vec<B256> = keys.into_iter().flat_map(Mutex::into_inner).collect();
        let sorted: Vec<Mutex<_>> = (0..workers).map(|_| Mutex::default()).collect();
        crew.split(workers, &|at| {
            let of = |key: &B256| (usize::from(u16::from_be_bytes([key[0], key[1]])) * workers) >> 16;
            let mine = keys.iter().zip(&entries).filter(|(key, _)| of(key) == at);
            *sorted[at].lock() =
                changes(mine.map(|(key, (address, entry))| (*key, **address, *entry)).collect());
        });
        let mut sorted = sorted.into_iter().map(Mutex::into_inner);
        let (mut changes, mut slots) = sorted.next().unwrap_or_default();
        changes.reserve_exact(entries.len() - changes.len());
        slots.reserve_exact(all - entries.len() - slots.len());
        for (more, more_slots) in sorted {
            changes.extend(more);
            slots.extend(more_slots);
        }
        (changes, slots)
    }
}

/// The hashes of keys, of `N` bytes each.
pub(super) fn hashed<T, const N: usize>(all: &[T], key: impl Fn(&T) -> [u8; N]) -> Vec<B256> {
    let mut hashes = vec![B256::ZERO; all.len()];
    for (some, hashes) in all.chunks(TOGETHER).zip(hashes.chunks_mut(TOGETHER)) {
        let mut keys = [[0; N]; TOGETHER];
        keys.iter_mut().zip(some).for_each(|(into, one)| *into = key(one));
        keccak256_many(&keys[..some.len()], hashes);
    }
    hashes
}

/// Changes of accounts, sorted, and all slots that they set.
fn changes(mut entries: Vec<(B256, Address, &Entry)>) -> (Vec<AccountChange>, PlainSlots) {
    entries.sort_unstable_by_key(|(key, ..)| *key);
    let mut slots = PlainSlots::with_capacity(entries.iter().map(|(.., entry)| entry.slots.len()).sum());
    for (_, address, entry) in &entries {
        slots.extend(entry.slots.iter().map(|(slot, value)| (*address, *slot, *value)));
    }
    let (keys, mut at) = (hashed(&slots, |(_, slot, _)| slot.to_be_bytes::<32>()), 0);
    let change = |(key, address, entry): (B256, Address, &Entry)| {
        let own = &keys[at..at + entry.slots.len()];
        at += own.len();
        let set = own.iter().zip(&entry.slots);
        let mut slots: Vec<SlotChange> =
            set.map(|(key, (_, value))| SlotChange { key: *key, value: slot_value(value) }).collect();
        sort_slots(&mut slots);
        let (address, record, wiped) = (Some(address), entry.record, entry.wiped);
        AccountChange { address, record, wiped, slots, ..AccountChange::none(key) }
    };
    (entries.into_iter().map(change).collect(), slots)
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
