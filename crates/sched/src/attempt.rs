//! One execution: what it saw, what it assumed, what it wrote, how it ended.

use crate::cells::Loc;
use braid_core::{Cause, Effects, Halt, Key, Stop, StoreError, TxIndex, Value, View, Vm, Write};
use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Who sees to it that a read that is not true any more is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Whoever writes there pushes.
    Pushed,
    /// Nobody pushes: it is checked at the commit.
    Watched,
    /// It is checked at the commit if a quiet location was disturbed (`quiet.rs`).
    Quiet,
}

/// One read.
#[derive(Debug)]
pub(crate) struct ReadRecord<V: Value> {
    pub(crate) loc: Loc,
    /// The cell's stamp at the read.
    pub(crate) stamp: u32,
    pub(crate) told: Told,
    pub(crate) seen: V::Seen,
}

/// One range read, with its gaps: every key of `range` that is not in `found` was absent.
#[derive(Debug)]
pub(crate) struct ScanRecord<K, V: Value> {
    pub(crate) range: Range<K>,
    pub(crate) found: Vec<(K, V::Seen)>,
}

impl<K: Key, V: Value> ScanRecord<K, V> {
    /// Whether `key` holding `now` is what the scan saw.
    pub(crate) fn agrees(&self, key: &K, now: Option<&V>) -> bool {
        let saw = self.found.binary_search_by(|(found, _)| found.cmp(key)).ok().map(|at| &self.found[at].1);
        match (saw, now) {
            (None, None) => true,
            (Some(seen), Some(_)) => V::holds(seen, now),
            _ => false,
        }
    }

    /// Whether a scan now would see the same.
    pub(crate) fn agrees_all(&self, now: &[(K, V)]) -> bool {
        self.found.len() == now.len() && now.iter().all(|(key, value)| self.agrees(key, Some(value)))
    }
}

/// What one execution leaves behind, with memory that outlives it.
#[derive(Debug)]
pub(crate) struct Log<K, V: Value> {
    pub(crate) reads: Vec<ReadRecord<V>>,
    pub(crate) scans: Vec<ScanRecord<K, V>>,
    pub(crate) assumed: Vec<(K, Loc, V::Seen)>,
    /// Reads of watched locations.
    pub(crate) watched: u32,
    /// Reads from the worker's table of quiet locations.
    pub(crate) quiet: u32,
    /// Disturbances of quiet locations when it began.
    pub(crate) disturbances: u32,
    /// Where the writes go, in their order; under `block_stm` only the full ones.
    pub(crate) locs: Vec<Loc>,
    /// Under `block_stm`, which of the writes are additions, ascending.
    pub(crate) adds: Vec<u32>,
}

impl<K, V: Value> Log<K, V> {
    pub(crate) fn clear(&mut self) {
        self.reads.clear();
        self.scans.clear();
        self.assumed.clear();
        self.watched = 0;
        self.quiet = 0;
        self.locs.clear();
        self.adds.clear();
    }
}

/// The parts of an [`Attempt`] that outlive the block.
pub(crate) struct Buffers<K, V: Value> {
    log: Log<K, V>,
    writes: Vec<(K, Write<V>)>,
}

impl<K, V: Value> Default for Buffers<K, V> {
    fn default() -> Self {
        let log = Log {
            reads: Vec::new(),
            scans: Vec::new(),
            assumed: Vec::new(),
            watched: 0,
            quiet: 0,
            disturbances: 0,
            locs: Vec::new(),
            adds: Vec::new(),
        };
        Buffers { log, writes: Vec::new() }
    }
}

/// One execution and its result.
pub(crate) struct Attempt<M: Vm> {
    pub(crate) log: Log<M::Key, M::Value>,
    pub(crate) effects: Effects<M>,
    /// Why it has no effects, if it has none.
    pub(crate) failure: Option<Cause<M::Error>>,
    /// It ran when every earlier transaction was committed: there is nothing to validate.
    pub(crate) is_final: bool,
    /// A location that it read came to be watched afterwards: all reads are to be checked at the commit.
    pub(crate) recheck: bool,
}

impl<M: Vm> Attempt<M> {
    /// Reads, and writes, whose memory an execution that rests keeps.
    const READS_KEPT: usize = 256;

    pub(crate) fn new(buffers: Buffers<M::Key, M::Value>) -> Self {
        let effects = Effects { writes: buffers.writes, ..Effects::default() };
        Attempt { log: buffers.log, effects, failure: None, is_final: false, recheck: false }
    }

    pub(crate) fn into_buffers(mut self) -> Buffers<M::Key, M::Value> {
        self.clear(false);
        Buffers { log: self.log, writes: self.effects.writes }
    }

    /// Gives back the memory of many reads: what one execution took is not kept for all that may rest.
    pub(crate) fn slim(&mut self) {
        if self.log.reads.capacity() > Self::READS_KEPT {
            self.log.reads = Vec::new();
        }
        if self.effects.writes.capacity() > Self::READS_KEPT {
            self.effects.writes = Vec::new();
        }
    }

    /// Prepares it for the next execution.
    pub(crate) fn clear(&mut self, is_final: bool) {
        self.log.clear();
        self.effects.clear();
        self.failure = None;
        self.is_final = is_final;
        self.recheck = false;
    }
}

/// How an execution ended, for the scheduler.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict<E> {
    /// With effects.
    Done,
    /// Without, for a reason that is true if what it saw is.
    Failed(Cause<E>),
    /// It needs a write of this transaction.
    Blocked(TxIndex),
    /// The block was given up.
    Interrupted,
}

/// Runs `tx` on `view`. `halted` tells what the view said last, if it stopped the execution: that
/// counts, whatever the VM made of it. A worker that saw a panic is replaced.
pub(crate) fn execute<M: Vm, W: View<M::Key, M::Value>>(
    vm: &M,
    worker: &mut M::Worker,
    tx: &M::Tx,
    view: &mut W,
    halted: impl FnOnce(&mut W) -> Option<Halt>,
    effects: &mut Effects<M>,
) -> Verdict<M::Error> {
    let result = catch_unwind(AssertUnwindSafe(|| vm.execute(worker, tx, view, effects)));
    let halt = halted(view);
    let panicked = result.is_err();
    let verdict = match (halt, result) {
        (Some(halt), _) => from_halt(halt),
        (None, Ok(Ok(()))) => Verdict::Done,
        (None, Ok(Err(Stop::Invalid(error)))) => Verdict::Failed(Cause::Invalid(error)),
        (None, Ok(Err(Stop::Halt(Halt::Blocked(_) | Halt::Interrupted)))) => {
            let message = "the VM halted although its view did not".to_owned();
            Verdict::Failed(Cause::Store(StoreError::Failed(message)))
        }
        (None, Ok(Err(Stop::Halt(halt)))) => from_halt(halt),
        (None, Err(payload)) => Verdict::Failed(Cause::Panicked(message(payload.as_ref()))),
    };
    if panicked {
        *worker = vm.worker();
    }
    verdict
}

fn from_halt<E>(halt: Halt) -> Verdict<E> {
    match halt {
        Halt::Blocked(on) => Verdict::Blocked(on),
        Halt::Undeclared => Verdict::Failed(Cause::Undeclared),
        Halt::Interrupted => Verdict::Interrupted,
        Halt::Store(error) => Verdict::Failed(Cause::Store(error)),
    }
}

/// Runs `body`, turning a panic into its message. For calls into the state outside of a VM.
pub(crate) fn guarded<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unknown panic".to_owned())
}
