//! Gathers what a schedule tells, without disturbing it more than it must.

use crate::trace::{self, Described, Trace};
use braid_core::{Event, Probe, TxIndex};
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Events that one worker keeps if nobody says otherwise.
pub const EVENTS_PER_WORKER: usize = 1 << 18;

/// What happened, without borrowed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What<K> {
    Start { tx: TxIndex, incarnation: u32 },
    Wait { tx: TxIndex, key: K, on: TxIndex },
    Abort { tx: TxIndex, key: K, by: Option<TxIndex> },
    Finish { tx: TxIndex, incarnation: u32 },
    Commit { tx: TxIndex },
}

/// An event, when, and who told it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped<K> {
    /// Nanoseconds since the recorder was made.
    pub(crate) at: u64,
    pub(crate) worker: u16,
    pub(crate) what: What<K>,
}

/// The events of the workers that share a place: of one, unless there are more than were announced. Cache
/// lines of its own, and the pair that some processors fetch together.
#[derive(Debug)]
#[repr(align(128))]
struct Buffer<K>(Mutex<Kept<K>>);

#[derive(Debug)]
struct Kept<K> {
    events: Vec<Stamped<K>>,
    lost: u64,
}

/// A [`Probe`] that keeps all events with their times.
///
/// Each worker has a buffer of its own, behind a lock that nobody else wants while the block runs: no
/// worker waits for another, and no line of memory is shared. Keys are copied as they are and made into
/// text when the block is done. What is beyond the limit of a worker is counted and dropped, so that a
/// schedule that goes round in circles costs a bounded amount of memory.
#[derive(Debug)]
pub struct Recorder<K> {
    epoch: Instant,
    /// Time of the whole block, once it is over.
    elapsed: Option<u64>,
    buffers: Box<[Buffer<K>]>,
    limit: usize,
}

impl<K> Recorder<K> {
    /// For `workers` workers, with [`EVENTS_PER_WORKER`]. Time begins to run.
    pub fn new(workers: usize) -> Self {
        Self::with_limit(workers, EVENTS_PER_WORKER)
    }

    /// As [`new`](Self::new), with at most `limit` events kept of each worker.
    pub fn with_limit(workers: usize, limit: usize) -> Self {
        let buffer = |_| Buffer(Mutex::new(Kept { events: Vec::new(), lost: 0 }));
        Recorder {
            epoch: Instant::now(),
            elapsed: None,
            buffers: (0..workers.max(1)).map(buffer).collect(),
            limit,
        }
    }

    /// All events in the order of their times, and how many were dropped.
    fn into_events(self) -> (Vec<Stamped<K>>, u64) {
        let (mut events, mut lost) = (Vec::new(), 0);
        for buffer in self.buffers {
            let kept = buffer.0.into_inner().unwrap_or_else(PoisonError::into_inner);
            events.extend(kept.events);
            lost += kept.lost;
        }
        // Stable: what one worker told at one moment stays in its order.
        events.sort_by_key(|event| event.at);
        (events, lost)
    }

    /// The block is over: what comes until it is made into a trace takes none of its time.
    pub fn stop(mut self) -> Self {
        self.elapsed = Some(nanoseconds(self.epoch.elapsed()));
        self
    }

    /// What the events come to. `described` says what was run, and `key` names a location.
    pub fn into_trace(self, described: Described, key: impl FnMut(&K) -> trace::Key) -> Trace
    where
        K: Copy + Ord,
    {
        let elapsed = self.elapsed.unwrap_or_else(|| nanoseconds(self.epoch.elapsed()));
        let (events, lost) = self.into_events();
        trace::build(&events, lost, elapsed, described, key)
    }

    /// Nanoseconds from the first event to the last of each transaction of a serial run, in block order: from the
    /// start of its execution to its commit. Of no use for a schedule that runs several at a time.
    pub fn into_laps(self) -> Vec<u64> {
        let (mut laps, mut began) = (Vec::new(), 0);
        for event in self.into_events().0 {
            match event.what {
                What::Start { .. } => began = event.at,
                What::Commit { .. } => laps.push(event.at.saturating_sub(began)),
                _ => {}
            }
        }
        laps
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<K: Copy + Send> Probe<K> for Recorder<K> {
    fn event(&self, worker: u16, event: Event<'_, K>) {
        let at = nanoseconds(self.epoch.elapsed());
        let what = match event {
            Event::Start { tx, incarnation } => What::Start { tx, incarnation },
            Event::Wait { tx, key, on } => What::Wait { tx, key: *key, on },
            Event::Abort { tx, key, by } => What::Abort { tx, key: *key, by },
            Event::Finish { tx, incarnation } => What::Finish { tx, incarnation },
            Event::Commit { tx } => What::Commit { tx },
        };
        let buffer = &self.buffers[usize::from(worker) % self.buffers.len()];
        let mut kept = buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.events.len() < self.limit {
            kept.events.push(Stamped { at, worker, what });
        } else {
            kept.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Key;

    #[test]
    fn what_is_beyond_the_limit_is_counted() {
        let recorder = Recorder::<u64>::with_limit(2, 3);
        for tx in 0..5 {
            recorder.event(1, Event::Commit { tx });
        }
        recorder.event(0, Event::Commit { tx: 9 });
        let (events, lost) = recorder.into_events();
        assert_eq!((events.len(), lost), (4, 2));
        assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    #[test]
    fn more_workers_than_announced_share_buffers() {
        let recorder = Recorder::<u64>::new(0);
        recorder.event(7, Event::Start { tx: 0, incarnation: 0 });
        recorder.event(300, Event::Finish { tx: 0, incarnation: 0 });
        let trace = recorder.into_trace(Described::default(), |key| Key::new(key.to_string()));
        assert_eq!(trace.tasks.len(), 1);
        assert_eq!((trace.tasks[0].worker, trace.lost), (7, 0));
    }
}
