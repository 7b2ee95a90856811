//! Threads that outlive blocks.
//!
//! Protocol:
//! 1. A run is announced by writing `job`, then `left`, then bumping `epoch`. Runs are serialised by
//!    `turn`.
//! 2. A worker below the job's width calls the job once, in the epoch that the job names, then
//!    decrements `left`: its last access to the job. Other workers never touch the closure, and one
//!    that wakes late never takes the job of another epoch.
//! 3. The caller returns only after `left` is zero, so the closure outlives every call of it.
//! 4. A worker sleeps on `epoch` and the caller on `left`, both as a [`Sleeper`]: whoever changes the
//!    word asks afterwards whether the sleeper must be woken.
//! 5. Panics are caught on both sides and handed back after rule 3 is met.
//! 6. A thread that is inside a run, of this pool or another, never waits for a turn: a run that it asks
//!    for takes a free turn, or else goes on that thread alone. So a wait for a turn is never part of a
//!    circle, and what a run calls (a state over another execution) may run blocks itself.

use crate::{
    apart::Apart,
    sync::{
        Mutex, Sleeper,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        thread,
    },
};
use crossbeam_utils::CachePadded;
use std::{
    any::Any,
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

/// Most threads of one pool.
pub const MAX_THREADS: u16 = 1024;

/// Spins before a wait parks: some tens of microseconds, the pause between two blocks of a replay.
const SPINS: u32 = if crate::sync::MODEL { 1 } else { 4096 };

type Work = dyn Fn(u16) + Sync;

thread_local! {
    /// How many runs, one inside the other, this thread takes part in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A thread's part in a run (rule 6).
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Inside
    }

    /// Whether the calling thread is in a run. A model's threads share one of the system, and do not nest.
    fn is_inside() -> bool {
        !crate::sync::MODEL && DEPTH.get() > 0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// One run, as the workers see it.
#[derive(Clone)]
struct Job {
    work: *const Work,
    epoch: u32,
    width: u16,
    caller: thread::Thread,
}

// SAFETY: `work` points to a `Sync` closure, and is dereferenced only while `Pool::run_on` keeps that
// closure alive (rules 2 and 3).
unsafe impl Send for Job {}

struct Shared {
    epoch: CachePadded<AtomicU32>,
    left: CachePadded<AtomicUsize>,
    job: Mutex<Option<Job>>,
    quit: AtomicBool,
    caller: Sleeper,
    sleepers: Vec<CachePadded<Sleeper>>,
    panics: Mutex<Vec<WorkerPanic>>,
    spins: u32,
    apart: Apart,
}

/// A panic that left the closure of [`Pool::run`].
pub struct WorkerPanic {
    /// The worker it happened on.
    pub worker: u16,
    payload: Box<dyn Any + Send>,
}

impl WorkerPanic {
    /// Goes on with the panic in the calling thread.
    pub fn resume(self) -> ! {
        resume_unwind(self.payload)
    }
}

impl fmt::Debug for WorkerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPanic").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// A fixed set of worker threads, shared by schedulers; nothing is spawned per block.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<()>>,
    turn: Mutex<()>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

impl Pool {
    /// A pool of `threads`, the caller of [`run`](Self::run) included: 1 spawns none. Clamped to
    /// 1..=[`MAX_THREADS`].
    pub fn new(threads: u16) -> Self {
        let threads = threads.clamp(1, MAX_THREADS);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        // With more threads than cores a spinning one only keeps another from running.
        let spins = if usize::from(threads) > cores { 0 } else { SPINS };
        let shared = Arc::new(Shared {
            epoch: CachePadded::new(AtomicU32::new(0)),
            left: CachePadded::new(AtomicUsize::new(0)),
            job: Mutex::new(None),
            quit: AtomicBool::new(false),
            caller: Sleeper::new(),
            sleepers: (1..threads).map(|_| CachePadded::new(Sleeper::new())).collect(),
            panics: Mutex::new(Vec::new()),
            spins,
            apart: Apart::new(threads),
        });
        let workers = (1..threads)
            .map(|worker| {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(worker))
            })
            .collect();
        Pool { shared, workers, turn: Mutex::new(()) }
    }

    /// Threads, the caller included.
    pub fn threads(&self) -> u16 {
        self.workers.len() as u16 + 1
    }

    /// Calls `work(0)` here and `work(w)` on every worker, and returns when all have returned.
    ///
    /// Concurrent calls take turns. A call from inside `work`, of this pool or another, does not wait for
    /// one: if the pool is in use, it calls `work(0)` alone. What it cannot see is a `work` that waits for
    /// another thread that waits for its turn: that waits forever.
    ///
    /// # Errors
    /// The panic of the lowest worker that panicked. The pool stays usable.
    pub fn run(&self, work: &(dyn Fn(u16) + Sync)) -> Result<(), WorkerPanic> {
        self.run_on(self.threads(), work)
    }

    /// Calls `work` once with each number below `count`, on at most as many threads, and returns when all
    /// calls have returned.
    ///
    /// # Panics
    /// With a panic of `work`. The pool stays usable.
    pub fn split(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let width = self.threads().min(u16::try_from(count).unwrap_or(u16::MAX));
        let done = self.run_on(width, &|_| {
            loop {
                // Relaxed: a number is only a name.
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return;
                }
                work(at);
            }
        });
        done.unwrap_or_else(|panic| panic.resume());
    }

    /// Like [`run`](Self::run), on at most `width` threads: a small block does not wake them all.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_on(&self, width: u16, work: &(dyn Fn(u16) + Sync)) -> Result<(), WorkerPanic> {
        let alone = || {
            let done = catch_unwind(AssertUnwindSafe(|| work(0)));
            done.map_err(|payload| WorkerPanic { worker: 0, payload })
        };
        let width = width.clamp(1, self.threads());
        if width == 1 {
            return alone();
        }
        let _turn = match Inside::is_inside() {
            false => self.turn.lock(),
            true => match self.turn.try_lock() {
                Some(turn) => turn,
                None => return alone(),
            },
        };
        let _inside = Inside::enter();
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Rules 2 and 3: no worker uses the pointer after this
        // function returns, and it cannot unwind before that, since `work(0)` is caught.
        let work_ptr = unsafe {
            std::mem::transmute::<*const (dyn Fn(u16) + Sync + '_), *const Work>(std::ptr::from_ref(work))
        };
        // Relaxed: only the holder of `turn` changes it. Wraps after 2^32 runs, like the bump below.
        let epoch = shared.epoch.load(Ordering::Relaxed).wrapping_add(1);
        *shared.job.lock() = Some(Job { work: work_ptr, epoch, width, caller: thread::current() });
        // Relaxed: published by the bump of `epoch`.
        shared.left.store(usize::from(width) - 1, Ordering::Relaxed);
        shared.apart.keep();
        // Release: publishes `left`.
        shared.epoch.fetch_add(1, Ordering::Release);
        for (sleeper, worker) in shared.sleepers.iter().zip(&self.workers).take(usize::from(width) - 1) {
            if sleeper.must_wake() {
                worker.thread().unpark();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| work(0)));
        shared.await_workers();
        *shared.job.lock() = None;
        let mut panics = std::mem::take(&mut *shared.panics.lock());
        if let Err(payload) = mine {
            panics.push(WorkerPanic { worker: 0, payload });
        }
        panics.into_iter().min_by_key(|panic| panic.worker).map_or(Ok(()), Err)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Relaxed: published by the bump of `epoch`, which Release makes visible.
        self.shared.quit.store(true, Ordering::Relaxed);
        self.shared.epoch.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches every panic of the work, so it ends only by returning.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The life of worker `id` (from 1).
    fn serve(&self, id: u16) {
        self.apart.enrol();
        let mut epoch = 0;
        loop {
            epoch = self.await_epoch(id, epoch);
            // Relaxed: written before the bump that `await_epoch` has acquired.
            if self.quit.load(Ordering::Relaxed) {
                return;
            }
            let job = self.job.lock().clone();
            // None, of another epoch, or too narrow for this worker: rule 2 forbids to touch it.
            let Some(job) = job.filter(|job| job.epoch == epoch && id < job.width) else { continue };
            // SAFETY: rule 3; `left` still counts this worker.
            let work = unsafe { &*job.work };
            let inside = Inside::enter();
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| work(id))) {
                self.panics.lock().push(WorkerPanic { worker: id, payload });
            }
            drop(inside);
            // Release: the caller sees all that the work wrote. Acquire: keeps the chain of decrements.
            let last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
            if last && self.caller.must_wake() {
                job.caller.unpark();
            }
        }
    }

    /// Waits until `epoch` is no longer `last`; the new one. A worker that takes part in a run cannot
    /// miss the next epoch, because the run does not end without it.
    fn await_epoch(&self, id: u16, last: u32) -> u32 {
        for _ in 0..self.spins {
            // Acquire: pairs with the bump; `job`, `left` and `quit` are visible.
            let now = self.epoch.load(Ordering::Acquire);
            if now != last {
                return now;
            }
            relax();
        }
        let mut now = last;
        self.sleepers[usize::from(id) - 1].sleep_until(|| {
            // Acquire: as above.
            now = self.epoch.load(Ordering::Acquire);
            now != last
        });
        now
    }

    /// Waits until every worker of the run has returned.
    fn await_workers(&self) {
        for _ in 0..self.spins {
            // Acquire: pairs with the workers' decrements.
            if self.left.load(Ordering::Acquire) == 0 {
                return;
            }
            relax();
        }
        // Acquire: as above.
        self.caller.sleep_until(|| self.left.load(Ordering::Acquire) == 0);
    }
}

fn relax() {
    if crate::sync::MODEL {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}
