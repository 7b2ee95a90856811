//! What executions touched and changed, as words in the memory of the worker that ran them.
//!
//! A *note* is what one execution leaves: its length, then items in the order in which they were touched.
//! 1. An item begins with a head. Its lowest bit tells a slot (1) from an account (0), the next whether it
//!    changed; the rest is below. Numbers are as few limbs as they need, and the head says how many.
//! 2. An account has the first four bytes of its address in the upper half of the head and the others in two
//!    words. Accounts are numbered as they come, from 0.
//! 3. A slot has the number of its account in the upper half of the head, then its key, then its new value.
//! 4. The same account or slot may come several times; changes count in their order.
//!
//! Nothing is looked up and nothing allocated for an item: notes are put in order and together when somebody
//! asks for the list ([`AccessRecord`](super::AccessRecord)). Those of executions that came to nothing stay
//! where they are, unread.

use super::{Touches, record::record};
use crate::{AccountDelta, AccountState, EvmKey, EvmValue};
use alloy_primitives::{Address, B256, U256};
use braid_core::Write;
use revm::bytecode::Bytecode;

const SLOT: u64 = 1;
const CHANGED: u64 = 1 << 1;
/// Of a slot: limbs of key and value. Of an account: limbs of credit and debit, or of the balance.
const FIRST_LIMBS: u32 = 2;
const SECOND_LIMBS: u32 = 5;
/// Of an account: a new nonce and a new code follow.
const NONCE: u64 = 1 << 8;
const CODE: u64 = 1 << 9;
/// The record is set, whatever it was.
const PUT: u64 = 1 << 10;
const UPPER: u32 = 32;

/// How a transaction changed an account, as far as lists have it.
#[derive(Clone, Copy, Debug)]
pub(super) enum AccountChange {
    Add(AccountDelta),
    Put { balance: U256, nonce: u64, code_hash: B256 },
}

impl AccountChange {
    /// The record after it.
    pub(super) fn onto(&self, account: AccountState) -> AccountState {
        match self {
            AccountChange::Add(delta) => account.after(delta),
            AccountChange::Put { balance, nonce, code_hash } => {
                AccountState { balance: *balance, nonce: *nonce, code_hash: *code_hash, ..account }
            }
        }
    }
}

/// One item of a note.
#[derive(Debug)]
pub(super) enum Item {
    Account { address: Address, change: Option<AccountChange> },
    Slot { account: u32, key: U256, value: Option<U256> },
}

/// The notes of one worker in one block.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    words: Vec<u64>,
    /// Where the last note ends, and the open one begins.
    end: usize,
    /// Accounts of the open note.
    accounts: u32,
    /// Deployed codes.
    codes: Vec<(B256, Bytecode)>,
}

fn limbs(value: &U256) -> usize {
    4 - value.as_limbs().iter().rev().take_while(|limb| **limb == 0).count()
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

impl Notes {
    /// Bytes that are allocated, without the codes, which others have, too.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.codes.capacity() * size_of::<(B256, Bytecode)>()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.codes.clear();
        self.end = 0;
    }

    /// Deployed codes.
    pub(super) fn codes(&self) -> &[(B256, Bytecode)] {
        &self.codes
    }

    /// Opens a note, and drops one that was left open.
    pub(crate) fn open(&mut self) {
        self.words.truncate(self.end);
        self.words.push(0);
        self.accounts = 0;
    }

    /// Ends the open note, and says where it is.
    pub(crate) fn seal(&mut self) -> usize {
        let start = self.end;
        self.end = self.words.len();
        self.words[start] = (self.end - start - 1) as u64;
        start
    }

    /// Adds an account, and says its number.
    pub(crate) fn account(&mut self, address: &Address, write: Option<&Write<EvmValue>>) -> u32 {
        let bytes = address.as_slice();
        let head = word_of(&bytes[..4]) << UPPER;
        let rest = [word_of(&bytes[4..12]), word_of(&bytes[12..])];
        match write {
            None => self.words.extend_from_slice(&[head, rest[0], rest[1]]),
            Some(Write::Add(delta)) => self.added(head, rest, delta),
            Some(Write::Put(value)) => self.set(head, rest, &record(Some(value))),
            Some(Write::Delete) => self.set(head, rest, &AccountState::default()),
        }
        self.accounts += 1;
        self.accounts - 1
    }

    fn added(&mut self, head: u64, rest: [u64; 2], delta: &AccountDelta) {
        let (credit, debit) = (limbs(&delta.credit), limbs(&delta.debit));
        let flag = |is, flag| if is { flag } else { 0 };
        let lens = (credit as u64) << FIRST_LIMBS | (debit as u64) << SECOND_LIMBS;
        let parts = flag(delta.nonce.is_some(), NONCE) | flag(delta.code_hash.is_some(), CODE);
        self.words.extend_from_slice(&[head | CHANGED | lens | parts, rest[0], rest[1]]);
        self.words.extend_from_slice(&delta.credit.as_limbs()[..credit]);
        self.words.extend_from_slice(&delta.debit.as_limbs()[..debit]);
        self.words.extend(delta.nonce);
        if let Some(code_hash) = &delta.code_hash {
            self.hash(code_hash);
        }
    }

    fn set(&mut self, head: u64, rest: [u64; 2], account: &AccountState) {
        let len = limbs(&account.balance);
        let head = head | CHANGED | PUT | NONCE | CODE | (len as u64) << FIRST_LIMBS;
        self.words.extend_from_slice(&[head, rest[0], rest[1]]);
        self.words.extend_from_slice(&account.balance.as_limbs()[..len]);
        self.words.push(account.nonce);
        self.hash(&account.code_hash);
    }

    fn hash(&mut self, hash: &B256) {
        let (words, _) = hash.0.as_chunks::<8>();
        self.words.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
    }

    /// Adds a slot of the account with this number, with its new value if it changed.
    pub(crate) fn slot(&mut self, account: u32, key: &U256, value: Option<&U256>) {
        let len = limbs(key);
        let head = u64::from(account) << UPPER | (len as u64) << FIRST_LIMBS | SLOT;
        match value {
            None => {
                self.words.push(head);
                self.words.extend_from_slice(&key.as_limbs()[..len]);
            }
            Some(value) => {
                let values = limbs(value);
                self.words.push(head | CHANGED | (values as u64) << SECOND_LIMBS);
                self.words.extend_from_slice(&key.as_limbs()[..len]);
                self.words.extend_from_slice(&value.as_limbs()[..values]);
            }
        }
    }

    /// Keeps the code of a write of code.
    pub(crate) fn code(&mut self, hash: &B256, write: &Write<EvmValue>) {
        if let Write::Put(EvmValue::Code(code)) = write {
            self.codes.push((*hash, code.clone()));
        }
    }

    /// Adds what was touched, and then what was written, in any order.
    pub(crate) fn enter(&mut self, touches: &Touches, writes: &[(EvmKey, Write<EvmValue>)]) {
        for address in &touches.accounts {
            self.account(address, None);
        }
        let mut last = None;
        for (address, key) in &touches.slots {
            let account = self.same(&mut last, address);
            self.slot(account, key, None);
        }
        for (key, write) in writes {
            match key {
                EvmKey::Account(address) => {
                    last = Some((*address, self.account(address, Some(write))));
                }
                EvmKey::Slot { address, slot, .. } => {
                    let account = self.same(&mut last, address);
                    self.slot(account, slot, Some(&written(write)));
                }
                EvmKey::Code(hash) => self.code(hash, write),
            }
        }
    }

    /// The number of an account, which may be the `last` one.
    fn same(&mut self, last: &mut Option<(Address, u32)>, address: &Address) -> u32 {
        match last {
            Some((same, account)) if same == address => *account,
            _ => last.insert((*address, self.account(address, None))).1,
        }
    }

    /// The items of the note at `at`.
    pub(super) fn items(&self, at: usize) -> Items<'_> {
        let (len, rest) = self.words[at..].split_first().map_or((0, &[][..]), |(len, rest)| (*len, rest));
        Items { words: &rest[..len as usize] }
    }
}

/// The value of a slot after `write`.
pub(crate) fn written(write: &Write<EvmValue>) -> U256 {
    match write {
        Write::Put(EvmValue::Slot(value)) => *value,
        _ => U256::ZERO,
    }
}

/// Reads a note.
#[derive(Debug)]
pub(super) struct Items<'a> {
    words: &'a [u64],
}

impl Items<'_> {
    fn take<const N: usize>(&mut self) -> [u64; N] {
        let Some((first, rest)) = self.words.split_first_chunk::<N>() else {
            unreachable!("a note is as long as its items")
        };
        self.words = rest;
        *first
    }

    fn number(&mut self, head: u64, at: u32) -> U256 {
        let len = (head >> at & 7) as usize;
        let mut limbs = [0; 4];
        limbs[..len].copy_from_slice(&self.words[..len]);
        self.words = &self.words[len..];
        U256::from_limbs(limbs)
    }

    fn hash(&mut self) -> B256 {
        let mut hash = B256::ZERO;
        let (bytes, _) = hash.0.as_chunks_mut::<8>();
        bytes.iter_mut().zip(self.take::<4>()).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
        hash
    }

    fn account(&mut self, head: u64) -> Item {
        let [middle, end] = self.take();
        let mut address = Address::ZERO;
        address[..4].copy_from_slice(&(head >> UPPER).to_le_bytes()[..4]);
        address[4..12].copy_from_slice(&middle.to_le_bytes());
        address[12..].copy_from_slice(&end.to_le_bytes());
        if head & CHANGED == 0 {
            return Item::Account { address, change: None };
        }
        let (first, second) = (self.number(head, FIRST_LIMBS), self.number(head, SECOND_LIMBS));
        let nonce = (head & NONCE != 0).then(|| self.take::<1>()[0]);
        let code_hash = (head & CODE != 0).then(|| self.hash());
        let change = match (head & PUT != 0, nonce, code_hash) {
            (true, Some(nonce), Some(code_hash)) => AccountChange::Put { balance: first, nonce, code_hash },
            _ => AccountChange::Add(AccountDelta {
                credit: first,
                debit: second,
                nonce,
                code_hash,
                generation: None,
            }),
        };
        Item::Account { address, change: Some(change) }
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    #[inline]
    fn next(&mut self) -> Option<Item> {
        let (head, rest) = self.words.split_first()?;
        self.words = rest;
        if head & SLOT == 0 {
            return Some(self.account(*head));
        }
        let key = self.number(*head, FIRST_LIMBS);
        let value = (head & CHANGED != 0).then(|| self.number(*head, SECOND_LIMBS));
        Some(Item::Slot { account: (head >> UPPER) as u32, key, value })
    }
}
