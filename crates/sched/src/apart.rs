//! Keeps the workers of a pool off the processor of the thread that calls it.
//!
//! The kernel likes to wake a thread where its waker runs. The caller of a block does not sleep after it
//! has woken the workers, so a worker that is queued behind it stands still for a whole time slice, which
//! is longer than most blocks run. So before waking, workers are told to run anywhere else. It is told
//! again only when the caller has moved, and only if there is a processor for every thread.

/// Where the workers of one pool may run.
#[derive(Debug)]
pub(crate) struct Apart {
    #[cfg(all(target_os = "linux", not(any(feature = "shuttle", feature = "loom"))))]
    inner: Option<linux::Apart>,
}

impl Apart {
    /// For `threads` threads, the caller included.
    pub(crate) fn new(threads: u16) -> Self {
        #[cfg(all(target_os = "linux", not(any(feature = "shuttle", feature = "loom"))))]
        return Apart { inner: linux::Apart::new(threads) };
        #[cfg(not(all(target_os = "linux", not(any(feature = "shuttle", feature = "loom")))))]
        {
            let _ = threads;
            Apart {}
        }
    }

    /// Called by each worker when it starts.
    pub(crate) fn enrol(&self) {
        #[cfg(all(target_os = "linux", not(any(feature = "shuttle", feature = "loom"))))]
        if let Some(inner) = &self.inner {
            inner.enrol();
        }
    }

    /// Called by the caller before it wakes workers.
    pub(crate) fn keep(&self) {
        #[cfg(all(target_os = "linux", not(any(feature = "shuttle", feature = "loom"))))]
        if let Some(inner) = &self.inner {
            inner.keep();
        }
    }
}

#[cfg(all(target_os = "linux", not(any(feature = "shuttle", feature = "loom"))))]
mod linux {
    use parking_lot::Mutex;
    use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};

    #[derive(Debug)]
    pub(super) struct Apart {
        /// Where this process may run at all.
        allowed: CpuSet,
        workers: Mutex<Workers>,
    }

    #[derive(Debug, Default)]
    struct Workers {
        threads: Vec<Pid>,
        /// Told to keep off this processor: the first so many of `threads`.
        off: usize,
        told: usize,
    }

    impl Apart {
        pub(super) fn new(threads: u16) -> Option<Self> {
            let allowed = sched_getaffinity(None).ok()?;
            let room = threads > 1 && u32::from(threads) <= allowed.count();
            room.then(|| Apart { allowed, workers: Mutex::default() })
        }

        pub(super) fn enrol(&self) {
            self.workers.lock().threads.push(gettid());
        }

        pub(super) fn keep(&self) {
            let here = sched_getcpu();
            let mut workers = self.workers.lock();
            if workers.off == here && workers.told == workers.threads.len() {
                return;
            }
            if !self.allowed.is_set(here) {
                // The caller was moved out of the set that the pool was made in.
                return;
            }
            let mut others = self.allowed;
            others.unset(here);
            for thread in &workers.threads {
                // A refusal leaves the worker where the kernel puts it.
                let _ = sched_setaffinity(Some(*thread), &others);
            }
            workers.off = here;
            workers.told = workers.threads.len();
        }
    }
}
