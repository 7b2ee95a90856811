//! Hints that come from executing: what transactions touch on the state before the block, as Neon's proxy emulates
//! them, or what they touch in truth, as the measure of all hints.
//!
//! 1. *Emulation*: workers draw transactions from a counter and execute each alone on the state before the
//!    block. Nobody sees what another one did, so there is nothing to agree on but the counter.
//! 2. A transaction that cannot be executed on that state tells nothing.
//! 3. The hint names each location once. A location that is read, and added to, is one that is added to if what
//!    the read taught still holds after the transaction's own addition: a balance that has to be at least so
//!    much commutes with debits that leave enough. Else it is written.

use crate::{
    attempt::{Verdict, execute, guarded},
    brake::Brake,
    pool::Pool,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use braid_core::{
    Block, Control, Effects, Halt, Hint, Mode, Read, ReadId, Reader, State, Trust, TxIndex, Value, View, Vm,
    Write,
};
use foldhash::fast::RandomState;
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

/// What each transaction touches when it is executed alone on the state before the block, by the threads of `pool`.
/// Nothing is known ([`Trust::None`]) of one that cannot be, and of those that were not reached when `control`
/// said to stop.
///
/// # Panics
/// If a worker panics outside of the machine and the state.
pub fn emulate<M, S>(pool: &Pool, block: &Block<'_, M, S>, control: &Control<'_>) -> Vec<Hint<M::Key>>
where
    M: Vm,
    S: State<M::Key, M::Value>,
{
    let count = block.txs.len() as u32;
    let (next, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(block.txs.len()));
    let work = |_: u16| {
        let Ok(Ok(reader)) = guarded(|| block.state.reader()) else { return };
        let mut looker = Looker::new(block, reader, (control, &stop));
        let mut mine = Vec::new();
        loop {
            // Relaxed: an index is only a name; what it names was there before.
            let tx = next.fetch_add(1, Ordering::Relaxed);
            if tx >= count || control.interrupted::<()>().is_some() {
                break;
            }
            mine.push((tx, looker.look(tx, None)));
        }
        done.lock().append(&mut mine);
    };
    let width = u16::try_from(count).unwrap_or(u16::MAX).max(1);
    pool.run_on(width, &work).unwrap_or_else(|panic| panic.resume());
    let mut hints = vec![Hint::none(); block.txs.len()];
    for (tx, hint) in done.into_inner() {
        hints[tx as usize] = hint;
    }
    hints
}

/// What each transaction touches after all before it, found by executing the block serially: the hints that
/// cannot be had in time. Nothing is known of transactions from one on that cannot be executed.
pub fn oracle<M, S>(block: &Block<'_, M, S>, control: &Control<'_>) -> Vec<Hint<M::Key>>
where
    M: Vm,
    S: State<M::Key, M::Value>,
{
    let mut hints = vec![Hint::none(); block.txs.len()];
    let Ok(Ok(reader)) = guarded(|| block.state.reader()) else { return hints };
    let stop = AtomicBool::new(false);
    let mut looker = Looker::new(block, reader, (control, &stop));
    let mut over = HashMap::default();
    for (hint, tx) in hints.iter_mut().zip(0..) {
        *hint = looker.look(tx, Some(&mut over));
        if hint.trust == Trust::None {
            break;
        }
    }
    hints
}

/// How good hints were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Locations that hints named, counted for each transaction.
    pub hinted: u64,
    /// Locations that transactions touched.
    pub touched: u64,
    /// Locations that were named and touched.
    pub both: u64,
}

impl Accuracy {
    /// Holds `hints` against what was really touched.
    pub fn of<K: braid_core::Key>(hints: &[Hint<K>], truth: &[Hint<K>]) -> Self {
        let mut sum = Accuracy::default();
        let nothing = Hint::none();
        for (at, truth) in truth.iter().enumerate() {
            let named: HashSet<K> =
                hints.get(at).unwrap_or(&nothing).access.iter().map(|(key, _)| *key).collect();
            let touched: HashSet<K> = truth.access.iter().map(|(key, _)| *key).collect();
            sum.hinted += named.len() as u64;
            sum.touched += touched.len() as u64;
            sum.both += touched.intersection(&named).count() as u64;
        }
        sum
    }

    /// Share of what was named that was touched; `None` if nothing was named.
    pub fn precision(&self) -> Option<f64> {
        (self.hinted > 0).then(|| self.both as f64 / self.hinted as f64)
    }

    /// Share of what was touched that was named; `None` if nothing was touched.
    pub fn recall(&self) -> Option<f64> {
        (self.touched > 0).then(|| self.both as f64 / self.touched as f64)
    }
}

/// What transactions before this one changed.
type Over<M> = HashMap<<M as Vm>::Key, Option<<M as Vm>::Value>, RandomState>;

/// Executes transactions to see what they touch.
struct Looker<'a, M: Vm, S, R> {
    block: &'a Block<'a, M, S>,
    reader: R,
    scratch: M::Worker,
    /// What [`Brake::new`] takes.
    brake: (&'a Control<'a>, &'a AtomicBool),
    reads: Vec<Seen<M>>,
    effects: Effects<M>,
}

/// One read.
struct Seen<M: Vm> {
    key: M::Key,
    value: Option<M::Value>,
    seen: <M::Value as Value>::Seen,
}

impl<'a, M: Vm, S, R: Reader<M::Key, M::Value>> Looker<'a, M, S, R> {
    fn new(block: &'a Block<'a, M, S>, reader: R, brake: (&'a Control<'a>, &'a AtomicBool)) -> Self {
        let (reads, effects) = (Vec::new(), Effects::default());
        Looker { block, reader, scratch: block.vm.worker(), brake, reads, effects }
    }

    /// What `tx` touches, on the state before the block or on `over`, which then has its changes.
    fn look(&mut self, tx: TxIndex, mut over: Option<&mut Over<M>>) -> Hint<M::Key> {
        self.reads.clear();
        self.effects.clear();
        let mut view = LookView::<M, R> {
            over: over.as_deref(),
            reader: &mut self.reader,
            brake: Brake::new(self.brake.0, self.brake.1),
            reads: &mut self.reads,
            halted: None,
        };
        let halted = |view: &mut LookView<'_, M, R>| view.halted.take();
        let (vm, tx) = (self.block.vm, &self.block.txs[tx as usize]);
        let verdict = execute(vm, &mut self.scratch, tx, &mut view, halted, &mut self.effects);
        if verdict != Verdict::Done {
            return Hint::none();
        }
        let hint = self.hint();
        if let Some(over) = &mut over {
            for (key, write) in &self.effects.writes {
                let base = match over.get(key) {
                    Some(value) => value.clone(),
                    None => guarded(|| self.reader.get(key)).ok().and_then(Result::ok).flatten(),
                };
                over.insert(*key, write.onto(base));
            }
        }
        hint
    }

    /// Rule 3.
    fn hint(&self) -> Hint<M::Key> {
        let mut access: Vec<(M::Key, Mode)> = Vec::with_capacity(self.reads.len());
        let mut at: HashMap<M::Key, usize, RandomState> = HashMap::default();
        for read in &self.reads {
            at.entry(read.key).or_insert_with(|| {
                access.push((read.key, Mode::Read));
                access.len() - 1
            });
        }
        for (key, write) in &self.effects.writes {
            let mode = match write {
                Write::Add(delta) if self.commutes(key, delta) => Mode::Add,
                Write::Put(_) | Write::Delete | Write::Add(_) => Mode::Write,
            };
            match at.get(key) {
                Some(at) => access[*at].1 = mode,
                None => access.push((*key, mode)),
            }
        }
        Hint { trust: Trust::Guess, access }
    }

    /// Whether all that was learned at `key` still holds after `delta`.
    fn commutes(&self, key: &M::Key, delta: &<M::Value as Value>::Delta) -> bool {
        let mut here = self.reads.iter().filter(|read| read.key == *key);
        here.all(|read| M::Value::holds(&read.seen, M::Value::apply(read.value.clone(), delta).as_ref()))
    }
}

/// The state before the block, or before a transaction.
struct LookView<'a, M: Vm, R> {
    over: Option<&'a Over<M>>,
    reader: &'a mut R,
    brake: Brake<'a>,
    reads: &'a mut Vec<Seen<M>>,
    halted: Option<Halt>,
}

impl<M: Vm, R: Reader<M::Key, M::Value>> LookView<'_, M, R> {
    fn value(&mut self, key: &M::Key) -> Result<Option<M::Value>, Halt> {
        self.brake.check()?;
        match self.over.and_then(|over| over.get(key)) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.reader.get(key)?),
        }
    }
}

impl<M: Vm, R: Reader<M::Key, M::Value>> View<M::Key, M::Value> for LookView<'_, M, R> {
    fn read(&mut self, key: &M::Key) -> Result<Read<M::Value>, Halt> {
        let value = self.value(key).inspect_err(|halt| self.halted = Some(halt.clone()))?;
        let id = ReadId(self.reads.len() as u32);
        let seen = M::Value::exactly(value.as_ref());
        self.reads.push(Seen { key: *key, value: value.clone(), seen });
        Ok(Read { id, value })
    }

    fn narrow(&mut self, read: ReadId, seen: <M::Value as Value>::Seen) {
        if let Some(read) = self.reads.get_mut(read.0 as usize) {
            read.seen = seen;
        }
    }

    /// A prediction is neither checked nor an access: whoever makes it true comes before.
    fn assume(&mut self, _key: &M::Key, _seen: <M::Value as Value>::Seen) {}

    fn is_final(&self) -> bool {
        false
    }

    fn scan(&mut self, range: Range<M::Key>) -> Result<Vec<(M::Key, M::Value)>, Halt> {
        let scanned = self.brake.check().and_then(|()| Ok(self.reader.scan(range.clone())?));
        let mut found = scanned.inspect_err(|halt| self.halted = Some(halt.clone()))?;
        if let Some(over) = self.over {
            found.retain(|(key, _)| !over.contains_key(key));
            let inside = over.iter().filter(|(key, _)| range.contains(key));
            found.extend(inside.filter_map(|(key, value)| Some((*key, value.clone()?))));
            found.sort_unstable_by_key(|(key, _)| *key);
        }
        for (key, value) in &found {
            let seen = M::Value::exactly(Some(value));
            self.reads.push(Seen { key: *key, value: Some(value.clone()), seen });
        }
        Ok(found)
    }
}
