//! An execution that waits lets others go on in its thread, and then goes on from where it was.
#![cfg(not(any(feature = "shuttle", feature = "loom", feature = "mutants")))]

use braid_core::{Block, Control, Effects, Event, Probe, Scheduler, Sink, Stop, TxIndex, View, Vm, Write};
use braid_sched::{BlockStm, Pool, Waits};
use braid_testkit::{Num, ToyError, ToyState};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

const LOCATION: u64 = 5;
/// No schedule needs as long for what a transaction here waits for.
const FOREVER: Duration = Duration::from_secs(20);

/// 0 writes when 1 has read too early, which makes the location contended; 2 writes again when 4 has begun;
/// 3 reads while 2 runs. With two workers, 4 can only begin where 3 waits.
struct Script {
    /// Bits of those that have begun.
    begun: AtomicU32,
    /// Bits of those that have read.
    read: AtomicU32,
    late: AtomicU32,
}

impl Script {
    fn until(&self, flags: &AtomicU32, tx: u32) {
        let start = Instant::now();
        // Relaxed, here and below: flags that order nothing.
        while flags.load(Ordering::Relaxed) & 1 << tx == 0 {
            std::thread::yield_now();
            if start.elapsed() > FOREVER {
                self.late.fetch_or(1 << tx, Ordering::Relaxed);
                return;
            }
        }
    }
}

impl Vm for Script {
    type Tx = u32;
    type Key = u64;
    type Value = Num;
    type Output = i64;
    type Error = ToyError;
    type Worker = ();

    fn worker(&self) {}

    fn execute(
        &self,
        (): &mut (),
        tx: &u32,
        view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        self.begun.fetch_or(1 << tx, Ordering::Relaxed);
        match tx {
            0 => self.until(&self.read, 1),
            2 => self.until(&self.begun, 4),
            1 | 3 => {
                self.until(&self.begun, tx - 1);
                let value = view.read(&LOCATION)?.value;
                effects.output = Some(value.map_or(0, |value| value.0));
                self.read.fetch_or(1 << tx, Ordering::Relaxed);
            }
            _ => {}
        }
        if matches!(tx, 0 | 2) {
            effects.writes.push((LOCATION, Write::Put(Num(i64::from(*tx) + 10))));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Outputs(Vec<Option<i64>>);

impl Sink<Script> for Outputs {
    fn commit(&mut self, _index: TxIndex, effects: &mut Effects<Script>) {
        self.0.push(effects.output.take());
    }
}

/// Executions that began, by transaction, in order.
#[derive(Default)]
struct Starts(Mutex<Vec<(TxIndex, u16)>>);

impl Probe<u64> for Starts {
    fn event(&self, worker: u16, event: Event<'_, u64>) {
        if let Event::Start { tx, .. } = event {
            self.0.lock().expect("no panic").push((tx, worker));
        }
    }
}

#[test]
fn a_transaction_that_waits_lets_the_next_begin_and_is_executed_once() {
    for waits in [Waits::Retry, Waits::Resume] {
        let scheduler = BlockStm::new(Arc::new(Pool::new(2))).waits(waits);
        let vm = Script { begun: AtomicU32::new(0), read: AtomicU32::new(0), late: AtomicU32::new(0) };
        let (txs, state): (Vec<u32>, _) = ((0..5).collect(), ToyState::default());
        let (mut sink, starts) = (Outputs::default(), Starts::default());
        let block = Block::new(&vm, &txs, &state);
        scheduler.run(&block, &mut sink, &starts, &Control::default()).expect("valid");
        assert_eq!(vm.late.into_inner(), 0, "{waits:?}: bits of what never came");
        assert_eq!(sink.0, [None, Some(10), None, Some(12), None], "{waits:?}");
        let starts = starts.0.into_inner().expect("no panic");
        let of = |tx| starts.iter().filter(|start| start.0 == tx).map(|start| start.1).collect::<Vec<_>>();
        assert_eq!(of(1).len(), 2, "{waits:?}: read too early once, {starts:?}");
        assert_eq!(of(3).len(), 1, "{waits:?}: waited instead of reading too early, {starts:?}");
        assert_eq!(of(3), of(4), "{waits:?}: in the same thread, {starts:?}");
    }
}
