//! Memory that outlives blocks.

use crate::sync::Mutex;
use std::{any::Any, fmt};

/// Most arenas kept by one scheduler: more only with blocks that run at the same time.
const KEPT: usize = 4;

/// Keeps the tables of finished blocks for the next ones, by type.
#[derive(Default)]
pub(crate) struct Arenas {
    idle: Mutex<Vec<Box<dyn Any + Send>>>,
}

impl fmt::Debug for Arenas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arenas").finish_non_exhaustive()
    }
}

impl Arenas {
    /// An idle arena of this type, or a new one.
    pub(crate) fn take<T: Any + Send>(&self, new: impl FnOnce() -> T) -> Box<T> {
        let mut idle = self.idle.lock();
        let found = idle.iter().position(|arena| arena.is::<T>()).map(|at| idle.swap_remove(at));
        drop(idle);
        found.and_then(|arena| arena.downcast().ok()).unwrap_or_else(|| Box::new(new()))
    }

    /// Gives an arena back; the oldest is dropped if there are too many.
    pub(crate) fn put<T: Any + Send>(&self, arena: Box<T>) {
        let mut idle = self.idle.lock();
        if idle.len() >= KEPT {
            drop(idle.remove(0));
        }
        idle.push(arena);
    }
}
