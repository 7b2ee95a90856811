//! The trie of a whole state, kept from block to block.

use super::node::{self, Node, Place, Source};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount, nodes::RlpNode};
use hashbrown::HashMap;
use std::convert::Infallible;

/// Where a trie finds its nodes if it has them all.
struct Nowhere;

impl Source for Nowhere {
    type Error = Infallible;

    fn fetch(&self, _: &RlpNode, _: &Nibbles, _: usize) -> Result<Node, Infallible> {
        unreachable!("a trie that was never decoded has no references")
    }
}

/// A trie with all of its nodes.
#[derive(Clone, Debug, Default)]
struct Trie {
    root: Place,
}

impl Trie {
    fn insert(&mut self, key: B256, value: Vec<u8>) {
        let Ok(_) = node::insert(&Nowhere, &mut self.root, &Nibbles::unpack(key), 0, value);
    }

    fn remove(&mut self, key: B256) {
        let Ok(_) = node::remove(&Nowhere, &mut self.root, &Nibbles::unpack(key), 0);
    }
}

/// A whole state as accounts and storage tries: what its root needs, and nothing else. Changing it, and the
/// root after that, cost in proportion to the changes, not to the state.
///
/// ```
/// use alloy_primitives::{Address, U256};
/// use alloy_trie::TrieAccount;
/// use braid_store::trie::{StateTrie, state_root, storage_root};
///
/// let (address, slot) = (Address::repeat_byte(1), (U256::from(2), U256::from(3)));
/// let mut trie = StateTrie::default();
/// trie.change(address, Some(TrieAccount::default()), false, [slot]);
/// let account = TrieAccount { storage_root: storage_root([slot]), ..TrieAccount::default() };
/// assert_eq!(trie.root(), state_root([(address, account)]));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StateTrie {
    accounts: Trie,
    /// None that is empty.
    storages: HashMap<Address, Trie, foldhash::fast::RandomState>,
}

impl StateTrie {
    /// Sets the account at `address`, or removes it and its storage. If `wiped`, its slots so far are gone;
    /// `slots` are set, a value of zero is an empty slot, and all others stay as they are. The storage root
    /// of `account` is not looked at: it follows from the slots.
    pub fn change(
        &mut self,
        address: Address,
        account: Option<TrieAccount>,
        wiped: bool,
        slots: impl IntoIterator<Item = (U256, U256)>,
    ) {
        let key = keccak256(address);
        let Some(account) = account else {
            self.storages.remove(&address);
            return self.accounts.remove(key);
        };
        if wiped {
            self.storages.remove(&address);
        }
        let storage_root = self.change_slots(address, slots);
        self.accounts.insert(key, alloy_rlp::encode(TrieAccount { storage_root, ..account }));
    }

    /// Sets slots of an account; the root of its storage.
    fn change_slots(&mut self, address: Address, slots: impl IntoIterator<Item = (U256, U256)>) -> B256 {
        let mut slots = slots.into_iter().peekable();
        if slots.peek().is_none() {
            return self.storages.get(&address).map_or(EMPTY_ROOT_HASH, |trie| trie.root.root());
        }
        let trie = self.storages.entry(address).or_default();
        for (slot, value) in slots {
            let key = keccak256(slot.to_be_bytes::<32>());
            match value.is_zero() {
                true => trie.remove(key),
                false => trie.insert(key, alloy_rlp::encode(value)),
            }
        }
        let root = trie.root.root();
        if root == EMPTY_ROOT_HASH {
            self.storages.remove(&address);
        }
        root
    }

    /// The state root.
    pub fn root(&self) -> B256 {
        self.accounts.root.root()
    }
}
