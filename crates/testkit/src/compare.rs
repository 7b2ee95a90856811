//! One block on one scheduler against the oracle.

use crate::{
    Case, Delay, Num, Oracle, OwnedEvent, Recorder, RecordingSink, Rng, Slow, Telling, Told, Toy, ToyError,
    ToyOutput, ToyState, ToyTx,
};
use braid_core::{Block, BlockError, Bound, Control, Hint, Outcome, Scheduler, State, TxIndex, Vm};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// After this a block of a few dozen toy transactions counts as stalled.
pub const STALL: Duration = Duration::from_secs(20);

type ToyResult<M> = Result<Outcome<M>, BlockError<ToyError>>;

/// Runs the block of `case` on `scheduler` and compares all that a caller can see with the oracle.
///
/// # Errors
/// What differs, in words.
pub fn check<S: Scheduler>(scheduler: &S, case: Case) -> Result<(), String> {
    check_within(scheduler, case, STALL)
}

/// As [`check`], calling a block stalled after `limit`.
///
/// # Errors
/// What differs, in words.
pub fn check_within<S: Scheduler>(scheduler: &S, case: Case, limit: Duration) -> Result<(), String> {
    let (txs, state, budget) = case.block();
    check_block(scheduler, &txs, &state, budget, limit)
}

/// As [`check_within`], for a block spelled out: transactions, the state before them, the sink's budget.
///
/// # Errors
/// What differs, in words.
pub fn check_block<S: Scheduler>(
    scheduler: &S,
    txs: &[ToyTx],
    state: &ToyState,
    budget: Option<u64>,
    limit: Duration,
) -> Result<(), String> {
    if ranged(txs) {
        check_on(scheduler, &Toy::<true>, &[], txs, state, budget, limit)
    } else {
        check_on(scheduler, &Toy::<false>, &[], txs, state, budget, limit)
    }
}

fn ranged(txs: &[ToyTx]) -> bool {
    txs.iter().flat_map(|tx| &tx.ops).any(|op| matches!(op, crate::Op::Scan(..)))
}

/// As [`check`], on a machine that tells beforehand what transactions touch, and with hints that bind
/// enforced.
///
/// # Errors
/// What differs, in words.
pub fn check_told<S: Scheduler>(scheduler: &S, case: Case, telling: Telling) -> Result<(), String> {
    let (txs, state, budget) = case.block();
    check_block_told(scheduler, &txs, &state, budget, telling)
}

/// As [`check_told`], for a block spelled out: transactions, the state before them, the sink's budget.
///
/// # Errors
/// What differs, in words.
pub fn check_block_told<S: Scheduler>(
    scheduler: &S,
    txs: &[ToyTx],
    state: &ToyState,
    budget: Option<u64>,
    telling: Telling,
) -> Result<(), String> {
    if ranged(txs) {
        check_on(scheduler, &Bound(Told::<true>(telling)), &[], txs, state, budget, STALL)
    } else {
        check_on(scheduler, &Bound(Told::<false>(telling)), &[], txs, state, budget, STALL)
    }
}

/// As [`check`], with `hints` that come with the block.
///
/// # Errors
/// What differs, in words.
pub fn check_hinted<S: Scheduler>(scheduler: &S, case: Case, hints: &[Hint<u64>]) -> Result<(), String> {
    let (txs, state, budget) = case.block();
    if ranged(&txs) {
        check_on(scheduler, &Toy::<true>, hints, &txs, &state, budget, STALL)
    } else {
        check_on(scheduler, &Toy::<false>, hints, &txs, &state, budget, STALL)
    }
}

/// As [`check`], on a state that is slow in ways that come from `seed`, and whose reads may come in in any order;
/// with hints, some of which are wrong, if the seed says so.
///
/// # Errors
/// What differs, in words.
pub fn check_slow<S: Scheduler>(scheduler: &S, case: Case, seed: u64) -> Result<(), String> {
    let (txs, state, budget) = case.block();
    let mut rng = Rng::new(seed);
    let most = Duration::from_micros(1 + rng.below(60));
    let overlap = 1 + rng.below(20) as u16;
    let slow = Slow::new(&state, Delay::Random { seed, most }, overlap);
    let hints = if rng.below(2) == 0 { Vec::new() } else { Telling::nonsense(case, seed) };
    let done = if ranged(&txs) {
        check_between(scheduler, &Toy::<true>, &hints, &txs, (&state, &slow), budget, STALL)
    } else {
        check_between(scheduler, &Toy::<false>, &hints, &txs, (&state, &slow), budget, STALL)
    };
    done.map_err(|difference| format!("{overlap} reads at a time: {difference}"))
}

fn check_on<M, S>(
    scheduler: &S,
    vm: &M,
    hints: &[Hint<u64>],
    txs: &[ToyTx],
    state: &ToyState,
    budget: Option<u64>,
    limit: Duration,
) -> Result<(), String>
where
    M: Vm<Tx = ToyTx, Key = u64, Value = Num, Output = ToyOutput, Error = ToyError>,
    S: Scheduler,
{
    check_between(scheduler, vm, hints, txs, (state, state), budget, limit)
}

/// The oracle on the first of two states that hold the same, `scheduler` on the second.
fn check_between<M, S, T>(
    scheduler: &S,
    vm: &M,
    hints: &[Hint<u64>],
    txs: &[ToyTx],
    (state, same): (&ToyState, &T),
    budget: Option<u64>,
    limit: Duration,
) -> Result<(), String>
where
    M: Vm<Tx = ToyTx, Key = u64, Value = Num, Output = ToyOutput, Error = ToyError>,
    S: Scheduler,
    T: State<u64, Num>,
{
    let block = Block::new(vm, txs, state).with_hints(hints);
    let mut expected_sink = RecordingSink { budget, ..RecordingSink::default() };
    let expected = Oracle.run(&block, &mut expected_sink, &(), &Control::default());
    let mut sink = RecordingSink { budget, ..RecordingSink::default() };
    let recorder = Recorder::default();
    let control = Control { deadline: Some(Instant::now() + limit), ..Control::default() };
    let block = Block::new(vm, txs, same).with_hints(hints);
    let actual = scheduler.run(&block, &mut sink, &recorder, &control);
    compare(&expected, &actual)?;
    equal("delivered", &expected_sink.delivered, &sink.delivered)?;
    equal("admissions asked for", &expected_sink.asked, &sink.asked)?;
    if let Ok(outcome) = &actual {
        let stats = outcome.stats;
        let floor = txs.len() as u64;
        if stats.executions < floor || stats.executions - floor > stats.retries + stats.waits {
            return Err(format!("{floor} transactions, but {stats:?}"));
        }
    }
    check_events(&recorder.take(), txs.len(), actual.is_ok())
}

fn compare<M>(expected: &ToyResult<M>, actual: &ToyResult<M>) -> Result<(), String>
where
    M: Vm<Tx = ToyTx, Key = u64, Value = Num>,
{
    match (expected, actual) {
        (Ok(expected), Ok(actual)) => {
            equal("changes", &expected.changes, &actual.changes)?;
            equal("spawned", &expected.spawned, &actual.spawned)
        }
        (Err(expected), Err(actual)) => equal("error", expected, actual),
        (Ok(_), Err(actual)) => Err(format!("expected a result, got {actual:?}")),
        (Err(expected), Ok(_)) => Err(format!("expected {expected:?}, got a result")),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, actual: &T) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    Err(format!("{what} differ\nexpected {expected:?}\n  actual {actual:?}"))
}

/// What a transaction is doing, as its events tell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Running(u32),
    Finished(u32),
    Committed,
}

/// Whether events are well-formed: every execution starts once with the next incarnation and, in a
/// block that succeeds, ends in a finish, an abort or a wait (one may wait before its first, too); only
/// finished transactions commit, in block order.
///
/// # Errors
/// The first event that is not.
pub fn check_events(events: &[(u16, OwnedEvent)], txs: usize, complete: bool) -> Result<(), String> {
    let mut phases = BTreeMap::<TxIndex, Phase>::new();
    let mut committed = 0;
    for (at, (_, event)) in events.iter().enumerate() {
        let tx = match event {
            OwnedEvent::Start(tx, _)
            | OwnedEvent::Wait(tx, ..)
            | OwnedEvent::Abort(tx, ..)
            | OwnedEvent::Finish(tx, _)
            | OwnedEvent::Commit(tx) => *tx,
        };
        let phase = phases.entry(tx).or_insert(Phase::Idle);
        let next = match (*phase, event) {
            (Phase::Idle, OwnedEvent::Start(_, 0)) => Some(Phase::Running(0)),
            (Phase::Running(last) | Phase::Finished(last), OwnedEvent::Start(_, new)) if *new == last + 1 => {
                Some(Phase::Running(*new))
            }
            (Phase::Running(last), OwnedEvent::Wait(_, _, on)) if *on < tx => Some(Phase::Running(last)),
            (Phase::Idle, OwnedEvent::Wait(_, _, on)) if *on < tx => Some(Phase::Idle),
            (Phase::Running(last), OwnedEvent::Abort(..)) => Some(Phase::Running(last)),
            (Phase::Finished(last), OwnedEvent::Abort(..)) => Some(Phase::Finished(last)),
            (Phase::Running(last), OwnedEvent::Finish(_, now)) if last == *now => Some(Phase::Finished(last)),
            (Phase::Finished(_), OwnedEvent::Commit(_)) if tx == committed => {
                committed += 1;
                Some(Phase::Committed)
            }
            _ => None,
        };
        *phase = next.ok_or_else(|| format!("event {at}, {event:?}, while {tx} is {phase:?}"))?;
    }
    if complete && committed as usize != txs {
        return Err(format!("{committed} commits of {txs}"));
    }
    Ok(())
}

/// Compile-time reminder that both shapes of the toy are machines.
const _: fn() = || {
    fn machine<M: Vm>() {}
    machine::<Toy<true>>();
    machine::<Toy<false>>();
};
