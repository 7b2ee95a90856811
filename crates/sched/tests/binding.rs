//! Hints that bind: what breaks one fails, the same under every scheduler, and what keeps one notices nothing.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_core::{
    Binding, Block, Bound, Cause, Control, Effects, Halt, Hint, Mode, Scheduler, Stop, Trust, View, Vm, Write,
};
use braid_sched::{Adaptive, BlockStm, Occ, Pool, Serial, Waits};
use braid_testkit::{
    Case, Family, Num, Op, Oracle, RecordingSink, Telling, Told, Toy, ToyError, ToyOutput, ToyState, ToyTx,
    check_told,
};
use std::sync::Arc;

/// Runs the same test for every scheduler.
macro_rules! each {
    ($scheduler:ident => $body:expr) => {{
        let pool = Arc::new(Pool::new(4));
        let _ = {
            let $scheduler = Oracle;
            $body
        };
        let _ = {
            let $scheduler = Serial::new();
            $body
        };
        let _ = {
            let $scheduler = Occ::new(pool.clone());
            $body
        };
        let _ = {
            let $scheduler = BlockStm::new(pool.clone());
            $body
        };
        let _ = {
            let $scheduler = BlockStm::new(pool.clone()).waits(Waits::Resume);
            $body
        };
        let _ = {
            let $scheduler = Adaptive::new(pool);
            $body
        };
    }};
}

/// What a transaction does, written down: what it declares, reads and writes.
#[derive(Clone, Debug, Default)]
struct Script {
    access: Vec<(u64, Mode)>,
    reads: Vec<u64>,
    writes: Vec<(u64, Write<Num>)>,
    scans: bool,
    /// If it breaks its declaration, it writes this instead; if this is empty, the block ends.
    instead: Vec<(u64, Write<Num>)>,
}

#[derive(Clone, Copy, Debug)]
struct Scripts;

impl Vm for Scripts {
    type Tx = Script;
    type Key = u64;
    type Value = Num;
    type Output = ToyOutput;
    type Error = ToyError;
    type Worker = ();

    const RANGES: bool = true;

    fn worker(&self) {}

    fn hint(&self, tx: &Script) -> Hint<u64> {
        Hint { trust: Trust::Binding, access: tx.access.clone() }
    }

    fn execute(
        &self,
        (): &mut (),
        tx: &Script,
        view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        let mut seen = 0;
        for key in &tx.reads {
            // A machine that swallows what the view says gains nothing.
            seen += view.read(key).map_or(1000, |read| read.value.map_or(0, |value| value.0 as u64));
        }
        if tx.scans {
            view.scan(0..3)?;
        }
        effects.writes.clone_from(&tx.writes);
        effects.output = Some(ToyOutput(seen));
        Ok(())
    }
}

impl Binding for Scripts {
    fn absent(&self, _tx: &Script, key: &u64) -> ToyError {
        ToyError::Consumed(*key)
    }

    fn undeclared(
        &self,
        (): &mut (),
        tx: &Script,
        key: &u64,
        _view: &mut dyn View<u64, Num>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<ToyError>> {
        if tx.instead.is_empty() {
            return Err(Stop::Halt(Halt::Undeclared));
        }
        assert!(effects.writes.is_empty() && effects.output.is_none(), "nothing is left of the breach");
        effects.writes.clone_from(&tx.instead);
        effects.output = Some(ToyOutput(10_000 + key));
        Ok(())
    }
}

type Ended = Result<(Vec<(u64, Option<Num>)>, Vec<Option<ToyOutput>>), (u32, Cause<ToyError>)>;

/// Changes and outputs of a block on a state in which location k below 4 holds k.
fn run<S: Scheduler>(scheduler: &S, txs: &[Script]) -> Ended {
    let mut state = ToyState::default();
    state.values.extend((0..4).map(|key| (key, Num(key as i64))));
    let mut sink = RecordingSink::default();
    let block = Block::new(&Bound(Scripts), txs, &state);
    match scheduler.run(&block, &mut sink, &(), &Control::default()) {
        Ok(outcome) => {
            Ok((outcome.changes, sink.delivered.into_iter().map(|delivered| delivered.output).collect()))
        }
        Err(error) => Err((error.tx, error.cause)),
    }
}

fn put(key: u64, value: i64) -> (u64, Write<Num>) {
    (key, Write::Put(Num(value)))
}

#[test]
fn what_keeps_its_declaration_runs() {
    let access = vec![(1, Mode::Read), (2, Mode::Write), (3, Mode::Add), (7, Mode::Write), (1, Mode::Read)];
    let writes = vec![put(7, 5), (3, Write::Add(1)), (2, Write::Delete)];
    let tx = Script { access, reads: vec![1, 2], writes, ..Script::default() };
    let changes = vec![(7, Some(Num(5))), (3, Some(Num(4))), (2, None)];
    each!(scheduler => {
        assert_eq!(run(&scheduler, std::slice::from_ref(&tx)), Ok((changes.clone(), vec![Some(ToyOutput(3))])));
    });
}

#[test]
fn a_breach_ends_the_block() {
    let fine = Script { access: vec![(1, Mode::Write)], writes: vec![put(1, 9)], ..Script::default() };
    let read = Script { access: vec![(1, Mode::Read)], reads: vec![1, 2], ..Script::default() };
    let blind = Script { access: vec![(3, Mode::Add)], reads: vec![3], ..Script::default() };
    let write =
        Script { access: vec![(1, Mode::Write)], writes: vec![put(1, 0), put(2, 0)], ..Script::default() };
    let reader = Script { access: vec![(1, Mode::Read)], writes: vec![put(1, 1)], ..Script::default() };
    let adder = Script { access: vec![(1, Mode::Add)], writes: vec![put(1, 1)], ..Script::default() };
    let range =
        Script { access: (0..4).map(|key| (key, Mode::Write)).collect(), scans: true, ..Script::default() };
    let spent = Script { access: vec![(1, Mode::Consume)], writes: vec![put(1, 1)], ..Script::default() };
    for breach in [read, blind, write, reader, adder, range, spent] {
        let txs = [fine.clone(), fine.clone(), breach, fine.clone()];
        each!(scheduler => assert_eq!(run(&scheduler, &txs), Err((2, Cause::Undeclared)), "{txs:?}"));
    }
}

#[test]
fn a_machine_may_keep_a_failed_transaction_in_the_block() {
    let instead = vec![(3, Write::Add(1))];
    let access = vec![(3, Mode::Write)];
    let failed = Script {
        access: access.clone(),
        reads: vec![3, 9],
        writes: vec![put(3, 0)],
        instead,
        ..Script::default()
    };
    let next = Script { access, reads: vec![3], ..Script::default() };
    let outputs = vec![Some(ToyOutput(10_009)), Some(ToyOutput(4))];
    let txs = [failed.clone(), next];
    each!(scheduler => {
        assert_eq!(run(&scheduler, &txs), Ok((vec![(3, Some(Num(4)))], outputs.clone())));
    });
    // What it does instead is held to the same declaration.
    let worse = Script { instead: vec![put(5, 0)], ..failed };
    each!(scheduler => assert_eq!(run(&scheduler, std::slice::from_ref(&worse)), Err((0, Cause::Undeclared))));
}

#[test]
fn what_is_consumed_is_there_once() {
    let spend = |key| Script { access: vec![(key, Mode::Consume)], reads: vec![key], ..Script::default() };
    let delete = Script { writes: vec![(2, Write::Delete)], ..spend(2) };
    let both = [spend(1), delete];
    each!(scheduler => {
        let outputs = vec![Some(ToyOutput(1)), Some(ToyOutput(2))];
        assert_eq!(run(&scheduler, &both), Ok((vec![(1, None), (2, None)], outputs)));
    });
    let twice_listed = Script { access: vec![(3, Mode::Consume), (3, Mode::Consume)], ..Script::default() };
    let absent = |key| Cause::Invalid(ToyError::Consumed(key));
    for (txs, at, key) in [
        (vec![spend(1), spend(2), spend(1)], 2, 1),
        (vec![spend(9)], 0, 9),
        (vec![spend(2), twice_listed], 1, 3),
    ] {
        each!(scheduler => assert_eq!(run(&scheduler, &txs), Err((at, absent(key)))));
    }
}

/// The enforcement takes nothing from a transaction that keeps its word: compared with the machine that
/// knows of no hints.
#[test]
fn a_true_declaration_changes_nothing() {
    let mut compared = 0;
    for seed in 0..400 {
        for family in [Family::Programs, Family::Counters, Family::Actors, Family::Chain] {
            let (txs, state, budget) = Case { error_permille: 0, ..Case::random(family, seed) }.block();
            let sink = || RecordingSink { budget, ..RecordingSink::default() };
            let (mut free, mut bound) = (sink(), sink());
            let vm = Bound(Told::<false>(Telling::BINDING));
            let control = Control::default();
            let one = Oracle.run(&Block::new(&Toy::<false>, &txs, &state), &mut free, &(), &control);
            let two = Serial::new().run(&Block::new(&vm, &txs, &state), &mut bound, &(), &control);
            let (one, two) = (one.expect("valid"), two.expect("valid"));
            assert_eq!((one.changes, free.delivered), (two.changes, bound.delivered), "{family:?} {seed}");
            compared += 1;
        }
    }
    assert_eq!(compared, 1600);
}

/// The lies of the suite are found out, and the coins of the suite are spent under declarations.
#[test]
fn the_suite_has_breaches_and_consumers() {
    let (mut breaches, mut consumed) = (0, 0);
    for seed in 0..200 {
        let case = Case { error_permille: 0, ..Case::random(Family::ALL[seed as usize % 8], seed) };
        for telling in [Telling { lenient: false, ..Telling::random(100, seed) }, Telling::BINDING] {
            let (txs, state, _) = case.block();
            let vm = Bound(Told::<true>(telling));
            let block = Block::new(&vm, &txs, &state);
            let result = Serial::new().run(&block, &mut RecordingSink::default(), &(), &Control::default());
            breaches += u32::from(result.is_err_and(|error| error.cause == Cause::Undeclared));
        }
        let coins = Case { family: Family::Coins, ..case };
        consumed +=
            coins.block().0.iter().flat_map(|tx| &tx.ops).filter(|op| matches!(op, Op::Consume(_))).count();
        assert_eq!(check_told(&Serial::new(), coins, Telling::BINDING), Ok(()));
    }
    assert!(breaches > 50 && consumed > 500, "{breaches} {consumed}");
}

#[test]
fn only_a_machine_that_enforces_is_believed() {
    let tx = ToyTx { ops: vec![Op::Read(1)] };
    let told = Told::<false>(Telling::BINDING);
    let state = ToyState::default();
    let given = [Hint { trust: Trust::Binding, access: vec![(4, Mode::Write)] }];
    let txs = [tx.clone(), tx];
    let trusts = |first: &Hint<u64>, second: &Hint<u64>| (first.trust, second.trust);
    let loose = Block::new(&told, &txs, &state).with_hints(&given);
    assert_eq!(trusts(&loose.hint(0), &loose.hint(1)), (Trust::Guess, Trust::Guess));
    assert_eq!((loose.hint(0).access[0].0, loose.hint(1).access[0].0), (4, 1));
    let bound = Bound(told);
    let strict = Block::new(&bound, &txs, &state).with_hints(&given);
    assert_eq!(trusts(&strict.hint(0), &strict.hint(1)), (Trust::Binding, Trust::Binding));
    assert_eq!((strict.hint(0).access[0].0, strict.hint(1).access[0].0), (1, 1));
}
