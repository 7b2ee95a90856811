//! What `graph` makes of hints: true ones leave nothing to validate or to repeat, wrong ones cost time.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_core::{Block, Bound, Control, Effects, Hint, Mode, Scheduler, Sink, Stats, Trust, TxIndex};
use braid_sched::{Graph, Policy, Pool, Serial};
use braid_testkit::{
    Case, Family, Op, OwnedEvent, Recorder, RecordingSink, Rng, Telling, Told, Toy, ToyOutput, ToyState,
    ToyTx, check_hinted, check_told,
};
use std::{collections::BTreeMap, sync::Arc};

fn graph(policy: Policy, seed: u64) -> Graph {
    Graph::new(Arc::new(Pool::new(1 + (seed % 6) as u16)), policy).chaos(seed + 1)
}

type Events = Vec<(u16, OwnedEvent)>;

/// Cost and events of a block under hints that are told by `telling` and enforced.
fn cost(policy: Policy, case: Case, telling: Telling, seed: u64) -> (Stats, Events) {
    let (txs, state, _) = case.block();
    let (vm, recorder) = (Bound(Told::<false>(telling)), Recorder::default());
    let block = Block::new(&vm, &txs, &state);
    let outcome =
        graph(policy, seed).run(&block, &mut RecordingSink::default(), &recorder, &Control::default());
    (outcome.expect("valid").stats, recorder.take())
}

fn cases() -> impl Iterator<Item = (Policy, Case, u64)> {
    let families = [Family::Programs, Family::Counters, Family::Actors, Family::Chain, Family::Coins];
    let sized = |family, seed| Case { error_permille: 0, txs: 80, keys: 16, ..Case::random(family, seed) };
    let of = move |policy| (0..100).map(move |seed| (policy, sized(families[seed as usize % 5], seed), seed));
    Policy::ALL.into_iter().flat_map(of)
}

#[test]
fn binding_hints_leave_nothing_to_validate() {
    for (policy, case, seed) in cases() {
        let (stats, _) = cost(policy, case, Telling::BINDING, seed);
        let counts = (stats.executions, stats.retries, stats.validations);
        assert_eq!(counts, (80, 0, 0), "{policy:?}, {case:?}");
    }
}

#[test]
fn a_transaction_that_breaks_its_declaration_leaves_the_others_exact() {
    for (policy, case, seed) in cases() {
        let telling = Telling { lies_permille: 100, lenient: true, ..Telling::BINDING };
        if case.family == Family::Coins {
            // A coin that is not declared is not consumed: the block may end for that.
            continue;
        }
        let (stats, _) = cost(policy, case, telling, seed);
        assert_eq!((stats.executions, stats.retries, stats.validations), (80, 0, 0), "{policy:?}, {case:?}");
    }
}

#[test]
fn true_guesses_are_validated_and_stand() {
    let mut validated = 0;
    // A prediction may be wrong with the best of hints: not among the counters.
    for (policy, case, seed) in cases().filter(|(_, case, _)| case.family != Family::Counters) {
        let (stats, _) = cost(policy, case, Telling::GUESS, seed);
        assert_eq!((stats.executions, stats.retries), (80, 0), "{policy:?}, {case:?}");
        validated += stats.validations;
    }
    assert!(validated > 1000, "{validated}");
}

/// A lock table over what the schedule tells: nobody starts while one that it conflicts with runs, or before.
#[test]
fn events_show_the_order_that_the_locks_demand() {
    let mut met = 0;
    for (policy, case, seed) in cases().filter(|(policy, ..)| *policy != Policy::Critical) {
        let (txs, ..) = case.block();
        let vm = Told::<false>(Telling::BINDING);
        let hints: Vec<Hint<u64>> = txs.iter().map(|tx| braid_core::Vm::hint(&vm, tx)).collect();
        let (_, events) = cost(policy, case, Telling::BINDING, seed);
        let mut held: BTreeMap<u64, Vec<(u32, bool)>> = BTreeMap::new();
        for (_, event) in events {
            match event {
                OwnedEvent::Start(tx, _) => {
                    for (key, mode) in &hints[tx as usize].access {
                        let holders = held.entry(*key).or_default();
                        let writes = *mode != Mode::Read;
                        let clear =
                            holders.iter().all(|(other, theirs)| *other == tx || !(writes || *theirs));
                        assert!(clear, "{policy:?}, {case:?}: {tx} at {key} beside {holders:?}");
                        holders.push((tx, writes));
                        met += 1;
                    }
                }
                OwnedEvent::Finish(tx, _) => {
                    held.values_mut().for_each(|all| all.retain(|(of, _)| *of != tx))
                }
                _ => {}
            }
        }
    }
    assert!(met > 10_000, "{met}");
}

/// Transactions that all read and write location 3, and another one each.
fn hot(count: u64) -> Vec<ToyTx> {
    let tx = |own| ToyTx { ops: vec![Op::Read(3), Op::Work(300), Op::Put(3), Op::Put(10 + own)] };
    (0..count).map(tx).collect()
}

#[test]
fn a_wait_names_key_and_writer() {
    for policy in Policy::ALL {
        let (txs, state, recorder) = (hot(40), ToyState::default(), Recorder::default());
        let vm = Bound(Told::<false>(Telling::BINDING));
        let block = Block::new(&vm, &txs, &state);
        let run = graph(policy, 3).run(&block, &mut RecordingSink::default(), &recorder, &Control::default());
        assert_eq!(run.expect("valid").stats.waits, 39, "{policy:?}");
        let waits: Vec<_> = recorder.take().into_iter().map(|(_, event)| event).collect();
        for tx in 1..40 {
            assert!(waits.contains(&OwnedEvent::Wait(tx, 3, tx - 1)), "{policy:?}: {tx}");
        }
    }
}

#[test]
fn an_abort_names_key_and_writer() {
    let (txs, state, mut aborts) = (hot(40), ToyState::default(), 0);
    // Nothing is known of them.
    for seed in 0..50 {
        let recorder = Recorder::default();
        let scheduler = Graph::new(Arc::new(Pool::new(4)), Policy::ALL[seed % 4]).chaos(seed as u64 + 1);
        let block = Block::new(&Toy::<false>, &txs, &state);
        scheduler.run(&block, &mut RecordingSink::default(), &recorder, &Control::default()).expect("valid");
        for (worker, event) in recorder.take() {
            let OwnedEvent::Abort(tx, key, by) = event else { continue };
            assert!(worker < 4 && key == 3 && by == Some(tx - 1), "{event:?}");
            aborts += 1;
        }
    }
    assert!(aborts > 0);
}

/// A hint that is far too long is advice like any other.
#[test]
fn absurd_hints_change_nothing() {
    let case = Case { error_permille: 0, ..Case::random(Family::Programs, 9) };
    let huge =
        Hint { trust: Trust::Binding, access: (0..100_000).map(|key| (key % 50_000, Mode::Write)).collect() };
    let hints: Vec<_> = (0..case.txs + 5).map(|_| huge.clone()).collect();
    for policy in Policy::ALL {
        assert_eq!(check_hinted(&graph(policy, 3), case, &hints), Ok(()), "{policy:?}");
    }
    assert_eq!(check_hinted(&Serial::new(), case, &hints), Ok(()));
}

#[test]
fn hints_of_the_block_stand_beside_binding_ones() {
    for seed in 0..100 {
        let case = Case::random(Family::Mixed, seed);
        let telling = Telling::random(50, seed);
        for policy in Policy::ALL {
            assert_eq!(check_told(&graph(policy, seed), case, telling), Ok(()), "{policy:?}, {case:?}");
        }
    }
}

/// `count` transactions with two to six accounts each, which they read or change; who is chosen follows a Zipf
/// distribution with this exponent, in tenths.
fn zipf(count: u32, tenths: u32, rng: &mut Rng) -> Vec<ToyTx> {
    let weights = (1..=2000).map(|rank| f64::from(rank).powf(-f64::from(tenths) / 10.0));
    let sums: Vec<f64> = weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let total = sums[sums.len() - 1];
    let account = |rng: &mut Rng| {
        let at = (rng.bits() >> 11) as f64 / (1u64 << 53) as f64 * total;
        sums.partition_point(|sum| *sum < at) as u64
    };
    let tx = |rng: &mut Rng| {
        let ops = (0..2 + rng.below(5)).flat_map(|_| {
            let (key, put) = (account(rng), rng.chance(50));
            [Some(Op::Read(key)), put.then_some(Op::Put(key))].into_iter().flatten()
        });
        ToyTx { ops: ops.collect() }
    };
    (0..count).map(|_| tx(rng)).collect()
}

/// Keeps outputs.
#[derive(Default)]
struct Outputs(Vec<ToyOutput>);

impl Sink<Bound<Told<false>>> for Outputs {
    fn commit(&mut self, index: TxIndex, effects: &mut Effects<Bound<Told<false>>>) {
        assert_eq!(index as usize, self.0.len(), "in order");
        self.0.extend(effects.output.take());
    }
}

/// Acceptance 1 of Sealevel's chapter: declared accesses of any skew give what serial gives.
#[test]
fn declared_workloads_equal_serial() {
    let control = Control::default();
    for tenths in [0, 8, 12] {
        let mut rng = Rng::new(u64::from(tenths));
        let (txs, state) = (zipf(6000, tenths, &mut rng), ToyState::default());
        let vm = Bound(Told::<false>(Telling::BINDING));
        let block = Block::new(&vm, &txs, &state);
        let mut expected = Outputs::default();
        let serial = Serial::new().run(&block, &mut expected, &(), &control).expect("valid");
        for policy in Policy::ALL {
            let (mut outputs, scheduler) = (Outputs::default(), Graph::new(Arc::new(Pool::new(4)), policy));
            let outcome = scheduler.run(&block, &mut outputs, &(), &control).expect("valid");
            assert_eq!(outcome.changes, serial.changes, "{policy:?}, Zipf {tenths}/10");
            assert_eq!(outputs.0, expected.0, "{policy:?}, Zipf {tenths}/10");
            let stats = outcome.stats;
            assert_eq!((stats.executions, stats.validations), (6000, 0), "{policy:?}, Zipf {tenths}/10");
        }
    }
}
