//! A whole version in the order of its keys, and versions made of whole parts: both by hashed keys, which are all
//! that a trie knows.

use super::{
    batch::{slot_value, sort_slots},
    error::DiskError,
    kinds::{self, AccountChange, Record, SlotChange},
    layout::Ptr,
    options::Committed,
    read::View,
    record::{self, Owner, Stored},
    store::DiskStore,
};
use crate::node::common;
use alloy_primitives::{B256, U256};
use alloy_rlp::Decodable;
use alloy_trie::TrieAccount;

/// One leaf of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An account. Its slots follow it.
    Account {
        /// Hash of its address.
        key: B256,
        /// What stands there.
        account: TrieAccount,
    },
    /// A slot of the last account.
    Slot {
        /// Hash of its number.
        key: B256,
        /// Its value, which is not zero.
        value: U256,
    },
}

/// A node to look at.
#[derive(Debug)]
struct Waiting {
    ptr: Ptr,
    owner: Owner,
    depth: usize,
    way: B256,
}

/// All of a version, accounts by their hashed addresses and after each its slots by their hashed numbers. Reads a page
/// at a time, and has in memory what is beside the way to the next leaf.
#[derive(Debug)]
pub struct Entries<'a> {
    view: &'a View,
    /// The next one last.
    waiting: Vec<Waiting>,
}

impl View {
    /// All accounts and slots of the version.
    pub fn entries(&self) -> Entries<'_> {
        let root = Waiting { ptr: self.root_ptr(), owner: None, depth: 0, way: B256::ZERO };
        let waiting = if root.ptr.is_none() { Vec::new() } else { vec![root] };
        Entries { view: self, waiting }
    }
}

impl Entries<'_> {
    /// Goes past one node; its leaf, if it is one.
    fn step(&mut self, waiting: &Waiting) -> Result<Option<Entry>, DiskError> {
        let Waiting { ptr, owner, depth, way } = *waiting;
        let (node, _, whose) = record::decode(self.view.pages().get(ptr)?, ptr)?;
        let (key, end) = match &node {
            Stored::Leaf(leaf) => (leaf.key, 64),
            Stored::Branch(branch) => (branch.key, branch.end),
        };
        if whose != owner || end < depth || common(&key, &way) < depth {
            return Err(DiskError::damaged("node", ptr.0, "it belongs elsewhere"));
        }
        match node {
            Stored::Branch(branch) => {
                for nibble in branch.nibbles().collect::<Vec<_>>().into_iter().rev() {
                    let Some(ptr) = branch.child_ptr(nibble) else { continue };
                    let mut way = key;
                    let shift = if end.is_multiple_of(2) { 4 } else { 0 };
                    way[end / 2] |= (nibble as u8) << shift;
                    self.waiting.push(Waiting { ptr, owner, depth: end + 1, way });
                }
                Ok(None)
            }
            Stored::Leaf(leaf) if owner.is_none() => {
                let account = kinds::decode(&leaf)?;
                if !leaf.storage.is_none() {
                    let owner = record::owner_of(&key);
                    self.waiting.push(Waiting { ptr: leaf.storage, owner, depth: 0, way: B256::ZERO });
                }
                Ok(Some(Entry::Account { key, account }))
            }
            Stored::Leaf(leaf) => {
                let value = U256::decode(&mut leaf.value())
                    .map_err(|error| DiskError::damaged("slot", ptr.0, format!("{key}: {error}")))?;
                Ok(Some(Entry::Slot { key, value }))
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, DiskError>;

    /// Nothing follows an error.
    fn next(&mut self) -> Option<Self::Item> {
        while let Some(waiting) = self.waiting.pop() {
            let step = self.step(&waiting);
            match self.view.held(step) {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => {
                    self.waiting.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Accounts and slots by hashed keys, to be put into a version at once.
#[derive(Clone, Debug, Default)]
pub struct HashedBatch {
    changes: Vec<AccountChange>,
    slots: usize,
}

impl HashedBatch {
    /// Sets an account, whose storage root is not looked at: it follows from its slots. Slots that it has stay.
    pub fn account(&mut self, key: B256, account: TrieAccount) {
        let record = Record::Set(account);
        self.changes.push(AccountChange { record, ..AccountChange::none(key) });
    }

    /// Sets a slot of the account that was set last; nothing if there was none. Zero is an empty slot.
    pub fn slot(&mut self, key: B256, value: U256) {
        if let Some(account) = self.changes.last_mut() {
            account.slots.push(SlotChange { key, value: slot_value(&value) });
            self.slots += 1;
        }
    }

    /// Accounts and slots that it sets.
    pub fn len(&self) -> usize {
        self.changes.len() + self.slots
    }

    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// By key; of an account or a slot that was set twice the last.
    fn sorted(self) -> Vec<AccountChange> {
        let mut changes = self.changes;
        changes.sort_by_key(|change| change.key);
        changes.dedup_by(|later, earlier| {
            let same = later.key == earlier.key;
            if same {
                earlier.record = later.record;
                earlier.slots.append(&mut later.slots);
            }
            same
        });
        changes.iter_mut().for_each(|change| sort_slots(&mut change.slots));
        changes
    }
}

impl DiskStore {
    /// Makes a version of the latest one and a batch by hashed keys, durably, as [`apply`](Self::apply) does. What is
    /// known by plain keys is forgotten, so this is for whole states, part by part.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_hashed(&mut self, version: u64, batch: HashedBatch) -> Result<Committed, DiskError> {
        let prepared = self.prepare_hashed(version, batch.sorted())?;
        self.shared.flat.rollback(0);
        self.commit(prepared)
    }
}
