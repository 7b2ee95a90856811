//! Keys, values, and the state that stands before a block.

use std::{fmt::Debug, hash::Hash, ops::Range, task::Poll, time::Duration};

/// The full identity of a location. A hash of it is never an identity.
pub trait Key: Copy + Ord + Hash + Debug + Send + Sync + 'static {}
impl<T: Copy + Ord + Hash + Debug + Send + Sync + 'static> Key for T {}

/// What a location holds, how it changes without being read, and what an execution can learn from it.
///
/// `Delta` is a change that needs no read: a commutative add, or a patch of some fields of a record.
/// `Seen` is what one read taught its reader. It is as weak as the reader can make it ("the balance is
/// at least 5", "the code is c, whatever the nonce"), because a write that leaves it true does not
/// invalidate the reader.
pub trait Value: Clone + PartialEq + Debug + Send + Sync + 'static {
    /// A change that does not need the present value.
    type Delta: Clone + Debug + Send + Sync;
    /// What a reader learned from a location.
    type Seen: Clone + Debug + Send + Sync;

    /// The value after `delta`; `None` stands for an absent location, before and after.
    ///
    /// Total: a delta that its writer found applicable must apply to every base that agrees with what
    /// that writer saw.
    fn apply(base: Option<Self>, delta: &Self::Delta) -> Option<Self>;

    /// Everything there is to see: holds only for a value equal to this one.
    fn exactly(value: Option<&Self>) -> Self::Seen;

    /// Whether a reader that saw `seen` would have learned the same from `now`.
    fn holds(seen: &Self::Seen, now: Option<&Self>) -> bool;
}

/// A read of the underlying state that could not be answered. Cloned into the error of the block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The state refers to something that it does not contain, such as contract code.
    #[error("missing {what}: {item}")]
    Missing {
        /// The kind of thing, in a word or two.
        what: &'static str,
        /// Which one.
        item: String,
    },
    /// The store cannot enumerate keys.
    #[error("this state cannot list a range of keys")]
    NoRanges,
    /// The medium below failed.
    #[error("store failure: {0}")]
    Failed(String),
}

/// State before the block. Immutable while a block runs; one [`Reader`] per worker.
pub trait State<K, V>: Sync {
    /// A handle for one worker, so that no implementation needs locks on its read path.
    type Reader<'a>: Reader<K, V>
    where
        Self: 'a;

    /// Opens a reader.
    fn reader(&self) -> Result<Self::Reader<'_>, StoreError>;

    /// How many reads one reader may have under way at a time: 1 for a state that answers when it is asked.
    /// With more, a scheduler may suspend executions over reads ([`Reader::poll`]), so many for each worker.
    fn overlap(&self) -> u16 {
        1
    }
}

/// One worker's handle on a [`State`].
pub trait Reader<K, V> {
    /// The value at `key`, `None` if absent.
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError>;

    /// All present keys of `range` with their values, ascending.
    fn scan(&mut self, _range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        Err(StoreError::NoRanges)
    }

    /// Says which keys are likely to be read soon. A hint: it may do nothing.
    fn prefetch(&mut self, _keys: &[K]) {}

    /// As [`get`](Self::get), without waiting: [`Poll::Pending`] begins a read under the number `read`, and
    /// [`wait`](Self::wait) tells when it is worth polling again. That may be pending again, for a value may take
    /// several reads of the device. To poll another key under a number forgets the one before it. A caller
    /// uses numbers below [`State::overlap`], and may drop the reader at any time.
    fn poll(&mut self, key: &K, _read: u32) -> Poll<Result<Option<V>, StoreError>> {
        Poll::Ready(self.get(key))
    }

    /// Waits until a read under way can go on, at most for `timeout`, and appends the numbers of all that
    /// can. One too many is harmless. What goes wrong is told by [`poll`](Self::poll).
    fn wait(&mut self, _timeout: Duration, _ready: &mut Vec<u32>) {}
}
