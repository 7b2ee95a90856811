//! Locks that know which worker holds them (Solana's thread-aware account locks, anza-xyz/agave,
//! `scheduling-utils`).
//!
//! What one worker has taken it executes in that order, so a lock that a worker holds may be taken once more for
//! the same worker, whatever for; for another one only if both read.

use super::plan::excludes;
use braid_core::Mode;
use smallvec::SmallVec;

/// How often a worker holds a lock.
#[derive(Clone, Copy, Debug)]
struct Holder {
    worker: u16,
    writes: u32,
    reads: u32,
}

/// Who holds each lock.
#[derive(Debug)]
pub(super) struct Holders {
    /// By lock; nothing where there is one worker, in whose way nobody is.
    locks: Vec<SmallVec<[Holder; 2]>>,
}

impl Holders {
    /// None of so many workers holds any of so many locks.
    pub(super) fn new(locks: u32, workers: u16) -> Self {
        Holders { locks: if workers == 1 { Vec::new() } else { vec![SmallVec::new(); locks as usize] } }
    }

    /// Whether `worker` may take these locks.
    pub(super) fn allows(&self, worker: u16, locks: &[(u32, Mode)]) -> bool {
        self.locks.is_empty()
            || locks.iter().all(|(lock, mode)| {
                let mut others = self.locks[*lock as usize].iter().filter(|holder| holder.worker != worker);
                others.all(|other| other.writes == 0 && !excludes(*mode))
            })
    }

    /// `worker` takes these locks.
    pub(super) fn take(&mut self, worker: u16, locks: &[(u32, Mode)]) {
        if self.locks.is_empty() {
            return;
        }
        for (lock, mode) in locks {
            let holders = &mut self.locks[*lock as usize];
            let at = holders.iter().position(|holder| holder.worker == worker).unwrap_or_else(|| {
                holders.push(Holder { worker, writes: 0, reads: 0 });
                holders.len() - 1
            });
            *(if excludes(*mode) { &mut holders[at].writes } else { &mut holders[at].reads }) += 1;
        }
    }

    /// `worker` gives them back.
    pub(super) fn release(&mut self, worker: u16, locks: &[(u32, Mode)]) {
        if self.locks.is_empty() {
            return;
        }
        for (lock, mode) in locks {
            let holders = &mut self.locks[*lock as usize];
            let Some(at) = holders.iter().position(|holder| holder.worker == worker) else {
                debug_assert!(false, "worker {worker} holds lock {lock}");
                continue;
            };
            *(if excludes(*mode) { &mut holders[at].writes } else { &mut holders[at].reads }) -= 1;
            if holders[at].writes == 0 && holders[at].reads == 0 {
                holders.swap_remove(at);
            }
        }
    }
}
