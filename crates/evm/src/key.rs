//! Locations of Ethereum state.

use alloy_primitives::{Address, B256, U256};
use std::hash::{Hash, Hasher};

/// One location. An account's record is one location whose fields (existence, nonce, balance, code,
/// generation) are observed and changed one by one: see [`AccountSeen`](crate::AccountSeen) and
/// [`AccountDelta`](crate::AccountDelta). So one look-up serves all fields, and a conflict is still
/// per field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EvmKey {
    /// The record of an account.
    Account(Address),
    /// A storage slot of one generation of an account. Storage of generation 0 is the state before the
    /// block; creating or destroying an account starts the next generation, whose slots are all zero.
    Slot {
        /// The account.
        address: Address,
        /// Which of its lives in this block.
        generation: u32,
        /// The slot.
        slot: U256,
    },
    /// Contract code by its hash: never changes, at most appears.
    Code(B256),
}

/// Feeds whole words, a few of them: every location that a transaction touches is hashed at least once,
/// and the derived form feeds byte slices with their lengths.
impl Hash for EvmKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            EvmKey::Account(address) => hash_address(address, 0, state),
            EvmKey::Slot { address, generation, slot } => {
                hash_address(address, (1 << 31) | *generation, state);
                slot.as_limbs().iter().for_each(|limb| state.write_u64(*limb));
            }
            EvmKey::Code(hash) => {
                hash.0.chunks_exact(8).for_each(|word| state.write_u64(word_of(word)));
            }
        }
    }
}

pub(crate) fn hash_address<H: Hasher>(address: &Address, extra: u32, state: &mut H) {
    let bytes = address.as_slice();
    state.write_u64(word_of(&bytes[..8]));
    state.write_u64(word_of(&bytes[8..16]));
    let mut last = [0; 8];
    last[..4].copy_from_slice(&bytes[16..]);
    last[4..].copy_from_slice(&extra.to_le_bytes());
    state.write_u64(u64::from_le_bytes(last));
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
