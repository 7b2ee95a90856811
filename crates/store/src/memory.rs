//! State in a hash map.

use braid_core::{Key, Reader, State, StoreError, Value};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::{
    fmt::Debug,
    ops::Range,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

/// A state that a [`MemStore`] may stand on; readers of many threads at a time.
pub trait Below<K, V>: Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// A handle for one thread.
    ///
    /// # Errors
    /// If the state cannot be read at all.
    fn reader(&self) -> Result<Box<dyn Reader<K, V> + '_>, StoreError>;
}

/// State in one flat hash map, keyed by full keys; perhaps over another state, which then has what the map
/// has not.
#[derive(Clone, Debug)]
pub struct MemStore<K, V> {
    values: HashMap<K, V, RandomState>,
    below: Option<Arc<dyn Below<K, V>>>,
}

impl<K, V> Default for MemStore<K, V> {
    fn default() -> Self {
        MemStore { values: HashMap::default(), below: None }
    }
}

impl<K, V> MemStore<K, V> {
    /// An empty map over `below`. What only `below` has is seen by readers (of [`State`]), and by none of the
    /// methods of the map; so it cannot be removed, only put above.
    pub fn over(below: Arc<dyn Below<K, V>>) -> Self {
        MemStore { values: HashMap::default(), below: Some(below) }
    }

    /// The state it stands on, if it does on any.
    pub fn below(&self) -> Option<&dyn Below<K, V>> {
        self.below.as_deref()
    }
}

impl<K: Key, V: Value> MemStore<K, V> {
    /// The value at `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// The value at `key`, as readers see it: that of the state below if there is none here.
    ///
    /// # Errors
    /// What the state below says.
    pub fn read(&self, key: &K) -> Result<Option<V>, StoreError> {
        match (self.values.get(key), &self.below) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(below)) => below.reader()?.get(key),
            (None, None) => Ok(None),
        }
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
        MemStore { values: entries.into_iter().collect(), below: None }
    }
}

impl<K: Key, V: Value> State<K, V> for MemStore<K, V> {
    type Reader<'a> = MemReader<'a, K, V>;

    fn reader(&self) -> Result<MemReader<'_, K, V>, StoreError> {
        let below = self.below.as_deref().map(Below::reader).transpose()?;
        Ok(MemReader { store: self, below })
    }
}

/// One worker's handle on a [`MemStore`].
pub struct MemReader<'a, K, V> {
    store: &'a MemStore<K, V>,
    below: Option<Box<dyn Reader<K, V> + 'a>>,
}

impl<K, V> Debug for MemReader<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemReader").field("below", &self.below.is_some()).finish_non_exhaustive()
    }
}

impl<K: Key, V: Value> Reader<K, V> for MemReader<'_, K, V> {
    #[inline]
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        match (self.store.values.get(key), &mut self.below) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(below)) => below.get(key),
            (None, None) => Ok(None),
        }
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        let mut store = self.store;
        store.scan(range)
    }

    fn prefetch(&mut self, keys: &[K]) {
        if let Some(below) = &mut self.below {
            below.prefetch(keys);
        }
    }
}

/// For a few reads; a worker that makes many has a [`MemReader`].
impl<K: Key, V: Value> Reader<K, V> for &MemStore<K, V> {
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        self.read(key)
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        if self.below.is_some() {
            return Err(StoreError::NoRanges);
        }
        let present = self.values.iter().filter(|(key, _)| range.contains(key));
        let mut found: Vec<_> = present.map(|(key, value)| (*key, value.clone())).collect();
        found.sort_unstable_by_key(|(key, _)| *key);
        Ok(found)
    }
}
