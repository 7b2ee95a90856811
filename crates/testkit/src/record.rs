//! Sinks and probes that remember.

use crate::{Num, ToyError, ToyOutput};
use braid_core::{Effects, Event, Probe, Sink, TxIndex, Vm};
use std::sync::{Mutex, PoisonError};

/// What a sink received of one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// Which one.
    pub index: TxIndex,
    /// Its output.
    pub output: Option<ToyOutput>,
    /// Its writes, written out.
    pub writes: String,
    /// Its work.
    pub work: u64,
}

/// Keeps what it receives, and admits while the work of those before is within a budget.
#[derive(Clone, Debug, Default)]
pub struct RecordingSink {
    /// What was delivered, in order of delivery.
    pub delivered: Vec<Delivered>,
    /// How often it was asked, and for which transaction last.
    pub asked: Vec<TxIndex>,
    /// Work after which no further transaction is admitted.
    pub budget: Option<u64>,
}

impl<M> Sink<M> for RecordingSink
where
    M: Vm<Key = u64, Value = Num, Output = ToyOutput, Error = ToyError>,
{
    fn admit(&mut self, index: TxIndex) -> Result<(), ToyError> {
        self.asked.push(index);
        let spent: u64 = self.delivered.iter().map(|delivered| delivered.work).sum();
        if self.budget.is_some_and(|budget| spent > budget) { Err(ToyError::Budget) } else { Ok(()) }
    }

    fn commit(&mut self, index: TxIndex, effects: &mut Effects<M>) {
        let writes: &Vec<(u64, braid_core::Write<Num>)> = &effects.writes;
        let writes = format!("{writes:?}");
        // Taken, not copied: a sink may, and the scheduler must not care.
        let output = effects.output.take();
        self.delivered.push(Delivered { index, output, writes, work: effects.work });
    }
}

/// An [`Event`] without borrowed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedEvent {
    /// See [`Event::Start`]: transaction, incarnation.
    Start(TxIndex, u32),
    /// See [`Event::Wait`]: transaction, key, writer.
    Wait(TxIndex, u64, TxIndex),
    /// See [`Event::Abort`]: transaction, key, writer.
    Abort(TxIndex, u64, Option<TxIndex>),
    /// See [`Event::Finish`]: transaction, incarnation.
    Finish(TxIndex, u32),
    /// See [`Event::Commit`]: transaction.
    Commit(TxIndex),
}

/// A probe that keeps all events in the order in which they were told.
#[derive(Debug, Default)]
pub struct Recorder {
    events: Mutex<Vec<(u16, OwnedEvent)>>,
}

impl Recorder {
    /// The events so far.
    pub fn take(&self) -> Vec<(u16, OwnedEvent)> {
        std::mem::take(&mut self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Probe<u64> for Recorder {
    fn event(&self, worker: u16, event: Event<'_, u64>) {
        let owned = match event {
            Event::Start { tx, incarnation } => OwnedEvent::Start(tx, incarnation),
            Event::Wait { tx, key, on } => OwnedEvent::Wait(tx, *key, on),
            Event::Abort { tx, key, by } => OwnedEvent::Abort(tx, *key, by),
            Event::Finish { tx, incarnation } => OwnedEvent::Finish(tx, incarnation),
            Event::Commit { tx } => OwnedEvent::Commit(tx),
        };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push((worker, owned));
    }
}
