//! The primitives that the schedulers are built from, so that what is model-checked is what runs.
//!
//! Plain builds get `std` and `parking_lot`; feature `shuttle` swaps in shuttle's (sequentially
//! consistent exploration of whole blocks), feature `loom` loom's (memory orderings of [`Baton`] and of
//! the pool's handshake).

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
mod imp {
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::{sync::atomic, thread};

    pub(super) fn spin() {
        std::hint::spin_loop();
    }
}

#[cfg(any(feature = "shuttle", feature = "loom"))]
mod imp {
    #[cfg(all(feature = "loom", not(feature = "shuttle")))]
    use loom as model;
    #[cfg(feature = "shuttle")]
    use shuttle as model;

    pub(crate) use model::{
        sync::{MutexGuard, atomic},
        thread,
    };

    /// The model's mutex with `parking_lot`'s face.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(model::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(model::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            // A poisoned lock protects values that are whole: no critical section is left half done.
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }

    pub(super) fn spin() {
        // A model explores forever what it does not know to be a wait.
        thread::yield_now();
    }
}

pub(crate) use imp::{Mutex, MutexGuard, atomic, thread};

use atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::time::Duration;

/// Whether a model checker runs the threads. Then real time means nothing.
pub(crate) const MODEL: bool = cfg!(any(feature = "shuttle", feature = "loom"));

/// Waits a little longer each time: spins, then yields, then sleeps.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    const SPINS: u32 = 64;
    const YIELDS: u32 = 2048;
    const NAP: Duration = Duration::from_micros(50);

    /// Waits once.
    pub(crate) fn wait(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        if MODEL || self.rounds <= Self::SPINS {
            imp::spin();
        } else if self.rounds <= Self::SPINS + Self::YIELDS {
            thread::yield_now();
        } else {
            // Far past any transaction of ordinary size: stop burning the core that may be needed.
            std::thread::sleep(Self::NAP);
        }
    }

    /// Starts over.
    pub(crate) fn reset(&mut self) {
        self.rounds = 0;
    }

    /// How often it has waited since the last reset.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
    }
}

/// Passes a duty to exactly one of those who ask for it, and loses no request.
///
/// 1. Who has work for the duty makes it visible, then calls [`ring`](Self::ring).
/// 2. `true` makes the caller the holder: it does all work it can see, then calls
///    [`leave`](Self::leave) with the number it was told last (1 at first).
/// 3. `leave` fails if anyone rang since; the holder goes round again.
///
/// Requests by others never wait. Because every step is a read-modify-write of one word, they are
/// totally ordered: a ring either comes before the holder's `leave`, which then fails, or finds the
/// word zero and makes a new holder. Release on the ring and Acquire on the failed `leave` (or on the
/// ring that gets the duty) make the announced work visible to whoever does it.
#[derive(Debug)]
pub(crate) struct Baton(AtomicU32);

impl Baton {
    pub(crate) fn new() -> Self {
        Baton(AtomicU32::new(0))
    }

    /// Asks for the duty; `true` if the caller holds it from here on.
    pub(crate) fn ring(&self) -> bool {
        // Release: rule 1. Acquire: the new holder sees what the last one did.
        self.0.fetch_add(1, Ordering::AcqRel) == 0
    }

    /// Gives the duty up, unless someone rang since `seen` rings; then the new count.
    pub(crate) fn leave(&self, seen: u32) -> Result<(), u32> {
        // Release on success: the next holder sees this one's work. Acquire on failure: rule 3.
        self.0.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }
}

/// A thread that may be parked until a word changes.
///
/// The sleeper sets the flag, then looks at the word for the last time, and parks; the waker changes the
/// word, then looks at the flag. Both have a SeqCst fence in between, so at least one of the two sees
/// what the other did: no wake-up is lost, and no system call is made for a thread that is awake.
#[derive(Debug)]
pub(crate) struct Sleeper {
    parked: AtomicBool,
}

impl Sleeper {
    pub(crate) fn new() -> Self {
        Sleeper { parked: AtomicBool::new(false) }
    }

    /// Parks the calling thread until `ready`.
    pub(crate) fn sleep_until(&self, mut ready: impl FnMut() -> bool) {
        loop {
            // Relaxed: ordered by the fence.
            self.parked.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if ready() {
                // Relaxed: a flag left behind costs one needless unpark at most.
                self.parked.store(false, Ordering::Relaxed);
                return;
            }
            thread::park();
        }
    }

    /// Whether the sleeper has to be unparked, now that what it waits for has changed.
    pub(crate) fn must_wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // Relaxed: ordered by the fence. Not cleared here: a waker that is late for one sleep must not
        // take the flag from the next.
        self.parked.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, feature = "loom"))]
mod tests {
    use super::{
        Baton, Sleeper,
        atomic::{AtomicU32, Ordering},
        thread,
    };
    use std::sync::Arc;

    struct Desk {
        baton: Baton,
        posted: [AtomicU32; 2],
        done: AtomicU32,
    }

    impl Desk {
        fn post(&self, at: usize) {
            // Relaxed throughout: only the baton orders these.
            self.posted[at].store(1, Ordering::Relaxed);
            if !self.baton.ring() {
                return;
            }
            let mut seen = 1;
            loop {
                for posted in &self.posted {
                    if posted.load(Ordering::Relaxed) == 1 {
                        posted.store(2, Ordering::Relaxed);
                        // Not a read-modify-write: exact only if there is one holder at a time.
                        self.done.store(self.done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                }
                match self.baton.leave(seen) {
                    Ok(()) => return,
                    Err(now) => seen = now,
                }
            }
        }
    }

    #[test]
    fn baton_loses_no_request() {
        loom::model(|| {
            let desk = Arc::new(Desk {
                baton: Baton::new(),
                posted: [AtomicU32::new(0), AtomicU32::new(0)],
                done: AtomicU32::new(0),
            });
            let other = {
                let desk = desk.clone();
                thread::spawn(move || desk.post(1))
            };
            desk.post(0);
            other.join().expect("no panic");
            assert_eq!(desk.done.load(Ordering::Relaxed), 2);
        });
    }

    #[test]
    fn sleeper_loses_no_wake_up() {
        loom::model(|| {
            let shared = Arc::new((Sleeper::new(), AtomicU32::new(0), AtomicU32::new(0)));
            let sleeper = {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (sleeper, word, data) = &*shared;
                    sleeper.sleep_until(|| word.load(Ordering::Acquire) == 1);
                    assert_eq!(data.load(Ordering::Relaxed), 7);
                })
            };
            let (asleep, word, data) = &*shared;
            data.store(7, Ordering::Relaxed);
            word.store(1, Ordering::Release);
            if asleep.must_wake() {
                sleeper.thread().unpark();
            }
            sleeper.join().expect("no panic");
        });
    }
}
