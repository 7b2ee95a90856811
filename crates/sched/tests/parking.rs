//! An execution that waits lets others go on in its thread, and then goes on from where it was.
#![cfg(not(any(feature = "shuttle", feature = "loom", feature = "mutants")))]

mod scripted;

use braid_core::{Block, Control, Event, Probe, Scheduler, TxIndex, View};
use braid_sched::{BlockStm, Pool, Waits};
use braid_testkit::{Num, ToyState};
use scripted::{Outputs, Scripted, until};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

const LOCATION: u64 = 5;

/// Bits of the transactions of which something is so.
#[derive(Default)]
struct Flags(AtomicU32);

impl Flags {
    fn set(&self, tx: u32) {
        // Relaxed, here and below: flags that order nothing.
        self.0.fetch_or(1 << tx, Ordering::Relaxed);
    }

    fn has(&self, tx: u32) -> bool {
        self.0.load(Ordering::Relaxed) & 1 << tx != 0
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

/// 0 writes when 1 has read too early, which makes the location contended; 2 writes again when 4 has begun;
/// 3 reads while 2 runs. With two workers, 4 can only begin where 3 waits.
#[test]
fn a_transaction_that_waits_lets_the_next_begin_and_is_executed_once() {
    for waits in [Waits::Retry, Waits::Resume] {
        let scheduler = BlockStm::new(Arc::new(Pool::new(2))).waits(waits);
        let (begun, read, late) = (Flags::default(), Flags::default(), Flags::default());
        let wait = |tx: u32, flags: &Flags, on: u32| {
            if !until(|| flags.has(on)) {
                late.set(tx);
            }
        };
        let vm = Scripted::<_>(|tx, view: &mut dyn View<u64, Num>| {
            begun.set(tx);
            match tx {
                0 => wait(tx, &read, 1),
                2 => wait(tx, &begun, 4),
                1 | 3 => {
                    wait(tx, &begun, tx - 1);
                    let value = view.read(&LOCATION)?.value;
                    read.set(tx);
                    return Ok((value.map_or(0, |value| value.0), Vec::new()));
                }
                _ => return Ok((0, Vec::new())),
            }
            Ok((0, vec![(LOCATION, Num(i64::from(tx) + 10))]))
        });
        let (txs, state): (Vec<u32>, _) = ((0..5).collect(), ToyState::default());
        let (mut sink, starts) = (Outputs(Vec::new(), || ()), Starts::default());
        let block = Block::new(&vm, &txs, &state);
        scheduler.run(&block, &mut sink, &starts, &Control::default()).expect("valid");
        assert_eq!(late.0.load(Ordering::Relaxed), 0, "{waits:?}: bits of what never came");
        assert_eq!(sink.0, [0, 10, 0, 12, 0], "{waits:?}");
        let starts = starts.0.into_inner().expect("no panic");
        let of = |tx| starts.iter().filter(|start| start.0 == tx).map(|start| start.1).collect::<Vec<_>>();
        assert_eq!(of(1).len(), 2, "{waits:?}: read too early once, {starts:?}");
        assert_eq!(of(3).len(), 1, "{waits:?}: waited instead of reading too early, {starts:?}");
        assert_eq!(of(3), of(4), "{waits:?}: in the same thread, {starts:?}");
    }
}
