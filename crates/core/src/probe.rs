//! What a schedule did, told as it happens.

use crate::TxIndex;

/// One step of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a, K> {
    /// An execution begins; `incarnation` counts from zero.
    Start {
        /// The transaction.
        tx: TxIndex,
        /// Which of its executions.
        incarnation: u32,
    },
    /// An execution does not go on for now: it reads `key`, which `on` has yet to write, or may.
    Wait {
        /// The transaction that waits.
        tx: TxIndex,
        /// The location.
        key: &'a K,
        /// The writer it waits for.
        on: TxIndex,
    },
    /// An execution is thrown away: what it saw at `key` is not what `by` wrote there.
    Abort {
        /// The transaction that has to run again.
        tx: TxIndex,
        /// The location.
        key: &'a K,
        /// The writer, if one in this block made the difference.
        by: Option<TxIndex>,
    },
    /// An execution has its effects.
    Finish {
        /// The transaction.
        tx: TxIndex,
        /// Which of its executions.
        incarnation: u32,
    },
    /// The transaction is final.
    Commit {
        /// The transaction.
        tx: TxIndex,
    },
}

/// Receives [`Event`]s. With `ON = false`, as for `()`, all of it compiles to nothing.
pub trait Probe<K>: Sync {
    /// Whether events are wanted.
    const ON: bool = true;

    /// Takes one event, told by `worker` (0 is the thread that called the scheduler). Called from
    /// many threads; must not block.
    fn event(&self, worker: u16, event: Event<'_, K>);
}

impl<K> Probe<K> for () {
    const ON: bool = false;
    fn event(&self, _worker: u16, _event: Event<'_, K>) {}
}
