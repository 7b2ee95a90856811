//! Real blocks, where the data is there: the node's answers are made from the cases' own files.

use crate::{
    Temp, fetch,
    node::{Node, NodeBlock, receipts, traces, tx_hashes},
    serve,
    trips::run_everywhere,
};
use alloy_consensus::Header;
use braid_core::Control;
use braid_fetch::{Method, Outcome};
use braid_profiles::{Engine, LeanEngine};
use braid_work::Case;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

/// Largest block that the tests take, in transactions: they are about forms, not about size.
const MAX_TXS: usize = 250;

fn json_of(path: &Path) -> Value {
    let packed = std::fs::read(path).expect("a file");
    serde_json::from_slice(&zstd::decode_all(packed.as_slice()).expect("zstd")).expect("JSON")
}

/// The block in `folder` as a node has it; `parent` is its parent's header, if there is one.
fn block(folder: &Path, case: &Case, parent: Option<&Header>) -> NodeBlock {
    let block = json_of(&folder.join("block.json.zst"));
    let pre = case.state().expect("a state").clone();
    let ran = LeanEngine.execute(&case.input, &pre, &Control::default());
    let done = ran.unwrap_or_else(|error| panic!("{}: {error}", case.name)).into_block(&pre);
    let witness = case.expect.witness.as_ref().zip(parent).map(|(witness, parent)| {
        let codes = pre.store.iter().filter_map(|(_, value)| match value {
            braid_evm::EvmValue::Code(code) => Some(code.original_bytes()),
            _ => None,
        });
        let header = alloy_primitives::Bytes::from(alloy_rlp::encode(parent));
        json!({ "state": witness.nodes, "codes": codes.collect::<Vec<_>>(), "headers": [header] })
    });
    let traces = traces(&case.input, &pre, &tx_hashes(&block));
    NodeBlock { receipts: receipts(&done), witness, traces, pre, block }
}

#[test]
fn real_blocks_by_prestate() {
    let Some(data) = braid_testkit::data() else { return };
    let (mut blocks, mut numbers) = (BTreeMap::new(), Vec::new());
    for source in braid_work::load(&data.join("ethereum/mainnet")).expect("cases") {
        let folder = source.path.clone().expect("a folder");
        let case = source.load().expect("a case");
        // Headers of ancestors are not in the data, and uncles not in the cases.
        let has_hashes = folder.join("block_hashes.json").exists();
        if has_hashes || case.input.txs.len() > MAX_TXS || case.input.env.number.is_zero() {
            continue;
        }
        let number = u64::try_from(case.input.env.number).expect("a number");
        blocks.insert(number, block(&folder, &case, None));
        numbers.push(number.to_string());
    }
    assert!(numbers.len() > 20, "only {} blocks", numbers.len());
    let (server, out) = (serve(Node { chain_id: 1, blocks, headers: BTreeMap::new() }), Temp::new());
    let summary = fetch(&server, &out, &numbers.join(","), Method::Auto);
    for block in &summary.blocks {
        assert_eq!(block.outcome, Outcome::Fetched, "{block:#?}");
    }
    assert_eq!((summary.blocks.len(), &summary.stopped), (numbers.len(), &None));
    run_everywhere(&out.0);
    let full = summary.blocks.iter().filter(|block| block.scope.as_deref() == Some("full_block")).count();
    eprintln!("{} real blocks, {full} of them as full blocks, {} calls", numbers.len(), summary.calls);
}

#[test]
fn a_real_block_by_witness() {
    let Some(data) = braid_testkit::data() else { return };
    // The one block with a witness whose parent's header is in the data.
    let folder = data.join("ethereum/mainnet/1150000");
    let load = |path: &Path| braid_work::load(path).expect("a case")[0].load().expect("a case that loads");
    let parent = load(&data.join("ethereum/mainnet/1149999")).header.expect("a header");
    let case = load(&folder);
    let blocks = BTreeMap::from([(1_150_000, block(&folder, &case, Some(&parent)))]);
    let (server, out) = (serve(Node { chain_id: 1, blocks, headers: BTreeMap::new() }), Temp::new());
    let summary = fetch(&server, &out, "1150000", Method::Witness);
    assert_eq!(summary.blocks[0].outcome, Outcome::Fetched, "{summary:#?}");
    let root = summary.blocks[0].checks.iter().find(|(name, _)| name == "state_root");
    assert_eq!(root.map(|(_, held)| *held), Some(Some(true)));
    run_everywhere(&out.0);
}
