//! Values of Ethereum state: what an account, a slot or a code holds, how it changes without being
//! read, and what an execution can learn from it.

use alloy_primitives::{B256, KECCAK256_EMPTY, U256};
use braid_core::{Value, Write};
use revm::bytecode::Bytecode;

/// What a location holds.
///
/// Its tag is a word of its own: put into a gap of the record, it would cut every copy of a record into
/// pieces that overlap, which processors are slow to read back.
#[derive(Clone, Debug, PartialEq)]
#[repr(u64)]
pub enum EvmValue {
    /// An account's record.
    Account(AccountState),
    /// A storage slot. Zero and absent are the same; readers may get either.
    Slot(U256),
    /// Analysed code.
    Code(Bytecode),
}

/// The record of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Whether the account is in the state trie. A record that does not exist is kept only to
    /// remember its generation.
    pub exists: bool,
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// Keccak-256 of the code; of nothing, if none.
    pub code_hash: B256,
    /// How many times the account was created or destroyed in this block.
    pub generation: u32,
    /// Whether it has storage before the block (EIP-7610 asks on creation). False for later lives.
    pub has_storage: bool,
}

impl Default for AccountState {
    fn default() -> Self {
        AccountState {
            exists: false,
            balance: U256::ZERO,
            nonce: 0,
            code_hash: KECCAK256_EMPTY,
            generation: 0,
            has_storage: false,
        }
    }
}

impl AccountState {
    /// Empty in the sense of EIP-161: no balance, no nonce, no code.
    pub fn is_empty(&self) -> bool {
        self.balance.is_zero() && self.nonce == 0 && self.code_hash == KECCAK256_EMPTY
    }

    /// The record after `delta`.
    #[must_use]
    pub(crate) fn after(mut self, delta: &AccountDelta) -> AccountState {
        self.balance = balance_after(self.balance, delta.credit, delta.debit);
        self.nonce = delta.nonce.unwrap_or(self.nonce);
        self.code_hash = delta.code_hash.unwrap_or(self.code_hash);
        if let Some(generation) = delta.generation {
            self.generation = generation;
            self.has_storage = false;
        }
        self.exists = true;
        self
    }

    /// The record after `write`; that of nothing, if it removes the account.
    #[must_use]
    pub(crate) fn written(self, write: &Write<EvmValue>) -> AccountState {
        match write {
            Write::Add(delta) => self.after(delta),
            Write::Put(EvmValue::Account(account)) => *account,
            Write::Put(_) | Write::Delete => AccountState::default(),
        }
    }
}

/// A balance after a credit and a debit. One that would overflow is not credited.
#[inline]
pub(crate) fn balance_after(balance: U256, credit: U256, debit: U256) -> U256 {
    let credited = balance.checked_add(credit).unwrap_or(balance);
    // Wrapping: under a wrong speculation a debit can exceed the balance for a moment. The writer
    // recorded the bound it needs, so such a value is never final.
    credited.wrapping_sub(debit)
}

/// A change of an account that does not need its record: `balance + credit - debit`, and fields that
/// are set whatever they were. The account exists afterwards. A credit that would take the balance to
/// 2^256 or beyond comes to nothing, as in revm; no chain has that much wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountDelta {
    /// Wei added.
    pub credit: U256,
    /// Wei taken. The writer has seen (or assumed) a balance that covers it.
    pub debit: U256,
    /// New nonce, if changed.
    pub nonce: Option<u64>,
    /// New code, if changed.
    pub code_hash: Option<B256>,
    /// New generation, if the account was created.
    pub generation: Option<u32>,
}

/// What an execution learned from an account's record *as it was before the transaction*. Each part
/// that is `None` was not observed, so a change of it does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountSeen {
    /// Whether it exists (before EIP-161 existence and emptiness differ).
    pub exists: Option<bool>,
    /// Whether it is empty.
    pub empty: Option<bool>,
    /// Its nonce.
    pub nonce: Option<u64>,
    /// Its code.
    pub code_hash: Option<B256>,
    /// Its generation.
    pub generation: Option<u32>,
    /// Whether it has storage of before the block.
    pub has_storage: Option<bool>,
    /// The balance is at least this: everything that went through because enough was there.
    pub at_least: U256,
    /// The balance is less than this (if any): everything that failed because too little was there,
    /// and no credit may overflow.
    pub below: Option<U256>,
}

impl AccountSeen {
    /// Nothing observed: holds for every record.
    pub const NOTHING: AccountSeen = AccountSeen {
        exists: None,
        empty: None,
        nonce: None,
        code_hash: None,
        generation: None,
        has_storage: None,
        at_least: U256::ZERO,
        below: None,
    };

    /// Every field observed exactly.
    pub fn all(account: &AccountState) -> Self {
        AccountSeen {
            exists: Some(account.exists),
            empty: None,
            nonce: Some(account.nonce),
            code_hash: Some(account.code_hash),
            generation: Some(account.generation),
            has_storage: Some(account.has_storage),
            at_least: account.balance,
            below: account.balance.checked_add(U256::ONE),
        }
    }

    /// Observes the balance itself.
    pub fn balance_exactly(&mut self, balance: U256) {
        self.at_least = balance;
        self.below = balance.checked_add(U256::ONE);
    }

    /// Observes that the balance is (`enough`) or is not at least `bound`.
    pub fn balance_at_least(&mut self, bound: U256, enough: bool) {
        if enough {
            self.at_least = self.at_least.max(bound);
        } else {
            self.below = Some(self.below.map_or(bound, |below| below.min(bound)));
        }
    }

    /// Whether the same would have been learned from `now`.
    pub fn holds(&self, now: &AccountState) -> bool {
        self.at_least <= now.balance
            && self.below.is_none_or(|below| now.balance < below)
            && self.nonce.is_none_or(|nonce| nonce == now.nonce)
            && self.code_hash.is_none_or(|code_hash| code_hash == now.code_hash)
            && self.generation.is_none_or(|generation| generation == now.generation)
            && self.exists.is_none_or(|exists| exists == now.exists)
            && self.empty.is_none_or(|empty| empty == now.is_empty())
            && self.has_storage.is_none_or(|has| has == now.has_storage)
    }
}

/// What an execution learned from a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvmSeen {
    /// From an account's record.
    Account(AccountSeen),
    /// The value of a slot.
    Slot(U256),
    /// Whether the code is there. Which one it is, its key says.
    Code(bool),
    /// That the location is absent, whatever its kind.
    Absent,
}

impl Value for EvmValue {
    type Delta = AccountDelta;
    type Seen = EvmSeen;

    fn apply(base: Option<Self>, delta: &AccountDelta) -> Option<Self> {
        let account = match base {
            Some(EvmValue::Account(account)) => account,
            None => AccountState::default(),
            Some(other) => unreachable!("an account delta on {other:?}"),
        };
        Some(EvmValue::Account(account.after(delta)))
    }

    fn exactly(value: Option<&Self>) -> EvmSeen {
        match value {
            Some(EvmValue::Account(account)) => EvmSeen::Account(AccountSeen::all(account)),
            Some(EvmValue::Slot(value)) => EvmSeen::Slot(*value),
            Some(EvmValue::Code(_)) => EvmSeen::Code(true),
            None => EvmSeen::Absent,
        }
    }

    fn holds(seen: &EvmSeen, now: Option<&Self>) -> bool {
        match (seen, now) {
            (EvmSeen::Account(seen), Some(EvmValue::Account(now))) => seen.holds(now),
            (EvmSeen::Account(seen), None) => seen.holds(&AccountState::default()),
            (EvmSeen::Slot(seen), Some(EvmValue::Slot(now))) => seen == now,
            (EvmSeen::Slot(seen), None) => seen.is_zero(),
            (EvmSeen::Code(there), now) => *there == now.is_some(),
            (EvmSeen::Absent, None) => true,
            (EvmSeen::Absent, Some(EvmValue::Account(now))) => *now == AccountState::default(),
            (EvmSeen::Absent, Some(EvmValue::Slot(now))) => now.is_zero(),
            (EvmSeen::Absent, Some(EvmValue::Code(_))) => false,
            (EvmSeen::Account(_) | EvmSeen::Slot(_), Some(_)) => false,
        }
    }
}
