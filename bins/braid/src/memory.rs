//! The allocator of the program, and how much of it a run uses.
//!
//! All profiles share this one allocator; another one is put in its place by changing [`Inner`].
//! Counting is on only inside [`peak`], in runs that are not timed. Otherwise an allocation pays one
//! load of a flag that nobody writes.

use std::{
    alloc::{GlobalAlloc, Layout},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

/// The allocator below.
type Inner = mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting<Inner> = Counting(mimalloc::MiMalloc);

// All accesses of these are relaxed: they are counters that order nothing. `peak` reads them after the
// engine has returned its result, which synchronizes with the workers that made it; what a straggler
// still allocates after that is not part of the run.
static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Runs `body`, and says by how many bytes of heap, at most, it rose above where it began. Memory that
/// is not from the allocator (stacks of threads) is not seen; what other threads do meanwhile is. Not to be
/// nested.
pub(crate) fn peak<T>(body: impl FnOnce() -> T) -> (T, u64) {
    // One at a time. A panic of `body` leaves nothing behind that the next one does not set itself.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    LIVE.store(0, Ordering::Relaxed);
    PEAK.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    let done = body();
    COUNTING.store(false, Ordering::Relaxed);
    (done, u64::try_from(PEAK.load(Ordering::Relaxed)).unwrap_or(0))
}

/// An allocator that counts while it is asked to.
struct Counting<A>(A);

impl<A> Counting<A> {
    fn grew(bytes: usize) {
        if COUNTING.load(Ordering::Relaxed) {
            let live = LIVE.fetch_add(bytes as i64, Ordering::Relaxed) + bytes as i64;
            PEAK.fetch_max(live, Ordering::Relaxed);
        }
    }

    fn shrank(bytes: usize) {
        if COUNTING.load(Ordering::Relaxed) {
            LIVE.fetch_sub(bytes as i64, Ordering::Relaxed);
        }
    }
}

// SAFETY: every method passes its arguments unchanged to the allocator below and returns what that
// returns, so the contract holds if it holds there. The counters touch no allocated memory and cannot
// allocate, unwind or block.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the allocator below.
        let place = unsafe { self.0.alloc(layout) };
        if !place.is_null() {
            Self::grew(layout.size());
        }
        place
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the allocator below.
        let place = unsafe { self.0.alloc_zeroed(layout) };
        if !place.is_null() {
            Self::grew(layout.size());
        }
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of the allocator below.
        unsafe { self.0.dealloc(place, layout) };
        Self::shrank(layout.size());
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those of the allocator below.
        let moved = unsafe { self.0.realloc(place, layout, size) };
        if !moved.is_null() {
            Self::grew(size);
            Self::shrank(layout.size());
        }
        moved
    }
}
