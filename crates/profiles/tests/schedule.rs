//! Schedules of the profiles on generated blocks, and what the blocks allow.

mod common;

use alloy_primitives::{Address, B256};
use braid_core::Control;
use braid_evm::After;
use braid_profiles::{
    Names, PROFILES,
    bench::Given,
    limit::{Dependencies, Nonces, observe, weigh},
    profile,
    schedule::{analyse, model, record},
};
use braid_report::{Analysis, Trace, trace::Fate};
use braid_work::{Case, Workload};
use common::{engine, schedule_seeds};

const SWAPS: &str = "swaps?txs=60&pools=2&traders=20";

fn case(text: &str) -> Case {
    text.parse::<Workload>().unwrap().generate().unwrap()
}

fn given(case: &Case) -> Given<'_> {
    Given { input: &case.input, pre: case.state().unwrap(), access_list: None }
}

fn names(case: &Case) -> Names {
    observe(&case.input, case.state().unwrap()).unwrap().1
}

fn analysed(text: &str, nonces: Nonces) -> Analysis {
    let case = case(text);
    let (input, pre) = (&case.input, case.state().unwrap());
    let (block, names) = observe(input, pre).unwrap();
    let weights = weigh(input, pre, 1).unwrap();
    let analysis = analyse(text, &block, &names, &weights, nonces).unwrap();
    analysis.check().unwrap();
    // Two ways to the same numbers: the graph's own, and that of the limit.
    let needs = Dependencies::new(&block, nonces);
    assert_eq!(analysis.span_ns, needs.span(&weights));
    assert_eq!(analysis.work_ns, weights.iter().sum::<u64>());
    assert!((analysis.limit(8) - needs.limit(8, &weights)).abs() < 1e-9);
    analysis
}

#[test]
fn every_profile_but_the_yardstick_leaves_a_schedule() {
    let case = case(SWAPS);
    let (given, names) = (given(&case), names(&case));
    let mut conflicts = 0;
    for profile in PROFILES {
        for threads in if profile.parallel { &[1, 2, 4][..] } else { &[1] } {
            let mut engine = engine(profile.name, *threads);
            for seed in schedule_seeds(6) {
                engine.shuffle(seed);
                let seat = (profile, *threads);
                let trace = record(engine.as_mut(), seat, SWAPS, given, &names, &Control::default()).unwrap();
                let Some(trace) = trace else {
                    assert_eq!(profile.name, "lean", "all others tell of their schedule");
                    continue;
                };
                let who = format!("{} with {threads} threads; BRAID_SEED={seed}", profile.name);
                complete(&trace, &who);
                conflicts += trace.aborts.len() + trace.waits.len();
            }
        }
    }
    assert!(conflicts > 0, "two pools, four threads: some had to wait or to run again");
}

/// Every transaction and all around them ran, and became final once.
fn complete(trace: &Trace, who: &str) {
    trace.check().unwrap_or_else(|error| panic!("{who}: {error}"));
    assert_eq!((trace.txs, trace.lost), (60, 0), "{who}");
    let final_once: Vec<i64> = trace.commits.iter().map(|commit| commit.tx).collect();
    let first = *final_once.first().unwrap();
    assert!(first <= 0 && final_once.contains(&59), "{who}: {final_once:?}");
    assert!(final_once.windows(2).all(|pair| pair[1] == pair[0] + 1), "{who}: {final_once:?}");
    for tx in &final_once {
        let ran = trace.tasks.iter().filter(|task| task.tx == *tx && task.fate == Fate::Committed).count();
        assert_eq!(ran, 1, "{who}: {tx}");
    }
    for key in &trace.keys {
        assert!(key.text.starts_with("0x") || key.text.starts_with("code 0x"), "{who}: {key:?}");
    }
}

/// No schedule breaks its own model, however it was shuffled, and virtual times are those of the model's own promises.
#[test]
fn every_schedule_keeps_to_its_own_model() {
    for text in [SWAPS, "erc20?txs=60&holders=8", "mainnet?txs=60", "orderbook?txs=60&markets=2"] {
        let case = case(text);
        let (given, (block, names)) = (given(&case), observe(&case.input, case.state().unwrap()).unwrap());
        for profile in PROFILES {
            for threads in if profile.parallel { &[1, 2, 4][..] } else { &[1] } {
                let mut engine = engine(profile.name, *threads);
                for seed in schedule_seeds(3) {
                    engine.shuffle(seed);
                    let seat = (profile, *threads);
                    let who = format!("{text}: {} with {threads} threads; BRAID_SEED={seed}", profile.name);
                    let trace =
                        record(engine.as_mut(), seat, text, given, &names, &Control::default()).unwrap();
                    let Some(mut trace) = trace else { continue };
                    model(engine.as_mut(), &mut trace, given, &block)
                        .unwrap_or_else(|error| panic!("{who}: {error}"));
                    let times = trace.model.as_ref().unwrap_or_else(|| panic!("{who}: no model"));
                    assert!(
                        times.floor_ns <= trace.elapsed_ns && times.span_ns <= times.work_ns * 2,
                        "{who}"
                    );
                    assert!(times.on_workers.iter().all(|one| one.executions >= 60), "{who}: {times:?}");
                    trace.check_model().unwrap_or_else(|error| panic!("{who}: {error}"));
                }
            }
        }
    }
}

#[test]
fn what_surrounds_the_transactions_is_numbered_around_them() {
    let text = "transfers?txs=30";
    let mut case = case(text);
    (case.input.rites.parent_hash, case.input.rites.parent_beacon_root) =
        (Some(B256::ZERO), Some(B256::ZERO));
    case.input.rites.after = Some(After { withdrawals: vec![(Address::ZERO, 1)], ..After::default() });
    let mut engine = engine("serial", 1);
    let seat = (profile("serial").unwrap(), 1);
    let trace = record(engine.as_mut(), seat, text, given(&case), &names(&case), &Control::default());
    let trace = trace.unwrap().unwrap();
    let before = i64::from(braid_evm::first_position(&case.input));
    assert_eq!(before, 2, "one for each hash that the block tells its contracts");
    assert_eq!(trace.tasks.first().unwrap().tx, -before);
    assert!(trace.tasks.last().unwrap().tx >= 30, "and ends with withdrawals");
    assert!(trace.tasks.iter().any(|task| task.tx == 0));
    assert_eq!(weigh(&case.input, case.state().unwrap(), 1).unwrap().len(), 30);
}

#[test]
fn what_would_follow_if_the_pools_commuted() {
    let analysis = analysed(SWAPS, Nonces::Predicted);
    assert_eq!(analysis.txs, 60);
    let pool = &analysis.hot[0];
    assert!(pool.critical && pool.edges > 10, "{pool:?}");
    // A pool's reserves and its balances of two tokens draw the same edges; only together do they commute.
    assert_eq!(pool.with.len(), 2, "{:?}", analysis.keys);
    assert!(pool.span_ns < analysis.span_ns);
    let labels: Vec<&str> =
        pool.with.iter().chain([&pool.key]).map(|key| analysis.keys[*key as usize].label()).collect();
    let balances = labels.iter().filter(|label| label.starts_with("token balance of 0x")).count();
    assert_eq!(balances, 2, "{labels:?}");
    for one in &analysis.on_workers {
        assert!(one.critical_path_ns >= analysis.span_ns && one.block_order_ns >= analysis.span_ns);
    }
}

#[test]
fn dependencies_are_those_of_the_limit_on_every_kind_of_block() {
    for text in ["transfers?txs=100&accounts=20", "erc20?txs=100&holders=30", "mint?txs=50", "mainnet?txs=80"]
    {
        for nonces in [Nonces::Chained, Nonces::Predicted] {
            analysed(text, nonces);
        }
    }
}
