//! Merkle Patricia tries: roots of full states, tries that are kept from block to block, and changes of
//! partial tries that a witness reveals.
//!
//! A [`PartialTrie`] starts as a root hash and fetches nodes by hash as operations reach them; a [`StateTrie`]
//! has all nodes. Both remember the hash of each node until something below it changes, so that a root costs
//! in proportion to what changed since the last. Keys are 32 bytes (hashes of addresses or slots), so that no
//! key is a prefix of another and no branch holds a value. Node forms and hashing: Ethereum Yellow Paper,
//! appendix D.

use alloy_primitives::{Address, B256, U256};
use alloy_trie::{TrieAccount, root};

mod arena;
mod crew;
mod decode;
mod levels;
mod partial;
mod state;

#[cfg(test)]
pub(crate) use crew::with_rayon;
pub use crew::{Crew, Split};
pub use partial::{PartialTrie, TrieError, TrieNodes};
pub use state::StateTrie;

/// Root of the storage that consists of these slots; zero values are left out.
pub fn storage_root(slots: impl IntoIterator<Item = (U256, U256)>) -> B256 {
    let present = slots.into_iter().filter(|(_, value)| !value.is_zero());
    root::storage_root_unhashed(present.map(|(slot, value)| (B256::from(slot), value)))
}

/// Root of the state that consists of these accounts.
pub fn state_root(accounts: impl IntoIterator<Item = (Address, TrieAccount)>) -> B256 {
    root::state_root_unhashed(accounts)
}
