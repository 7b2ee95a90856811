//! How a transaction sees state.

use crate::{StoreError, TxIndex, Value};
use std::ops::Range;

/// Names one read of one execution, for [`View::narrow`]. Valid until that execution ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadId(pub u32);

/// The answer to a read.
#[derive(Clone, Debug)]
pub struct Read<V> {
    /// The read, for [`View::narrow`].
    pub id: ReadId,
    /// The value before this transaction; `None` if the location is absent.
    pub value: Option<V>,
}

/// Why an execution has to stop without a result. The [`Vm`](crate::Vm) passes it through unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The read needs a write that this earlier transaction has yet to make. A view that can suspend
    /// the execution waits inside `read` instead; one that cannot returns this, and the scheduler
    /// runs the transaction again when the other one is done.
    Blocked(TxIndex),
    /// A binding hint does not declare this access.
    Undeclared,
    /// The block was cancelled or ran out of time.
    Interrupted,
    /// The state below failed.
    Store(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Halt::Store(error)
    }
}

/// The only way a transaction sees state: as left by all transactions before it.
///
/// A view never shows the transaction its own writes; a [`Vm`](crate::Vm) keeps those itself. It is
/// dyn-compatible so that a large VM is compiled once, not once per scheduler: a VM reads each
/// location once per execution, which makes the virtual call invisible beside the look-up.
pub trait View<K, V: Value> {
    /// Reads `key`, and holds the execution to the value exactly, unless [`narrow`](Self::narrow)ed.
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt>;

    /// Weakens (or restates) what the execution learned from `read`. Called at most once a read,
    /// before the execution returns; `seen` must hold for the value that was read.
    fn narrow(&mut self, read: ReadId, seen: V::Seen);

    /// Records a prediction: the execution is right only if `seen` holds for `key` when every earlier
    /// transaction is final. It does not wait for, and is not disturbed by, writes before that.
    fn assume(&mut self, key: &K, seen: V::Seen);

    /// Whether every earlier transaction is final. Then there is nothing to predict: what is read is
    /// what is, and an execution must check instead of [`assume`](Self::assume).
    fn is_final(&self) -> bool;

    /// Reads all present keys of `range`, ascending. Recorded with its gaps: a key that an earlier
    /// transaction adds to the range later (a phantom) invalidates the execution.
    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt>;
}
