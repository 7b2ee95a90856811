//! The tracer against real blocks, of which the data says how long their chains are by another method.

use braid_profiles::limit::{Dependencies, Nonces, trace};
use braid_testkit::data;

/// Longest chains in transactions, as recorded with a block: with the account record as one location,
/// and with balances that commute.
fn recorded(folder: &std::path::Path) -> Option<(u64, u64)> {
    let meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("meta.json")).ok()?).ok()?;
    let of = |name: &str| meta["dependency"].get(name).or_else(|| meta.get(name))?.as_u64();
    Some((of("longest_chain_txs")?, of("longest_chain_txs_commutative_balances")?))
}

#[test]
fn chains_of_real_blocks_are_those_on_record() {
    let Some(data) = data() else { return };
    let mut compared = 0;
    for source in braid_work::load(&data.join("ethereum/mainnet")).unwrap() {
        let Some((records, commutative)) = source.path.as_deref().and_then(recorded) else { continue };
        let case = source.load().unwrap();
        let traced = trace(&case.input, case.state().unwrap()).unwrap();
        let unit = vec![1; traced.len()];
        let chained = Dependencies::new(&traced, Nonces::Chained).span(&unit);
        let predicted = Dependencies::new(&traced, Nonces::Predicted).span(&unit);
        let name = &source.name;
        assert!(predicted <= chained, "{name}: {predicted} with predicted nonces, {chained} without");
        assert!(chained <= records, "{name}: {chained}, with whole records {records}");
        // The record misses an observed BALANCE, and has an edge where a sender was paid before.
        assert!(chained.abs_diff(commutative) <= 2, "{name}: {chained}, on record {commutative}");
        compared += 1;
    }
    assert!(compared >= 40, "only {compared} blocks compared");
}
