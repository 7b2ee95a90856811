//! The workload `mainnet` against what was counted in blocks of mainnet (docs/WORKLOADS.md has the numbers
//! and the tolerances).

#[path = "workloads/chain.rs"]
mod chain;
mod common;

use alloy_primitives::{Address, U256, hex};
use braid_evm::Status;
use braid_profiles::limit::{Dependencies, Nonces, trace};
use braid_work::Workload;
use chain::{Chain, argument};
use common::{engine, schedule_seeds};
use revm::context::TxEnv;
use std::collections::{BTreeMap, BTreeSet};

/// As many transactions as the sample of June 2026 has.
const TXS: usize = 3000;
/// What is known of an era. Shares are of all transactions.
struct Facts {
    era: &'static str,
    /// plain, transfer, transferFrom, approve, router, other, create
    classes: [f64; 7],
    /// Types 0 to 4.
    types: [f64; 5],
    exactly_21000: f64,
    again: f64,
    largest: f64,
    zipf: f64,
    hottest: f64,
    top_three: f64,
    failing: f64,
    /// Bytes of calldata, where there is any: quartiles.
    calldata: [f64; 3],
}

const FACTS: [Facts; 2] = [
    Facts {
        era: "2022",
        classes: [0.391, 0.138, 0.124, 0.028, 0.040, 0.277, 0.001],
        types: [0.09, 0.002, 0.91, 0.0, 0.0],
        exactly_21000: 0.389,
        again: 0.19,
        largest: 0.14,
        zipf: 1.15,
        hottest: 0.22,
        top_three: 0.39,
        failing: 0.028,
        calldata: [68.0, 100.0, 260.0],
    },
    Facts {
        era: "2026",
        classes: [0.487, 0.249, 0.008, 0.031, 0.030, 0.193, 0.002],
        types: [0.16, 0.002, 0.83, 0.004, 0.008],
        exactly_21000: 0.487,
        again: 0.10,
        largest: 0.04,
        zipf: 1.08,
        hottest: 0.24,
        top_three: 0.42,
        failing: 0.028,
        calldata: [68.0, 68.0, 324.0],
    },
];

fn run(text: &str) -> Chain {
    let workload: Workload = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Chain::run(&workload, &mut engine("serial", 1))
}

fn share(chain: &Chain, is: impl Fn(&TxEnv) -> bool) -> f64 {
    let txs = &chain.case.input.txs;
    txs.iter().filter(|tx| is(tx)).count() as f64 / txs.len() as f64
}

/// The class by `to` and selector, as in the facts.
fn class(tx: &TxEnv) -> usize {
    let selectors: [[u8; 4]; 4] = [hex!("a9059cbb"), hex!("23b872dd"), hex!("095ea7b3"), hex!("38ed1739")];
    match tx.data.get(..4) {
        _ if tx.kind.is_create() => 6,
        None => 0,
        Some(selector) => selectors.iter().position(|one| one == selector).map_or(5, |at| at + 1),
    }
}

/// Whether a transaction was made to fail.
fn must_fail(tx: &TxEnv, time: U256) -> bool {
    let huge = |index| argument(&tx.data, index) >= U256::from(1) << 127;
    match class(tx) {
        1 => huge(1),
        2 => huge(2),
        4 => argument(&tx.data, 1) > argument(&tx.data, 0),
        5 if tx.data.len() > 68 => argument(&tx.data, 5) < time,
        _ => false,
    }
}

fn near(what: &str, is: f64, should: f64, tolerance: f64) {
    assert!((is - should).abs() <= tolerance, "{what} is {is:.4}, should be {should} +- {tolerance}");
}

fn quantile(values: &[u64], at: f64) -> f64 {
    values[((values.len() - 1) as f64 * at) as usize] as f64
}

/// How often each `to` is called, most often first.
fn popularity(chain: &Chain) -> Vec<f64> {
    let mut counts = BTreeMap::<Address, f64>::new();
    for to in chain.case.input.txs.iter().filter_map(|tx| tx.kind.to()) {
        *counts.entry(*to).or_default() += 1.0;
    }
    let mut counts: Vec<f64> = counts.into_values().collect();
    counts.sort_by(|one, other| other.total_cmp(one));
    counts
}

/// Exponent of the first hundred ranks: the slope of a least squares line through logarithms.
fn exponent(counts: &[f64]) -> f64 {
    let points: Vec<(f64, f64)> =
        counts.iter().take(100).zip(1..).map(|(count, rank)| (f64::from(rank).ln(), count.ln())).collect();
    let count = points.len() as f64;
    let [x, y] = points.iter().fold([0.0, 0.0], |[a, b], (x, y)| [a + x / count, b + y / count]);
    let covariance: f64 = points.iter().map(|(px, py)| (px - x) * (py - y)).sum();
    -covariance / points.iter().map(|(px, _)| (px - x).powi(2)).sum::<f64>()
}

#[test]
fn statistics_are_those_of_mainnet() {
    for facts in &FACTS {
        for seed in schedule_seeds(2) {
            let text = format!("mainnet?txs={TXS}&era={}&seed={seed}", facts.era);
            eprintln!("{text}");
            check(facts, &run(&text));
        }
    }
}

fn check(facts: &Facts, chain: &Chain) {
    let names = ["plain", "transfer", "transferFrom", "approve", "router", "other", "create"];
    for (index, name) in names.iter().enumerate() {
        near(name, share(chain, |tx| class(tx) == index), facts.classes[index], 0.03);
    }
    for (index, should) in facts.types.iter().enumerate() {
        near(&format!("type {index}"), share(chain, |tx| usize::from(tx.tx_type) == index), *should, 0.02);
    }
    let mut senders = BTreeMap::<Address, f64>::new();
    let again = chain.case.input.txs.iter().filter(|tx| {
        let count = senders.entry(tx.caller).or_default();
        *count += 1.0;
        *count > 1.0
    });
    near("senders again", again.count() as f64 / TXS as f64, facts.again, 0.02);
    let largest = senders.values().copied().fold(0.0, f64::max);
    near("largest sender", largest / TXS as f64, facts.largest, 0.02);
    let counts = popularity(chain);
    near("Zipf exponent", exponent(&counts), facts.zipf, 0.12);
    near("hottest", counts[0] / TXS as f64, facts.hottest, 0.05);
    near("hottest three", counts[..3].iter().sum::<f64>() / TXS as f64, facts.top_three, 0.07);
    let mut calldata: Vec<u64> = chain.case.input.txs.iter().map(|tx| tx.data.len() as u64).collect();
    calldata.retain(|length| *length > 0);
    calldata.sort_unstable();
    for (at, should) in [0.25, 0.5, 0.75].into_iter().zip(facts.calldata) {
        near(&format!("calldata {at}"), quantile(&calldata, at), should, should / 4.0);
    }
    results(facts, chain);
}

fn results(facts: &Facts, chain: &Chain) {
    let results = &chain.block.results;
    let exact = results.iter().filter(|result| result.gas_used == 21_000).count();
    near("exactly 21000", exact as f64 / TXS as f64, facts.exactly_21000, 0.03);
    let time = chain.case.input.env.timestamp;
    let mut failed = 0;
    for (index, (tx, result)) in chain.case.input.txs.iter().zip(results).enumerate() {
        let fails = result.status != Status::Success;
        assert_eq!(fails, must_fail(tx, time), "{}: transaction {index}: {result:?}", chain.case.name);
        failed += usize::from(fails);
    }
    near("failing", failed as f64 / TXS as f64, facts.failing, 0.01);
    let mut gas: Vec<u64> = results.iter().map(|result| result.gas_used).collect();
    gas.sort_unstable();
    let mean = gas.iter().sum::<u64>() as f64 / TXS as f64;
    let quantiles: Vec<f64> = [0.25, 0.5, 0.75, 0.9, 0.95, 0.99].map(|at| quantile(&gas, at)).into();
    eprintln!("gas {quantiles:?}, mean {mean}");
    // Counted in June 2022 only.
    if facts.era == "2022" {
        let should = [21_000.0, 41_321.0, 58_910.0, 153_872.0, 213_925.0, 452_610.0];
        for (is, should) in quantiles.iter().zip(should) {
            near("gas", *is, should, should * 0.2);
        }
        near("mean gas", mean, 73_594.0, 73_594.0 * 0.15);
    }
}

#[test]
fn a_block_of_so_much_gas_uses_about_that() {
    for era in ["2022", "2026"] {
        let chain = run(&format!("mainnet?gas=150000000&era={era}"));
        let gas: u64 = chain.block.results.iter().map(|result| result.gas_used).sum();
        near(era, gas as f64, 150e6, 15e6);
    }
}

/// Over blocks of the usual size, since what depends on what depends on it. Balances commute.
#[test]
fn dependencies_are_as_many_as_in_the_median_block() {
    for era in ["2022", "2026"] {
        let (mut dependent, mut chains) = (Vec::new(), Vec::new());
        for seed in schedule_seeds(9) {
            let text = format!("mainnet?era={era}&seed={seed}");
            let case = text.parse::<Workload>().unwrap().generate().unwrap();
            let block = trace(&case.input, case.state().unwrap()).unwrap();
            let edges = Dependencies::new(&block, Nonces::Chained);
            let needing = edges.on.iter().filter(|needed| !needed.is_empty()).count();
            dependent.push((needing * 1000 / block.len()) as u64);
            chains.push(edges.span(&vec![1; block.len()]));
        }
        dependent.sort_unstable();
        chains.sort_unstable();
        eprintln!("{era}: dependent per thousand {dependent:?}, longest chains {chains:?}");
        // Over all eras, the quartiles are .14, .23, .50 and 6, 13, 33.
        near("dependent", dependent[4] as f64 / 1000.0, 0.23, 0.06);
        assert!((6..=33).contains(&chains[4]), "{chains:?}");
    }
}

/// Accounts that are paid, and that pay, exist once: no two roles share an address by accident.
#[test]
fn senders_are_people() {
    let chain = run("mainnet?txs=500&seed=3");
    let callees: BTreeSet<_> = chain
        .case
        .input
        .txs
        .iter()
        .filter(|tx| !tx.data.is_empty())
        .filter_map(|tx| tx.kind.to().copied())
        .collect();
    assert!(chain.case.input.txs.iter().all(|tx| !callees.contains(&tx.caller)));
}
