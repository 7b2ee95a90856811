//! The rules of the schedules with barriers: which transactions share a batch, when one is discarded, how many rounds
//! there are.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_core::{Block, Control, Hint, Mode, Outcome, Scheduler, Trust};
use braid_sched::{Batch, OccRounds, Pool};
use braid_testkit::{
    Case, Family, Num, Op, OwnedEvent, Recorder, RecordingSink, Rng, Telling, Told, Toy, ToyState, ToyTx,
    check_hinted, check_told,
};
use std::{collections::BTreeSet, sync::Arc};

type Ran = (Outcome<Toy<false>>, Vec<OwnedEvent>);

fn run<S: Scheduler>(scheduler: &S, txs: &[ToyTx], hints: &[Hint<u64>]) -> Ran {
    let (state, recorder) = (ToyState::default(), Recorder::default());
    let block = Block::new(&Toy::<false>, txs, &state).with_hints(hints);
    let outcome = scheduler.run(&block, &mut RecordingSink::default(), &recorder, &Control::default());
    (outcome.expect("valid"), recorder.take().into_iter().map(|(_, event)| event).collect())
}

fn batch(most: u32) -> Batch {
    Batch::new(Arc::new(Pool::new(4))).most(most)
}

/// Batches, as events show them: all that start before the first commit after the last batch.
fn batches(events: &[OwnedEvent]) -> Vec<BTreeSet<u32>> {
    let (mut all, mut open) = (vec![BTreeSet::new()], true);
    for event in events {
        match event {
            OwnedEvent::Start(tx, 0) => {
                if !open {
                    all.push(BTreeSet::new());
                    open = true;
                }
                all.last_mut().expect("one is there").insert(*tx);
            }
            OwnedEvent::Commit(_) => open = false,
            _ => {}
        }
    }
    all
}

/// The rule of a batch, spelled out.
fn expected(hints: &[Hint<u64>], most: usize) -> Vec<BTreeSet<u32>> {
    let mut all: Vec<BTreeSet<u32>> = Vec::new();
    for tx in 0..hints.len() {
        let meets = |other: u32| {
            let other = &hints[other as usize].access;
            hints[tx].access.iter().any(|(key, mode)| {
                other
                    .iter()
                    .any(|(theirs, them)| theirs == key && (*mode != Mode::Read || *them != Mode::Read))
            })
        };
        match all.last_mut().filter(|last| last.len() < most && !last.iter().any(|other| meets(*other))) {
            Some(last) => _ = last.insert(tx as u32),
            None => all.push([tx as u32].into()),
        }
    }
    all
}

#[test]
fn a_batch_ends_where_a_hint_conflicts() {
    let mut shared = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mode = |rng: &mut Rng| if rng.chance(50) { Mode::Read } else { Mode::Write };
        let hint = |rng: &mut Rng| {
            let access = (0..rng.below(4)).map(|_| (rng.below(30), mode(rng))).collect();
            Hint { trust: Trust::Guess, access }
        };
        let hints: Vec<_> = (0..60).map(|_| hint(&mut rng)).collect();
        let txs: Vec<_> = (0..60).map(|own| ToyTx { ops: vec![Op::Put(100 + own)] }).collect();
        let most = 1 + rng.below(9) as usize;
        let (outcome, events) = run(&batch(most as u32), &txs, &hints);
        let expected = expected(&hints, most);
        assert_eq!(batches(&events), expected, "seed {seed}");
        assert_eq!((outcome.stats.executions, outcome.stats.retries), (60, 0));
        shared += expected.iter().filter(|batch| batch.len() > 1).count();
    }
    assert!(shared > 100, "{shared}");
}

#[test]
fn a_conflict_discards_the_whole_batch() {
    // Six transactions of which nothing is known; the fifth reads what the second wrote.
    let mut txs: Vec<_> = (0..6).map(|own| ToyTx { ops: vec![Op::Put(100 + own)] }).collect();
    txs[4].ops.push(Op::Read(101));
    let (outcome, events) = run(&batch(6), &txs, &[]);
    assert_eq!((outcome.stats.executions, outcome.stats.retries), (12, 6));
    assert!(events.contains(&OwnedEvent::Abort(4, 101, Some(1))), "{events:?}");
    // With the conflict known there are two batches, and nothing is discarded.
    let hint = |access| Hint { trust: Trust::Guess, access };
    let mut hints: Vec<_> = (0..6).map(|own| hint(vec![(100 + own, Mode::Write)])).collect();
    hints[4].access.push((101, Mode::Read));
    let (outcome, events) = run(&batch(6), &txs, &hints);
    assert_eq!((outcome.stats.executions, outcome.stats.retries, outcome.stats.waits), (6, 0, 1));
    assert!(events.contains(&OwnedEvent::Wait(4, 101, 1)), "{events:?}");
}

#[test]
fn true_hints_leave_nothing_to_discard() {
    for seed in 0..100 {
        let family = [Family::Programs, Family::Actors, Family::Chain][seed as usize % 3];
        let case = Case { error_permille: 0, ..Case::random(family, seed) };
        let (txs, state, _) = case.block();
        let vm = Told::<false>(Telling::GUESS);
        let scheduler = batch(64);
        let block = Block::new(&vm, &txs, &state);
        let outcome = scheduler.run(&block, &mut RecordingSink::default(), &(), &Control::default());
        assert_eq!(outcome.expect("valid").stats.retries, 0, "{case:?}");
        assert_eq!(check_told(&scheduler, case, Telling::GUESS), Ok(()));
    }
}

/// Transactions each of which reads what the one before wrote.
fn chain(count: u64) -> Vec<ToyTx> {
    (0..count).map(|at| ToyTx { ops: vec![Op::Read(at), Op::Put(at + 1)] }).collect()
}

/// Acceptance 2 of Sei's chapter: a storm of conflicts ends in serial execution. Additions are no versions, so
/// nobody but the first of a round reads the truth.
#[test]
fn after_ten_rounds_the_rest_is_serial() {
    let txs: Vec<_> = (0..60).map(|_| ToyTx { ops: vec![Op::Read(0), Op::Add(0, 1)] }).collect();
    for threads in [1, 4] {
        let scheduler = OccRounds::new(Arc::new(Pool::new(threads)));
        let (outcome, events) = run(&scheduler, &txs, &[]);
        assert_eq!(outcome.stats.fallbacks, 1);
        // Round r executes all but r transactions, and makes one final.
        let executions: u64 = (0..10).map(|round| 60 - round).sum();
        assert_eq!((outcome.stats.executions, outcome.stats.retries), (executions + 50, executions - 10));
        assert!(events.contains(&OwnedEvent::Start(59, 10)) && events.contains(&OwnedEvent::Start(10, 10)));
        assert_eq!(outcome.changes, [(0, Some(Num(60)))]);
    }
    // Nine that conflict are done in nine rounds.
    let (outcome, _) = run(&OccRounds::new(Arc::new(Pool::new(4))), &txs[..9], &[]);
    assert_eq!(outcome.stats.fallbacks, 0);
}

#[test]
fn one_worker_needs_one_round() {
    let (outcome, _) = run(&OccRounds::new(Arc::new(Pool::new(1))), &chain(200), &[]);
    let stats = outcome.stats;
    assert_eq!((stats.executions, stats.retries, stats.waits, stats.fallbacks), (200, 0, 0, 0));
}

#[test]
fn blocks_longer_than_a_part_are_run_in_parts() {
    let case = Case { txs: 9000, keys: 3000, error_permille: 0, ..Case::random(Family::Programs, 5) };
    assert_eq!(check_hinted(&OccRounds::new(Arc::new(Pool::new(4))), case, &[]), Ok(()));
}
