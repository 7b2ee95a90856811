//! What goes wrong outside the schedule: cancellation, deadlines, panics; and what stays usable after.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_core::{Block, Cause, Control, Effects, Scheduler, Sink, Stats, Stop, TxIndex, View, Vm};
use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial, Waits};
use braid_testkit::{Case, Family, Num, Op, RecordingSink, Toy, ToyState, ToyTx, check};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant},
};

/// How long something may take that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the same test for every scheduler.
macro_rules! each {
    ($scheduler:ident => $body:block) => {{
        each_by_value!($scheduler => $body);
        let $scheduler = Batch::new(Arc::new(Pool::new(4)));
        $body
    }};
}

/// Runs the same test for every scheduler to which a write is no conflict that leaves what was seen true.
macro_rules! each_by_value {
    ($scheduler:ident => $body:block) => {{
        let pool = Arc::new(Pool::new(4));
        {
            let $scheduler = Serial::new();
            $body
        }
        {
            let $scheduler = Occ::new(pool.clone());
            $body
        }
        {
            let $scheduler = BlockStm::new(pool.clone());
            $body
        }
        {
            let $scheduler = BlockStm::new(pool.clone()).waits(Waits::Resume);
            $body
        }
        {
            let $scheduler = BlockStm::new(Arc::new(Pool::new(1)));
            $body
        }
        {
            let $scheduler = OccRounds::new(pool.clone());
            $body
        }
        for policy in Policy::ALL {
            let $scheduler = Graph::new(pool.clone(), policy);
            $body
        }
    }};
}

fn adds(count: u32) -> Vec<ToyTx> {
    (0..count).map(|_| ToyTx { ops: vec![Op::Work(2000), Op::Add(0, 1), Op::Read(1)] }).collect()
}

/// Runs what has to end. What does not end in minutes has no end, and no test after it would be run.
fn ends<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let (ended, waits) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waits.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("no end after {PATIENCE:?}: {what}");
                std::process::abort();
            }
        });
        // Told by its end, also by that of a panic.
        let _ended = ended;
        run()
    })
}

fn usable<S: Scheduler>(scheduler: &S) {
    let case = Case { error_permille: 0, ..Case::random(Family::Mixed, 5) };
    check(scheduler, case).expect("usable afterwards");
}

#[test]
fn an_empty_block_is_a_block() {
    each!(scheduler => {
        let (vm, state) = (Toy::<false>, ToyState::default());
        let block = Block::new(&vm, &[], &state);
        let outcome = scheduler
            .run(&block, &mut RecordingSink::default(), &(), &Control::default())
            .expect("nothing to fail");
        assert!(outcome.changes.is_empty() && outcome.spawned.is_empty());
        assert_eq!(outcome.stats, Stats::default());
    });
}

#[test]
fn a_block_past_its_deadline_stops() {
    each!(scheduler => {
        let (vm, state, txs) = (Toy::<false>, ToyState::default(), adds(50));
        let block = Block::new(&vm, &txs, &state);
        let mut sink = RecordingSink::default();
        let control = Control { deadline: Some(Instant::now()), ..Control::default() };
        let error = scheduler.run(&block, &mut sink, &(), &control).expect_err("too late");
        assert_eq!((error.tx, error.cause), (0, Cause::Deadline));
        assert!(sink.delivered.is_empty());
        usable(&scheduler);
    });
}

#[test]
fn a_cancelled_block_stops_at_the_first_that_is_not_final() {
    each!(scheduler => {
        let (vm, state, txs) = (Toy::<false>, ToyState::default(), adds(200_000));
        let block = Block::new(&vm, &txs, &state);
        let mut sink = Count(0);
        let cancel = AtomicBool::new(false);
        let control = Control { cancel: Some(&cancel), ..Control::default() };
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                cancel.store(true, Ordering::Relaxed);
            });
            scheduler.run(&block, &mut sink, &(), &control).expect_err("cancelled")
        });
        assert_eq!((error.tx, error.cause), (sink.0, Cause::Cancelled));
        usable(&scheduler);
    });
}

struct Count(u32);

impl<V: Vm> Sink<V> for Count {
    fn commit(&mut self, index: TxIndex, _effects: &mut Effects<V>) {
        assert_eq!(index, self.0, "in order");
        self.0 += 1;
    }
}

/// Transactions that only read, and never end by themselves.
#[derive(Debug)]
struct Endless;

/// Reads of one of them that are made in more time than its block has, by far.
const READS: u64 = 20_000_000;

impl Vm for Endless {
    type Tx = ();
    type Key = u64;
    type Value = Num;
    type Output = ();
    type Error = ();
    type Worker = ();

    fn worker(&self) {}

    fn execute(
        &self,
        _worker: &mut (),
        _tx: &(),
        view: &mut dyn View<u64, Num>,
        _effects: &mut Effects<Self>,
    ) -> Result<(), Stop<()>> {
        for _ in 0..READS {
            view.read(&0)?;
        }
        panic!("not stopped in {READS} reads");
    }
}

#[test]
fn a_transaction_that_waits_for_nothing_can_be_cancelled() {
    each!(scheduler => {
        let (state, txs) = (ToyState::default(), [(); 2]);
        let deadline = Some(Instant::now() + Duration::from_millis(3));
        let block = Block::new(&Endless, &txs, &state);
        let error = ends("a block past its deadline", || {
            let control = Control { deadline, ..Control::default() };
            scheduler.run(&block, &mut Count(0), &(), &control).expect_err("too long")
        });
        assert_eq!(error.cause, Cause::Deadline);
        usable(&scheduler);
    });
}

struct Grenade;

impl Sink<Toy<false>> for Grenade {
    fn commit(&mut self, index: TxIndex, _effects: &mut Effects<Toy<false>>) {
        assert!(index < 7, "boom");
    }
}

#[test]
fn a_panic_of_the_sink_reaches_the_caller() {
    each!(scheduler => {
        let (vm, state, txs) = (Toy::<false>, ToyState::default(), adds(100));
        let block = Block::new(&vm, &txs, &state);
        let run = || scheduler.run(&block, &mut Grenade, &(), &Control::default());
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        usable(&scheduler);
    });
}

#[test]
fn the_pool_survives_panics_and_runs_every_worker_once() {
    let pool = Pool::new(4);
    for round in 0..50u16 {
        let calls: Vec<_> = (0..4).map(|_| AtomicU32::new(0)).collect();
        let result = pool.run(&|worker| {
            calls[usize::from(worker)].fetch_add(1, Ordering::Relaxed);
            assert!(worker != round % 8, "worker {worker}");
        });
        assert_eq!(result.is_err(), round % 8 < 4);
        assert!(result.err().is_none_or(|panic| panic.worker == round % 8));
        assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn runs_of_several_callers_take_turns() {
    let pool = Pool::new(3);
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..200 {
                    pool.run(&|worker| {
                        if worker == 0 {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    })
                    .expect("no panic");
                }
            });
        }
    });
}

#[test]
fn commutative_adds_do_not_conflict() {
    let txs: Vec<_> = (0..2000).map(|_| ToyTx { ops: vec![Op::Work(20), Op::Add(0, 1)] }).collect();
    let (vm, mut state) = (Toy::<false>, ToyState::default());
    state.values.insert(0, Num(5));
    let block = Block::new(&vm, &txs, &state);
    each!(scheduler => {
        let outcome = scheduler
            .run(&block, &mut Count(0), &(), &Control::default())
            .expect("valid");
        assert_eq!(outcome.changes, [(0, Some(Num(2005)))]);
        assert_eq!((outcome.stats.retries, outcome.stats.waits), (0, 0));
    });
}

#[test]
fn bounds_that_stay_true_do_not_conflict() {
    // Everyone takes from a pot that is large enough for all.
    let txs: Vec<_> = (0..500).map(|_| ToyTx { ops: vec![Op::Take(0, 1), Op::Work(50)] }).collect();
    let (vm, mut state) = (Toy::<false>, ToyState::default());
    state.values.insert(0, Num(10_000));
    let block = Block::new(&vm, &txs, &state);
    each_by_value!(scheduler => {
        let outcome = scheduler
            .run(&block, &mut Count(0), &(), &Control::default())
            .expect("valid");
        assert_eq!(outcome.changes, [(0, Some(Num(9_500)))]);
        // A push that meets a running execution costs a look, and at most the rare one that started
        // before it could know its bound.
        assert_eq!(outcome.stats.retries, 0);
    });
}

#[test]
fn a_second_consumer_is_invalid() {
    let consume = ToyTx { ops: vec![Op::Consume(3)] };
    let txs = vec![ToyTx { ops: vec![Op::Put(3)] }, consume.clone(), consume];
    let (vm, state) = (Toy::<false>, ToyState::default());
    let block = Block::new(&vm, &txs, &state);
    each!(scheduler => {
        let mut sink = Count(0);
        let error = scheduler.run(&block, &mut sink, &(), &Control::default()).expect_err("consumed");
        assert_eq!((error.tx, sink.0), (2, 2));
        assert_eq!(error.cause, Cause::Invalid(braid_testkit::ToyError::Consumed(3)));
    });
}
