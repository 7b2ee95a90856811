//! Hints that come from executing.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_core::{Block, Control, Hint, Mode, Scheduler, Trust};
use braid_sched::{Accuracy, Graph, Policy, Pool, emulate, oracle};
use braid_testkit::{Case, Family, RecordingSink, Toy, check_hinted};
use std::{collections::BTreeSet, sync::Arc};

fn sized(family: Family, seed: u64) -> Case {
    Case { error_permille: 0, txs: 60, keys: 400, hot_percent: 0, ..Case::random(family, seed) }
}

fn hints_of(
    case: Case,
    how: impl Fn(&Block<'_, Toy<false>, braid_testkit::ToyState>) -> Vec<Hint<u64>>,
) -> Vec<Hint<u64>> {
    let (txs, state, _) = case.block();
    how(&Block::new(&Toy::<false>, &txs, &state))
}

#[test]
fn with_what_was_really_touched_next_to_nothing_runs_twice() {
    let (mut executions, mut retries) = (0, 0);
    for seed in 0..60 {
        for policy in Policy::ALL {
            let case = Case { keys: 12, ..sized(Family::Programs, seed) };
            let hints = hints_of(case, |block| oracle(block, &Control::default()));
            let graph = || Graph::new(Arc::new(Pool::new(1 + (seed % 5) as u16)), policy).chaos(seed);
            check_hinted(&graph(), case, &hints)
                .unwrap_or_else(|error| panic!("{policy:?}, {case:?}: {error}"));
            let (txs, state, _) = case.block();
            let block = Block::new(&Toy::<false>, &txs, &state).with_hints(&hints);
            let outcome = graph().run(&block, &mut RecordingSink::default(), &(), &Control::default());
            let stats = outcome.expect("valid").stats;
            (executions, retries) = (executions + stats.executions, retries + stats.retries);
        }
    }
    assert!(retries * 50 < executions, "{retries} of {executions} executions were in vain");
}

/// Where nobody writes what another one reads, executing alone shows all. Where all is one chain, it cannot.
#[test]
fn emulation_is_the_truth_of_blocks_without_conflicts() {
    let pool = Pool::new(3);
    for seed in 0..40 {
        for family in Family::ALL {
            if family == Family::Ranges || family == Family::Mixed {
                continue;
            }
            let case = sized(family, seed);
            let truth = hints_of(case, |block| oracle(block, &Control::default()));
            let guess = hints_of(case, |block| emulate(&pool, block, &Control::default()));
            assert_eq!(guess.len(), truth.len());
            let mut written = BTreeSet::new();
            for (guess, truth) in guess.iter().zip(&truth) {
                let conflicts = truth.access.iter().any(|(key, _)| written.contains(key));
                if !conflicts && truth.trust == Trust::Guess {
                    assert_eq!(guess.access, truth.access, "{case:?}");
                }
                let writes = truth.access.iter().filter(|(_, mode)| *mode != Mode::Read);
                written.extend(writes.map(|(key, _)| *key));
            }
            let accuracy = Accuracy::of(&truth, &truth);
            assert_eq!((accuracy.hinted, accuracy.touched), (accuracy.both, accuracy.both));
        }
    }
}

#[test]
fn a_cancelled_emulation_knows_nothing() {
    let case = sized(Family::Programs, 1);
    let now = std::time::Instant::now();
    let control = Control { deadline: Some(now), ..Control::default() };
    let hints = hints_of(case, |block| emulate(&Pool::new(2), block, &control));
    assert_eq!(hints.len(), 60);
    assert!(hints.iter().all(|hint| hint.trust == Trust::None));
}

#[test]
fn accuracy_counts_by_transaction() {
    let hint = |keys: &[u64]| Hint {
        trust: Trust::Guess,
        access: keys.iter().map(|key| (*key, Mode::Read)).collect(),
    };
    let accuracy = Accuracy::of(&[hint(&[1, 2, 2]), hint(&[9])], &[hint(&[2, 3]), hint(&[1]), hint(&[4])]);
    assert_eq!(accuracy, Accuracy { hinted: 3, touched: 4, both: 1 });
    assert_eq!((accuracy.precision(), accuracy.recall()), (Some(1.0 / 3.0), Some(0.25)));
    assert_eq!((Accuracy::default().precision(), Accuracy::default().recall()), (None, None));
}
