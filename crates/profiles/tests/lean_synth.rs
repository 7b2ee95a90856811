//! lean on generated workloads: every transaction does what it is meant to do.

use braid_core::Control;
use braid_evm::{ExecutedBlock, Status};
use braid_profiles::{Engine, LeanEngine};
use braid_work::{Case, sample, sources};

fn run(case: &Case) -> ExecutedBlock {
    let pre = case.state().expect("a generated state");
    let done = LeanEngine.execute(&case.input, pre, &Control::default());
    done.unwrap_or_else(|error| panic!("{}: {error}", case.name)).into_block(pre)
}

#[test]
fn every_transaction_of_the_sample_succeeds() {
    // That some fail is part of `mainnet`, and tested with it.
    for source in sample().into_iter().filter(|source| !source.name.starts_with("mainnet")) {
        let case = source.load().expect("a workload within limits");
        let done = run(&case);
        assert_eq!(done.results.len(), case.input.txs.len());
        for (tx, result) in done.results.iter().enumerate() {
            assert_eq!(result.status, Status::Success, "{} transaction {tx}: {result:?}", case.name);
        }
    }
}

#[test]
fn token_calls_emit_one_event_each_and_move_balances() {
    let source = sources("erc20?txs=200&holders=10&tokens=2&hot=50&seed=3").expect("a workload");
    let case = source[0].load().expect("a workload within limits");
    let done = run(&case);
    assert!(done.results.iter().all(|result| result.logs.len() == 1));
    let tokens = done.diff.values().filter(|diff| !diff.storage.is_empty()).count();
    assert_eq!(tokens, 2);
}
