//! The example is what it says.

#[path = "../examples/reth.rs"]
#[allow(dead_code)]
mod reth;

#[test]
fn generated_blocks() {
    let factory = reth::parallel(2);
    for workload in ["erc20?txs=300", "transfers?txs=300&accounts=10", "transfers?txs=1"] {
        let block = reth::generated(workload).unwrap();
        let used = reth::compare(&factory, &block).unwrap();
        assert_eq!(used, 2 * block.size() as u64, "{workload}");
    }
}
