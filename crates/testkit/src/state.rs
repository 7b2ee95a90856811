//! The state before a toy block.

use crate::Num;
use braid_core::{Reader, State, StoreError};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Numbers by key, some of which the state refuses to tell.
#[derive(Clone, Debug, Default)]
pub struct ToyState {
    /// What is there.
    pub values: BTreeMap<u64, Num>,
    /// Keys whose read fails, always.
    pub broken: BTreeSet<u64>,
}

fn failure(key: u64) -> StoreError {
    StoreError::Failed(format!("broken key {key}"))
}

impl State<u64, Num> for ToyState {
    type Reader<'a> = &'a ToyState;

    fn reader(&self) -> Result<&ToyState, StoreError> {
        Ok(self)
    }
}

impl Reader<u64, Num> for &ToyState {
    fn get(&mut self, key: &u64) -> Result<Option<Num>, StoreError> {
        if self.broken.contains(key) {
            return Err(failure(*key));
        }
        Ok(self.values.get(key).copied())
    }

    fn scan(&mut self, range: Range<u64>) -> Result<Vec<(u64, Num)>, StoreError> {
        if let Some(key) = self.broken.range(range.clone()).next() {
            return Err(failure(*key));
        }
        Ok(self.values.range(range).map(|(key, value)| (*key, *value)).collect())
    }
}
