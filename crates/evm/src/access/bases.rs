//! What stood before the block where its access list looks, once somebody has read it.
//!
//! Written by whoever reads first, or by several at the same time: all write the same, as the state does not
//! change while a block runs. So plain atomic words will do, published by a flag.

use super::table::Tables;
use crate::AccountState;
use alloy_primitives::{B256, U256};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A word of 256 bits.
#[derive(Debug, Default)]
struct Limbs([AtomicU64; 4]);

impl Limbs {
    // Relaxed, both: published by a flag.
    fn get(&self) -> [u64; 4] {
        self.0.each_ref().map(|limb| limb.load(Ordering::Relaxed))
    }

    fn set(&self, limbs: &[u64; 4]) {
        self.0.iter().zip(limbs).for_each(|(to, limb)| to.store(*limb, Ordering::Relaxed));
    }
}

#[derive(Debug, Default)]
struct Word {
    limbs: Limbs,
    is_known: AtomicBool,
}

#[derive(Debug, Default)]
struct Record {
    balance: Limbs,
    code_hash: Limbs,
    nonce: AtomicU64,
    /// Zero if nothing is known; else [`KNOWN`], the other flags, and above them the generation.
    rest: AtomicU64,
}

const KNOWN: u64 = 1;
const EXISTS: u64 = 2;
const HAS_STORAGE: u64 = 4;

/// Of one part of a list.
#[derive(Debug, Default)]
struct Part {
    accounts: Vec<Record>,
    slots: Vec<Word>,
}

/// The values before the block of all listed locations, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Bases {
    parts: Vec<Part>,
}

impl Bases {
    /// Forgets all, and makes room for the locations of `tables`.
    pub(super) fn reset(&mut self, tables: &Tables) {
        if self.parts.len() < tables.count {
            self.parts.resize_with(tables.count, Part::default);
        }
        for (own, part) in self.parts.iter_mut().zip(tables.parts()) {
            own.accounts.truncate(part.accounts.len());
            own.slots.truncate(part.slots.len());
            own.accounts.iter_mut().for_each(|record| *record.rest.get_mut() = 0);
            own.slots.iter_mut().for_each(|word| *word.is_known.get_mut() = false);
            own.accounts.resize_with(part.accounts.len(), Record::default);
            own.slots.resize_with(part.slots.len(), Word::default);
        }
    }

    /// Bytes that are allocated.
    pub(super) fn bytes(&self) -> usize {
        let of = |part: &Part| {
            part.accounts.capacity() * size_of::<Record>() + part.slots.capacity() * size_of::<Word>()
        };
        self.parts.iter().map(of).sum()
    }

    /// The slot `at` of a part.
    pub(super) fn word<E>(
        &self,
        part: usize,
        at: usize,
        read: impl FnOnce() -> Result<U256, E>,
    ) -> Result<U256, E> {
        let word = &self.parts[part].slots[at];
        // Acquire: the limbs were there before.
        if word.is_known.load(Ordering::Acquire) {
            return Ok(U256::from_limbs(word.limbs.get()));
        }
        let value = read()?;
        word.limbs.set(value.as_limbs());
        // Release: publishes the limbs.
        word.is_known.store(true, Ordering::Release);
        Ok(value)
    }

    /// The account `at` of a part.
    pub(super) fn account<E>(
        &self,
        part: usize,
        at: usize,
        read: impl FnOnce() -> Result<AccountState, E>,
    ) -> Result<AccountState, E> {
        let record = &self.parts[part].accounts[at];
        // Acquire: the other words were there before.
        let rest = record.rest.load(Ordering::Acquire);
        if rest != 0 {
            return Ok(AccountState {
                exists: rest & EXISTS != 0,
                balance: U256::from_limbs(record.balance.get()),
                // Relaxed: published by the flag.
                nonce: record.nonce.load(Ordering::Relaxed),
                code_hash: B256::from(U256::from_limbs(record.code_hash.get()).to_le_bytes()),
                generation: (rest >> 32) as u32,
                has_storage: rest & HAS_STORAGE != 0,
            });
        }
        let value = read()?;
        record.balance.set(value.balance.as_limbs());
        record.code_hash.set(U256::from_le_bytes(value.code_hash.0).as_limbs());
        record.nonce.store(value.nonce, Ordering::Relaxed);
        let flag = |is: bool, flag| if is { flag } else { 0 };
        let rest = (u64::from(value.generation) << 32)
            | KNOWN
            | flag(value.exists, EXISTS)
            | flag(value.has_storage, HAS_STORAGE);
        // Release: publishes the other words.
        record.rest.store(rest, Ordering::Release);
        Ok(value)
    }
}
