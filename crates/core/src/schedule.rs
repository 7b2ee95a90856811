//! Schedules: in what order, and on what version of the state, transactions run.

use crate::{Changes, Effects, Hint, Probe, State, StoreError, Trust, TxIndex, Vm};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

/// The block to run: a VM set up for it, its transactions, the state before it, and what is known of the
/// transactions. Made by [`Block::new`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Block<'a, M: Vm, S> {
    /// The machine.
    pub vm: &'a M,
    /// Transactions in block order; at most `u32::MAX - 1`.
    pub txs: &'a [M::Tx],
    /// State before the first transaction.
    pub state: &'a S,
    /// What each transaction may touch, by somebody who has looked: a guess at most, whatever its
    /// [`Trust`] says. Transactions beyond its end are asked of the machine ([`Vm::hint`]).
    pub hints: &'a [Hint<M::Key>],
}

impl<'a, M: Vm, S> Block<'a, M, S> {
    /// The block of these transactions on this state, with the hints of the machine.
    pub const fn new(vm: &'a M, txs: &'a [M::Tx], state: &'a S) -> Self {
        Block { vm, txs, state, hints: &[] }
    }

    /// The same block with hints of its own, one for each transaction.
    #[must_use]
    pub const fn with_hints(mut self, hints: &'a [Hint<M::Key>]) -> Self {
        self.hints = hints;
        self
    }

    /// What is known of transaction `tx`: the machine's own hint if that binds, and else the block's, or the
    /// machine's if the block has none. [`Trust::Binding`] is what the machine enforces ([`Vm::BINDS`]); all
    /// else counts as a guess.
    ///
    /// # Panics
    /// If there is no such transaction, or with the machine.
    pub fn hint(&self, tx: TxIndex) -> Cow<'a, Hint<M::Key>> {
        let given = self.hints.get(tx as usize);
        let own = (M::BINDS || given.is_none()).then(|| self.vm.hint(&self.txs[tx as usize]));
        let hint = match (own, given) {
            (Some(own), _) if M::BINDS && own.trust == Trust::Binding => return Cow::Owned(own),
            (_, Some(given)) => Cow::Borrowed(given),
            (own, None) => Cow::Owned(own.unwrap_or(Hint::none())),
        };
        if hint.trust != Trust::Binding {
            return hint;
        }
        Cow::Owned(Hint { trust: Trust::Guess, ..hint.into_owned() })
    }
}

/// Receives transactions in block order, each as soon as it and all before it are final, while later
/// ones still run. Called by whichever worker made it final, never by two at a time.
pub trait Sink<M: Vm>: Send {
    /// Decides, in block order, whether the next transaction may follow those before it, whatever it
    /// does (block gas, blob gas). Checked before the transaction's own validity.
    ///
    /// # Errors
    /// Ends the block with this error at `index`; nothing after it is delivered.
    fn admit(&mut self, _index: TxIndex) -> Result<(), M::Error> {
        Ok(())
    }

    /// Takes the final effects of `index`. May move out of `effects` all but its writes.
    fn commit(&mut self, index: TxIndex, effects: &mut Effects<M>);
}

/// When to give up. Checked between transactions and at every read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Control<'a> {
    /// Set by another thread to cancel the block.
    pub cancel: Option<&'a AtomicBool>,
    /// Point in time after which the block is abandoned.
    pub deadline: Option<Instant>,
}

impl Control<'_> {
    /// Why to stop now, if at all.
    pub fn interrupted<E>(&self) -> Option<Cause<E>> {
        // Relaxed: the flag carries no data; a late look only delays the stop.
        if self.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            return Some(Cause::Cancelled);
        }
        self.deadline.is_some_and(|at| Instant::now() >= at).then_some(Cause::Deadline)
    }
}

/// Why a block did not run to its end.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Cause<E> {
    /// The transaction is invalid, or was not admitted.
    #[error("invalid: {0}")]
    Invalid(E),
    /// The transaction needs something that the state cannot give.
    #[error("the state cannot answer: {0}")]
    Store(StoreError),
    /// The VM panicked in this transaction; the message.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The transaction broke its own binding hint.
    #[error("an access that its hint does not declare")]
    Undeclared,
    /// Cancelled before this transaction was final.
    #[error("cancelled")]
    Cancelled,
    /// Out of time before this transaction was final.
    #[error("the deadline has passed")]
    Deadline,
}

/// A block that did not run to its end. `tx` is the transaction that serial would name: the lowest
/// one that fails. For [`Cause::Cancelled`] and [`Cause::Deadline`] it is the first that is not final.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("transaction {tx}: {cause}")]
pub struct BlockError<E> {
    /// The transaction.
    pub tx: TxIndex,
    /// What happened to it.
    pub cause: Cause<E>,
}

/// What a schedule cost. Counted, never estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls of [`Vm::execute`], whatever came of them.
    pub executions: u64,
    /// Executions thrown away because what they saw or assumed was not true.
    pub retries: u64,
    /// Times an execution or a worker had to wait for an earlier transaction.
    pub waits: u64,
    /// Checks of one execution's whole set of reads.
    pub validations: u64,
    /// Blocks given to another engine than the one asked for.
    pub fallbacks: u64,
    /// Time that it took to get hints, in nanoseconds: part of the time of the block.
    pub hint_ns: u64,
    /// Most executions that were suspended over reads of the state at one time; 0 if the state answers when it
    /// is asked, or the schedule suspends none.
    pub most_in_flight: u64,
}

/// What a block leaves behind, besides what its sink received.
#[derive(Debug)]
pub struct Outcome<M: Vm> {
    /// Each changed key once with its final value, ordered by the first transaction that wrote it and
    /// by its own order of writes: the same for every scheduler. A replay lists them by location instead.
    /// A key that ends as it began may be listed.
    pub changes: Changes<M>,
    /// Spawned transactions in block order.
    pub spawned: Vec<M::Tx>,
    /// What it cost.
    pub stats: Stats,
}

/// Runs a block. Sees a [`State`], never a store: a scheduler cannot commit.
pub trait Scheduler: Send + Sync {
    /// The field's standard name: `serial`, `occ`, `block_stm`, `graph`, `batch`, `occ_rounds`.
    fn name(&self) -> &'static str;

    /// Runs `block`, delivering to `sink` in order.
    ///
    /// # Errors
    /// The error of the lowest transaction that fails, the same for every scheduler. The sink has
    /// then received exactly the transactions before it. Threads and state stay usable.
    fn run<M, S, K, P>(
        &self,
        block: &Block<'_, M, S>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>;
}

impl<T: Scheduler> Scheduler for &T {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn run<M, S, K, P>(
        &self,
        block: &Block<'_, M, S>,
        sink: &mut K,
        probe: &P,
        control: &Control<'_>,
    ) -> Result<Outcome<M>, BlockError<M::Error>>
    where
        M: Vm,
        S: State<M::Key, M::Value>,
        K: Sink<M>,
        P: Probe<M::Key>,
    {
        (**self).run(block, sink, probe, control)
    }
}
