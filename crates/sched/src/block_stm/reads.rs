//! Executions that are suspended over reads of a slow state.
//!
//! 1. A worker has one reader, which its lanes share. Where the state answers when it is asked
//!    ([`State::overlap`](braid_core::State::overlap) is 1) that is all there is to it.
//! 2. Else a read is polled under the number of its lane. While it is pending the lane is parked, if it may be
//!    and the execution holds no lock: that is, inside of [`Vm::execute`](braid_core::Vm::execute) and right
//!    after it. The commit, and the last lane of a thread, wait in place.
//! 3. The worker asks the reader what has come in between two transactions, and wakes those lanes. When it
//!    has nothing else to do it waits for the first read to come in, but not longer than an idle worker rests.
//! 4. An execution that was thrown away while it was parked goes on as any other: it polls again, and finds
//!    out at its next read. What its read brings is true of the state, so it is kept.
//! 5. When the block ends, or is given up, nobody waits any more: a pending read fails, and the view that
//!    asked says that the block was given up, whatever the error. Reads under way end with their reader,
//!    which is dropped when all lanes have returned.
//! 6. What the commit would have to read is read before: the bases of additions, by who has executed them.
//!
//! So no result depends on when a read comes in: only who executes next, and when.

use super::Run;
use crate::{
    attempt::guarded,
    brake::Brake,
    commit::Worker,
    crowd::NAP,
    lanes::{Desk, Lane},
    sync::atomic::{AtomicU32, Ordering},
};
use braid_core::{Effects, Probe, Reader, Sink, State, StoreError, TxIndex, Vm};
use std::{
    cell::{Cell, RefCell},
    ops::Range,
    task::Poll,
    time::Duration,
};

/// Keys that are read early for one transaction, at most: an access list may be long.
const EARLY: usize = 64;

/// A worker, or a lane of it, on the state of a block.
pub(super) type Me<'l, 'r, M, S> =
    Worker<M, LaneReader<'l, <S as State<<M as Vm>::Key, <M as Vm>::Value>>::Reader<'r>>>;

/// The reader of a worker.
pub(super) struct Reads<R> {
    reader: RefCell<R>,
    slow: bool,
    /// Lanes that have a read under way, one bit each.
    waiting: Cell<u128>,
    ready: RefCell<Vec<u32>>,
}

impl<R> Reads<R> {
    pub(super) fn new(reader: R, slow: bool) -> Self {
        Reads { reader: RefCell::new(reader), slow, waiting: Cell::new(0), ready: RefCell::default() }
    }

    /// Whether a read is under way.
    pub(super) fn waiting(&self) -> bool {
        self.waiting.get() != 0
    }

    /// Rule 3: wakes the lanes whose reads have come in, after at most `timeout`.
    pub(super) fn collect<K, V>(&self, timeout: Duration, desk: &Desk)
    where
        R: Reader<K, V>,
    {
        let mut ready = self.ready.borrow_mut();
        self.reader.borrow_mut().wait(timeout, &mut ready);
        for lane in ready.drain(..).filter(|lane| *lane < u128::BITS) {
            if self.waiting.get() >> lane & 1 == 1 {
                desk.wake(lane as u8);
            }
        }
    }
}

/// What suspended executions of a block share, and what gives them up.
#[derive(Clone, Copy)]
pub(super) struct Keeper<'l> {
    pub(super) desk: &'l Desk,
    pub(super) in_flight: &'l AtomicU32,
}

/// The reader of a lane.
pub(super) struct LaneReader<'l, R> {
    reads: &'l Reads<R>,
    lane: &'l Lane<'l>,
    keeper: Keeper<'l>,
    brake: Brake<'l>,
    /// The transaction that may be suspended: rule 2.
    executes: Option<TxIndex>,
    /// Most that this lane saw in flight.
    most: u32,
}

impl<'l, R> LaneReader<'l, R> {
    pub(super) fn new(reads: &'l Reads<R>, lane: &'l Lane<'l>, keeper: Keeper<'l>, brake: Brake<'l>) -> Self {
        LaneReader { reads, lane, keeper, brake, executes: None, most: 0 }
    }

    /// Whether reads are worth beginning early.
    pub(super) fn is_slow(&self) -> bool {
        self.reads.slow
    }

    /// Says which transaction runs here, holding no lock; `None` if none does.
    pub(super) fn executes(&mut self, tx: Option<TxIndex>) {
        self.executes = tx;
    }

    /// Most executions of the block that it saw suspended.
    pub(super) fn most_in_flight(&self) -> u64 {
        u64::from(self.most)
    }

    /// Rule 2.
    fn get_slowly<K, V>(&mut self, key: &K) -> Result<Option<V>, StoreError>
    where
        R: Reader<K, V>,
    {
        let number = u32::from(self.lane.index());
        loop {
            let polled = self.reads.reader.borrow_mut().poll(key, number);
            if let Poll::Ready(value) = polled {
                return value;
            }
            if self.brake.given_up() {
                return Err(StoreError::Failed("the block was given up".to_owned()));
            }
            self.reads.waiting.set(self.reads.waiting.get() | 1 << number);
            match self.executes.filter(|_| self.lane.may_park()) {
                Some(tx) => {
                    // Relaxed, both: a count that orders nothing.
                    let others = self.keeper.in_flight.fetch_add(1, Ordering::Relaxed);
                    self.most = self.most.max(others + 1);
                    self.lane.park(tx);
                    self.keeper.in_flight.fetch_sub(1, Ordering::Relaxed);
                }
                None => self.reads.collect(NAP, self.keeper.desk),
            }
            self.reads.waiting.set(self.reads.waiting.get() & !(1 << number));
        }
    }
}

impl<K, V, R: Reader<K, V>> Reader<K, V> for LaneReader<'_, R> {
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        if self.reads.slow {
            return self.get_slowly(key);
        }
        self.reads.reader.borrow_mut().get(key)
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        self.reads.reader.borrow_mut().scan(range)
    }

    fn prefetch(&mut self, keys: &[K]) {
        self.reads.reader.borrow_mut().prefetch(keys);
    }
}

impl<'a, M, S, K, P> Run<'a, M, S, K, P>
where
    M: Vm,
    S: State<M::Key, M::Value>,
    K: Sink<M>,
    P: Probe<M::Key>,
{
    /// Begins the reads that `tx` is known to need.
    pub(super) fn begin_reads(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex) {
        // A machine that panics here does so, for the block, when it executes.
        let Ok(hint) = guarded(|| self.block.hint(tx)) else { return };
        let keys: Vec<M::Key> = hint.access.iter().take(EARLY).map(|(key, _)| *key).collect();
        if !keys.is_empty() {
            drop(guarded(|| me.hand.reader.prefetch(&keys)));
        }
    }

    /// Rule 6, after `tx` was executed and before anybody knows.
    pub(super) fn load_bases(&self, me: &mut Me<'_, '_, M, S>, tx: TxIndex, effects: &Effects<M>) {
        let lacking = |(key, write): &(M::Key, _)| {
            let cell = self.arena.cells.open(key);
            cell.lacks_base(write).then_some((*key, cell.loc))
        };
        let lacking: Vec<_> = effects.writes.iter().filter_map(lacking).collect();
        if lacking.len() > 1 {
            let keys: Vec<M::Key> = lacking.iter().take(EARLY).map(|(key, _)| *key).collect();
            drop(guarded(|| me.hand.reader.prefetch(&keys)));
        }
        me.hand.reader.executes(Some(tx));
        for (key, loc) in lacking {
            // A state that fails fails at the commit again, which says so.
            drop(guarded(|| self.arena.cells.load(loc, &key, &mut me.hand.reader).map(drop)));
        }
        me.hand.reader.executes(None);
    }
}
