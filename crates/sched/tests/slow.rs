//! Executions that are suspended over reads of a slow state: how many, and how they end.
#![cfg(not(any(feature = "shuttle", feature = "loom", feature = "mutants")))]

use braid_core::{Block, BlockError, Cause, Control, Outcome, Scheduler, StoreError};
use braid_sched::{Adaptive, BlockStm, Pool, Serial, Waits};
use braid_testkit::{
    Case, Delay, Family, Num, Op, RecordingSink, Rng, Slow, Toy, ToyError, ToyState, ToyTx, check,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

type Ran = Result<Outcome<Toy<false>>, BlockError<ToyError>>;

/// No test takes as long.
const FOREVER: Duration = Duration::from_secs(3600);

fn numbers(count: u64) -> ToyState {
    ToyState { values: (0..count).map(|key| (key, Num(key as i64 + 100))).collect(), ..ToyState::default() }
}

/// Transactions that have nothing to do with each other, of so many reads each.
fn apart(count: u64, reads: u64) -> Vec<ToyTx> {
    let ops = |tx: u64| (0..reads).map(move |read| Op::Read(tx * reads + read));
    (0..count).map(|tx| ToyTx { ops: ops(tx).chain([Op::Put(tx * reads)]).collect() }).collect()
}

fn run(scheduler: &impl Scheduler, txs: &[ToyTx], slow: &Slow<'_, ToyState>, control: &Control<'_>) -> Ran {
    let block = Block::new(&Toy::<false>, txs, slow);
    scheduler.run(&block, &mut RecordingSink::default(), &(), control)
}

fn stm(threads: u16) -> BlockStm {
    BlockStm::new(Arc::new(Pool::new(threads))).waits(Waits::Resume)
}

/// A block after trouble.
fn usable(scheduler: &impl Scheduler) {
    let case = Case { error_permille: 0, ..Case::random(Family::Mixed, 5) };
    check(scheduler, case).expect("usable afterwards");
}

#[test]
fn many_executions_are_suspended_at_a_time() {
    let (state, txs) = (numbers(800), apart(400, 2));
    let slow = Slow::new(&state, Delay::Fixed(Duration::from_millis(60)), 127);
    for threads in [1, 2] {
        let outcome = run(&stm(threads), &txs, &slow, &Control::default()).expect("valid");
        let most = outcome.stats.most_in_flight;
        assert!((64..=u64::from(threads) * 127).contains(&most), "{threads} workers: {most} in flight");
        assert_eq!(outcome.stats.executions, 400, "{threads} workers");
    }
    let adaptive = Adaptive::new(Arc::new(Pool::new(1)));
    let outcome = run(&adaptive, &txs, &slow, &Control::default()).expect("valid");
    assert!(outcome.stats.most_in_flight >= 64, "one worker shares its time: {:?}", outcome.stats);
}

#[test]
fn a_state_without_delays_suspends_nothing() {
    let (state, txs) = (numbers(400), apart(200, 2));
    let block = Block::new(&Toy::<false>, &txs, &state);
    let ran = stm(4).run(&block, &mut RecordingSink::default(), &(), &Control::default());
    assert_eq!(ran.expect("valid").stats.most_in_flight, 0);
}

#[test]
fn additions_are_read_before_their_commit() {
    // The commit of what nobody has read would wait for each, one after the other.
    let state = numbers(300);
    let txs: Vec<ToyTx> = (0..300).map(|key| ToyTx { ops: vec![Op::Add(key, 1)] }).collect();
    let slow = Slow::new(&state, Delay::Fixed(Duration::from_millis(50)), 127);
    let outcome = run(&stm(2), &txs, &slow, &Control::default()).expect("valid");
    assert!(outcome.stats.most_in_flight >= 32, "{:?}", outcome.stats);
    assert_eq!(slow.begun(), 300, "each once");
}

#[test]
fn a_deadline_ends_a_block_whose_reads_never_come() {
    let (state, txs) = (numbers(800), apart(400, 2));
    for threads in [1, 2, 4] {
        let (scheduler, slow) = (stm(threads), Slow::new(&state, Delay::Fixed(FOREVER), 50));
        let deadline = Some(Instant::now() + Duration::from_millis(20));
        let control = Control { deadline, ..Control::default() };
        let error = run(&scheduler, &txs, &slow, &control).expect_err("too late");
        assert_eq!((error.tx, error.cause), (0, Cause::Deadline), "{threads} workers");
        assert!(slow.left() > 0 && slow.left() == slow.begun(), "under way to the end: {slow:?}");
        usable(&scheduler);
    }
}

#[test]
fn a_cancelled_block_leaves_its_reads() {
    let (state, txs) = (numbers(800), apart(400, 2));
    for threads in [1, 2, 4] {
        let (scheduler, slow) = (stm(threads), Slow::new(&state, Delay::Fixed(FOREVER), 127));
        let cancel = AtomicBool::new(false);
        let control = Control { cancel: Some(&cancel), ..Control::default() };
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(10));
                // Relaxed: as the schedulers read it.
                cancel.store(true, Ordering::Relaxed);
            });
            run(&scheduler, &txs, &slow, &control).expect_err("cancelled")
        });
        assert_eq!((error.tx, error.cause), (0, Cause::Cancelled), "{threads} workers");
        assert!(slow.left() > 0, "{slow:?}");
        usable(&scheduler);
    }
}

#[test]
fn the_lowest_failure_counts_whatever_comes_in_first() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let (mut state, mut txs) = (numbers(300), apart(100, 3));
        for _ in 0..3 {
            state.broken.insert(rng.below(300));
            let at = rng.below(100);
            txs[at as usize].ops.insert(rng.below(3) as usize, Op::PanicIf(at * 3, 1));
        }
        let delay = Delay::Random { seed, most: Duration::from_micros(100) };
        let slow = Slow::new(&state, delay, 60);
        let expected = run(&Serial::new(), &txs, &slow, &Control::default()).expect_err("broken");
        for threads in [1, 2, 4] {
            let scheduler = stm(threads).chaos(seed);
            let error = run(&scheduler, &txs, &slow, &Control::default()).expect_err("broken");
            assert_eq!(error, expected, "seed {seed}, {threads} workers");
            assert!(matches!(error.cause, Cause::Store(StoreError::Failed(_)) | Cause::Panicked(_)));
        }
    }
}

#[test]
fn a_panic_of_the_sink_leaves_reads_under_way() {
    use braid_core::{Effects, Sink, TxIndex};
    struct Grenade;
    impl Sink<Toy<false>> for Grenade {
        fn commit(&mut self, index: TxIndex, _effects: &mut Effects<Toy<false>>) {
            assert!(index < 3, "boom");
        }
    }
    let (state, mut txs) = (numbers(800), apart(400, 2));
    // The first few read nothing.
    txs[..5].iter_mut().for_each(|tx| tx.ops.clear());
    for threads in [1, 2, 4] {
        let (scheduler, slow) = (stm(threads), Slow::new(&state, Delay::Fixed(FOREVER), 30));
        let block = Block::new(&Toy::<false>, &txs, &slow);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scheduler.run(&block, &mut Grenade, &(), &Control::default()).map(|_| ())
        }));
        assert!(ran.is_err(), "the panic is handed on");
        usable(&scheduler);
    }
}

#[test]
fn chains_and_slow_reads_together() {
    // Each reads what the one before wrote, and something of its own.
    for seed in 0..20 {
        let state = numbers(200);
        let ops = |tx: u64| vec![Op::Read(100 + tx), Op::Read(tx), Op::Put(tx + 1), Op::Read(150)];
        let txs: Vec<ToyTx> = (0..50).map(|tx| ToyTx { ops: ops(tx) }).collect();
        let slow = Slow::new(&state, Delay::Random { seed, most: Duration::from_micros(80) }, 40);
        let expected = run(&Serial::new(), &txs, &slow, &Control::default()).expect("valid").changes;
        for (threads, waits) in [(1, Waits::Retry), (2, Waits::Retry), (2, Waits::Resume), (4, Waits::Resume)]
        {
            let scheduler = BlockStm::new(Arc::new(Pool::new(threads))).waits(waits).chaos(seed);
            let changes = run(&scheduler, &txs, &slow, &Control::default()).expect("valid").changes;
            assert_eq!(changes, expected, "seed {seed}, {threads} workers, {waits:?}");
        }
    }
}
