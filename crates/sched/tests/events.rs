//! What a schedule tells while it runs: final prefixes to the sink, waits and aborts to the probe.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

mod scripted;

use braid_core::{Block, Control, Event, Probe, Scheduler, View};
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial, Waits};
use braid_testkit::{Num, Op, OwnedEvent, Recorder, RecordingSink, Toy, ToyState, ToyTx};
use scripted::{Outputs, Scripted, until, within};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

/// The last transaction does not end before the first one was delivered.
fn delivers_early<S: Scheduler>(scheduler: &S) {
    let delivered = AtomicU32::new(0);
    // Relaxed, here and below: a count that orders nothing.
    let count = || delivered.load(Ordering::Relaxed);
    let vm = Scripted::<_>(|tx, _: &mut dyn View<u64, Num>| {
        let _ = tx < 7 || until(|| count() > 0);
        Ok((i64::from(count()), Vec::new()))
    });
    let (txs, state): (Vec<u32>, _) = ((0..8).collect(), ToyState::default());
    let block = Block::new(&vm, &txs, &state);
    let mut sink = Outputs(Vec::new(), || _ = delivered.fetch_add(1, Ordering::Relaxed));
    scheduler.run(&block, &mut sink, &(), &Control::default()).expect("valid");
    assert_eq!(sink.0.len(), 8);
    assert!(sink.0[7] > 0, "{}: the last one ended before any was delivered", scheduler.name());
}

#[test]
fn the_final_prefix_is_delivered_while_later_transactions_run() {
    delivers_early(&Serial::new());
    for threads in [1, 2, 4, 8] {
        let pool = Arc::new(Pool::new(threads));
        delivers_early(&Occ::new(pool.clone()));
        delivers_early(&BlockStm::new(pool.clone()));
        delivers_early(&BlockStm::new(pool.clone()).waits(Waits::Resume));
        Policy::ALL.into_iter().for_each(|policy| delivers_early(&Graph::new(pool.clone(), policy)));
    }
}

/// The first transaction puts a key into a range, but not before another one has scanned the range.
fn meets_a_phantom<S: Scheduler>(scheduler: &S) {
    let scanned = AtomicBool::new(false);
    let vm = Scripted::<_, true>(|tx, view: &mut dyn View<u64, Num>| {
        if tx == 0 {
            // Relaxed, twice: a flag that orders nothing.
            until(|| scanned.load(Ordering::Relaxed));
            return Ok((0, vec![(5, Num(1))]));
        }
        let found = view.scan(0..10)?.len();
        scanned.store(true, Ordering::Relaxed);
        Ok((found as i64, Vec::new()))
    });
    let (txs, state): (Vec<u32>, _) = ((0..4).collect(), ToyState::default());
    let block = Block::new(&vm, &txs, &state);
    let (mut sink, recorder) = (Outputs(Vec::new(), || ()), Recorder::default());
    scheduler.run(&block, &mut sink, &recorder, &Control::default()).expect("valid");
    assert_eq!(sink.0, [0, 1, 1, 1], "{}", scheduler.name());
    let events = recorder.take();
    let aborted = events.iter().any(|(_, event)| matches!(event, OwnedEvent::Abort(1.., 0..10, _)));
    assert!(aborted, "{}: {events:?}", scheduler.name());
}

#[test]
fn a_key_that_appears_in_a_range_aborts_who_scanned_it() {
    let pool = Arc::new(Pool::new(4));
    meets_a_phantom(&Occ::new(pool.clone()));
    meets_a_phantom(&BlockStm::new(pool.clone()));
    meets_a_phantom(&BlockStm::new(pool.clone()).waits(Waits::Resume));
    meets_a_phantom(&Batch::new(pool.clone()));
    meets_a_phantom(&OccRounds::new(pool.clone()));
    Policy::ALL.into_iter().for_each(|policy| meets_a_phantom(&Graph::new(pool.clone(), policy)));
}

/// Events of a block whose transactions all read and write location 3, and another one each.
fn events<S: Scheduler>(scheduler: &S) -> Vec<(u16, OwnedEvent)> {
    let tx = |own: u64| {
        let ops = vec![Op::Read(3), Op::Work(300), Op::Put(3), Op::Read(10 + own), Op::Put(10 + own)];
        ToyTx { ops }
    };
    let txs: Vec<ToyTx> = (0..40).map(tx).collect();
    let (vm, state) = (Toy::<false>, ToyState::default());
    let block = Block::new(&vm, &txs, &state);
    let recorder = Recorder::default();
    scheduler.run(&block, &mut RecordingSink::default(), &recorder, &Control::default()).expect("valid");
    recorder.take()
}

/// The waits in blocks of up to 200 seeds; stops at the first seed that has some.
fn first_waits(waits: Waits) -> Vec<(u16, OwnedEvent)> {
    let pool = Arc::new(Pool::new(4));
    let is_wait = |(_, event): &(u16, OwnedEvent)| matches!(event, OwnedEvent::Wait(..));
    let of = |seed| {
        let mut events = events(&BlockStm::new(pool.clone()).waits(waits).chaos(seed));
        events.retain(is_wait);
        events
    };
    (1..=200).map(of).find(|waits| !waits.is_empty()).unwrap_or_default()
}

#[test]
fn a_wait_names_worker_key_and_writer() {
    for waits in [Waits::Retry, Waits::Resume] {
        let found = first_waits(waits);
        assert!(!found.is_empty(), "{waits:?}: estimates are there to be waited for");
        for (worker, event) in found {
            let OwnedEvent::Wait(tx, key, on) = event else { unreachable!("only waits are kept") };
            assert!(worker < 4 && key == 3 && on < tx, "worker {worker}: {event:?}");
        }
    }
}

/// The aborts in blocks of 50 seeds.
fn aborts<S: Scheduler>(make: impl Fn(u64) -> S) -> Vec<(u16, OwnedEvent)> {
    let mut all: Vec<_> = (1..=50).flat_map(|seed| events(&make(seed))).collect();
    all.retain(|(_, event)| matches!(event, OwnedEvent::Abort(..)));
    all
}

#[test]
fn an_abort_names_worker_key_and_writer() {
    let pool = Arc::new(Pool::new(4));
    let of_occ = aborts(|seed| Occ::new(pool.clone()).chaos(seed));
    let of_block_stm = aborts(|seed| BlockStm::new(pool.clone()).chaos(seed));
    assert!(!of_occ.is_empty() && !of_block_stm.is_empty());
    for (worker, event) in of_occ.iter().chain(&of_block_stm) {
        let OwnedEvent::Abort(tx, key, by) = event else { unreachable!("only aborts are kept") };
        assert!(*worker < 4 && *key == 3 && by.is_some_and(|by| by < *tx), "worker {worker}: {event:?}");
    }
}

#[test]
fn occ_executes_a_transaction_at_most_twice() {
    let pool = Arc::new(Pool::new(4));
    let mut again = 0;
    for seed in 1..=50 {
        for (_, event) in events(&Occ::new(pool.clone()).chaos(seed)) {
            let OwnedEvent::Start(tx, incarnation) = event else { continue };
            assert!(incarnation <= 1, "transaction {tx} under seed {seed}");
            again += incarnation;
        }
    }
    assert!(again > 0, "some ran twice");
}

#[test]
fn a_probe_that_is_off_is_free() {
    const { assert!(!<() as Probe<u64>>::ON) };
}

/// A chain of three transactions, scripted so that the second one's write is an estimate when the third
/// one reads it: 0 writes location 1 after 1 has settled (with two threads, that is when 2 starts); 1,
/// which copies location 1 to 2, runs again only once 2 has stopped there; 2 reads location 2 as soon as
/// 1 runs again.
#[derive(Default)]
struct Script {
    copied: AtomicBool,
    runs_again: AtomicBool,
    stopped: AtomicBool,
}

impl Probe<u64> for Script {
    fn event(&self, _worker: u16, event: Event<'_, u64>) {
        match event {
            Event::Start { tx: 2, .. } => self.copied.store(true, Ordering::Relaxed),
            Event::Start { tx: 1, incarnation: 1.. } => self.runs_again.store(true, Ordering::Relaxed),
            Event::Wait { tx: 2, key: 2, on: 1 } => self.stopped.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// How long the writer of an estimate waits for its reader.
const STOP_PATIENCE: Duration = Duration::from_secs(if cfg!(feature = "mutants") { 1 } else { 20 });

/// Whether the third transaction of the script stopped at the estimate of the second one.
fn stops_at_estimates(waits: Waits) -> bool {
    let script = Script::default();
    // Relaxed, here and in the probe: flags that order nothing.
    let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
    let vm = Scripted::<_>(|tx, view: &mut dyn View<u64, Num>| {
        let _ = match tx {
            0 => until(|| is(&script.copied)),
            1 if is(&script.runs_again) => within(STOP_PATIENCE, || is(&script.stopped)),
            2 => until(|| is(&script.runs_again)),
            _ => true,
        };
        let seen = if tx == 0 { 7 } else { view.read(&u64::from(tx))?.value.map_or(0, |seen| seen.0) };
        Ok((seen, vec![(u64::from(tx) + 1, Num(seen))]))
    });
    let (txs, state) = ([0, 1, 2], ToyState::default());
    let block = Block::new(&vm, &txs, &state);
    let mut sink = Outputs(Vec::new(), || ());
    let scheduler = BlockStm::new(Arc::new(Pool::new(2))).waits(waits);
    scheduler.run(&block, &mut sink, &script, &Control::default()).expect("valid");
    assert_eq!(sink.0, [7; 3], "as in order");
    script.stopped.load(Ordering::Relaxed)
}

#[test]
fn executions_stop_at_estimates() {
    for waits in [Waits::Retry, Waits::Resume] {
        assert!(stops_at_estimates(waits), "{waits:?}");
    }
}

/// The suite notices when nothing is ever marked as an estimate.
#[cfg(feature = "mutants")]
#[test]
#[ignore = "switches mutants on for the whole process"]
fn executions_do_not_stop_without_estimates() {
    use braid_sched::mutants::{Mutant, set};
    set(Some(Mutant::Estimate));
    let stops = stops_at_estimates(Waits::Retry);
    set(None);
    assert!(!stops);
}
