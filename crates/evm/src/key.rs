//! Locations of Ethereum state.

use alloy_primitives::{Address, B256, U256};

/// One location. An account's record is one location whose fields (existence, nonce, balance, code,
/// generation) are observed and changed one by one: see [`AccountSeen`](crate::AccountSeen) and
/// [`AccountDelta`](crate::AccountDelta). So one look-up serves all fields, and a conflict is still
/// per field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
