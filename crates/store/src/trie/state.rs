//! The trie of a whole state, kept from block to block.

use super::{Crew, TrieError, TrieNodes, arena::Trie, crew::with_rayon, levels};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// A whole state as accounts and storage tries: what its root needs, and nothing else. Changing it, and the
/// root after that, cost in proportion to the changes, not to the state.
///
/// ```
/// use alloy_primitives::{Address, U256};
/// use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
/// use braid_store::trie::{StateTrie, state_root, storage_root};
///
/// let (address, slot) = (Address::repeat_byte(1), (U256::from(2), U256::from(3)));
/// let mut trie = StateTrie::default();
/// trie.change(address, Some(TrieAccount::default()), false, [slot]);
/// let account = TrieAccount { storage_root: storage_root([slot]), ..TrieAccount::default() };
/// assert_eq!(trie.root(), state_root([(address, account)]));
/// ```
#[derive(Debug, Default)]
pub struct StateTrie {
    /// Asking for the root makes what changed since the last count.
    whole: Mutex<Whole>,
}

impl Clone for StateTrie {
    fn clone(&self) -> Self {
        StateTrie { whole: Mutex::new(self.whole.lock().clone()) }
    }
}

/// The tries of a state.
#[derive(Clone, Debug, Default)]
struct Whole {
    accounts: Trie,
    storages: HashMap<Address, Trie, RandomState>,
    /// Accounts whose records or slots changed since the last root, as they are, but for their storage roots.
    changed: HashMap<Address, TrieAccount, RandomState>,
    /// Such a trie has all of its nodes.
    none: TrieNodes,
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
        let whole = self.whole.get_mut();
        if account.is_none() || wiped {
            whole.storages.remove(&address);
        }
        let Some(account) = account else {
            whole.changed.remove(&address);
            whole.accounts.remove(&whole.none, &keccak256(address)).unwrap_or_else(|error| unknown(&error));
            return;
        };
        whole.changed.insert(address, account);
        let mut slots = slots.into_iter().peekable();
        if slots.peek().is_none() {
            return;
        }
        let trie = whole.storages.entry(address).or_default();
        for (slot, value) in slots {
            let key = keccak256(slot.to_be_bytes::<32>());
            let done = match value.is_zero() {
                true => trie.remove(&whole.none, &key).map(drop),
                false => trie.insert(&whole.none, &key, &alloy_rlp::encode(value)),
            };
            done.unwrap_or_else(|error| unknown(&error));
        }
    }

    /// The state root.
    pub fn root(&self) -> B256 {
        self.whole.lock().root(&mut Crew::alone())
    }

    /// The state root, for which the workers of the rayon pool that this is called in hash.
    pub fn root_shared(&self) -> B256 {
        with_rayon(|crew| self.whole.lock().root(crew))
    }
}

fn unknown<T>(error: &TrieError) -> T {
    unreachable!("a trie that hides no nodes: {error}")
}

impl Whole {
    fn root(&mut self, crew: &mut Crew<'_>) -> B256 {
        // Those that changed leave the map for as long as they are hashed together.
        let mut tries: Vec<(Address, TrieAccount, Trie)> = self
            .changed
            .drain()
            .map(|(address, account)| (address, account, self.storages.remove(&address).unwrap_or_default()))
            .collect();
        let mut stale: Vec<&mut Trie> = tries.iter_mut().map(|(_, _, trie)| trie).collect();
        levels::hash(&mut stale, crew);
        for (address, account, trie) in tries {
            let storage_root = trie.said.root();
            if storage_root != EMPTY_ROOT_HASH {
                self.storages.insert(address, trie);
            }
            let account = alloy_rlp::encode(TrieAccount { storage_root, ..account });
            let done = self.accounts.insert(&self.none, &keccak256(address), &account);
            done.unwrap_or_else(|error| unknown(&error));
        }
        levels::hash(&mut [&mut self.accounts], crew);
        self.accounts.said.root()
    }
}
