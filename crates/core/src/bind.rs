//! Hints that bind, enforced at one place for all schedulers.
//!
//! 1. A machine whose rules make transactions declare what they touch says so in [`Vm::hint`] with
//!    [`Trust::Binding`], and runs as [`Bound`]. What it says is a function of the transaction alone.
//! 2. A read outside of what is declared stops the execution, and so does a condition
//!    ([`View::assume`]). A range cannot be declared, so it cannot be read.
//! 3. Writes are held against the declaration when the execution returns: any write to what is declared
//!    [`Mode::Write`], additions to what is [`Mode::Add`], none to what is [`Mode::Read`].
//! 4. What is declared [`Mode::Consume`] is read before the execution: if it is absent the transaction is
//!    invalid, as it is if that is declared twice. Afterwards it is deleted, whatever the machine did; it may delete it itself, but not write it.
//!    So of two consumers the second finds nothing, in every scheduler, because reads are validated.
//! 5. A transaction that breaks its declaration has no effects of its own. [`Binding::undeclared`] decides what
//!    becomes of it, on a view of the same state and under the same declaration: it may be a failed transaction
//!    that is in the block, as on Solana, or else the block ends with [`Cause::Undeclared`](crate::Cause).

use crate::{Effects, Halt, Hint, Key, Mode, Read, ReadId, Stop, Trust, Value, View, Vm, Write};
use std::{fmt, mem, ops::Range};

/// What the rules of a machine say about transactions that do not keep what they declared.
pub trait Binding: Vm {
    /// Why a transaction is invalid that consumes `key`, where nothing is.
    fn absent(&self, tx: &Self::Tx, key: &Self::Key) -> Self::Error;

    /// What a transaction does instead that tried to touch `key` without having declared it: by default the
    /// block ends there. As [`Vm::execute`], a function of its arguments; `effects` arrives cleared.
    ///
    /// # Errors
    /// As [`Vm::execute`]; [`Halt::Undeclared`] if there is no place in a block for such a transaction.
    fn undeclared(
        &self,
        _worker: &mut Self::Worker,
        _tx: &Self::Tx,
        _key: &Self::Key,
        _view: &mut dyn View<Self::Key, Self::Value>,
        _effects: &mut Effects<Self>,
    ) -> Result<(), Stop<Self::Error>> {
        Err(Stop::Halt(Halt::Undeclared))
    }
}

/// A machine whose binding hints are enforced. Other hints pass through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bound<M>(
    /// The machine.
    pub M,
);

/// Scratch of one thread: that of the machine, and the declaration of the present transaction.
pub struct BoundWorker<M: Vm> {
    inner: M::Worker,
    /// Each key once, ascending.
    declared: Vec<(M::Key, Mode)>,
    /// What it uses up, in the order in which it says so and then ascending.
    consumed: Vec<M::Key>,
}

impl<M: Vm> fmt::Debug for BoundWorker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundWorker").field("declared", &self.declared).finish_non_exhaustive()
    }
}

/// The mode in which `key` is declared.
fn declared<K: Key>(all: &[(K, Mode)], key: &K) -> Option<Mode> {
    all.binary_search_by(|(declared, _)| declared.cmp(key)).ok().map(|at| all[at].1)
}

/// Each key once, ascending, in the weakest mode that allows what its entries allow.
fn merge<K: Key>(access: &[(K, Mode)], into: &mut Vec<(K, Mode)>) {
    into.clear();
    into.extend_from_slice(access);
    into.sort_unstable_by_key(|(key, _)| *key);
    into.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.with(next.1);
        }
        same
    });
}

/// A view on what is declared.
struct Guard<'a, K, V> {
    view: &'a mut dyn View<K, V>,
    declared: &'a [(K, Mode)],
    /// The first key that was to be touched and is not declared.
    broken: Option<K>,
}

impl<K: Key, V: Value> Guard<'_, K, V> {
    /// Whether `key` may be read.
    fn allows(&mut self, key: &K) -> bool {
        let allowed = matches!(declared(self.declared, key), Some(Mode::Read | Mode::Write | Mode::Consume));
        if !allowed {
            self.broken.get_or_insert(*key);
        }
        // What follows a breach does not count.
        self.broken.is_none()
    }
}

impl<K: Key, V: Value> View<K, V> for Guard<'_, K, V> {
    fn read(&mut self, key: &K) -> Result<Read<V>, Halt> {
        if self.allows(key) { self.view.read(key) } else { Err(Halt::Undeclared) }
    }

    fn narrow(&mut self, read: ReadId, seen: V::Seen) {
        self.view.narrow(read, seen);
    }

    fn assume(&mut self, key: &K, seen: V::Seen) {
        if self.allows(key) {
            self.view.assume(key, seen);
        }
    }

    fn is_final(&self) -> bool {
        self.view.is_final()
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, Halt> {
        self.broken.get_or_insert(range.start);
        Err(Halt::Undeclared)
    }
}

/// How a bound execution ended.
enum End<K, E> {
    Kept(Result<(), Stop<E>>),
    Broke(K),
}

/// Runs `execute` on what is declared, and holds its writes against that.
fn guarded<M: Vm>(
    all: &[(M::Key, Mode)],
    view: &mut dyn View<M::Key, M::Value>,
    effects: &mut Effects<M>,
    execute: impl FnOnce(&mut dyn View<M::Key, M::Value>, &mut Effects<M>) -> Result<(), Stop<M::Error>>,
) -> End<M::Key, M::Error> {
    let mut guard = Guard { view, declared: all, broken: None };
    let result = execute(&mut guard, effects);
    if let Some(key) = guard.broken {
        return End::Broke(key);
    }
    if result.is_ok() {
        let allowed = |(key, write): &&(M::Key, Write<M::Value>)| match declared(all, key) {
            Some(Mode::Write) => true,
            Some(Mode::Add) => matches!(write, Write::Add(_)),
            Some(Mode::Consume) => matches!(write, Write::Delete),
            Some(Mode::Read) | None => false,
        };
        if let Some((key, _)) = effects.writes.iter().find(|write| !allowed(write)) {
            return End::Broke(*key);
        }
    }
    End::Kept(result)
}

impl<M: Binding> Bound<M> {
    fn bound(
        &self,
        worker: &mut BoundWorker<M>,
        tx: &M::Tx,
        hint: &Hint<M::Key>,
        view: &mut dyn View<M::Key, M::Value>,
        effects: &mut Effects<M>,
    ) -> Result<(), Stop<M::Error>> {
        let BoundWorker { inner, declared: all, consumed } = worker;
        merge(&hint.access, all);
        let used = hint.access.iter().filter(|(_, mode)| *mode == Mode::Consume).map(|(key, _)| *key);
        consumed.clear();
        consumed.extend(used);
        for key in &*consumed {
            if view.read(key)?.value.is_none() {
                return Err(Stop::Invalid(self.0.absent(tx, key)));
            }
        }
        consumed.sort_unstable();
        if let Some(twice) = consumed.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Stop::Invalid(self.0.absent(tx, &twice[0])));
        }
        let end = guarded(all, view, effects, |view, effects| self.0.execute(inner, tx, view, effects));
        let key = match end {
            End::Kept(Ok(())) => {
                // The deletions below stand for those of the machine.
                effects.writes.retain(|(key, _)| declared(all, key) != Some(Mode::Consume));
                effects.writes.extend(consumed.iter().map(|key| (*key, Write::Delete)));
                return Ok(());
            }
            End::Kept(stopped) => return stopped,
            End::Broke(key) => key,
        };
        effects.clear();
        let instead =
            guarded(all, view, effects, |view, effects| self.0.undeclared(inner, tx, &key, view, effects));
        match instead {
            End::Kept(result) => result,
            End::Broke(_) => Err(Stop::Halt(Halt::Undeclared)),
        }
    }
}

impl<M: Binding> Vm for Bound<M> {
    type Tx = M::Tx;
    type Key = M::Key;
    type Value = M::Value;
    type Output = M::Output;
    type Error = M::Error;
    type Worker = BoundWorker<M>;

    const RANGES: bool = M::RANGES;
    const BINDS: bool = true;

    fn worker(&self) -> BoundWorker<M> {
        BoundWorker { inner: self.0.worker(), declared: Vec::new(), consumed: Vec::new() }
    }

    fn hint(&self, tx: &M::Tx) -> Hint<M::Key> {
        self.0.hint(tx)
    }

    fn weigh(&self, tx: &M::Tx) -> Option<std::time::Duration> {
        self.0.weigh(tx)
    }

    fn execute(
        &self,
        worker: &mut BoundWorker<M>,
        tx: &M::Tx,
        view: &mut dyn View<M::Key, M::Value>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<M::Error>> {
        let mut inner = Effects::<M> {
            writes: mem::take(&mut effects.writes),
            output: effects.output.take(),
            work: effects.work,
            spawn: mem::take(&mut effects.spawn),
        };
        let hint = self.0.hint(tx);
        let result = match hint.trust {
            Trust::Binding => self.bound(worker, tx, &hint, view, &mut inner),
            Trust::None | Trust::Guess => self.0.execute(&mut worker.inner, tx, view, &mut inner),
        };
        let Effects { writes, output, work, spawn } = inner;
        *effects = Effects { writes, output, work, spawn };
        result
    }
}
