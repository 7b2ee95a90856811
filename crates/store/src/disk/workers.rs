//! The threads that hash, beside the caller's.
//!
//! 1. They sleep between blocks. A block takes milliseconds and has several parts that are shared, and to wake a thread
//!    takes as long as the shortest of these. So they are woken once, when a block begins, and stay awake until its
//!    root is known.
//! 2. One that has had nothing to do for [`PATIENCE`] sleeps nevertheless, and is woken when there is something.
//! 3. One that is awake lets others run whenever there is nothing to do (`sched_yield`).

use super::error::DiskError;
use crate::trie::Crew;
use rayon::{ThreadPool, ThreadPoolBuilder, Yield};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How long threads stay awake for the next part of a block.
const PATIENCE: Duration = Duration::from_millis(1);

/// Threads that wait for work.
#[derive(Debug)]
pub(super) struct Workers {
    pool: ThreadPool,
}

impl Workers {
    /// So many threads beside the caller's.
    ///
    /// # Errors
    /// If the system has none.
    pub(super) fn new(count: usize) -> Result<Self, DiskError> {
        let pool = ThreadPoolBuilder::new().num_threads(count);
        let pool = pool.thread_name(|at| format!("braid-store-{at}")).build();
        let failed = |error: rayon::ThreadPoolBuildError| error.to_string();
        let failed = |error| DiskError::Io { doing: "starting workers", reason: failed(error) };
        Ok(Workers { pool: pool.map_err(failed)? })
    }

    /// Calls `run` with the caller and these threads, which are awake.
    pub(super) fn with_crew<T>(&self, run: impl FnOnce(&mut Crew<'_>) -> T) -> T {
        let over = Over::default();
        let count = self.pool.current_num_threads();
        self.pool.in_place_scope(|scope| {
            let over = &over;
            let _until_then = Until(over);
            (0..count).for_each(|_| scope.spawn(|_| stay_awake(over)));
            let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| {
                self.pool.in_place_scope(|scope| {
                    (1..count).for_each(|at| scope.spawn(move |_| work(at)));
                    work(0);
                });
            };
            run(&mut Crew::new(count + 1, &mut split))
        })
    }
}

/// Whether a block is over.
#[derive(Debug, Default)]
struct Over(AtomicBool);

/// Says so, also if something panics.
struct Until<'a>(&'a Over);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        // Relaxed: who sees it does nothing more. What was shared is told by the scopes.
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Does what there is to do, by a thread of the pool.
fn stay_awake(over: &Over) {
    let mut idle = Instant::now();
    while !over.0.load(Ordering::Relaxed) && idle.elapsed() < PATIENCE {
        match rayon::yield_now() {
            Some(Yield::Executed) => idle = Instant::now(),
            _ => thread::yield_now(),
        }
    }
}
