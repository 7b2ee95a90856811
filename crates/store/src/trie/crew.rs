//! Who shares the hashing of tries.

/// What calls a piece of work once with each number below a count, and returns when all calls have returned.
pub type Split<'a> = &'a mut dyn FnMut(usize, &(dyn Fn(usize) + Sync));

/// Threads that share work. Whose they are is not known here: it is best done by those that executed the block, which
/// are awake.
#[derive(Default)]
pub struct Crew<'a> {
    workers: usize,
    split: Option<Split<'a>>,
}

impl std::fmt::Debug for Crew<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("workers", &self.workers()).finish()
    }
}

impl<'a> Crew<'a> {
    /// `workers` threads, the caller included. `split` calls a piece of work once with each number below a count, on
    /// whatever threads, and returns when all calls have returned.
    pub fn new(workers: usize, split: Split<'a>) -> Self {
        Crew { workers, split: Some(split) }
    }

    /// Nobody but the caller.
    pub fn alone() -> Self {
        Crew::default()
    }

    /// How many threads share the work, the caller included.
    pub fn workers(&self) -> usize {
        self.workers.max(1)
    }

    /// Calls `work` once with each number below `count`.
    pub fn split(&mut self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        match &mut self.split {
            Some(split) if count > 1 => split(count, work),
            _ => (0..count).for_each(work),
        }
    }
}

/// Calls `run` with the workers of the rayon pool that this is called in.
pub(crate) fn with_rayon<T>(run: impl FnOnce(&mut Crew<'_>) -> T) -> T {
    let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| {
        rayon::in_place_scope(|scope| {
            (1..count).for_each(|at| scope.spawn(move |_| work(at)));
            work(0);
        });
    };
    run(&mut Crew::new(rayon::current_num_threads(), &mut split))
}
