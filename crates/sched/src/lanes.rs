//! Executions that are suspended in the middle: several lanes of work on one thread, each on a stack of its
//! own, of which one runs.
//!
//! 1. A lane runs until it parks, gives way or returns. Lanes of a thread never run at the same time and
//!    never move to another thread, so what a suspended one has borrowed from its thread stays its own.
//! 2. A lane parks only while fewer than [`LANES`] - 1 others of its thread are parked. So there is always
//!    one that takes up new work, and whatever the parked ones wait for gets done.
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
    atomic::{AtomicU32, Ordering},
};
use braid_core::TxIndex;
use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};
use std::{
    any::Any,
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// Most lanes of a thread.
pub(crate) const LANES: usize = 4;

/// Bytes of a lane's stack, as much as a thread of the standard library has. Memory is used as it is touched.
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
    /// Most that are kept: those of sixteen threads. More are made and dropped with their block.
    const KEPT: usize = 16 * LANES;

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

/// Where the lanes of a thread are woken.
#[derive(Debug)]
pub(crate) struct Desk {
    /// One bit a lane.
    woken: AtomicU32,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk { woken: AtomicU32::new(0) }
    }

    /// Rule 3.
    pub(crate) fn wake(&self, lane: u8) {
        // Release: pairs with the Acquire of `take`, though what a lane reads next has locks of its own.
        self.woken.fetch_or(1 << lane, Ordering::Release);
    }

    /// Whether a lane is to be resumed.
    pub(crate) fn has_woken(&self) -> bool {
        // Relaxed: a hint; a late look resumes later.
        self.woken.load(Ordering::Relaxed) != 0
    }

    fn take(&self, lane: usize) {
        // Acquire: as in `wake`.
        self.woken.fetch_and(!(1 << lane), Ordering::Acquire);
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

/// Runs `body` on one lane of the calling thread, and on more as lanes park. Returns when all have returned.
/// `stopped`: the block has ended, nobody parks any more.
pub(crate) fn run<'a>(
    stacks: &Stacks,
    desk: &'a Desk,
    stopped: impl Fn() -> bool,
    body: &'a (dyn Fn(&Lane<'_>) + 'a),
) {
    let (parked, most) = (Cell::new(0), Cell::new(LANES));
    let alone = || body(&Lane { index: 0, desk, parked: &parked, most: &most, yielder: None });
    // Under a model its own threads are lanes of this kind already.
    if MODEL {
        return alone();
    }
    let mut lanes: [Option<Suspended>; LANES] = [const { None }; LANES];
    let mut panic: Option<Box<dyn Any + Send>> = None;
    let mut next = begin(stacks, desk, (&parked, &most), body, 0).map(|lane| (0, lane));
    if next.is_none() {
        return alone();
    }
    while let Some((index, mut lane)) = next {
        // A panic of the body, which has stopped the block.
        match catch_unwind(AssertUnwindSafe(|| lane.resume(()))) {
            Ok(CoroutineResult::Yield(pause)) => lanes[index] = Some(Suspended { lane, pause }),
            Ok(CoroutineResult::Return(())) => stacks.put(lane.into_stack()),
            Err(payload) => {
                stacks.put(lane.into_stack());
                panic.get_or_insert(payload);
            }
        }
        let stopped = stopped();
        let resumed = choose(&lanes, desk, stopped);
        let fresh = if stopped { None } else { lanes.iter().position(Option::is_none) };
        next = match (resumed, fresh) {
            (Some(index), _) => lanes[index].take().map(|suspended| (index, suspended.lane)),
            (None, Some(index)) if lanes.iter().any(Option::is_some) => {
                let begun = begin(stacks, desk, (&parked, &most), body, index).map(|lane| (index, lane));
                // Without a stack the thread goes on with what it has, too early (rule 3), and nobody parks.
                begun.or_else(|| {
                    most.set(0);
                    let index = lanes.iter().position(Option::is_some)?;
                    lanes[index].take().map(|suspended| (index, suspended.lane))
                })
            }
            _ => None,
        };
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// Rules 4 and 5: the suspended lane to go on with.
fn choose(lanes: &[Option<Suspended>; LANES], desk: &Desk, stopped: bool) -> Option<usize> {
    let parked = lanes.iter().enumerate().filter_map(|(index, lane)| match lane.as_ref()?.pause {
        Pause::Parked(tx) => Some((tx, index)),
        Pause::GivesWay => None,
    });
    // Relaxed: who is chosen is taken.
    let bits = desk.woken.load(Ordering::Relaxed);
    let woken = parked.filter(|(_, index)| stopped || bits >> index & 1 == 1).min();
    if let Some((_, index)) = woken {
        desk.take(index);
        return Some(index);
    }
    let gives_way =
        |lane: &Option<Suspended>| lane.as_ref().is_some_and(|lane| matches!(lane.pause, Pause::GivesWay));
    let index = lanes.iter().position(gives_way)?;
    desk.take(index);
    Some(index)
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
        run(&stacks, &desk, stopped, &|lane| body(lane, &desk, &log));
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
        let ran = catch_unwind(AssertUnwindSafe(|| run(&stacks, &desk, || ended.get(), &body)));
        let payload = ran.expect_err("the panic is handed on");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"of lane 1"));
        assert_eq!((returned.get(), stacks.0.lock().len()), (1, 2));
    }
}
