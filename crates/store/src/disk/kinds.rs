//! The two kinds of tries: accounts, and the storage of one of them.

use super::{
    error::DiskError,
    layout::Ptr,
    record::{self, Owner, StoredLeaf, VALUE_MAX},
    update::{Context, Fate, Kind, NewLeaf, Node, Touch, Work, update},
};
use alloy_primitives::{Address, B256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};

/// A change of a slot, or of any leaf of a trie without structure: the new value as it stands in the leaf,
/// none if there is to be no leaf.
#[derive(Clone, Debug)]
pub(crate) struct SlotChange {
    pub(crate) key: B256,
    pub(crate) value: Option<Vec<u8>>,
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

    fn apply(
        &self,
        _: &Context<'_>,
        _: &mut Work,
        change: &SlotChange,
        old: Option<&StoredLeaf>,
    ) -> Result<Fate, DiskError> {
        Ok(match (&change.value, old) {
            (None, None) => Fate::Keep,
            (None, Some(_)) => Fate::Gone,
            (Some(value), Some(old)) if old.value() == value => Fate::Keep,
            (Some(value), _) if value.len() > VALUE_MAX => {
                let (is, limit) = (value.len() as u64, VALUE_MAX as u64);
                return Err(DiskError::Limit { what: "bytes of a value", is, limit });
            }
            (Some(value), _) => Fate::Put(NewLeaf {
                key: change.key,
                value: value.clone(),
                storage: Node::Empty,
                storage_owner: None,
            }),
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
        let node = match change.slots.is_empty() && change.touches.is_empty() {
            true if base.is_none() => Node::Empty,
            true => Node::Same(base),
            false => update(context, work, &Slots(owner), base, &change.slots, &change.touches)?,
        };
        let same = matches!(&node, Node::Same(ptr) if *ptr == storage);
        let storage_root = match (&node, before) {
            (Node::Empty, _) => EMPTY_ROOT_HASH,
            (_, Some(before)) if same => before.storage_root,
            _ => {
                let reference = context.reference(&mut work.scratch, &node, owner, 0)?;
                reference.map_or(EMPTY_ROOT_HASH, |reference| reference.root())
            }
        };
        let account = TrieAccount { storage_root, ..account };
        let mut value = Vec::with_capacity(account.length());
        account.encode(&mut value);
        work.accounts.extend(change.address.map(|address| (address, Some(account))));
        let unmoved = same || (matches!(node, Node::Empty) && storage.is_none());
        if unmoved && old.is_some_and(|old| old.value() == value) {
            return Ok(Fate::Keep);
        }
        Ok(Fate::Put(NewLeaf { key: change.key, value, storage: node, storage_owner: owner }))
    }
}

/// The account in a leaf.
pub(super) fn decode(leaf: &StoredLeaf) -> Result<TrieAccount, DiskError> {
    TrieAccount::decode(&mut leaf.value())
        .map_err(|error| DiskError::damaged("account", 0, format!("{}: {error}", leaf.key)))
}
