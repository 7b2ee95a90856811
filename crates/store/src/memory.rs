//! State in a hash map.

use braid_core::{Key, Reader, State, StoreError, Value};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::ops::Range;

/// State in one flat hash map, keyed by full keys.
#[derive(Clone, Debug)]
pub struct MemStore<K, V> {
    values: HashMap<K, V, RandomState>,
}

impl<K, V> Default for MemStore<K, V> {
    fn default() -> Self {
        MemStore { values: HashMap::default() }
    }
}

impl<K: Key, V: Value> MemStore<K, V> {
    /// The value at `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Sets `key`, or removes it with `None`.
    pub fn set(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => drop(self.values.insert(key, value)),
            None => drop(self.values.remove(&key)),
        }
    }

    /// Applies the changes of a block.
    pub fn commit(&mut self, changes: impl IntoIterator<Item = (K, Option<V>)>) {
        for (key, value) in changes {
            self.set(key, value);
        }
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.values.iter()
    }

    /// Number of present keys.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing is present.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<K: Key, V: Value> FromIterator<(K, V)> for MemStore<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        MemStore { values: entries.into_iter().collect() }
    }
}

impl<K: Key, V: Value> State<K, V> for MemStore<K, V> {
    type Reader<'a> = &'a Self;

    fn reader(&self) -> Result<&Self, StoreError> {
        Ok(self)
    }
}

impl<K: Key, V: Value> Reader<K, V> for &MemStore<K, V> {
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        Ok(self.values.get(key).cloned())
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        let present = self.values.iter().filter(|(key, _)| range.contains(key));
        let mut found: Vec<_> = present.map(|(key, value)| (*key, value.clone())).collect();
        found.sort_unstable_by_key(|(key, _)| *key);
        Ok(found)
    }
}
