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
use crate::{AccountDelta, AccountState, EvmKey, EvmValue, account::balance_after};
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
        let len = self.words[at] as usize;
        Items { words: &self.words, at: at + 1, end: at + 1 + len }
    }

    /// The item at `at`.
    #[inline]
    pub(super) fn item(&self, at: usize) -> Item<'_> {
        let head = self.words[at];
        Item { head, at, words: &self.words[at + 1..][..len(head)] }
    }
}

/// Words of an item behind its head.
#[inline]
fn len(head: u64) -> usize {
    let limbs = (head >> FIRST_LIMBS & 7) + (head >> SECOND_LIMBS & 7);
    let of_account = 2 + u64::from(head & NONCE != 0) + u64::from(head & CODE != 0) * 4;
    (limbs + if head & SLOT == 0 { of_account } else { 0 }) as usize
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
    at: usize,
    end: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.at >= self.end {
            return None;
        }
        let (at, head) = (self.at, self.words[self.at]);
        let words = &self.words[at + 1..][..len(head)];
        self.at += 1 + words.len();
        Some(Item { head, at, words })
    }
}

/// An address as an item has it: four bytes, then eight and eight.
pub(super) type Name = [u64; 3];

/// The address of a name.
pub(super) fn address(name: &Name) -> Address {
    let mut address = Address::ZERO;
    address[..4].copy_from_slice(&name[0].to_le_bytes()[..4]);
    address[4..12].copy_from_slice(&name[1].to_le_bytes());
    address[12..].copy_from_slice(&name[2].to_le_bytes());
    address
}

/// One item of a note.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    head: u64,
    /// Where it is.
    pub(super) at: usize,
    words: &'a [u64],
}

impl Item<'_> {
    /// Whether it is a slot, and not an account.
    #[inline]
    pub(super) fn is_slot(&self) -> bool {
        self.head & SLOT != 0
    }

    /// Whether it changed.
    #[inline]
    pub(super) fn is_changed(&self) -> bool {
        self.head & CHANGED != 0
    }

    /// The number of a slot's account.
    #[inline]
    pub(super) fn account(&self) -> u32 {
        (self.head >> UPPER) as u32
    }

    /// The first byte of an account's address.
    #[inline]
    pub(super) fn first_byte(&self) -> u8 {
        (self.head >> UPPER) as u8
    }

    /// An account's address.
    #[inline]
    pub(super) fn name(&self) -> Name {
        [self.head >> UPPER, self.words[0], self.words[1]]
    }

    #[inline]
    fn number(&self, from: usize, len: u64) -> U256 {
        let mut limbs = [0; 4];
        let words = &self.words[from..][..len as usize];
        limbs.iter_mut().zip(words).for_each(|(limb, word)| *limb = *word);
        U256::from_limbs(limbs)
    }

    #[inline]
    fn lens(&self) -> (u64, u64) {
        (self.head >> FIRST_LIMBS & 7, self.head >> SECOND_LIMBS & 7)
    }

    /// A slot's key.
    #[inline]
    pub(super) fn key(&self) -> U256 {
        self.number(0, self.lens().0)
    }

    /// A slot's new value, if it changed.
    #[inline]
    pub(super) fn value(&self) -> U256 {
        let (key, value) = self.lens();
        self.number(key as usize, value)
    }

    /// An account's balance after this.
    #[inline]
    pub(super) fn balance(&self, balance: U256) -> U256 {
        let (first, second) = self.lens();
        let number = self.number(2, first);
        if self.head & PUT != 0 {
            return number;
        }
        balance_after(balance, number, self.number(2 + first as usize, second))
    }

    /// Its new nonce, if it has one.
    #[inline]
    pub(super) fn nonce(&self) -> Option<u64> {
        let (first, second) = self.lens();
        (self.head & NONCE != 0).then(|| self.words[2 + (first + second) as usize])
    }

    /// Its new code, if it has one.
    #[inline]
    pub(super) fn code_hash(&self) -> Option<B256> {
        (self.head & CODE != 0).then(|| {
            let mut hash = B256::ZERO;
            let (bytes, _) = hash.0.as_chunks_mut::<8>();
            let words = &self.words[self.words.len() - 4..];
            bytes.iter_mut().zip(words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
            hash
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every length, whose limbs differ.
    fn numbers() -> impl Iterator<Item = U256> {
        let all = U256::from_limbs([1, 2, 3, u64::MAX]);
        let long = (0..4).map(move |limbs| all >> (64 * limbs));
        long.chain([U256::ZERO, U256::MAX, U256::from(1) << 64, U256::from(1) << 255])
    }

    fn deltas() -> Vec<AccountDelta> {
        let mut deltas = Vec::new();
        for (credit, debit) in numbers().flat_map(|credit| numbers().map(move |debit| (credit, debit))) {
            for (nonce, code_hash) in [
                (None, None),
                (Some(0), None),
                (None, Some(B256::repeat_byte(7))),
                (Some(u64::MAX), Some(B256::ZERO)),
            ] {
                deltas.push(AccountDelta { credit, debit, nonce, code_hash, generation: None });
            }
        }
        deltas
    }

    fn after(item: &Item<'_>, account: AccountState) -> AccountState {
        AccountState {
            balance: item.balance(account.balance),
            nonce: item.nonce().unwrap_or(account.nonce),
            code_hash: item.code_hash().unwrap_or(account.code_hash),
            ..account
        }
    }

    /// What is noted of an account does to every record what the write does.
    #[test]
    fn accounts_come_back() {
        let before = |balance| AccountState { exists: true, balance, nonce: 5, ..AccountState::default() };
        let adds = deltas().into_iter().map(Write::Add);
        let puts = numbers().map(|balance| {
            let account =
                AccountState { balance, code_hash: B256::repeat_byte(9), ..AccountState::default() };
            Write::Put(EvmValue::Account(account))
        });
        for write in adds.chain(puts).chain([Write::Delete]) {
            let mut notes = Notes::default();
            let wanted = Address::from_slice(&std::array::from_fn::<u8, 20, _>(|at| at as u8 + 0xe0));
            notes.open();
            assert_eq!(notes.account(&wanted, Some(&write)), 0);
            assert_eq!(notes.account(&Address::ZERO, None), 1);
            let at = notes.seal();
            let items: Vec<_> = notes.items(at).collect();
            let [item, other] = items[..] else { panic!("{items:?}") };
            assert_eq!(address(&item.name()), wanted);
            assert_eq!(item.first_byte(), 0xe0);
            assert!(!item.is_slot() && item.is_changed() && !other.is_slot() && !other.is_changed());
            assert_eq!(address(&other.name()), Address::ZERO);
            for balance in numbers() {
                let before = before(balance);
                let fields = |account: AccountState| (account.balance, account.nonce, account.code_hash);
                assert_eq!(
                    fields(after(&notes.item(item.at), before)),
                    fields(before.written(&write)),
                    "{write:?} on {balance}"
                );
            }
        }
    }

    /// Slots come back, whatever was left unfinished or sealed before them.
    #[test]
    fn slots_come_back() {
        let mut notes = Notes::default();
        let mut sealed = Vec::new();
        for (key, value) in numbers().flat_map(|key| numbers().map(move |value| (key, value))) {
            notes.open();
            notes.account(&Address::repeat_byte(1), None);
            // Left open: the next one takes its place.
            notes.open();
            notes.account(&Address::repeat_byte(2), None);
            notes.slot(0, &key, None);
            notes.slot(0, &key, Some(&value));
            sealed.push((notes.seal(), key, value));
        }
        for (at, key, value) in sealed {
            let items: Vec<_> = notes.items(at).collect();
            let [account, read, written] = items[..] else { panic!("{items:?}") };
            assert_eq!(address(&account.name()), Address::repeat_byte(2));
            assert!(read.is_slot() && !read.is_changed() && written.is_slot() && written.is_changed());
            assert_eq!((read.key(), read.account()), (key, 0));
            assert_eq!((written.key(), written.value(), written.account()), (key, value, 0));
        }
    }
}
