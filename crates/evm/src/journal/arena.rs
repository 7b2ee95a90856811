//! Everything a transaction allocates, kept by its worker from one transaction to the next.

use super::{
    entry::{AccountEntry, SlotEntry, TransientEntry},
    index::Index,
};
use crate::code::LocalCodes;
use alloy_primitives::{Address, B256, Log, U256};
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use revm::{bytecode::Bytecode, state::TransactionId};
use std::hash::{BuildHasher, Hasher};

/// One change to take back on revert. Names positions, so that a revert hashes nothing.
#[derive(Debug)]
pub(crate) enum Undo {
    /// The account became warm (EIP-2929).
    AccountWarmed(u32),
    /// The account became touched (EIP-161).
    Touched(u32),
    /// The account destroyed itself.
    Destroyed {
        /// The account.
        account: u32,
        /// The heir.
        target: u32,
        /// What it inherited.
        had_balance: U256,
        /// Whether it was the first time in this transaction.
        first: bool,
    },
    /// The balance was set.
    Balance {
        /// The account.
        account: u32,
        /// Before.
        old: U256,
    },
    /// Wei moved.
    Transfer {
        /// Payer.
        from: u32,
        /// Payee.
        to: u32,
        /// Wei.
        amount: U256,
    },
    /// The nonce was set.
    Nonce {
        /// The account.
        account: u32,
        /// Before.
        old: u64,
    },
    /// The account was created; its nonce was zero.
    Created {
        /// The account.
        account: u32,
    },
    /// A slot changed.
    Storage {
        /// The slot.
        slot: u32,
        /// Before.
        old: U256,
    },
    /// A slot became warm.
    SlotWarmed(u32),
    /// A transient slot changed.
    Transient {
        /// The slot.
        slot: u32,
        /// Before.
        old: U256,
    },
    /// The code was set.
    Code {
        /// The account.
        account: u32,
        /// Before.
        old_hash: B256,
        /// Before, if it was loaded.
        old: Option<Bytecode>,
    },
}

/// A worker's memory for transactions: emptied, never freed.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    hasher: RandomState,
    /// Accounts in the order of their first load. Those from `live` on are leftovers to be reused.
    accounts: Vec<AccountEntry>,
    live: usize,
    account_index: Index,
    /// The account that was looked up last: consecutive look-ups mostly ask for the same one.
    last: u32,
    /// Slots in the order of their first load.
    pub(crate) slots: Vec<SlotEntry>,
    slot_index: Index,
    transient: Vec<TransientEntry>,
    transient_index: Index,
    /// Changes since the transaction began.
    pub(crate) undo: Vec<Undo>,
    /// Logs since the transaction began.
    pub(crate) logs: Vec<Log>,
    /// Addresses that are warm without having been loaded: beneficiary and access list.
    pub(crate) warm_addresses: HashSet<Address, RandomState>,
    /// Slots of the access list.
    pub(crate) warm_slots: HashSet<(Address, U256), RandomState>,
    /// Credits to accounts that were not loaded.
    pub(crate) blind: Vec<(Address, U256)>,
    /// Call depth.
    pub(crate) depth: usize,
    /// Most that the depth was in this execution.
    pub(crate) deepest: usize,
    /// Counts the calls of one execution (system transactions make several), for warmth.
    pub(crate) id: TransactionId,
    /// Codes this worker used lately.
    pub(crate) codes: LocalCodes,
}

impl Arenas {
    /// Arenas with at most about so many bytes of code.
    pub(crate) fn new(code_bytes: usize) -> Self {
        Arenas { codes: LocalCodes::new(code_bytes), ..Arenas::default() }
    }

    /// What the tables take, in bytes; roughly, and without the codes, which have a bound of their own.
    pub(crate) fn bytes(&self) -> usize {
        fn of<T>(capacity: usize) -> usize {
            capacity * size_of::<T>()
        }
        of::<AccountEntry>(self.accounts.capacity())
            + of::<SlotEntry>(self.slots.capacity())
            + of::<TransientEntry>(self.transient.capacity())
            + of::<Undo>(self.undo.capacity())
            + of::<Log>(self.logs.capacity())
            + of::<(Address, U256)>(self.blind.capacity() + self.warm_slots.capacity())
            + of::<Address>(self.warm_addresses.capacity())
            + [&self.account_index, &self.slot_index, &self.transient_index]
                .map(Index::bytes)
                .iter()
                .sum::<usize>()
    }

    /// Ready for the next execution.
    pub(crate) fn begin(&mut self) {
        for entry in &mut self.accounts[..self.live] {
            entry.account.info.code = None;
        }
        self.live = 0;
        self.account_index.clear();
        self.last = 0;
        self.slots.clear();
        self.slot_index.clear();
        self.blind.clear();
        self.id = TransactionId::ZERO;
        self.deepest = 0;
        self.end_call();
    }

    /// Forgets what lasts no longer than one transaction or system call: undo log, logs, warmth,
    /// transient storage.
    pub(crate) fn end_call(&mut self) {
        self.undo.clear();
        self.logs.clear();
        self.transient.clear();
        self.transient_index.clear();
        if !self.warm_addresses.is_empty() {
            self.warm_addresses.clear();
        }
        if !self.warm_slots.is_empty() {
            self.warm_slots.clear();
        }
        self.depth = 0;
    }

    /// Loaded accounts.
    pub(crate) fn accounts(&mut self) -> &mut [AccountEntry] {
        &mut self.accounts[..self.live]
    }

    /// The account at `at`.
    pub(crate) fn entry(&self, at: u32) -> &AccountEntry {
        &self.accounts[at as usize]
    }

    /// The account at `at`.
    pub(crate) fn entry_mut(&mut self, at: u32) -> &mut AccountEntry {
        &mut self.accounts[at as usize]
    }

    /// Position of an account, if it was loaded.
    pub(crate) fn find(&mut self, address: &Address) -> Option<u32> {
        if (self.last as usize) < self.live && self.accounts[self.last as usize].address == *address {
            return Some(self.last);
        }
        let found = if self.live <= SCANNED {
            self.accounts[..self.live].iter().position(|entry| entry.address == *address)? as u32
        } else {
            let hash = hash_address(&self.hasher, address);
            self.account_index.find(hash, |at| self.accounts[at as usize].address == *address)?
        };
        self.last = found;
        Some(found)
    }

    /// Makes room for an account that is not there yet.
    pub(crate) fn push_account(&mut self, address: Address) -> u32 {
        let at = self.live as u32;
        if self.live == self.accounts.len() {
            self.accounts.push(AccountEntry::blank());
        }
        self.live += 1;
        self.accounts[at as usize].address = address;
        let (accounts, hasher) = (&self.accounts, &self.hasher);
        let hash_of = |at: u32| hash_address(hasher, &accounts[at as usize].address);
        for at in unindexed(at) {
            self.account_index.insert(hash_of(at), at, hash_of);
        }
        self.last = at;
        at
    }

    /// Position of a slot, if it was loaded.
    pub(crate) fn find_slot(&self, account: u32, key: &U256) -> Option<u32> {
        let is = |slot: &SlotEntry| slot.key == *key && slot.account == account;
        if self.slots.len() <= SCANNED {
            return self.slots.iter().position(is).map(|at| at as u32);
        }
        let hash = hash_slot(&self.hasher, account, key);
        self.slot_index.find(hash, |at| is(&self.slots[at as usize]))
    }

    /// Adds a slot that is not there yet.
    pub(crate) fn push_slot(&mut self, slot: SlotEntry) -> u32 {
        let at = self.slots.len() as u32;
        self.slots.push(slot);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let hash_of = |at: u32| {
            let slot = &slots[at as usize];
            hash_slot(hasher, slot.account, &slot.key)
        };
        for at in unindexed(at) {
            self.slot_index.insert(hash_of(at), at, hash_of);
        }
        at
    }

    fn find_transient(&self, account: u32, key: &U256) -> Option<u32> {
        let hash = hash_slot(&self.hasher, account, key);
        self.transient_index.find(hash, |at| {
            let slot = &self.transient[at as usize];
            slot.account == account && slot.key == *key
        })
    }

    /// Reads a transient slot.
    pub(crate) fn transient(&self, account: u32, key: &U256) -> U256 {
        self.find_transient(account, key).map_or(U256::ZERO, |at| self.transient[at as usize].value)
    }

    /// Writes a transient slot.
    pub(crate) fn set_transient(&mut self, account: u32, key: U256, value: U256) {
        let at = match self.find_transient(account, &key) {
            Some(at) => at,
            None if value.is_zero() => return,
            None => {
                let at = self.transient.len() as u32;
                let hash = hash_slot(&self.hasher, account, &key);
                self.transient.push(TransientEntry { account, key, value: U256::ZERO });
                let (transient, hasher) = (&self.transient, &self.hasher);
                self.transient_index.insert(hash, at, |at| {
                    let slot = &transient[at as usize];
                    hash_slot(hasher, slot.account, &slot.key)
                });
                at
            }
        };
        let slot = &mut self.transient[at as usize];
        if slot.value != value {
            self.undo.push(Undo::Transient { slot: at, old: slot.value });
            slot.value = value;
        }
    }

    /// Takes back the changes after the first `to`, latest first. `state_clear`: EIP-161 is in force.
    pub(crate) fn revert(&mut self, to: usize, state_clear: bool) {
        while self.undo.len() > to {
            let Some(undo) = self.undo.pop() else { return };
            self.revert_one(undo, state_clear);
        }
    }

    fn revert_one(&mut self, undo: Undo, state_clear: bool) {
        match undo {
            Undo::AccountWarmed(at) => self.entry_mut(at).account.mark_cold(),
            Undo::Touched(at) => {
                let entry = self.entry_mut(at);
                // The account 0x03 stays touched: mainnet block 2,675,119, Yellow Paper K.1.
                if !(state_clear && entry.address == PRECOMPILE3) {
                    entry.account.unmark_touch();
                }
            }
            Undo::Destroyed { account, target, had_balance, first } => {
                let entry = self.entry_mut(account);
                if first {
                    entry.account.unmark_selfdestruct();
                    entry.account.unmark_selfdestructed_locally();
                }
                add(&mut entry.account.info.balance, had_balance);
                if account != target {
                    sub(&mut self.entry_mut(target).account.info.balance, had_balance);
                }
            }
            Undo::Balance { account, old } => self.entry_mut(account).account.info.balance = old,
            Undo::Transfer { from, to, amount } => {
                add(&mut self.entry_mut(from).account.info.balance, amount);
                sub(&mut self.entry_mut(to).account.info.balance, amount);
            }
            Undo::Nonce { account, old } => self.entry_mut(account).account.info.nonce = old,
            Undo::Created { account } => {
                let account = &mut self.entry_mut(account).account;
                account.unmark_created_locally();
                account.unmark_created();
                account.info.nonce = 0;
            }
            Undo::Storage { slot, old } => self.slots[slot as usize].slot.present_value = old,
            Undo::SlotWarmed(slot) => self.slots[slot as usize].slot.mark_cold(),
            Undo::Transient { slot, old } => self.transient[slot as usize].value = old,
            Undo::Code { account, old_hash, old } => {
                let info = &mut self.entry_mut(account).account.info;
                info.code_hash = old_hash;
                info.code = old;
            }
        }
    }
}

/// Up to so many entries a look-up scans, which beats hashing; only beyond does it use the index.
const SCANNED: usize = 8;

/// What has to enter an index when the entry `at` arrives: nothing, all, or the entry itself.
fn unindexed(at: u32) -> std::ops::Range<u32> {
    match at as usize {
        few if few < SCANNED => 0..0,
        SCANNED => 0..at + 1,
        _ => at..at + 1,
    }
}

/// Word by word: the derived hash of an address goes through the path for long slices.
fn hash_address(state: &RandomState, address: &Address) -> u64 {
    let mut hasher = state.build_hasher();
    let (words, _) = address.as_slice().as_chunks::<4>();
    for word in words {
        hasher.write_u32(u32::from_le_bytes(*word));
    }
    hasher.finish()
}

fn hash_slot(state: &RandomState, account: u32, key: &U256) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write_u32(account);
    for limb in key.as_limbs() {
        hasher.write_u64(*limb);
    }
    hasher.finish()
}

/// RIPEMD-160, whose touch survives a revert.
const PRECOMPILE3: Address = Address::with_last_byte(3);

/// Balances wrap: only a state that no chain has gets near the edge, and it must not panic there.
pub(crate) fn add(balance: &mut U256, amount: U256) {
    *balance = balance.wrapping_add(amount);
}

pub(crate) fn sub(balance: &mut U256, amount: U256) {
    *balance = balance.wrapping_sub(amount);
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::state::EvmStorageSlot;

    fn slot(account: u32, key: U256) -> SlotEntry {
        let slot = EvmStorageSlot::new(U256::ZERO, TransactionId::ZERO);
        SlotEntry { account, key, initial: U256::ZERO, slot }
    }

    /// Few and many entries, so that scans, the index, and the change from one to the other are used;
    /// and a second transaction in the same arena.
    #[test]
    fn finds_accounts_and_slots_however_many_there_are() {
        let mut arenas = Arenas::default();
        let address = |n: u32| Address::left_padding_from(&(n * 3 + 1).to_be_bytes());
        for count in [1, 7, 8, 9, 10, 500, 3] {
            arenas.begin();
            for n in 0..count {
                assert_eq!(arenas.find(&address(n)), None, "{n} of {count}");
                assert_eq!(arenas.push_account(address(n)), n);
                let key = U256::from(n % 5);
                assert_eq!(arenas.find_slot(n / 5, &key), None);
                assert_eq!(arenas.push_slot(slot(n / 5, key)), n);
            }
            for n in (0..count).rev() {
                assert_eq!(arenas.find(&address(n)), Some(n), "{n} of {count}");
                assert_eq!(arenas.find_slot(n / 5, &U256::from(n % 5)), Some(n));
            }
            assert_eq!(arenas.accounts().len(), count as usize);
        }
    }

    /// What is counted grows with what is loaded, and stays when the next transaction begins.
    #[test]
    fn memory_that_is_kept_is_counted() {
        let mut arenas = Arenas::default();
        let empty = arenas.bytes();
        for n in 0..10_000u32 {
            arenas.push_account(Address::left_padding_from(&n.to_be_bytes()));
            arenas.push_slot(slot(n, U256::ZERO));
        }
        arenas.begin();
        let grown = 10_000 * (size_of::<AccountEntry>() + size_of::<SlotEntry>());
        assert!(empty < 1000 && arenas.bytes() > grown, "{empty}, {}", arenas.bytes());
    }

    #[test]
    fn transient_storage_reverts() {
        let mut arenas = Arenas::default();
        let (key, one) = (U256::from(7), U256::ONE);
        arenas.set_transient(0, key, U256::ZERO);
        assert!(arenas.undo.is_empty(), "nothing changed");
        arenas.set_transient(0, key, one);
        arenas.set_transient(0, key, U256::from(2));
        arenas.revert(1, true);
        assert_eq!(arenas.transient(0, &key), one);
        assert_eq!(arenas.transient(1, &key), U256::ZERO);
        arenas.revert(0, true);
        assert_eq!(arenas.transient(0, &key), U256::ZERO);
        arenas.end_call();
        assert_eq!(arenas.transient(0, &key), U256::ZERO);
    }
}
