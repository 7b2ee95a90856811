//! The two kinds of tries: accounts, and the storage of one of them.

use super::{
    error::DiskError,
    layout::Ptr,
    nodes::Node,
    record::{self, Owner, StoredLeaf, VALUE_MAX},
    update::{Context, Fate, Kind, Touch, Work, update},
    ways::Way,
};
use crate::node::Reference;
use alloy_primitives::{Address, B256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use smallvec::SmallVec;

/// A value as it stands in a leaf. Those of slots are at most 33 bytes.
pub(crate) type Value = SmallVec<[u8; 40]>;

/// A change of a slot, or of any leaf of a trie without structure: the new value as it stands in the leaf,
/// none if there is to be no leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotChange {
    pub(crate) key: B256,
    pub(crate) value: Option<Value>,
}

/// The storage of an account.
pub(super) struct Slots(pub(super) Owner);

impl Kind for Slots {
    type Change = SlotChange;

    fn owner(&self) -> Owner {
        self.0
    }

    fn key(change: &SlotChange) -> &B256 {
        &change.key
    }

    fn weight(_: &SlotChange) -> usize {
        1
    }

    fn way<'a>(&self, from: (Ptr, usize), change: &'a SlotChange) -> Way<'a> {
        Way::to_slot(from, self.0, change.key)
    }

    fn apply(
        &self,
        _: &Context<'_>,
        work: &mut Work,
        change: &SlotChange,
        old: Option<&StoredLeaf>,
    ) -> Result<Fate, DiskError> {
        Ok(match (&change.value, old) {
            (None, None) => Fate::Keep,
            (None, Some(_)) => Fate::Gone,
            (Some(value), Some(old)) if old.value() == value.as_slice() => Fate::Keep,
            (Some(value), _) if value.len() > VALUE_MAX => {
                let (is, limit) = (value.len() as u64, VALUE_MAX as u64);
                return Err(DiskError::Limit { what: "bytes of a value", is, limit });
            }
            (Some(value), _) => Fate::Put(work.nodes.leaf(self.0, &change.key, (Node::Empty, None), value)),
        })
    }
}

/// What happens to the record of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Keep,
    /// Its storage root is not looked at.
    Set(TrieAccount),
    /// It goes, and its storage.
    Remove,
}

/// What happens to an account.
#[derive(Clone, Debug)]
pub(crate) struct AccountChange {
    pub(crate) key: B256,
    /// None if the account is visited only on the way to nodes of its storage.
    pub(crate) address: Option<Address>,
    pub(crate) record: Record,
    /// Its slots so far go.
    pub(crate) wiped: bool,
    /// Sorted, each once.
    pub(crate) slots: Vec<SlotChange>,
    /// Nodes of its storage to be written again; sorted.
    pub(super) touches: Vec<Touch>,
    /// Its storage after all that, and what is said of the root, if somebody found that out already.
    pub(super) storage: Option<Box<(Node, Option<Reference>)>>,
}

impl AccountChange {
    /// A change of nothing.
    pub(crate) fn none(key: B256) -> Self {
        let (slots, touches) = (Vec::new(), Vec::new());
        AccountChange {
            key,
            address: None,
            record: Record::Keep,
            wiped: false,
            slots,
            touches,
            storage: None,
        }
    }
}

/// The trie of accounts.
pub(super) struct Accounts;

impl Kind for Accounts {
    type Change = AccountChange;

    fn owner(&self) -> Owner {
        None
    }

    fn key(change: &AccountChange) -> &B256 {
        &change.key
    }

    fn weight(change: &AccountChange) -> usize {
        let storage = if change.storage.is_some() { 0 } else { change.slots.len() + change.touches.len() };
        1 + storage
    }

    fn way<'a>(&self, from: (Ptr, usize), change: &'a AccountChange) -> Way<'a> {
        let done = change.storage.is_some() || change.wiped || change.record == Record::Remove;
        Way::to_account(from, change.key, if done { &[] } else { &change.slots })
    }

    fn apply(
        &self,
        context: &Context<'_>,
        work: &mut Work,
        change: &AccountChange,
        old: Option<&StoredLeaf>,
    ) -> Result<Fate, DiskError> {
        let owner = record::owner_of(&change.key);
        let storage = old.map_or(Ptr::NONE, |old| old.storage);
        let removed = change.record == Record::Remove;
        let mut base = storage;
        if (removed || change.wiped) && !storage.is_none() {
            context.bury(work, storage, owner)?;
            base = Ptr::NONE;
            work.wiped.extend(change.address);
        }
        if removed {
            work.accounts.extend(change.address.map(|address| (address, None)));
            return Ok(if old.is_some() { Fate::Gone } else { Fate::Keep });
        }
        let before = old.map(decode).transpose()?;
        let account = match (change.record, before) {
            (Record::Set(account), _) => account,
            (_, Some(before)) => before,
            (_, None) => {
                // A way that leads nowhere, or slots that are set to what they are.
                let set = change.slots.iter().any(|slot| slot.value.is_some());
                return match change.address {
                    Some(address) if set => Err(DiskError::NoAccount(address)),
                    _ => Ok(Fate::Keep),
                };
            }
        };
        let (node, said) = match &change.storage {
            Some(storage) => **storage,
            None if change.slots.is_empty() && change.touches.is_empty() => {
                (if base.is_none() { Node::Empty } else { Node::Same(base) }, None)
            }
            None => {
                let kind = Slots(owner);
                (update(context, work, &kind, (base, 0), &change.slots, &change.touches)?, None)
            }
        };
        let same = matches!(node, Node::Same(ptr) if ptr == storage);
        // The root of a new storage is put in once it is hashed.
        let (mut stale, mut storage_root) = (None, EMPTY_ROOT_HASH);
        match (node, said, before) {
            (Node::Empty, ..) => {}
            (_, Some(said), _) => storage_root = said.root(),
            (Node::Same(_), _, Some(before)) if same => storage_root = before.storage_root,
            (Node::Same(ptr), ..) => {
                storage_root = context.reference(&mut work.scratch, ptr, owner, 0)?.root();
            }
            (Node::New(id), ..) => {
                work.nodes.place(id, 0);
                stale = Some(work.accounts.len() as u32);
            }
        }
        let account = TrieAccount { storage_root, ..account };
        work.accounts.extend(change.address.map(|address| (address, Some(account))));
        if change.address.is_none() {
            // Nobody is told of an account that is only on the way.
            stale = stale.map(|_| u32::MAX);
        }
        let mut value = std::mem::take(&mut work.scratch);
        value.clear();
        account.encode(&mut value);
        let unmoved = same || (node == Node::Empty && storage.is_none());
        let kept = unmoved && old.is_some_and(|old| old.value() == value);
        let fate = match kept {
            true => Fate::Keep,
            false => Fate::Put(work.nodes.leaf(None, &change.key, (node, stale), &value)),
        };
        work.scratch = value;
        Ok(fate)
    }
}

/// The account in a leaf.
pub(super) fn decode(leaf: &StoredLeaf) -> Result<TrieAccount, DiskError> {
    TrieAccount::decode(&mut leaf.value())
        .map_err(|error| DiskError::damaged("account", 0, format!("{}: {error}", leaf.key)))
}
