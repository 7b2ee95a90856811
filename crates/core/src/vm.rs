//! Virtual machines: from a transaction and a view to effects.

use crate::{Halt, Key, Value, View};
use std::{fmt::Debug, time::Duration};

/// One write. At most one per key and transaction.
#[derive(Clone, Debug)]
pub enum Write<V: Value> {
    /// The location now holds this.
    Put(V),
    /// The location changes by this, whatever it holds.
    Add(V::Delta),
    /// The location is now absent.
    Delete,
}

impl<V: Value> Write<V> {
    /// The value after this write to a location that held `base`.
    pub fn onto(&self, base: Option<V>) -> Option<V> {
        match self {
            Write::Put(value) => Some(value.clone()),
            Write::Add(delta) => V::apply(base, delta),
            Write::Delete => None,
        }
    }
}

/// Merged changes of a block: each changed key once, with its final value (`None`: absent).
pub type Changes<M> = Vec<(<M as Vm>::Key, Option<<M as Vm>::Value>)>;

/// What one execution does to the world. A scheduler hands the VM a cleared one and recycles it.
#[derive(Debug)]
pub struct Effects<M: Vm + ?Sized> {
    /// Writes, at most one per key, in an order that depends on the transaction alone.
    pub writes: Vec<(M::Key, Write<M::Value>)>,
    /// The result that the caller of the block gets. `Some` after a successful execution.
    pub output: Option<M::Output>,
    /// Work done, in the VM's own unit (gas, instructions); weights schedules, never checked.
    pub work: u64,
    /// Transactions to be delivered after this block, in order.
    pub spawn: Vec<M::Tx>,
}

impl<M: Vm + ?Sized> Effects<M> {
    /// Empties it, keeping its allocations.
    pub fn clear(&mut self) {
        self.writes.clear();
        self.output = None;
        self.work = 0;
        self.spawn.clear();
    }
}

impl<M: Vm + ?Sized> Default for Effects<M> {
    fn default() -> Self {
        Effects { writes: Vec::new(), output: None, work: 0, spawn: Vec::new() }
    }
}

/// Why an execution has no effects.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop<E> {
    /// The view stopped it.
    Halt(Halt),
    /// The transaction is invalid in the state it saw: the block is, if what it saw was true.
    Invalid(E),
}

impl<E> From<Halt> for Stop<E> {
    fn from(halt: Halt) -> Self {
        Stop::Halt(halt)
    }
}

/// How a transaction will use a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads it.
    Read,
    /// Adds to it ([`Write::Add`]) without reading it: additions commute with each other.
    Add,
    /// Reads or writes it.
    Write,
    /// Uses it up: exclusive, and once. A second consumer is invalid, not delayed.
    Consume,
}

impl Mode {
    /// The weakest mode that allows what either allows. To use up and to do anything else is to use up.
    #[must_use]
    pub fn with(self, other: Mode) -> Mode {
        match (self, other) {
            (Mode::Consume, _) | (_, Mode::Consume) => Mode::Consume,
            (one, two) if one == two => one,
            _ => Mode::Write,
        }
    }
}

/// How far a hint binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing is known.
    None,
    /// Probably right; validated like no hint at all.
    Guess,
    /// Enforced: touching anything else fails the transaction. So says a machine whose rules demand it, and
    /// [`Bound`](crate::Bound) enforces it.
    Binding,
}

/// What a transaction will touch, and how far that statement binds.
#[derive(Clone, Debug)]
pub struct Hint<K> {
    /// How far it binds.
    pub trust: Trust,
    /// Locations with their modes.
    pub access: Vec<(K, Mode)>,
}

impl<K> Hint<K> {
    /// Nothing known.
    pub const fn none() -> Self {
        Hint { trust: Trust::None, access: Vec::new() }
    }
}

/// A virtual machine, set up for one block.
///
/// `execute` must be a function of the transaction and of what the view answers: no clock, no
/// randomness, no memory of other executions that could be observed. Caches inside `Worker` are
/// welcome as long as a used worker gives the effects of a fresh one. Speculation may show it states
/// that no serial run shows; it must still end.
pub trait Vm: Sync {
    /// A transaction, decoded and self-contained.
    type Tx: Clone + Send + Sync;
    /// Names a location.
    type Key: Key;
    /// What a location holds.
    type Value: Value;
    /// The result of a transaction.
    type Output: Clone + PartialEq + Debug + Send + Sync;
    /// Why a transaction is invalid.
    type Error: Clone + PartialEq + Debug + Send + Sync;
    /// Per-thread scratch: stacks, arenas, compiled code.
    type Worker;

    /// Whether transactions use [`View::scan`]; schedulers index keys in order only then.
    const RANGES: bool = false;

    /// Whether `execute` enforces the hints that say [`Trust::Binding`]: set by [`Bound`](crate::Bound).
    /// Elsewhere a scheduler takes such a hint for a guess.
    const BINDS: bool = false;

    /// Scratch for one thread. May come from, and go back to, a pool inside the VM.
    fn worker(&self) -> Self::Worker;

    /// What `tx` is known to touch before it runs.
    fn hint(&self, _tx: &Self::Tx) -> Hint<Self::Key> {
        Hint::none()
    }

    /// How long `tx` may take, as far as can be told at a glance and without the state. For choices of order
    /// and number of threads; no guess can change a result.
    fn weigh(&self, _tx: &Self::Tx) -> Option<Duration> {
        None
    }

    /// Runs `tx` on `view` and leaves the result in `effects`, which arrives cleared.
    ///
    /// # Errors
    /// [`Stop::Halt`] passes on what the view said; [`Stop::Invalid`] means that the transaction may
    /// not be in a block at this place. On error the content of `effects` is ignored.
    fn execute(
        &self,
        worker: &mut Self::Worker,
        tx: &Self::Tx,
        view: &mut dyn View<Self::Key, Self::Value>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<Self::Error>>;
}
