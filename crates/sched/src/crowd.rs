//! How many workers take part in a block, and how far they run ahead of what is committed.
//!
//! Speculation that is thrown away costs processor time, and what waits for its commit costs memory. A block
//! may be made to cost much of both, so both are bounded:
//! 1. Worker `w` takes part while `w < width`; one that holds a transaction brings it to its end first.
//!    Worker 0 always takes part, so the block makes progress whatever else is decided here. Never do more
//!    take part than there are processors: one that is displaced in the middle of a transaction holds up
//!    all that come after it. (Builds with debug assertions let them, for the sake of odd schedules.)
//! 2. *Waste.* Each worker looks back at its last executions. If too many were thrown away or had to wait,
//!    half of the workers rest; if nearly all, all but one.
//! 3. *Grain.* A transaction that takes less than what it costs to hand its locations from core to core is
//!    not worth sharing. If transactions are that small, worker 0 goes on alone for a few of them, and stays
//!    alone if that is hardly slower.
//! 4. After some transactions twice as many workers take part again. If that was wrong, they rest for four
//!    times as long next time; so a block of one chain wastes little more than a serial run of it.
//! 5. *Run-ahead.* No fresh transaction is drawn far beyond the first that is not committed, nor while
//!    executions with many reads wait for their commits. Whoever is at the cursor is never held back. How
//!    far is far grows while little is wasted, and for who is held back while nothing is committed (something
//!    long runs at the cursor); it is short again after waste, because all that is ahead is wasted then.
//!    Small transactions are drawn a few at a time: their neighbours stay in one core's cache.
//!    Where the state is slow, most that has begun is suspended over a read and keeps no processor: all these
//!    distances are as many times longer as there are more lanes, and rule 3 is left out.
//! 6. A worker that finds nothing to do spins, then yields, for a short time, then rests until it is woken.
//! 7. A resting worker looks again after a while, so a lost wake-up costs that while, not the block.
//! 8. Who waits inside an execution for others to end theirs waits about as long as executions take, waiting apart,
//!    and never long: two may wait for what the other has suspended.
//! 9. While only worker 0 takes part, a schedule may let it execute as `serial` does, as many as it would have to
//!    show alone before more take part again.
//!
//! Nothing here can change a result: only who draws a transaction next, and when.

use crate::{
    lanes::LANES,
    sync::{
        Backoff, MODEL, Mutex,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};
use braid_core::{Stats, TxIndex};
use crossbeam_utils::CachePadded;
use std::{
    sync::OnceLock,
    thread::Thread,
    time::{Duration, Instant},
};

/// Executions of all workers between two looks of each, and of one worker at least.
const WINDOW: u32 = 64;
const WINDOW_EACH: u32 = 8;
/// Of one hundred executions, how many may be thrown away, or thrown away or made to wait, before half of the
/// workers rest, and before all but one do.
const THROWN_PERCENT: u64 = 30;
const WASTE_PERCENT: u64 = 40;
const MUCH_WASTE_PERCENT: u64 = 80;
/// Processor time of a transaction that may be too small to share.
const FINE: Duration = Duration::from_micros(2);
/// Transactions are drawn so many at a time that they take about as long together, at most `CHUNK`.
const DRAW: Duration = Duration::from_micros(8);
const CHUNK: u32 = 8;
/// Transactions of worker 0 before more workers take part again, at first and at most.
const HOLD: u32 = 64;
const MAX_HOLD: u32 = 4096;
/// A width that is never narrowed again.
const OVER: u16 = u16::MAX;
/// As often an idle worker looks again before it rests.
const IDLE_ROUNDS: u32 = 192;
/// How long an execution waits for others before it is known how long they take, and how many times as long
/// when it is.
const PATIENCE: Duration = Duration::from_micros(4);
const PATIENT_FOR: u32 = 4;
const MOST_PATIENCE: Duration = Duration::from_micros(200);
/// As long rests a worker that nobody wakes, and as long an idle one.
const REST: Duration = Duration::from_millis(1);
pub(crate) const NAP: Duration = Duration::from_micros(100);
/// Transactions that may be drawn ahead of the cursor for each worker: after waste, at first, and at most.
const AHEAD_WASTED: u32 = 6;
const AHEAD_FIRST: u32 = 24;
const AHEAD_MOST: u32 = 96;
/// After so many looks at a cursor that stands still, who is held back may draw further ahead.
const HELD_BACK: u32 = 24;
/// Executions with at least so many reads are counted while they wait for their commit.
const HEAVY: usize = 48;
/// Reads of such executions that may wait.
const HELD: u32 = 4096;

/// What is decided for one block.
#[derive(Debug)]
pub(crate) struct Crowd {
    threads: u16,
    /// How many times the usual number of lanes a worker has.
    lanes: u32,
    /// Looks are taken after so many executions; `u32::MAX`: never.
    window: u32,
    /// Rule 1.
    width: CachePadded<AtomicU16>,
    /// Reads of heavy executions that wait for their commit.
    held: CachePadded<AtomicU32>,
    /// Rule 5.
    ahead: CachePadded<AtomicU32>,
    plan: CachePadded<Mutex<Plan>>,
    /// Length of `resting`, so that the usual look at an empty one takes no lock.
    asleep: CachePadded<AtomicU16>,
    resting: CachePadded<Mutex<Vec<(u16, Thread)>>>,
}

#[derive(Debug)]
struct Plan {
    /// Transactions of worker 0 until more take part again.
    hold: u32,
    /// The next `hold`.
    next_hold: u32,
    /// Rule 3: what a transaction took all of them together, while worker 0 shows what it takes alone.
    together: Option<Duration>,
    /// Looks of worker 0 until rule 3 may be tried again.
    tried: u32,
}

/// What one worker did since its last look.
#[derive(Debug)]
pub(crate) struct Pace {
    settled: u32,
    before: Stats,
    since: Instant,
    cpu: Duration,
    width: u16,
    /// How long its executions waited for others, spinning. Taken for work it would have them wait ever longer.
    pub(crate) waited: Duration,
    /// Rule 8; `None` where nobody looks how long executions take.
    pub(crate) patience: Option<Duration>,
    /// Fresh transactions to draw at a time.
    pub(crate) chunk: u32,
}

impl Crowd {
    /// As [`with_lanes`](Self::with_lanes), with the usual number of lanes.
    pub(crate) fn new(threads: u16, chaos: Option<u64>) -> Self {
        Crowd::with_lanes(threads, LANES, chaos)
    }

    /// As many of `threads` as rule 1 allows take part at first. Under `chaos`, half of the seeds look very
    /// often, the others never. `lanes`: of each worker.
    pub(crate) fn with_lanes(threads: u16, lanes: usize, chaos: Option<u64>) -> Self {
        let window = match chaos.filter(|_| cfg!(debug_assertions)) {
            _ if threads == 1 || MODEL || cfg!(feature = "mutants") => u32::MAX,
            None => (WINDOW / u32::from(threads)).max(WINDOW_EACH),
            Some(seed) if seed % 2 == 0 => u32::MAX,
            Some(_) => 4,
        };
        let threads = if cfg!(debug_assertions) { threads } else { threads.min(processors()) };
        // Half of what runs ahead of the cursor can be suspended at a time.
        let more = (lanes / LANES / 2).max(1) as u32;
        Crowd {
            threads,
            lanes: more,
            window,
            width: CachePadded::new(AtomicU16::new(threads)),
            held: CachePadded::new(AtomicU32::new(0)),
            ahead: CachePadded::new(AtomicU32::new(AHEAD_FIRST * more * u32::from(threads))),
            plan: CachePadded::new(Mutex::new(Plan { hold: 0, next_hold: HOLD, together: None, tried: 0 })),
            asleep: CachePadded::new(AtomicU16::new(0)),
            resting: CachePadded::new(Mutex::new(Vec::new())),
        }
    }

    /// A worker's pace, from here on.
    pub(crate) fn pace(&self) -> Pace {
        let blind = self.window == u32::MAX;
        let (since, cpu) = (Instant::now(), if blind { Duration::ZERO } else { cpu_time() });
        let patience = (!blind).then_some(PATIENCE);
        let (width, waited) = (self.threads, Duration::ZERO);
        Pace { settled: 0, before: Stats::default(), since, cpu, width, waited, patience, chunk: 1 }
    }

    fn width(&self) -> u16 {
        // Relaxed: it carries no data; a late look only delays a rest.
        self.width.load(Ordering::Relaxed)
    }

    /// Rule 1: rests while `worker` is not to take part, or until `stopped`.
    pub(crate) fn rest(&self, worker: u16, stopped: impl Fn() -> bool) {
        if worker < self.width() || stopped() {
            return;
        }
        self.sleep(worker, REST, || worker >= self.width() && !stopped());
    }

    /// Rule 6: what an idle worker does that has been idle for a while already.
    pub(crate) fn idle(&self, worker: u16, backoff: &mut Backoff, stopped: impl Fn() -> bool) {
        if self.window == u32::MAX || backoff.rounds() < IDLE_ROUNDS {
            return backoff.wait();
        }
        let mut once = true;
        self.sleep(worker, NAP, || std::mem::take(&mut once) && !stopped());
    }

    /// Sleeps while `on`, which is asked after the worker can be seen to sleep.
    fn sleep(&self, worker: u16, time: Duration, mut on: impl FnMut() -> bool) {
        {
            let mut resting = self.resting.lock();
            resting.push((worker, std::thread::current()));
            // Relaxed: a hint where to look; the list has its lock. Who misses it costs a rest (rule 7).
            self.asleep.store(resting.len() as u16, Ordering::Relaxed);
        }
        while on() {
            std::thread::park_timeout(time);
        }
        let mut resting = self.resting.lock();
        resting.retain(|(resting, _)| *resting != worker);
        self.asleep.store(resting.len() as u16, Ordering::Relaxed);
    }

    /// Wakes one of those who sleep for want of work: there is some.
    pub(crate) fn wake_one(&self) {
        // Relaxed: as in `sleep`.
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return;
        }
        let width = self.width();
        if let Some((_, thread)) = self.resting.lock().iter().find(|(worker, _)| *worker < width) {
            thread.unpark();
        }
    }

    /// Wakes `worker`, if it sleeps: it has something to go on with.
    pub(crate) fn wake(&self, worker: u16) {
        // Relaxed: as in `sleep`.
        if self.asleep.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some((_, thread)) = self.resting.lock().iter().find(|(resting, _)| *resting == worker) {
            thread.unpark();
        }
    }

    /// Wakes who rests, and lets nobody rest again: the block ends. Every worker says so when it leaves, worker
    /// 0 too, which is the only one that sets a width without looking at the present one. So none rests in
    /// a block that has ended.
    pub(crate) fn dismiss(&self) {
        self.widen(OVER);
    }

    fn widen(&self, width: u16) {
        // Relaxed: as in `width`.
        self.width.store(width, Ordering::Relaxed);
        for (worker, thread) in self.resting.lock().iter() {
            if *worker < width {
                thread.unpark();
            }
        }
    }

    /// Rules 2 to 4, when `worker` has executed once more.
    pub(crate) fn look(&self, worker: u16, pace: &mut Pace, stats: &Stats) {
        pace.settled += 1;
        if pace.settled < self.window {
            return;
        }
        let width = self.width();
        if width == OVER {
            return;
        }
        let (now, cpu) = (Instant::now(), cpu_time());
        let each = (now - pace.since) / pace.settled;
        let grain = cpu.saturating_sub(pace.cpu + pace.waited) / pace.settled;
        let executions = stats.executions - pace.before.executions;
        let thrown = stats.retries - pace.before.retries;
        let wasted = thrown + stats.waits - pace.before.waits;
        let too_much =
            wasted * 100 > executions * WASTE_PERCENT || thrown * 100 > executions * THROWN_PERCENT;
        // What was seen while the width was another one says nothing about this one.
        let steady = pace.width == width;
        let settled = pace.settled;
        let patience = Some((grain * PATIENT_FOR).clamp(PATIENCE, MOST_PATIENCE));
        let chunk = (DRAW.as_nanos() / grain.as_nanos().max(1)).clamp(1, u128::from(CHUNK)) as u32;
        let waited = Duration::ZERO;
        *pace = Pace { settled: 0, before: *stats, since: now, cpu, width, waited, patience, chunk };
        let mut plan = self.plan.lock();
        if !too_much {
            self.look_further();
        } else if width > 1 && steady {
            // Relaxed: as in `look_further`.
            self.ahead.store(AHEAD_WASTED * self.lanes * u32::from(self.threads), Ordering::Relaxed);
            // Relaxed: as in `width`. Of two who decide at once one does.
            let fewer = if wasted * 100 > executions * MUCH_WASTE_PERCENT { 1 } else { width / 2 };
            if self.width.compare_exchange(width, fewer, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                plan.rest();
            }
            return;
        }
        if worker != 0 || !steady {
            return;
        }
        if let Some(together) = plan.together {
            plan.together = None;
            plan.tried = MAX_HOLD / self.window;
            if each > together + together / 4 {
                drop(plan);
                self.widen(self.threads);
            } else {
                plan.hold = MAX_HOLD / 2;
            }
        } else if width < self.threads {
            plan.hold = plan.hold.saturating_sub(settled);
            if plan.hold == 0 {
                drop(plan);
                self.widen((width * 2).min(self.threads));
            }
        } else if plan.tried > 0 {
            plan.tried -= 1;
        } else if grain < FINE && self.lanes == 1 {
            plan.together = Some(each / u32::from(width));
            // Relaxed: as in `width`.
            self.width.store(1, Ordering::Relaxed);
        }
    }

    /// Rule 9: how many transactions worker 0 may execute alone, from the cursor on; `None` if others take part.
    pub(crate) fn alone(&self, cursor: TxIndex) -> Option<u32> {
        if MODEL || cfg!(feature = "mutants") {
            // Nobody looks at waste there, and both ways are to be seen.
            return (self.threads > 1 && cursor % 3 == 1).then_some(1 + cursor % 2);
        }
        if self.width() != 1 || self.threads == 1 {
            return None;
        }
        let plan = self.plan.lock();
        (plan.together.is_none() && plan.hold > 0).then_some(plan.hold)
    }

    /// Rule 9: worker 0 has executed so many alone.
    pub(crate) fn went_alone(&self, executed: u32, pace: &mut Pace, stats: &Stats) {
        if self.window == u32::MAX {
            return;
        }
        *pace =
            Pace { settled: 0, before: *stats, since: Instant::now(), cpu: cpu_time(), width: 1, ..*pace };
        let mut plan = self.plan.lock();
        plan.hold = plan.hold.saturating_sub(executed);
        if plan.hold == 0 && self.width() == 1 {
            drop(plan);
            self.widen(2.min(self.threads));
        }
    }

    /// Rule 5: whether a fresh transaction may be drawn, where `next` is the first that nobody has drawn.
    pub(crate) fn may_draw(&self, next: TxIndex, cursor: impl FnOnce() -> TxIndex) -> bool {
        // Relaxed: an old number only draws one too many, or one later.
        let heavy = self.held.load(Ordering::Relaxed) > HELD;
        let ahead = self.ahead.load(Ordering::Relaxed);
        if !heavy && next < ahead {
            return true;
        }
        let cursor = cursor();
        next <= cursor || (!heavy && next - cursor < ahead)
    }

    /// Rule 5: whether so much waits for its commit that nothing should be begun beyond the cursor.
    pub(crate) fn heavy(&self) -> bool {
        // Relaxed: as in `may_draw`.
        self.held.load(Ordering::Relaxed) > HELD
    }

    /// Rule 5: waits, after `may_draw` has said no. `seen` is where the cursor was when this was last looked at.
    pub(crate) fn held_back(
        &self,
        worker: u16,
        backoff: &mut Backoff,
        seen: &mut TxIndex,
        cursor: TxIndex,
        stopped: impl Fn() -> bool,
    ) {
        if backoff.rounds() % HELD_BACK == HELD_BACK - 1 || backoff.rounds() >= IDLE_ROUNDS {
            // Where commits go on, it is not for want of run-ahead that this worker waits.
            if std::mem::replace(seen, cursor) == cursor {
                self.look_further();
            }
        }
        self.idle(worker, backoff, stopped);
    }

    fn look_further(&self) {
        let most = AHEAD_MOST * self.lanes * u32::from(self.threads);
        // Relaxed, both: it carries no data; of two who change it at once one is late.
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead < most {
            self.ahead.store((ahead * 2).min(most), Ordering::Relaxed);
        }
    }

    /// An execution with so many reads begins to wait for its commit.
    pub(crate) fn hold(&self, reads: usize) {
        if reads >= HEAVY {
            // Relaxed, here and below: a count that orders nothing.
            self.held.fetch_add(reads as u32, Ordering::Relaxed);
        }
    }

    /// It does not wait any more.
    pub(crate) fn release(&self, reads: usize) {
        if reads >= HEAVY {
            self.held.fetch_sub(reads as u32, Ordering::Relaxed);
        }
    }
}

impl Plan {
    /// Rule 4.
    fn rest(&mut self) {
        self.hold = self.next_hold;
        self.next_hold = (self.next_hold * 4).min(MAX_HOLD);
    }
}

/// Processors that this process may use. Asked once: the answer is read from files.
fn processors() -> u16 {
    static COUNT: OnceLock<u16> = OnceLock::new();
    *COUNT.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |count| u16::try_from(count.get()).unwrap_or(u16::MAX))
    })
}

/// Processor time of this thread.
#[cfg(target_os = "linux")]
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of this thread: not known on this platform, so nothing counts as small.
#[cfg(not(target_os = "linux"))]
fn cpu_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
