//! A state whose answers take their time.

use crate::Rng;
use braid_core::{Reader, State, StoreError};
use std::{
    cell::RefCell,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::{Duration, Instant},
};

/// How long reads take.
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    /// So long, each.
    Fixed(Duration),
    /// Up to so long, drawn from a seed, so that reads come in in any order; and some need several steps, are
    /// told of too early, or twice.
    Random {
        /// What all choices come from.
        seed: u64,
        /// The longest.
        most: Duration,
    },
}

/// A state below which each read is delayed, by deadlines on a monotonic clock. Whoever reads by `get` waits for
/// them one by one; whoever polls may have many under way.
#[derive(Debug)]
pub struct Slow<'s, S> {
    state: &'s S,
    delay: Delay,
    overlap: u16,
    readers: AtomicU64,
    /// Reads that were begun.
    begun: AtomicU64,
    /// Reads that were under way when their reader was dropped.
    left: AtomicU64,
}

impl<'s, S> Slow<'s, S> {
    /// `state` with delays, of which each reader can have `overlap` at a time.
    pub fn new(state: &'s S, delay: Delay, overlap: u16) -> Self {
        let [readers, begun, left] = [0; 3].map(AtomicU64::new);
        Slow { state, delay, overlap, readers, begun, left }
    }

    /// Reads that were begun, by all readers.
    pub fn begun(&self) -> u64 {
        // Relaxed, here and below: counts that order nothing.
        self.begun.load(Ordering::Relaxed)
    }

    /// Reads that were under way when their reader was dropped.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

/// A read under way.
#[derive(Debug)]
struct Pending<K> {
    key: K,
    at: Instant,
    /// Steps that are left.
    steps: u32,
    told: bool,
}

/// One worker's handle on a [`Slow`] state.
#[derive(Debug)]
pub struct SlowReader<'a, K, R> {
    inner: R,
    delay: Delay,
    rng: RefCell<Rng>,
    /// By number of the read.
    pending: Vec<Option<Pending<K>>>,
    counts: [&'a AtomicU64; 2],
}

impl<K, V, S: State<K, V>> State<K, V> for Slow<'_, S>
where
    K: Copy + PartialEq,
{
    type Reader<'a>
        = SlowReader<'a, K, S::Reader<'a>>
    where
        Self: 'a;

    fn reader(&self) -> Result<Self::Reader<'_>, StoreError> {
        let seed = match self.delay {
            Delay::Fixed(_) => 0,
            Delay::Random { seed, .. } => {
                seed ^ self.readers.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9)
            }
        };
        Ok(SlowReader {
            inner: self.state.reader()?,
            delay: self.delay,
            rng: RefCell::new(Rng::new(seed)),
            pending: Vec::new(),
            counts: [&self.begun, &self.left],
        })
    }

    fn overlap(&self) -> u16 {
        self.overlap
    }
}

/// Waits until `at`, to the microsecond: the last part without sleep, for sleep is as long as that.
fn wait_until(at: Instant) {
    const COARSE: Duration = Duration::from_micros(120);
    loop {
        let left = at.saturating_duration_since(Instant::now());
        match left {
            Duration::ZERO => return,
            left if left > COARSE => std::thread::sleep(left - COARSE),
            _ => std::thread::yield_now(),
        }
    }
}

impl<K, R> SlowReader<'_, K, R> {
    fn begin(&self) -> (Instant, u32) {
        self.counts[0].fetch_add(1, Ordering::Relaxed);
        let (delay, steps) = match self.delay {
            Delay::Fixed(delay) => (delay, 0),
            Delay::Random { most, .. } => {
                let mut rng = self.rng.borrow_mut();
                (most * rng.below(1000) as u32 / 1000, rng.below(3) as u32)
            }
        };
        (Instant::now() + delay, steps)
    }
}

impl<K, V, R: Reader<K, V>> Reader<K, V> for SlowReader<'_, K, R>
where
    K: Copy + PartialEq,
{
    fn get(&mut self, key: &K) -> Result<Option<V>, StoreError> {
        wait_until(self.begin().0);
        self.inner.get(key)
    }

    fn scan(&mut self, range: Range<K>) -> Result<Vec<(K, V)>, StoreError> {
        wait_until(self.begin().0);
        self.inner.scan(range)
    }

    fn poll(&mut self, key: &K, read: u32) -> Poll<Result<Option<V>, StoreError>> {
        let at = read as usize;
        if self.pending.len() <= at {
            self.pending.resize_with(at + 1, || None);
        }
        let now = Instant::now();
        match &mut self.pending[at] {
            Some(pending) if pending.key == *key && now < pending.at => return Poll::Pending,
            Some(pending) if pending.key == *key && pending.steps > 0 => {
                pending.steps -= 1;
                pending.told = false;
                return Poll::Pending;
            }
            Some(pending) if pending.key == *key => {
                self.pending[at] = None;
                return Poll::Ready(self.inner.get(key));
            }
            _ => {}
        }
        let (ready, steps) = self.begin();
        self.pending[at] = Some(Pending { key: *key, at: ready, steps, told: false });
        Poll::Pending
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<u32>) {
        let until = Instant::now() + timeout;
        let first =
            self.pending.iter().flatten().filter(|pending| !pending.told).map(|pending| pending.at).min();
        wait_until(first.map_or(until, |first| first.min(until)));
        let (now, before) = (Instant::now(), ready.len());
        for (number, pending) in self.pending.iter_mut().enumerate() {
            if let Some(pending) = pending.as_mut().filter(|pending| !pending.told && pending.at <= now) {
                pending.told = true;
                ready.push(number as u32);
            }
        }
        if let Delay::Random { .. } = self.delay {
            let mut rng = self.rng.borrow_mut();
            let came = &mut ready[before..];
            for at in (1..came.len()).rev() {
                came.swap(at, rng.below(at as u64 + 1) as usize);
            }
            // Twice, or too early, or of what is not there.
            if rng.below(4) == 0 {
                let number = rng.below(self.pending.len() as u64 + 2) as u32;
                ready.insert(before, number);
            }
        }
    }
}

impl<K, R> Drop for SlowReader<'_, K, R> {
    fn drop(&mut self) {
        self.counts[1].fetch_add(self.pending.iter().flatten().count() as u64, Ordering::Relaxed);
    }
}
