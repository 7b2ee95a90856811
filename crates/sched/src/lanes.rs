//! Executions that are suspended in the middle: several lanes of work on one thread, each on a stack of its
//! own, of which one runs.
//!
//! 1. A lane runs until it parks, gives way or returns. Lanes of a thread never run at the same time and
//!    never move to another thread, so what a suspended one has borrowed from its thread stays its own.
//! 2. A lane parks only while fewer others of its thread are parked than there may be lanes, less one. So there
//!    is always one that takes up new work, and whatever the parked ones wait for gets done. There may be
//!    [`LANES`], or more if what they wait for are mostly reads of a slow state.
//! 3. Whoever ends what a lane waits for sets the lane's bit in the [`Desk`] of its thread, which needs no
//!    lock and is never lost: the bit stays until the lane is resumed. A bit that nobody needs any more
//!    resumes a lane too early, which looks again and parks again.
//! 4. A lane that is between two transactions gives way to one whose bit is set. When a lane parks, the
//!    lowest woken transaction goes on; else a lane that had given way; else a new one is begun.
//! 5. When the block has ended, all lanes are resumed until they return. None is ever dropped while it is
//!    suspended, even if one panics: the panic is handed on when the others have returned.
//! 6. Stacks are kept from block to block, as many as can be in use at a time.

use crate::sync::{
    MODEL, Mutex,
    atomic::{AtomicU64, Ordering},
};
use braid_core::TxIndex;
use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};
use std::{
    any::Any,
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// Most lanes of a thread whose executions wait for each other.
pub(crate) const LANES: usize = 4;

/// Most lanes of a thread whose executions wait for a slow state.
const LANES_MAX: usize = 128;

/// Lanes of all threads of a pool together, above the usual number: each stack is two mappings of the process, of
/// which Linux allows 65,530.
const LANES_TOTAL: usize = 8192;

/// Lanes of each of `threads` threads, on a state that overlaps so many reads.
pub(crate) fn lanes(threads: u16, overlap: u16) -> usize {
    let most = LANES_MAX.min(LANES_TOTAL / usize::from(threads.max(1)));
    // One more than there are reads: it takes up work while all others wait.
    usize::from(overlap).saturating_add(1).min(most).max(LANES)
}

/// Bytes of a lane's stack, as much as a thread of the standard library has, below it a page that faults. Memory
/// is used as it is touched.
const STACK: usize = 2 << 20;

/// Stacks for the lanes of all threads of a pool.
#[derive(Default)]
pub(crate) struct Stacks(Mutex<Vec<DefaultStack>>);

impl fmt::Debug for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stacks").finish_non_exhaustive()
    }
}

impl Stacks {
    /// Most that are kept: those of 128 threads, or of four with a slow state. More are made and dropped with
    /// their block.
    const KEPT: usize = 4 * LANES_MAX;

    fn take(&self) -> Option<DefaultStack> {
        let kept = self.0.lock().pop();
        kept.or_else(|| DefaultStack::new(STACK).ok())
    }

    fn put(&self, stack: DefaultStack) {
        let mut kept = self.0.lock();
        if kept.len() < Self::KEPT {
            kept.push(stack);
        }
    }
}

/// Where the lanes of a thread are woken: one bit a lane.
#[derive(Debug)]
pub(crate) struct Desk([AtomicU64; LANES_MAX / 64]);

impl Desk {
    pub(crate) fn new() -> Self {
        Desk([(); LANES_MAX / 64].map(|()| AtomicU64::new(0)))
    }

    /// Rule 3.
    pub(crate) fn wake(&self, lane: u8) {
        // Release: pairs with the Acquire of `take`, though what a lane reads next has locks of its own.
        self.0[usize::from(lane / 64)].fetch_or(1 << (lane % 64), Ordering::Release);
    }

    /// Whether a lane is to be resumed.
    pub(crate) fn has_woken(&self) -> bool {
        // Relaxed: a hint; a late look resumes later.
        self.0.iter().any(|bits| bits.load(Ordering::Relaxed) != 0)
    }

    /// The lanes to be resumed.
    fn woken(&self) -> u128 {
        // Relaxed: who is chosen is taken.
        let word = |at: usize| u128::from(self.0[at].load(Ordering::Relaxed));
        word(0) | word(1) << 64
    }

    fn take(&self, lane: usize) {
        // Acquire: as in `wake`.
        self.0[lane / 64].fetch_and(!(1 << (lane % 64)), Ordering::Acquire);
    }
}

/// Why a lane is suspended.
enum Pause {
    /// This transaction waits.
    Parked(TxIndex),
    /// Another lane has something to go on with.
    GivesWay,
}

/// The lane that runs.
pub(crate) struct Lane<'l> {
    index: u8,
    desk: &'l Desk,
    parked: &'l Cell<usize>,
    /// Most lanes that there can be.
    most: &'l Cell<usize>,
    /// `None`: this is no stack of its own, and cannot be suspended.
    yielder: Option<&'l Yielder<(), Pause>>,
}

impl Lane<'_> {
    /// Its number on its thread.
    pub(crate) fn index(&self) -> u8 {
        self.index
    }

    /// Rule 2: whether it may park.
    pub(crate) fn may_park(&self) -> bool {
        self.yielder.is_some() && self.parked.get() + 1 < self.most.get()
    }

    /// Whether others are parked and it may not: if it waited, nothing would go on here.
    pub(crate) fn is_last(&self) -> bool {
        !self.is_alone() && !self.may_park()
    }

    /// Whether no other lane of its thread holds a transaction.
    pub(crate) fn is_alone(&self) -> bool {
        self.parked.get() == 0
    }

    /// Suspends `tx`, which runs here, until the lane is woken. The caller has seen to that, and that it
    /// [may park](Self::may_park).
    pub(crate) fn park(&self, tx: TxIndex) {
        let Some(yielder) = self.yielder else { return };
        self.parked.set(self.parked.get() + 1);
        yielder.suspend(Pause::Parked(tx));
        self.parked.set(self.parked.get() - 1);
    }

    /// Rule 4: between two transactions.
    pub(crate) fn give_way(&self) {
        if let Some(yielder) = self.yielder
            && self.desk.has_woken()
        {
            yielder.suspend(Pause::GivesWay);
        }
    }
}

/// A lane that does not run.
struct Suspended {
    lane: Coroutine<(), Pause, ()>,
    pause: Pause,
}

/// The lanes of a thread that do not run.
#[derive(Default)]
struct Table {
    lanes: Vec<Option<Suspended>>,
    /// Those that are parked, and those that gave way: one bit a lane.
    parked: u128,
    gave_way: u128,
}

impl Table {
    fn put(&mut self, index: usize, suspended: Suspended) {
        match suspended.pause {
            Pause::Parked(_) => self.parked |= 1 << index,
            Pause::GivesWay => self.gave_way |= 1 << index,
        }
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, || None);
        }
        self.lanes[index] = Some(suspended);
    }

    fn take(&mut self, index: usize) -> Option<Coroutine<(), Pause, ()>> {
        self.parked &= !(1 << index);
        self.gave_way &= !(1 << index);
        self.lanes.get_mut(index)?.take().map(|suspended| suspended.lane)
    }

    fn is_empty(&self) -> bool {
        self.parked | self.gave_way == 0
    }

    /// The first number below `count` that no lane has.
    fn fresh(&self, count: usize) -> Option<usize> {
        let index = (!(self.parked | self.gave_way)).trailing_zeros() as usize;
        (index < count).then_some(index)
    }

    /// Rules 4 and 5: the suspended lane to go on with.
    fn choose(&self, desk: &Desk, stopped: bool) -> Option<usize> {
        let mut bits = if stopped { self.parked } else { self.parked & desk.woken() };
        let mut lowest: Option<(TxIndex, usize)> = None;
        while bits != 0 {
            let index = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some(Some(Suspended { pause: Pause::Parked(tx), .. })) = self.lanes.get(index) {
                lowest = Some(lowest.map_or((*tx, index), |lowest| lowest.min((*tx, index))));
            }
        }
        let gave_way = (self.gave_way != 0).then(|| self.gave_way.trailing_zeros() as usize);
        let index = lowest.map(|(_, index)| index).or(gave_way)?;
        desk.take(index);
        Some(index)
    }
}

/// Runs `body` on one lane of the calling thread, and on more as lanes park, up to `count`. Returns when all have
/// returned. `stopped`: the block has ended, nobody parks any more.
pub(crate) fn run<'a>(
    stacks: &Stacks,
    desk: &'a Desk,
    count: usize,
    stopped: impl Fn() -> bool,
    body: &'a (dyn Fn(&Lane<'_>) + 'a),
) {
    let count = count.min(LANES_MAX);
    let (parked, most) = (Cell::new(0), Cell::new(count));
    let alone = || body(&Lane { index: 0, desk, parked: &parked, most: &most, yielder: None });
    // Under a model its own threads are lanes of this kind already.
    if MODEL {
        return alone();
    }
    let mut table = Table::default();
    let mut panic: Option<Box<dyn Any + Send>> = None;
    let mut next = begin(stacks, desk, (&parked, &most), body, 0).map(|lane| (0, lane));
    if next.is_none() {
        return alone();
    }
    while let Some((index, mut lane)) = next {
        // A panic of the body, which has stopped the block.
        match catch_unwind(AssertUnwindSafe(|| lane.resume(()))) {
            Ok(CoroutineResult::Yield(pause)) => table.put(index, Suspended { lane, pause }),
            Ok(CoroutineResult::Return(())) => stacks.put(lane.into_stack()),
            Err(payload) => {
                stacks.put(lane.into_stack());
                panic.get_or_insert(payload);
            }
        }
        let stopped = stopped();
        let resumed = table.choose(desk, stopped);
        let fresh = if stopped { None } else { table.fresh(count) };
        next = match (resumed, fresh) {
            (Some(index), _) => table.take(index).map(|lane| (index, lane)),
            (None, Some(index)) if !table.is_empty() => {
                let begun = begin(stacks, desk, (&parked, &most), body, index).map(|lane| (index, lane));
                // Without a stack the thread goes on with the lanes that it has, one of them too early (rule 3).
                begun.or_else(|| {
                    most.set((table.parked | table.gave_way).count_ones() as usize);
                    let index = table.parked.trailing_zeros() as usize;
                    table.take(index).map(|lane| (index, lane))
                })
            }
            _ => None,
        };
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// A lane that has not begun. `None` without memory for its stack.
fn begin<'a>(
    stacks: &Stacks,
    desk: &'a Desk,
    (parked, most): (&'a Cell<usize>, &'a Cell<usize>),
    body: &'a (dyn Fn(&Lane<'_>) + 'a),
    index: usize,
) -> Option<Coroutine<(), Pause, ()>> {
    let run = move |yielder: &Yielder<(), Pause>, ()| {
        // A bit that its predecessor left.
        desk.take(index);
        body(&Lane { index: index as u8, desk, parked, most, yielder: Some(yielder) });
    };
    // SAFETY: what `body` borrows, and all else that is borrowed here, outlives every lane: `run` holds all of
    // them, forgets none, and returns only when each has returned (rule 5). If it unwound, it would drop them
    // first, which unwinds them.
    Some(unsafe { Coroutine::with_stack_unchecked(stacks.take()?, run) })
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn no() -> bool {
        false
    }

    /// Runs `body` with a log that it writes.
    fn log(stopped: impl Fn() -> bool, body: impl Fn(&Lane<'_>, &Desk, &RefCell<Vec<u32>>)) -> Vec<u32> {
        let (stacks, desk, log) = (Stacks::default(), Desk::new(), RefCell::new(Vec::new()));
        run(&stacks, &desk, LANES, stopped, &|lane| body(lane, &desk, &log));
        log.into_inner()
    }

    #[test]
    fn a_parked_lane_goes_on_where_it_was() {
        let log = log(no, |lane, desk, log| {
            let mine = u32::from(lane.index()) * 10;
            log.borrow_mut().push(mine);
            if lane.index() == 0 {
                assert!(lane.is_alone() && lane.may_park());
                lane.park(7);
            } else {
                assert!(!lane.is_alone());
                desk.wake(0);
                lane.give_way();
            }
            log.borrow_mut().push(mine + 1);
        });
        assert_eq!(log, [0, 10, 1, 11]);
    }

    #[test]
    fn the_lowest_transaction_goes_first_and_one_lane_never_parks() {
        let log = log(no, |lane, desk, log| {
            let index = lane.index();
            if lane.may_park() {
                assert!(!lane.is_last());
                lane.park(100 - u32::from(index));
            } else {
                assert!(lane.is_last());
                (0..LANES as u8).for_each(|lane| desk.wake(lane));
                lane.give_way();
            }
            log.borrow_mut().push(index.into());
        });
        assert_eq!(log, [2, 1, 0, 3]);
    }

    #[test]
    fn a_bit_set_before_the_lane_parks_is_not_lost() {
        let log = log(no, |lane, desk, log| {
            desk.wake(lane.index());
            lane.park(1);
            log.borrow_mut().push(lane.index().into());
        });
        assert_eq!(log, [0]);
    }

    #[test]
    fn the_end_of_the_block_resumes_all() {
        let ended = Cell::new(false);
        let log = log(
            || ended.get(),
            |lane, _, log| {
                ended.set(lane.index() == 2);
                lane.park(u32::from(lane.index()));
                log.borrow_mut().push(lane.index().into());
            },
        );
        assert_eq!(log, [0, 1, 2]);
    }

    #[test]
    fn a_panic_waits_for_the_other_lanes() {
        let (ended, returned) = (Cell::new(false), Cell::new(0));
        let (stacks, desk) = (Stacks::default(), Desk::new());
        let body = |lane: &Lane<'_>| {
            if lane.index() == 1 {
                ended.set(true);
                panic!("of lane 1");
            }
            lane.park(3);
            returned.set(returned.get() + 1);
        };
        let ran = catch_unwind(AssertUnwindSafe(|| run(&stacks, &desk, LANES, || ended.get(), &body)));
        let payload = ran.expect_err("the panic is handed on");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"of lane 1"));
        assert_eq!((returned.get(), stacks.0.lock().len()), (1, 2));
    }
}
