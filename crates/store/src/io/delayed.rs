//! A medium whose reads take their time, for tests and measurements of whatever overlaps them.

use super::{Done, Medium, ReadQueue, queue::wait_until};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Adds a delay to each read, by deadlines on a monotonic clock: the same for who waits in
/// [`read_at`](Medium::read_at) and for who has many reads under way. Bytes are read from the medium below when the
/// delay is over.
#[derive(Debug)]
pub struct DelayedMedium {
    inner: Arc<dyn Medium>,
    delay: Duration,
    seed: Option<AtomicU64>,
}

impl DelayedMedium {
    /// Each read takes `delay`.
    pub fn fixed(inner: Arc<dyn Medium>, delay: Duration) -> Self {
        DelayedMedium { inner, delay, seed: None }
    }

    /// Each read takes up to `most`, drawn from a seed, so that they come in in any order.
    pub fn random(inner: Arc<dyn Medium>, most: Duration, seed: u64) -> Self {
        DelayedMedium { inner, delay: most, seed: Some(AtomicU64::new(seed)) }
    }

    fn deadline(&self) -> Instant {
        // Relaxed: a number that orders nothing. SplitMix64.
        let drawn = self.seed.as_ref().map(|seed| {
            let mut z = seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            self.delay * ((z ^ (z >> 31)) % 1000) as u32 / 1000
        });
        Instant::now() + drawn.unwrap_or(self.delay)
    }
}

impl Medium for DelayedMedium {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        wait_until(self.deadline());
        self.inner.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn queue(&self) -> io::Result<Option<Box<dyn ReadQueue>>> {
        let timer = DelayedMedium {
            inner: self.inner.clone(),
            delay: self.delay,
            seed: self.seed.as_ref().map(|seed| AtomicU64::new(seed.fetch_add(1, Ordering::Relaxed))),
        };
        Ok(Some(Box::new(DelayedQueue { timer, pending: Vec::new() })))
    }
}

#[derive(Debug)]
struct Pending {
    at: Instant,
    tag: u64,
    offset: u64,
    len: usize,
}

#[derive(Debug)]
struct DelayedQueue {
    timer: DelayedMedium,
    pending: Vec<Pending>,
}

impl ReadQueue for DelayedQueue {
    fn begin(&mut self, tag: u64, offset: u64, len: usize) -> io::Result<()> {
        self.pending.push(Pending { at: self.timer.deadline(), tag, offset, len });
        Ok(())
    }

    fn collect(&mut self, timeout: Duration, done: &mut Vec<Done>) -> io::Result<()> {
        let Some(first) = self.pending.iter().map(|pending| pending.at).min() else { return Ok(()) };
        let mut now = Instant::now();
        if first > now && !timeout.is_zero() {
            wait_until(first.min(now + timeout));
            now = Instant::now();
        }
        let mut came: Vec<Pending> = self.pending.extract_if(.., |pending| pending.at <= now).collect();
        came.sort_by_key(|pending| pending.at);
        for Pending { tag, offset, len, .. } in came {
            let mut bytes = vec![0; len].into_boxed_slice();
            let result = self.timer.inner.read_at(offset, &mut bytes).map(|()| bytes);
            done.push(Done { tag, result });
        }
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.pending.len()
    }
}
