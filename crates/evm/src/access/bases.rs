//! What stood before the block where its access list looks, once somebody has read it.

use super::table::Tables;
use crate::AccountState;
use alloy_primitives::U256;
use std::sync::OnceLock;

/// Of one part of a list.
#[derive(Debug, Default)]
struct Part {
    accounts: Vec<OnceLock<AccountState>>,
    slots: Vec<OnceLock<U256>>,
}

/// The values before the block of all listed locations, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Bases {
    parts: Vec<Part>,
}

/// Empties what there is of `all`, and makes it `len` long.
fn reset<T>(all: &mut Vec<OnceLock<T>>, len: usize) {
    all.truncate(len);
    all.iter_mut().for_each(|one| drop(one.take()));
    all.resize_with(len, OnceLock::new);
}

impl Bases {
    /// Forgets all, and makes room for the locations of `tables`.
    pub(super) fn reset(&mut self, tables: &Tables) {
        if self.parts.len() < tables.count {
            self.parts.resize_with(tables.count, Part::default);
        }
        for (own, part) in self.parts.iter_mut().zip(tables.parts()) {
            reset(&mut own.accounts, part.accounts.len());
            reset(&mut own.slots, part.slots.len());
        }
    }

    /// Bytes that are allocated.
    pub(super) fn bytes(&self) -> usize {
        let of = |part: &Part| {
            part.accounts.capacity() * size_of::<OnceLock<AccountState>>()
                + part.slots.capacity() * size_of::<OnceLock<U256>>()
        };
        self.parts.iter().map(of).sum()
    }

    /// The slot `at` of a part.
    #[inline]
    pub(super) fn word<E>(
        &self,
        part: usize,
        at: usize,
        read: impl FnOnce() -> Result<U256, E>,
    ) -> Result<&U256, E> {
        known(&self.parts[part].slots[at], read)
    }

    /// The account `at` of a part.
    #[inline]
    pub(super) fn account<E>(
        &self,
        part: usize,
        at: usize,
        read: impl FnOnce() -> Result<AccountState, E>,
    ) -> Result<&AccountState, E> {
        known(&self.parts[part].accounts[at], read)
    }
}

/// What is in `cell`. If several read at the same time, they read the same: the state does not change while
/// a block runs.
#[inline]
fn known<T, E>(cell: &OnceLock<T>, read: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = read()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}
