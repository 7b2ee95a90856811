//! One block on one scheduler against the oracle.

use crate::{Case, Oracle, OwnedEvent, Recorder, RecordingSink, Toy, ToyError, ToyState, ToyTx};
use braid_core::{Block, BlockError, Control, Outcome, Scheduler, TxIndex, Vm};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// After this a block of a few dozen toy transactions counts as stalled.
pub const STALL: Duration = Duration::from_secs(20);

type ToyResult<const RANGES: bool> = Result<Outcome<Toy<RANGES>>, BlockError<ToyError>>;

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
    let ranged = txs.iter().flat_map(|tx| &tx.ops).any(|op| matches!(op, crate::Op::Scan(..)));
    if ranged {
        check_on::<true, S>(scheduler, txs, state, budget, limit)
    } else {
        check_on::<false, S>(scheduler, txs, state, budget, limit)
    }
}

fn check_on<const RANGES: bool, S: Scheduler>(
    scheduler: &S,
    txs: &[ToyTx],
    state: &ToyState,
    budget: Option<u64>,
    limit: Duration,
) -> Result<(), String> {
    let vm = Toy::<RANGES>;
    let block = Block::new(&vm, txs, state);
    let mut expected_sink = RecordingSink { budget, ..RecordingSink::default() };
    let expected = Oracle.run(&block, &mut expected_sink, &(), &Control::default());
    let mut sink = RecordingSink { budget, ..RecordingSink::default() };
    let recorder = Recorder::default();
    let control = Control { deadline: Some(Instant::now() + limit), ..Control::default() };
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

fn compare<const RANGES: bool>(
    expected: &ToyResult<RANGES>,
    actual: &ToyResult<RANGES>,
) -> Result<(), String> {
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
/// block that succeeds, ends in a finish, an abort or a wait; only finished transactions commit, in
/// block order.
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
