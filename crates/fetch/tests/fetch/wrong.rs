//! Nodes that answer, wrongly. Whatever they say, no case comes of it, and the error names block and
//! check.

use crate::{
    NODE, Temp, assert_fetched,
    chain::FIRST,
    error_of, fetch,
    node::{Node, NodeBlock},
    serve,
    server::Server,
};
use alloy_primitives::{Address, Bytes};
use braid_fetch::Method;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The chain with its first block changed.
fn changed(change: impl Fn(&mut NodeBlock)) -> Node {
    let mut node = NODE.clone();
    change(node.blocks.get_mut(&FIRST).expect("the first block"));
    node
}

/// Fetches the first block from `node`; kind and check of the error. No case may come of it.
#[track_caller]
fn refused(node: Node, method: Method) -> (&'static str, Option<&'static str>, String) {
    let (server, out) = (serve(node), Temp::new());
    let error = error_of(&fetch(&server, &out, &FIRST.to_string(), method));
    assert!(out.names().is_empty(), "{:?}: {error}", out.names());
    let text = error.to_string();
    (error.kind(), error.check(), text)
}

#[track_caller]
fn refused_for(check: &str, method: Method, change: impl Fn(&mut NodeBlock)) {
    let (kind, failed, text) = refused(changed(change), method);
    assert_eq!((kind, failed), ("check", Some(check)), "{text}");
    assert!(text.contains(&FIRST.to_string()), "the block is named: {text}");
}

#[test]
fn wrong_blocks() {
    for (field, value) in [
        ("gasUsed", "0x1"),
        ("stateRoot", "0x1111111111111111111111111111111111111111111111111111111111111111"),
        ("timestamp", "0x69600001"),
        ("extraData", "0x00"),
        ("miner", "0x0000000000000000000000000000000000000001"),
    ] {
        refused_for("header_hash", Method::Auto, |node| node.block[field] = json!(value));
    }
    refused_for("transactions_root", Method::Auto, |node| {
        node.block["transactions"].as_array_mut().expect("transactions").swap(0, 3);
    });
    refused_for("transactions_root", Method::Auto, |node| {
        node.block["transactions"].as_array_mut().expect("transactions").pop();
    });
    refused_for("withdrawals_root", Method::Auto, |node| {
        node.block["withdrawals"][0]["amount"] = json!("0x8");
    });
    let sender = refused(changed(|node| node.block["transactions"][0]["value"] = json!("0x1")), Method::Auto);
    assert_eq!(sender.0, "unusable", "another value has another signer: {}", sender.2);
    for (field, value) in [("number", json!("0x5")), ("transactions", json!(["0x00"])), ("hash", Value::Null)]
    {
        let (kind, _, text) = refused(changed(|node| node.block[field] = value.clone()), Method::Auto);
        assert_eq!(kind, "answer", "{text}");
    }
    let mut none = NODE.clone();
    none.blocks.remove(&FIRST);
    none.headers.remove(&FIRST);
    assert_eq!(refused(none, Method::Auto).0, "no_block");
}

#[test]
fn wrong_receipts() {
    refused_for("receipts_root", Method::Auto, |node| node.receipts[1]["status"] = json!("0x0"));
    refused_for("gas_used", Method::Auto, |node| {
        let last = node.receipts.as_array().expect("receipts").len() - 1;
        node.receipts[last]["cumulativeGasUsed"] = json!("0x1");
    });
    refused_for("receipts_root", Method::Auto, |node| {
        node.receipts[2]["logs"][0]["address"] = json!(Address::ZERO);
    });
    // Without any, the header has to do, and does.
    for receipts in [Value::Null, json!([{ "root": "0x", "cumulativeGasUsed": "0x1", "logs": [] }])] {
        let (server, out) = (serve(changed(|node| node.receipts.clone_from(&receipts))), Temp::new());
        assert_fetched(&fetch(&server, &out, &FIRST.to_string(), Method::Auto), 1);
    }
}

/// The traced account of the first transaction that touches `of`.
fn traced(node: &mut NodeBlock, of: Address) -> &mut Value {
    let traces = node.traces.as_array_mut().expect("traces");
    let found = traces.iter_mut().find(|trace| trace["result"].get(of.to_string()).is_some());
    &mut found.expect("a trace")["result"][of.to_string()]
}

fn first_sender(node: &NodeBlock) -> Address {
    serde_json::from_value(node.block["transactions"][0]["from"].clone()).expect("a sender")
}

#[test]
fn wrong_prestates() {
    let busy = Address::repeat_byte(0xc0);
    for (field, value) in [("balance", json!("0x1")), ("nonce", json!(9)), ("code", json!("0x6001"))] {
        refused_for("execution", Method::Prestate, |node| {
            let sender = first_sender(node);
            traced(node, sender)[field] = value.clone();
        });
    }
    // Other code, no code, or a count from zero (which costs more gas).
    for (field, value) in
        [("code", json!("0x00")), ("code", Value::Null), ("storage", json!({ "0x00": "0x00" }))]
    {
        let (kind, check, text) =
            refused(changed(|node| traced(node, busy)[field] = value.clone()), Method::Prestate);
        assert_eq!(kind, "check", "{text}");
        assert!(matches!(check, Some("gas_used" | "receipts_root" | "execution")), "{text}");
    }
    for traces in
        [json!([]), json!([{ "txHash": null, "error": "timeout" }]), json!({}), Value::Null, json!("x")]
    {
        let (kind, _, text) = refused(changed(|node| node.traces = traces.clone()), Method::Prestate);
        assert_eq!(kind, "answer", "{text}");
    }
    let (kind, _, text) = refused(
        changed(|node| {
            node.traces.as_array_mut().expect("traces").swap(0, 1);
        }),
        Method::Prestate,
    );
    assert_eq!(kind, "answer", "{text}");
}

#[test]
fn wrong_witnesses() {
    let witness = |node: &mut NodeBlock| node.witness.clone().expect("a witness");
    // Every node and every code is needed or not; none can be wrong unnoticed.
    let nodes =
        NODE.blocks[&FIRST].witness.as_ref().expect("a witness")["state"].as_array().expect("nodes").len();
    assert!(nodes > 10);
    let mut refused_nodes = 0;
    for index in 0..nodes {
        let node = changed(|node| {
            let mut wrong = witness(node);
            let rlp: Bytes = serde_json::from_value(wrong["state"][index].clone()).expect("bytes");
            let mut rlp = rlp.to_vec();
            *rlp.last_mut().expect("a byte") ^= 1;
            wrong["state"][index] = json!(Bytes::from(rlp));
            node.witness = Some(wrong);
        });
        let (server, out) = (serve(node), Temp::new());
        let summary = fetch(&server, &out, &FIRST.to_string(), Method::Witness);
        // A node on no way that the block goes is not needed.
        if crate::fetched(&summary) == 0 {
            let error = error_of(&summary);
            let missing = error.kind() == "incomplete" || error.check() == Some("state_root");
            assert!(missing && out.names().is_empty(), "{error}");
            refused_nodes += 1;
        }
    }
    assert!(refused_nodes >= 10, "{refused_nodes} of {nodes} nodes mattered");
    let (kind, _, text) = refused(
        changed(|node| node.witness = Some(json!({ "state": [], "codes": [], "headers": [] }))),
        Method::Witness,
    );
    assert_eq!(kind, "incomplete", "{text}");
    for answer in
        [json!(5), json!({ "state": "0x" }), json!({ "state": ["0xzz"] }), json!({ "headers": ["0xc0"] })]
    {
        let (kind, _, text) = refused(changed(|node| node.witness = Some(answer.clone())), Method::Witness);
        assert_eq!(kind, "answer", "{text}");
    }
}

#[test]
fn an_incomplete_witness_is_replaced_by_the_prestate() {
    let node = changed(|node| node.witness = Some(json!({ "state": [], "codes": [], "headers": [] })));
    let (server, out) = (serve(node), Temp::new());
    let summary = fetch(&server, &out, &FIRST.to_string(), Method::Auto);
    assert_fetched(&summary, 1);
    assert_eq!(summary.blocks[0].method.as_deref(), Some("prestate"));
    let why = summary.blocks[0].without_witness.clone().unwrap_or_default();
    assert!(why.contains("incomplete"), "{why}");
}

#[test]
fn another_chain() {
    let (kind, check, text) = refused(Node { chain_id: 17_000, ..NODE.clone() }, Method::Prestate);
    assert_eq!((kind, check), ("check", Some("execution")), "{text}");
    assert_eq!(refused(Node { chain_id: 5_000_000_000, ..NODE.clone() }, Method::Auto).0, "unusable");
}

#[test]
fn a_block_that_does_not_follow_the_case_before_it() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    assert_fetched(&fetch(&server, &out, &FIRST.to_string(), Method::Auto), 1);
    let meta_file = out.0.join(FIRST.to_string()).join("meta.json");
    let meta = std::fs::read_to_string(&meta_file).expect("meta");
    let hash = NODE.blocks[&FIRST].block["hash"].as_str().expect("a hash");
    std::fs::write(&meta_file, meta.replace(hash, &format!("0x{}", "11".repeat(32)))).expect("a file");
    let error = error_of(&fetch(&server, &out, &(FIRST + 1).to_string(), Method::Auto));
    assert_eq!(error.check(), Some("parent"), "{error}");
}

#[test]
fn a_block_that_changes_while_it_is_fetched_is_fetched_anew() {
    // At first the node tells another hash of the block than later: as in a reorganisation.
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let out = Temp::new();
    let server = Server::new(
        move |method, params| {
            let mut answer = NODE.answer(method, params)?;
            let full = method == "eth_getBlockByNumber" && params[1] == json!(true);
            if full && counter.fetch_add(1, Ordering::SeqCst) == 0 {
                answer["hash"] = json!(format!("0x{}", "22".repeat(32)));
            }
            Ok(answer)
        },
        |_, _| None,
    );
    assert_fetched(&fetch(&server, &out, &FIRST.to_string(), Method::Auto), 1);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
