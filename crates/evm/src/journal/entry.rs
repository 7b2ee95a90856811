//! What the journal keeps of one account, and how it observes it.
//!
//! A balance is `initial + net`, where `net` is the sum of the transaction's own credits and debits. So
//! a question about the balance of this moment is a question about the balance before the transaction,
//! and is recorded as a bound on that. The amounts themselves depend on the initial balance only after
//! it was observed exactly.

use crate::{AccountDelta, AccountSeen, AccountState};
use alloy_primitives::{Address, KECCAK256_EMPTY, U256};
use braid_core::ReadId;
use revm::state::{Account, AccountStatus, EvmStorageSlot, TransactionId};

/// One account of the running transaction.
#[derive(Debug)]
pub(crate) struct AccountEntry {
    /// Its address.
    pub(crate) address: Address,
    /// Its present state, as the EVM knows it; the storage map stays empty.
    pub(crate) account: Account,
    /// The read that brought it.
    pub(crate) read: ReadId,
    /// Its state before the transaction; of a sender whose nonce is predicted, with that nonce.
    pub(crate) initial: AccountState,
    /// What was observed of `initial`.
    pub(crate) seen: AccountSeen,
    /// Whether the nonce is a prediction, recorded elsewhere, and so never observed from the read.
    pub(crate) nonce_assumed: bool,
}

impl AccountEntry {
    /// A blank one, to be filled by [`Self::reset`].
    pub(crate) fn blank() -> Self {
        AccountEntry {
            address: Address::ZERO,
            account: Account::default(),
            read: ReadId(0),
            initial: AccountState::default(),
            seen: AccountSeen::NOTHING,
            nonce_assumed: false,
        }
    }

    /// Starts over with what a read found. Reuses the allocation of the last transaction.
    pub(crate) fn reset(&mut self, address: Address, read: ReadId, initial: AccountState, id: TransactionId) {
        self.address = address;
        self.read = read;
        self.initial = initial;
        self.seen = AccountSeen::NOTHING;
        self.nonce_assumed = false;
        let account = &mut self.account;
        account.info.balance = initial.balance;
        account.info.nonce = initial.nonce;
        account.info.code_hash = initial.code_hash;
        account.info.code = None;
        account.transaction_id = id;
        account.status =
            if initial.exists { AccountStatus::empty() } else { AccountStatus::LoadedAsNotExisting };
    }

    /// Whether the balance covers `amount`.
    pub(crate) fn covers(&mut self, amount: U256) -> bool {
        let (now, before) = (self.account.info.balance, self.initial.balance);
        let enough = now >= amount;
        if now >= before {
            let gained = now - before;
            if amount > gained {
                self.seen.balance_at_least(amount - gained, enough);
            }
        } else if !amount.is_zero() {
            // No bound: then no balance at all would be enough.
            if let Some(bound) = amount.checked_add(before - now) {
                self.seen.balance_at_least(bound, enough);
            }
        }
        enough
    }

    /// The balance after a credit of `amount`, unless it overflows.
    pub(crate) fn credited(&mut self, amount: U256) -> Option<U256> {
        let (now, before) = (self.account.info.balance, self.initial.balance);
        let sum = now.checked_add(amount);
        let net = if now >= before {
            (now - before).checked_add(amount)
        } else {
            Some(amount.saturating_sub(before - now))
        };
        // It overflows from an initial balance of `2^256 - net` on.
        if let Some(net) = net.filter(|net| !net.is_zero()) {
            self.seen.balance_at_least(net.wrapping_neg(), sum.is_none());
        }
        sum
    }

    /// The balance itself.
    pub(crate) fn balance(&mut self) -> U256 {
        self.seen.balance_exactly(self.initial.balance);
        self.account.info.balance
    }

    /// Observes the nonce.
    pub(crate) fn nonce(&mut self) -> u64 {
        if !self.nonce_assumed {
            self.seen.nonce = Some(self.initial.nonce);
        }
        self.account.info.nonce
    }

    /// Observes which code it has. Code is never set without having been observed, so what was set in
    /// this transaction follows from the same.
    pub(crate) fn observe_code(&mut self) {
        self.seen.code_hash = Some(self.initial.code_hash);
    }

    /// Observes the generation.
    pub(crate) fn generation(&mut self) -> u32 {
        self.seen.generation = Some(self.initial.generation);
        self.initial.generation
    }

    /// Whether it has code, once that was observed.
    pub(crate) fn has_code(&self) -> bool {
        self.account.info.code_hash != KECCAK256_EMPTY
    }

    /// Whether it is empty (EIP-161), observing as little as settles it.
    pub(crate) fn is_empty(&mut self) -> bool {
        let info = &self.account.info;
        let nonce_known = info.nonce != self.initial.nonce || self.nonce_assumed || self.seen.nonce.is_some();
        if info.nonce != 0 && nonce_known {
            return false;
        }
        let code_known = info.code_hash != self.initial.code_hash || self.seen.code_hash.is_some();
        if self.has_code() && code_known {
            return false;
        }
        let (now, before) = (info.balance, self.initial.balance);
        if now > before {
            return false;
        }
        if now == before {
            let empty = self.initial.is_empty();
            self.seen.empty = Some(empty);
            return empty;
        }
        if self.covers(U256::ONE) {
            return false;
        }
        self.observe_code();
        !self.has_code() && self.nonce() == 0
    }

    /// Whether it is in the state trie, before EIP-161.
    pub(crate) fn exists(&mut self) -> bool {
        self.account.is_touched() || {
            self.seen.exists = Some(self.initial.exists);
            self.initial.exists
        }
    }

    /// How the transaction changed it, apart from its generation.
    pub(crate) fn delta(&self) -> AccountDelta {
        let (info, initial) = (&self.account.info, &self.initial);
        AccountDelta {
            credit: info.balance.saturating_sub(initial.balance),
            debit: initial.balance.saturating_sub(info.balance),
            nonce: (info.nonce != initial.nonce).then_some(info.nonce),
            code_hash: (info.code_hash != initial.code_hash).then_some(info.code_hash),
            generation: None,
        }
    }
}

/// One storage slot of the running transaction.
#[derive(Debug)]
pub(crate) struct SlotEntry {
    /// Position of its account.
    pub(crate) account: u32,
    /// The slot.
    pub(crate) key: U256,
    /// Value before the transaction.
    pub(crate) initial: U256,
    /// Original and present value, warmth.
    pub(crate) slot: EvmStorageSlot,
}

/// One slot of transient storage (EIP-1153); zero if unset.
#[derive(Debug)]
pub(crate) struct TransientEntry {
    /// Position of its account.
    pub(crate) account: u32,
    /// The slot.
    pub(crate) key: U256,
    /// Its value.
    pub(crate) value: U256,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(balance: u64) -> AccountEntry {
        let mut entry = AccountEntry::blank();
        let state = AccountState { exists: true, balance: U256::from(balance), ..AccountState::default() };
        entry.reset(Address::ZERO, ReadId(0), state, TransactionId::ZERO);
        entry
    }

    #[test]
    fn bounds_are_on_the_balance_before_the_transaction() {
        let mut entry = entry(100);
        assert!(entry.covers(U256::from(30)));
        entry.account.info.balance = U256::from(70);
        assert!(!entry.covers(U256::from(71)));
        entry.account.info.balance = U256::from(120);
        assert!(entry.covers(U256::from(20)), "its own credit: nothing to observe");
        assert_eq!(entry.seen.at_least, U256::from(30));
        assert_eq!(entry.seen.below, Some(U256::from(101)));
        assert!(entry.covers(U256::from(60)));
        assert_eq!(entry.seen.at_least, U256::from(40));
    }

    #[test]
    fn overflow_is_a_bound_too() {
        let mut e = entry(5);
        assert_eq!(e.credited(U256::MAX), None);
        assert_eq!(e.seen.at_least, U256::ONE);
        let mut e = entry(0);
        assert_eq!(e.credited(U256::MAX), Some(U256::MAX));
        assert_eq!(e.seen.below, Some(U256::ONE));
        let mut e = entry(10);
        e.account.info.balance = U256::from(4);
        assert_eq!(e.credited(U256::from(6)), Some(U256::from(10)));
        assert_eq!(e.seen.below, None, "what was taken can be given back");
    }

    #[test]
    fn emptiness_of_a_debited_account_is_a_bound() {
        let mut e = entry(10);
        e.account.info.balance = U256::from(3);
        assert!(!e.is_empty());
        assert_eq!(e.seen.at_least, U256::from(8));
        assert_eq!(e.seen.empty, None);
        let mut e = entry(10);
        e.account.info.balance = U256::ZERO;
        assert!(e.is_empty());
        assert_eq!(e.seen.below, Some(U256::from(11)));
        assert_eq!(e.seen.nonce, Some(0));
    }
}
