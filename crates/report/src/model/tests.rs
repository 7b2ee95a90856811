//! Schedules worked out by hand, and what holds for all.

use super::*;
use crate::trace::{Commit, Task};

const GRAPH: Model = Model::Hinted(Waits::Versions, First::InBlock);
const CRITICAL: Model = Model::Hinted(Waits::Versions, First::OnCriticalPath);
const LOCKS: Model = Model::Hinted(Waits::Locks, First::InBlock);
const BATCHES: Model = Model::Batches { most: 3 };
const ROUNDS: Model = Model::Rounds { most: 10, part: 4096 };
const ADAPTIVE: Model = Model::Adaptive { least_ns: 20, each_ns: 0, percent: 95 };
const ALL: [Model; 11] = [
    Model::Serial,
    Model::InOrder,
    Model::MultiVersion,
    GRAPH,
    CRITICAL,
    LOCKS,
    BATCHES,
    ROUNDS,
    Model::Values,
    ADAPTIVE,
    Model::Delivery,
];

/// Location 0 written by those in `writes`, nothing known of others.
fn writes(count: usize, writes: &[usize]) -> Vec<Vec<(u32, Mode)>> {
    (0..count).map(|at| if writes.contains(&at) { vec![(0, Mode::Write)] } else { vec![] }).collect()
}

fn conflicts(needs: &[&[u32]], hints: Vec<Vec<(u32, Mode)>>) -> Conflicts {
    Conflicts { before: 0, needs: needs.iter().map(|on| on.to_vec()).collect(), hints }
}

/// (time, busy) on so many workers.
fn run(model: Model, conflicts: &Conflicts, weights: &[u64], workers: usize) -> (u64, u64) {
    let done = model.simulate(conflicts, weights, workers);
    (done.time, done.busy)
}

#[test]
fn three_free_ones() {
    let free = conflicts(&[&[], &[], &[]], vec![vec![]; 3]);
    let weights = [4, 4, 8];
    for model in [Model::InOrder, Model::MultiVersion, GRAPH, LOCKS, BATCHES, ROUNDS] {
        // The long one is begun last.
        assert_eq!(run(model, &free, &weights, 2), (12, 16), "{model:?}");
        assert_eq!(run(model, &free, &weights, 3), (8, 16), "{model:?}");
    }
    assert_eq!(run(CRITICAL, &free, &weights, 2), (8, 16));
    assert_eq!(run(Model::Values, &free, &weights, 2), (8, 16));
    assert_eq!(run(Model::Serial, &free, &weights, 3), (16, 16));
    // All but the longest take 8, less than 20.
    assert_eq!(run(ADAPTIVE, &free, &weights, 3), (16, 16));
    assert_eq!(run(Model::Adaptive { least_ns: 8, each_ns: 0, percent: 95 }, &free, &weights, 3), (8, 16));
    assert_eq!(run(Model::Adaptive { least_ns: 8, each_ns: 20, percent: 95 }, &free, &weights, 3), (16, 16));
}

#[test]
fn a_chain_of_three_on_three_workers() {
    let chain = conflicts(&[&[], &[0], &[1]], writes(3, &[0, 1, 2]));
    let weights = [10, 10, 10];
    // All begin at 0; the second is repeated from 10 to 20, the third, merged then, from 20 to 30.
    assert_eq!(run(Model::InOrder, &chain, &weights, 3), (30, 50));
    // All end at 10; then the second, then the third, which waits for it, once more.
    assert_eq!(run(Model::MultiVersion, &chain, &weights, 3), (30, 50));
    // The first stands; the second is executed again in the second round, in which the third stops at its estimate.
    assert_eq!(run(ROUNDS, &chain, &weights, 3), (30, 50));
    for model in [GRAPH, CRITICAL, LOCKS, BATCHES] {
        assert_eq!(run(model, &chain, &weights, 3), (30, 30), "{model:?}");
    }
    assert_eq!(run(Model::Values, &chain, &weights, 3), (10, 30));
    // Nothing known: everything begins at once, and what is wrong runs again one by one.
    let unknown = conflicts(&[&[], &[0], &[1]], vec![vec![]; 3]);
    assert_eq!(run(LOCKS, &unknown, &weights, 3), (30, 50));
    // A batch of three is done again as a whole.
    assert_eq!(run(BATCHES, &unknown, &weights, 3), (10 + 30, 60));
    assert_eq!(run(BATCHES, &unknown, &weights, 1), (30 + 30, 60));
}

#[test]
fn one_retry_holds_up_what_is_merged_after_it() {
    // 0: 10, 1 needs 0: 4, 2 and 3: 4 each, 4 needs 3: 4. Two workers.
    let block = conflicts(&[&[], &[0], &[], &[], &[3]], vec![vec![]; 5]);
    let weights = [10, 4, 4, 4, 4];
    // Worker A: 0 until 10, merges it, finds 1 wrong and repeats it until 14, merges 1, 2, 3. Worker B: 1 until 4, 2
    // until 8, 3 until 12, 4 from 12 on, when 3 is not merged: until 16, then again until 20.
    assert_eq!(run(Model::InOrder, &block, &weights, 2), (20, 34));
    // Block-STM: B has ended 3 before it begins 4, so only 1 is repeated: by A from 10 to 14, as 4 from 12 to 16.
    assert_eq!(run(Model::MultiVersion, &block, &weights, 2), (16, 30));
}

#[test]
fn who_is_wrong_while_it_executes_is_given_up() {
    // 0 ends at 4; 1 needs it, is given up there and ends at 10.
    let block = conflicts(&[&[], &[0]], vec![vec![]; 2]);
    assert_eq!(run(Model::MultiVersion, &block, &[4, 6], 2), (10, 4 + 4 + 6));
    // 2 needs 1 and ended at 1; it runs again when 1 has ended.
    let block = conflicts(&[&[], &[0], &[1]], vec![vec![]; 3]);
    assert_eq!(run(Model::MultiVersion, &block, &[4, 6, 1], 3), (11, 4 + 4 + 1 + 6 + 1));
    // A long chain on many workers takes its span, with less than two executions each: what was thrown away waits.
    let needs: Vec<Vec<u32>> = (0..50).map(|at: u32| at.checked_sub(1).into_iter().collect()).collect();
    let chain = Conflicts { before: 0, hints: vec![vec![]; 50], needs };
    let done = Model::MultiVersion.simulate(&chain, &[10; 50], 8);
    assert_eq!(done.time, 500);
    assert!(done.executions <= 100, "{done:?}");
}

#[test]
fn locks_and_versions_differ_in_writers_after_readers_and_in_additions() {
    // 0 reads, 1 writes without reading: locks make it wait, versions do not.
    let block = conflicts(&[&[], &[]], vec![vec![(0, Mode::Read)], vec![(0, Mode::Write)]]);
    assert_eq!(run(LOCKS, &block, &[5, 5], 2), (10, 10));
    assert_eq!(run(GRAPH, &block, &[5, 5], 2), (5, 10));
    // Two additions and a reader: under versions it waits for the merge of both.
    let add = vec![(0, Mode::Add)];
    let block = conflicts(&[&[], &[], &[0, 1]], vec![add.clone(), add, vec![(0, Mode::Read)]]);
    assert_eq!(run(GRAPH, &block, &[5, 9, 5], 3), (14, 19));
    assert_eq!(run(LOCKS, &block, &[5, 9, 5], 3), (19, 19));
    // Readers share.
    let read = vec![(0, Mode::Read)];
    let block = conflicts(&[&[], &[], &[]], vec![vec![(0, Mode::Write)], read.clone(), read]);
    assert_eq!(run(LOCKS, &block, &[5, 5, 5], 2), (10, 15));
}

#[test]
fn a_false_hint_costs_time_and_a_missing_one_a_repetition() {
    // 1 is said to need 0 and does not: it ends at 12. 2 needs 0 and nobody says so: it ends at 6, and when 1 is merged
    // it runs again.
    let block = conflicts(&[&[], &[], &[0]], writes(3, &[0, 1]));
    assert_eq!(run(LOCKS, &block, &[6, 6, 6], 3), (18, 24));
    assert_eq!(run(LOCKS, &conflicts(&[&[], &[], &[0]], writes(3, &[0, 2])), &[6, 6, 6], 3), (12, 18));
}

#[test]
fn batches_are_closed_at_conflicts_and_when_they_are_full() {
    let free: &[u32] = &[];
    let block = conflicts(&[free; 7], writes(7, &[1, 2]));
    assert_eq!(phases::closed(&block, 3), [2, 5, 7]);
    assert_eq!(phases::closed(&block, 64), [2, 7]);
    assert_eq!(phases::closed(&Conflicts::default(), 3), [0usize; 0]);
    // 2, 3 and 2 members on two workers: 1 and 2 and 1 deep.
    assert_eq!(run(BATCHES, &block, &[5; 7], 2), (20, 35));
}

#[test]
fn rounds_are_given_up() {
    // A chain of 14 on so many workers: each round gains one, after ten the other four go one by one.
    let needs: Vec<Vec<u32>> = (0..14).map(|at: u32| at.checked_sub(1).into_iter().collect()).collect();
    let chain = Conflicts { before: 0, hints: vec![vec![]; 14], needs };
    let done = ROUNDS.simulate(&chain, &[10; 14], 14);
    assert_eq!(done.time, 140);
    // In the first round 14, in each other one: who needs an estimate stops at once.
    assert_eq!(done.executions, 14 + 9 + 4);
    let parts = Model::Rounds { most: 10, part: 7 };
    assert_eq!(run(parts, &chain, &[10; 14], 14).0, 140);
    assert_eq!(parts.simulate(&chain, &[10; 14], 14).executions, 7 + 6 + 7 + 6);
}

/// A trace in which each transaction took so long, one after the other on one worker.
fn trace(weights: &[u64]) -> Trace {
    let (mut trace, mut now) = (Trace { threads: 2, txs: weights.len() as u32, ..Trace::default() }, 0);
    for (tx, weight) in (0..).zip(weights) {
        let (start_ns, end_ns) = (now, now + weight);
        let fate = Fate::Committed;
        trace.tasks.push(Task { tx, incarnation: 0, worker: 0, lane: 0, start_ns, end_ns, fate });
        trace.commits.push(Commit { tx, worker: 0, at_ns: end_ns });
        now = end_ns;
    }
    trace.elapsed_ns = now;
    trace
}

#[test]
fn getting_hints_is_part_of_the_time() {
    let chain = conflicts(&[&[], &[0]], writes(2, &[0, 1]));
    let told = Trace { hint_ns: 30, ..trace(&[10, 20]) };
    let none = LOCKS.times(&told, &chain, HintTime::None).unwrap().unwrap();
    assert_eq!((none.hint_ns, none.work_ns, none.span_ns), (0, 30, 30));
    let one = LOCKS.times(&told, &chain, HintTime::One).unwrap().unwrap();
    assert_eq!((one.one_by_one_ns, one.work_ns, one.span_ns, one.on(8).unwrap().time_ns), (30, 60, 60, 60));
    assert_eq!((one.speedup(8), one.speedup(3)), (Some(0.5), None));
    // Both threads were at it for 30: 20 for the first transaction, 40 for the second.
    let all = LOCKS.times(&told, &chain, HintTime::All).unwrap().unwrap();
    assert_eq!((all.work_ns, all.span_ns), (90, 70));
    let times: Vec<u64> = all.on_workers.iter().map(|one| one.time_ns).collect();
    assert_eq!(times, [90, 70, 70, 70, 70]);
    assert_eq!(all.on_workers.iter().map(|one| one.workers).collect::<Vec<_>>(), MODEL_WORKERS);
    let text = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<ModelTimes>(&text).unwrap(), all);
}

#[test]
fn what_does_not_fit_together_is_told() {
    let two = conflicts(&[&[], &[0]], vec![vec![]; 2]);
    let times = |trace: &Trace, conflicts: &Conflicts| GRAPH.times(trace, conflicts, HintTime::None);
    assert!(matches!(times(&trace(&[1; 3]), &two), Err(GraphError::Weights { weights: 3, txs: 2 })));
    let ahead = conflicts(&[&[1], &[]], vec![vec![]; 2]);
    assert_eq!(times(&trace(&[1; 2]), &ahead), Err(GraphError::Edge { tx: 0, on: 1 }));
    let mut short = trace(&[1; 2]);
    short.commits.pop();
    assert_eq!(times(&short, &two), Ok(None));
    assert_eq!(times(&Trace { lost: 1, ..trace(&[1; 2]) }, &two), Ok(None));
    assert_eq!(times(&Trace::default(), &Conflicts::default()).unwrap().unwrap().work_ns, 0);
}

/// Two messages to one receiver and one to another; each sends one, all to the same receiver.
#[test]
fn messages_in_rounds() {
    let to = |receiver| vec![(receiver, Mode::Write)];
    let hints = vec![to(0), to(0), to(1), to(7), to(7), to(7)];
    let mail = conflicts(&[&[], &[], &[], &[0], &[1], &[2]], hints);
    let weights = [3, 4, 5, 1, 1, 2];
    assert_eq!(Model::Delivery.span(&mail, &weights), 7 + 4);
    assert_eq!(run(Model::Delivery, &mail, &weights, 1), (16, 16));
    for workers in [2, 3, 32] {
        assert_eq!(run(Model::Delivery, &mail, &weights, workers), (11, 16), "{workers} workers");
    }
    // Without the rounds the first answer would not wait for the second transaction.
    let apart = conflicts(&[&[], &[], &[], &[0]], vec![to(0), to(0), to(1), to(7)]);
    assert_eq!(run(Model::Delivery, &apart, &[1, 9, 1, 1], 8), (11, 12));
    // In a recorded schedule the second message to a receiver overlaps the first.
    let mut fast = trace(&[10, 10]);
    (fast.tasks[1].start_ns, fast.tasks[1].end_ns, fast.tasks[1].worker, fast.elapsed_ns) = (2, 12, 1, 12);
    let two = |other| conflicts(&[&[], &[]], vec![to(0), to(other)]);
    assert!(Model::Delivery.times(&fast, &two(1), HintTime::None).is_ok());
    assert!(Model::Delivery.times(&fast, &two(0), HintTime::None).is_err());
    let answer = conflicts(&[&[], &[0]], vec![to(0), to(1)]);
    assert!(Model::Delivery.times(&fast, &answer, HintTime::None).is_err());
}

/// Two executions that overlap, though their design has one wait for the other.
#[test]
fn a_schedule_faster_than_its_own_model_is_an_error() {
    let mut fast = trace(&[10, 10]);
    (fast.tasks[1].start_ns, fast.tasks[1].end_ns, fast.tasks[1].worker, fast.elapsed_ns) = (2, 12, 1, 12);
    let chain = conflicts(&[&[], &[0]], writes(2, &[0, 1]));
    let error = LOCKS.times(&fast, &chain, HintTime::None).unwrap_err();
    assert!(matches!(error, GraphError::Impossible { time_ns: 12, bound_ns: 20, .. }), "{error}");
    assert!(fast.check_time(Model::Serial, None).is_err());
    assert!(BATCHES.times(&fast, &chain, HintTime::None).is_err());
    // Nothing is forbidden to those that learn of conflicts as they go.
    for model in [Model::InOrder, Model::MultiVersion, ROUNDS, Model::Values] {
        assert!(model.times(&fast, &chain, HintTime::None).is_ok(), "{model:?}");
    }
    assert_eq!(fast.check_time(LOCKS, None), Ok(()), "what hints said is not known");
    // What is repeated at merges does not overlap, nor with the first execution of the same transaction.
    for tx in 0..2 {
        let mut again = fast.tasks[tx].clone();
        (again.incarnation, again.start_ns, again.end_ns) = (1, 12, 20);
        fast.tasks.push(again);
    }
    fast.elapsed_ns = 20;
    assert_eq!(fast.floor(Model::InOrder, None).1, 10 + 8 + 8);
    assert!(fast.check_time(Model::InOrder, None).is_err());
    assert!(fast.check_time(Model::MultiVersion, None).is_ok());
    assert!(Trace { lost: 1, ..fast.clone() }.check_time(Model::Serial, None).is_ok());
    assert!(Trace { elapsed_ns: 9, ..trace(&[10]) }.check_time(Model::Values, None).is_err());
    let wide = Trace { elapsed_ns: 10, ..trace(&[10, 10, 10]) };
    assert!(wide.check_time(Model::Values, None).is_err(), "more than two threads can have done");
}

#[test]
fn a_record_that_says_what_cannot_be_is_noticed() {
    let mut good = trace(&[10, 10]);
    let chain = conflicts(&[&[], &[0]], writes(2, &[0, 1]));
    good.model = LOCKS.times(&good, &chain, HintTime::None).unwrap();
    assert_eq!(good.check_model(), Ok(()));
    let edits: [fn(&mut Trace); 3] = [
        |trace| trace.elapsed_ns = 19,
        |trace| trace.model.as_mut().unwrap().on_workers[3].time_ns = 19,
        |trace| trace.model.as_mut().unwrap().on_workers[0].busy_ns = 21,
    ];
    for edit in edits {
        let mut one = good.clone();
        edit(&mut one);
        assert!(matches!(one.check_model(), Err(GraphError::Impossible { .. })));
        one.lost = 1;
        assert_eq!(one.check_model(), Ok(()));
    }
}

/// Any block: bounds hold (they are checked inside), the same is computed twice, one worker is never idle, and where
/// nothing is guessed it does everything once.
#[test]
fn random_blocks_keep_their_bounds() {
    for seed in 0..400u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below.max(1)
        };
        let count = draw(40) as usize;
        let (locations, said) = (1 + draw(6), draw(4));
        let mut last = vec![None; locations as usize];
        let mut block = Conflicts::default();
        for at in 0..count as u32 {
            let (mut needs, mut hint) = (Vec::new(), Vec::new());
            for location in 0..locations {
                let used = draw(4);
                if used < 2 {
                    needs.extend(last[location as usize]);
                }
                if used == 0 {
                    last[location as usize] = Some(at);
                }
                // All is said, or some of it, or nothing; and sometimes what is not so.
                let said = said == 0 || (said < 3 && draw(2) == 0);
                let mode = [Mode::Write, Mode::Read, Mode::Add, Mode::Consume][draw(4) as usize];
                match used {
                    0 if said => hint.push((location as u32, Mode::Write)),
                    1 if said => hint.push((location as u32, Mode::Read)),
                    3 if said && draw(9) == 0 => hint.push((location as u32, mode)),
                    _ => {}
                }
            }
            block.needs.push(needs);
            block.hints.push(hint);
        }
        let weights: Vec<u64> = (0..count).map(|_| draw(50)).collect();
        let trace = Trace { hint_ns: draw(100), ..trace(&weights) };
        for model in ALL {
            for by in [HintTime::None, HintTime::One, HintTime::All] {
                let times = |_| {
                    model.times(&trace, &block, by).unwrap_or_else(|error| panic!("seed {seed}: {error}"))
                };
                let done = times(0).unwrap();
                assert_eq!(Some(&done), times(1).as_ref(), "{model:?}, seed {seed}");
                assert_eq!(
                    done.on(1).unwrap().time_ns,
                    done.on(1).unwrap().busy_ns,
                    "{model:?}, seed {seed}"
                );
                let knows =
                    !matches!(model, BATCHES | GRAPH | CRITICAL | LOCKS) || said == 0 && model != BATCHES;
                if knows {
                    assert_eq!(done.on(1).unwrap().time_ns, done.work_ns, "{model:?}, seed {seed}");
                }
                let possible =
                    done.on_workers.iter().all(|one| done.one_by_one_ns <= one.time_ns * one.workers as u64);
                assert!(possible, "{model:?}, seed {seed}: {done:?}");
                let more_is_better = matches!(model, Model::Serial | Model::Values | Model::Batches { .. });
                let sorted = done.on_workers.is_sorted_by_key(|one| Reverse(one.time_ns));
                assert!(!more_is_better || sorted, "{model:?}, seed {seed}: {done:?}");
            }
        }
    }
}
