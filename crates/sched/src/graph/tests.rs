//! The policies by themselves, on virtual workers and virtual time.

use super::{
    Policy,
    fifo::UsageQueues,
    order::Waited,
    plan::{Footprints, excludes},
};
use braid_core::{Mode, TxIndex};
use braid_testkit::Rng;
use std::{cmp::Reverse, collections::BinaryHeap};

/// When and by whom each transaction is executed.
struct Trace {
    /// Start, end, worker.
    spans: Vec<(u64, u64, u16)>,
    waited: Vec<Waited>,
}

impl Trace {
    fn makespan(&self) -> u64 {
        self.spans.iter().map(|(_, end, _)| *end).max().unwrap_or(0)
    }
}

/// Runs a block whose transactions take exactly their weights, and which knows all of them from the start.
fn simulate(policy: Policy, feet: &Footprints, threads: u16) -> Trace {
    let mut order = policy.order(feet, threads);
    let count = feet.len();
    let mut trace = Trace { spans: vec![(0, 0, u16::MAX); count as usize], waited: Vec::new() };
    let (mut fed, mut cursor, mut now) = (0, 0, 0);
    let mut ended = vec![false; count as usize];
    let mut idle: Vec<u16> = (0..threads).rev().collect();
    let mut running = BinaryHeap::new();
    loop {
        order.committed(cursor, &mut trace.waited);
        while fed < count.min(cursor + policy.window()) {
            order.feed(fed);
            fed += 1;
        }
        let mut still = Vec::new();
        while let Some(worker) = idle.pop() {
            match order.next(worker, &mut trace.waited) {
                Some(tx) => {
                    let end = now + feet.weights[tx as usize];
                    assert_eq!(trace.spans[tx as usize].2, u16::MAX, "{policy:?} gives {tx} out once");
                    trace.spans[tx as usize] = (now, end, worker);
                    running.push(Reverse((end, tx, worker)));
                }
                None => still.push(worker),
            }
        }
        idle = still;
        let Some(Reverse((end, tx, worker))) = running.pop() else { break };
        now = end;
        order.done(tx, worker, &mut trace.waited);
        ended[tx as usize] = true;
        while ended.get(cursor as usize) == Some(&true) {
            cursor += 1;
        }
        idle.push(worker);
    }
    assert_eq!(cursor, count, "{policy:?} comes to an end");
    trace
}

fn footprints(txs: &[(&[(u32, Mode)], u64)]) -> Footprints {
    let mut feet = Footprints::default();
    for (locks, weight) in txs {
        feet.push(&mut locks.to_vec(), *weight);
    }
    feet
}

fn random(rng: &mut Rng) -> Footprints {
    let mut feet = Footprints::default();
    let locks = 1 + rng.below(30);
    for _ in 0..rng.below(300) {
        let mode = |rng: &mut Rng| [Mode::Read, Mode::Add, Mode::Write, Mode::Consume][rng.below(4) as usize];
        let mut taken: Vec<_> = (0..rng.below(6)).map(|_| (rng.below(locks) as u32, mode(rng))).collect();
        feet.push(&mut taken, 1 + rng.below(20));
    }
    feet
}

/// Whether `later` sees what `earlier` does at a lock, or, under locks, may not run beside it.
fn conflict(policy: Policy, earlier: Mode, later: Mode) -> bool {
    if policy.adds_exclude() {
        return excludes(earlier) || excludes(later);
    }
    later != Mode::Add && matches!(earlier, Mode::Write | Mode::Consume)
}

#[test]
fn what_conflicts_runs_in_block_order() {
    let (mut pairs, mut waits) = (0, 0);
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let feet = random(&mut rng);
        for policy in Policy::ALL {
            let threads = 1 + rng.below(6) as u16;
            let trace = simulate(policy, &feet, threads);
            for later in 0..feet.len() {
                for (lock, mode) in feet.of(later) {
                    for earlier in 0..later {
                        let at = feet.of(earlier).iter().find(|(other, _)| other == lock);
                        if !at.is_some_and(|(_, other)| conflict(policy, *other, *mode)) {
                            continue;
                        }
                        let (one, two) = (trace.spans[earlier as usize], trace.spans[later as usize]);
                        assert!(
                            one.1 <= two.0,
                            "{policy:?}, seed {seed}: {earlier} {one:?}, {later} {two:?}"
                        );
                        pairs += 1;
                    }
                }
            }
            waits += trace.waited.len();
            for Waited { tx, lock, on } in trace.waited {
                let touches = |tx: TxIndex| feet.of(tx).iter().any(|(at, _)| *at == lock);
                assert!(
                    on < tx && touches(tx) && touches(on),
                    "{policy:?}, seed {seed}: {tx} waits for {on}"
                );
            }
        }
    }
    assert!(pairs > 100_000 && waits > 10_000, "{pairs} {waits}");
}

/// Rule 2 of `critical`: who reads after additions waits until they are final.
#[test]
fn readers_wait_for_the_commit_of_additions() {
    let mut met = 0;
    for seed in 0..200 {
        let feet = random(&mut Rng::new(seed));
        let trace = simulate(Policy::Critical, &feet, 4);
        let mut committed = Vec::new();
        for span in &trace.spans {
            committed.push(span.1.max(committed.last().copied().unwrap_or(0)));
        }
        for later in 0..feet.len() {
            for (lock, _) in feet.of(later).iter().filter(|(_, mode)| *mode != Mode::Add) {
                for earlier in 0..later {
                    if feet.of(earlier).contains(&(*lock, Mode::Add)) {
                        assert!(committed[earlier as usize] <= trace.spans[later as usize].0, "seed {seed}");
                        met += 1;
                    }
                }
            }
        }
    }
    assert!(met > 10_000, "{met}");
}

#[test]
fn additions_and_blind_history_cost_nothing() {
    // Adders pass each other, and a writer passes earlier readers.
    let adders: Vec<(&[(u32, Mode)], u64)> = vec![(&[(0, Mode::Add)], 10); 8];
    assert_eq!(simulate(Policy::Critical, &footprints(&adders), 8).makespan(), 10);
    let readers: Vec<(&[(u32, Mode)], u64)> =
        vec![(&[(0, Mode::Read)], 10), (&[(0, Mode::Read)], 10), (&[(0, Mode::Write)], 10)];
    assert_eq!(simulate(Policy::Critical, &footprints(&readers), 3).makespan(), 10);
    assert_eq!(simulate(Policy::Fifo, &footprints(&readers), 3).makespan(), 20);
}

/// Acceptance 2 of Sealevel's chapter: disjoint transactions fill all workers, a chain stays on one of them.
#[test]
fn disjoint_transactions_fill_all_workers() {
    for threads in [2, 8, 16, 32] {
        let mut rng = Rng::new(u64::from(threads));
        let mut feet = Footprints::default();
        for lock in 0..4000 {
            feet.push(&mut [(lock, Mode::Write)], 50 + rng.below(100));
        }
        let work: u64 = feet.weights.iter().sum();
        for policy in Policy::ALL {
            let makespan = simulate(policy, &feet, threads).makespan();
            assert!(
                makespan * 10 <= work * 11 / u64::from(threads),
                "{policy:?} on {threads}: {makespan} of {work}"
            );
        }
    }
}

#[test]
fn a_chain_stays_on_one_worker_without_a_gap() {
    let mut feet = Footprints::default();
    for at in 0..500 {
        // Every fifth is a link of the chain, the others stand alone.
        feet.push(&mut [(if at % 5 == 0 { 0 } else { at }, Mode::Write)], 10);
    }
    let trace = simulate(Policy::PrioGraph, &feet, 8);
    let links: Vec<_> = trace.spans.iter().step_by(5).collect();
    for pair in links.windows(2) {
        assert!(pair[0].2 == pair[1].2, "{:?} and {:?} on one worker", pair[0], pair[1]);
    }
    let alone = footprints(&vec![(&[(0, Mode::Write)][..], 10); 300]);
    for policy in Policy::ALL {
        assert_eq!(simulate(policy, &alone, 8).makespan(), 3000, "{policy:?}: no gap");
    }
}

#[test]
fn the_longest_chain_goes_first() {
    // Eight short ones stand before a chain of four long ones.
    let mut txs: Vec<(&[(u32, Mode)], u64)> = vec![(&[], 10); 8];
    txs.extend(vec![(&[(0, Mode::Write)][..], 20); 4]);
    let feet = footprints(&txs);
    assert_eq!(simulate(Policy::Critical, &feet, 2).makespan(), 80);
    assert_eq!(simulate(Policy::Fifo, &feet, 2).makespan(), 120);
}

#[test]
fn readers_that_stand_together_are_released_together() {
    let mut queues = UsageQueues::new(2);
    let runs: Vec<bool> =
        [true, false, false, true, false].map(|writes| queues.insert([(1, writes)])).to_vec();
    assert_eq!(runs, [true, false, false, false, false]);
    let complete = |queues: &mut UsageQueues, task| {
        let mut freed = Vec::new();
        queues.complete(task, |task, lock| freed.push((task, lock)));
        freed
    };
    assert_eq!(complete(&mut queues, 0), [(1, 1), (2, 1)]);
    assert_eq!(complete(&mut queues, 2), []);
    assert_eq!(complete(&mut queues, 1), [(3, 1)]);
    assert_eq!(complete(&mut queues, 3), [(4, 1)]);
    assert_eq!(complete(&mut queues, 4), []);
    assert!(queues.insert([(0, true), (1, true)]), "all is free again");
}

#[test]
#[should_panic(expected = "locks ascend")]
fn a_lock_named_twice_is_refused() {
    UsageQueues::new(3).insert([(1, true), (1, false)]);
}
