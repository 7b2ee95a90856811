//! State in a hash map.

use braid_core::{Key, Reader, State, StoreError, Value};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::{
    fmt::Debug,
    ops::Range,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
    task::Poll,
    time::Duration,
};

/// A state that a [`MemStore`] may stand on; readers of many threads at a time.
pub trait Below<K, V>: Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// A handle for one thread.
    ///
    /// # Errors
    /// If the state cannot be read at all.
    fn reader(&self) -> Result<Box<dyn Reader<K, V> + '_>, StoreError>;

    /// How many reads one reader may have under way at a time, as [`State::overlap`] says it.
    fn overlap(&self) -> u16 {
        1
    }
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

    fn overlap(&self) -> u16 {
        self.below.as_deref().map_or(1, Below::overlap)
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

    fn poll(&mut self, key: &K, read: u32) -> Poll<Result<Option<V>, StoreError>> {
        match (self.store.values.get(key), &mut self.below) {
            (Some(value), _) => Poll::Ready(Ok(Some(value.clone()))),
            (None, Some(below)) => below.poll(key, read),
            (None, None) => Poll::Ready(Ok(None)),
        }
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        if let Some(below) = &mut self.below {
            below.wait(timeout, ready);
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

#[cfg(test)]
mod tests {
    use super::*;
    use braid_testkit::Num;

    /// Polled it is pending once for each number, and then answers.
    #[derive(Debug)]
    struct Later;

    struct LaterReader(std::collections::BTreeSet<u32>);

    impl Below<u32, Num> for Later {
        fn reader(&self) -> Result<Box<dyn Reader<u32, Num> + '_>, StoreError> {
            Ok(Box::new(LaterReader(Default::default())))
        }

        fn overlap(&self) -> u16 {
            7
        }
    }

    impl Reader<u32, Num> for LaterReader {
        fn get(&mut self, key: &u32) -> Result<Option<Num>, StoreError> {
            Ok(Some(Num(i64::from(*key))))
        }

        fn poll(&mut self, key: &u32, read: u32) -> Poll<Result<Option<Num>, StoreError>> {
            if self.0.remove(&read) { Poll::Ready(self.get(key)) } else { Poll::Pending }
        }

        fn wait(&mut self, _: Duration, ready: &mut Vec<u32>) {
            self.0 = (0..3).collect();
            ready.extend(&self.0);
        }
    }

    #[test]
    fn what_is_below_may_answer_later() {
        let mut store = MemStore::over(Arc::new(Later));
        store.set(2, Some(Num(20)));
        assert_eq!((State::overlap(&store), State::overlap(&MemStore::<u32, Num>::default())), (7, 1));
        let mut reader = State::reader(&store).unwrap();
        assert_eq!(reader.poll(&2, 0), Poll::Ready(Ok(Some(Num(20)))), "what is above is there");
        let (mut pending, mut ready) = (0, Vec::new());
        for read in 0..3 {
            pending += u32::from(reader.poll(&(10 + read), read).is_pending());
        }
        reader.wait(Duration::ZERO, &mut ready);
        assert_eq!((pending, ready), (3, vec![0, 1, 2]));
        for read in 0..3 {
            let expected = Some(Num(i64::from(10 + read)));
            assert_eq!(reader.poll(&(10 + read), read), Poll::Ready(Ok(expected)));
        }
    }

    #[derive(Debug)]
    struct Fixed;

    impl Below<u32, Num> for Fixed {
        fn reader(&self) -> Result<Box<dyn Reader<u32, Num> + '_>, StoreError> {
            Ok(Box::new(Fixed))
        }
    }

    impl Reader<u32, Num> for Fixed {
        fn get(&mut self, key: &u32) -> Result<Option<Num>, StoreError> {
            match key {
                0..5 => Ok(Some(Num(i64::from(*key)))),
                5 => Err(StoreError::Failed("five".into())),
                _ => Ok(None),
            }
        }
    }

    #[test]
    fn what_is_above_comes_first_and_the_rest_from_below() {
        let mut store = MemStore::over(Arc::new(Fixed));
        store.set(2, Some(Num(20)));
        store.set(7, Some(Num(70)));
        let all = |reader: &mut dyn Reader<u32, Num>| {
            (0..8).map(|key| reader.get(&key).map(|value| value.map(|num| num.0))).collect::<Vec<_>>()
        };
        let five = Err(StoreError::Failed("five".into()));
        let expected = vec![
            Ok(Some(0)),
            Ok(Some(1)),
            Ok(Some(20)),
            Ok(Some(3)),
            Ok(Some(4)),
            five,
            Ok(None),
            Ok(Some(70)),
        ];
        assert_eq!(all(&mut State::reader(&store).unwrap()), expected);
        assert_eq!(all(&mut &store), expected);
        assert_eq!((store.len(), store.get(&3), store.get(&2)), (2, None, Some(&Num(20))));
        assert_eq!(State::reader(&store).unwrap().scan(0..9), Err(StoreError::NoRanges));
        // Without one below, ranges can be listed.
        let plain: MemStore<u32, Num> = [(1, Num(1))].into_iter().collect();
        assert_eq!(State::reader(&plain).unwrap().scan(0..9), Ok(vec![(1, Num(1))]));
    }
}
