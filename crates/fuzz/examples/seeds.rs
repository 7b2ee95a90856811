//! Writes the part of the corpus that is made by hand: `cargo run --package braid-fuzz --example seeds`.
//! The same bytes each time; files that fuzzing found stand beside them.

use alloy_consensus::{
    Block, BlockBody, EthereumTxEnvelope, Header, SignableTransaction, TxEip1559, TxEip2930, TxEip4844,
    TxEip7702, TxLegacy,
};
use alloy_eips::{
    eip2718::Encodable2718,
    eip2930::{AccessList, AccessListItem},
    eip4895::Withdrawal,
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Signature, TxKind, U256, hex, keccak256};
use braid_testkit::Rng;
use std::{fs, path::Path};

type Tx = EthereumTxEnvelope<TxEip4844>;

fn put(target: &str, name: &str, data: impl AsRef<[u8]>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), data).expect("a written file");
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../work/tests/fixtures");
    fs::read(folder.join(name)).expect(name)
}

fn main() {
    files();
    texts();
    let txs = transactions();
    for (name, tx) in &txs {
        put("tx_rlp", name, tx.encoded_2718());
    }
    blocks(txs.into_iter().map(|(_, tx)| tx).collect());
    tries();
    stored();
    for (name, list) in braid_fuzz::access_lists() {
        put("access_list", name, list);
    }
    // Choices: short and long, of which a seed makes the bytes.
    for (target, most) in [("random_blocks", 1500), ("random_schedules", 400), ("trie_ops", 300)] {
        let mut rng = Rng::new(1);
        for n in 0..24 {
            let length = most / 24 * (n + 1);
            let bytes: Vec<u8> = (0..length).map(|_| rng.bits() as u8).collect();
            put(target, &format!("seed-{n:02}"), bytes);
        }
        put(target, "nothing", []);
    }
}

/// Archives of blocks, snapshots, and the records of one.
fn stored() {
    let entry = |kind: u16, data: &[u8]| {
        [&kind.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), &[0, 0], data].concat()
    };
    let packed = |data: &[u8]| {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        std::io::Write::write_all(&mut encoder, data).expect("compression");
        encoder.into_inner().expect("compression")
    };
    let archive = |first: u64, count: u64, body: &[u8]| {
        let mut bytes = entry(0x3265, &[]);
        for number in first..first + count {
            let header = Header { number, ..Header::default() };
            bytes.extend(entry(3, &packed(&alloy_rlp::encode(header))));
            bytes.extend([entry(4, &packed(body)), entry(5, &packed(&[0xc0])), entry(6, &[0; 32])].concat());
        }
        let offsets = vec![0; 8 * count as usize];
        bytes.extend(entry(0x3266, &[&first.to_le_bytes()[..], &offsets, &count.to_le_bytes()].concat()));
        bytes
    };
    put("era1", "three", archive(1, 3, &[0xc2, 0xc0, 0xc0]));
    put("era1", "one", archive(8192, 1, &[0xc3, 0xc0, 0xc0, 0xc0]));
    put("era1", "not-blocks", archive(1, 1, &[0xc1, 0x80]));
    put("era1", "last", archive(u64::MAX - 1, 1, &[0xc2, 0xc0, 0xc0]));
    put("era1", "nothing", []);

    use braid_db::{SnapshotBlock, SnapshotHeader, SnapshotItem, encode_snapshot};
    let code = alloy_primitives::Bytes::from_static(b"code");
    let account = |nonce, code_hash| alloy_trie::TrieAccount {
        nonce,
        balance: U256::from(nonce) << 70,
        code_hash,
        ..alloy_trie::TrieAccount::default()
    };
    let hash = keccak256(&code);
    let items = [
        SnapshotItem::Account { key: B256::ZERO, account: account(0, keccak256([])) },
        SnapshotItem::Account { key: B256::repeat_byte(1), account: account(1, hash) },
        SnapshotItem::Slot { key: B256::ZERO, value: U256::ONE },
        SnapshotItem::Slot { key: B256::repeat_byte(2), value: U256::MAX },
        SnapshotItem::Account { key: B256::repeat_byte(3), account: account(u64::MAX, hash) },
        SnapshotItem::Code { hash, code },
    ];
    let header = SnapshotHeader { version: 9, root: B256::repeat_byte(9) };
    for (name, count) in [("empty", 0), ("accounts", 2), ("whole", items.len())] {
        let mut bytes = Vec::new();
        encode_snapshot(&mut bytes, header, items[..count].iter().cloned()).expect("a snapshot");
        // Its only part: after header and lengths, up to the end.
        if count > 0 {
            let length = u32::from_le_bytes(bytes[64..68].try_into().expect("four bytes")) as usize;
            let records = zstd::decode_all(&bytes[72..72 + length]).expect("a part");
            put("snapshot", &format!("{name}-records"), records);
        }
        put("snapshot", name, bytes);
    }
    // The blocks of version 1, as the target has it of records without a header, with an ommer.
    let ommers = vec![Header::default()];
    let ommers_hash = alloy_consensus::proofs::calculate_ommers_root(&ommers);
    let genesis = Header { state_root: B256::ZERO, difficulty: U256::from(9), ..Header::default() };
    let first = Header { number: 1, parent_hash: genesis.hash_slow(), ommers_hash, ..genesis.clone() };
    let total_difficulty = U256::from(9);
    let blocks = [
        SnapshotBlock { header: genesis, total_difficulty, ommers: Vec::new() },
        SnapshotBlock { header: first, total_difficulty: U256::from(18), ommers },
    ];
    let blocks = blocks.map(|block| SnapshotItem::Block(Box::new(block)));
    let mut bytes = Vec::new();
    let header = SnapshotHeader { version: 1, root: B256::ZERO };
    encode_snapshot(&mut bytes, header, blocks.into_iter().chain(items)).expect("a snapshot");
    let length = u32::from_le_bytes(bytes[64..68].try_into().expect("four bytes")) as usize;
    put("snapshot", "blocks-records", zstd::decode_all(&bytes[72..72 + length]).expect("a part"));
    put("snapshot", "blocks", bytes);
}

fn files() {
    let block = fixture("50000/block.json");
    put("block_file", "block", &block);
    put("case_block", "block", &block);
    let text = String::from_utf8(block.clone()).expect("text");
    let json: serde_json::Value = serde_json::from_str(&text).expect("a block");
    let receipt = r#"[{"status":"0x1","cumulativeGasUsed":"0x5208","logs":[{"address":"0x00000000000000000000000000000000000000aa","topics":["0x0000000000000000000000000000000000000000000000000000000000000001"],"data":"0x01"}]}]"#;
    let chain = format!(
        r#"[{{"hash":{},"header":{json},"transactions":{},"receipts":{receipt}}}]"#,
        json["hash"], json["transactions"]
    );
    put("block_file", "chain", chain);
    put("block_file", "nothing", "[]");
    put("zst_file", "block", zstd::encode_all(block.as_slice(), 19).expect("compression"));
    put(
        "zst_file",
        "two-frames",
        [zstd::encode_all(&block[..200], 1), zstd::encode_all(&block[200..], 1)]
            .map(|frame| frame.expect("compression"))
            .concat(),
    );
    put("zst_file", "zeros", zstd::encode_all(vec![b' '; 1 << 20].as_slice(), 19).expect("compression"));
    let prestate: serde_json::Value =
        serde_json::from_slice(&fixture("50000/pre_state.json")).expect("a state");
    let traced = format!(r#"[{{"txHash":{},"result":{prestate}}}]"#, json["transactions"][0]["hash"]);
    put(
        "rpc_answers",
        "prestate",
        format!(
            r#"{{"eth_chainId":"0x1","eth_blockNumber":"0xc351","eth_getBlockByNumber":{json},"debug_traceBlockByNumber":{traced},"eth_getBalance":"0x0","eth_getTransactionCount":"0x0","eth_getCode":"0x","eth_getStorageAt":"0x0"}}"#
        ),
    );
    put(
        "rpc_answers",
        "witness",
        format!(
            r#"{{"eth_chainId":"0x1","eth_getBlockByNumber":{json},"debug_executionWitness":{{"state":["0x80","0xc22001"],"codes":[],"headers":["0xc0"]}},"eth_getBlockReceipts":null}}"#
        ),
    );
    put("rpc_answers", "busy", r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32005,"message":"later"}}"#);
    put("rpc_answers", "page", "<html>no such page</html>");
    put("case_meta", "meta", fixture("50000/meta.json"));
    put(
        "case_meta",
        "full",
        r#"{"chain_id":1,"scope":"full_block","dao_drain":["0x00000000000000000000000000000000000000aa"]}"#,
    );
    put(
        "case_hashes",
        "hashes",
        format!(r#"{{"49999":"{}","49998":"{}"}}"#, B256::repeat_byte(1), B256::repeat_byte(2)),
    );
    put("case_pre_state", "pre", fixture("50000/pre_state.json"));
    let code = hex::encode_prefixed([0x60, 0, 0x54, 0x60, 1, 1, 0x60, 0, 0x55]);
    put(
        "case_pre_state",
        "code",
        format!(
            r#"{{"0xb1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1":{{"balance":"0x1","nonce":1,"code":"{code}","storage":{{"0x0":"0x5"}}}},"0xa349fdf0ea08c0bc90e9d1fce9d4233a74d00806":{{"balance":"0x29a2241af62c0000","nonce":0}}}}"#
        ),
    );
    put("case_post_state", "post", fixture("50000/post_state.json"));
    put(
        "case_post_state",
        "deleted",
        r#"{"0xb1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1":{"deleted":true},"0xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2":{"balance":"0x1","nonce":"0x1","created":true,"storage":{"0x1":"0x0"}}}"#,
    );
    put("case_new_codes", "codes", format!(r#"{{"{}":"0x6001"}}"#, keccak256([0x60, 1])));
    let leaf = hex::encode_prefixed([0xc2, 0x20, 0x01]);
    put(
        "case_witness",
        "witness",
        format!(r#"{{"pre_state_root":"{}","state":["{leaf}","0x80"]}}"#, keccak256([0xc2, 0x20, 0x01])),
    );
    put("env_block", "block", fixture("environment/block.json"));
    put("env_txs", "txs", fixture("environment/txs.json"));
    put("env_pre_state", "pre", fixture("environment/pre_state.json"));
}

fn texts() {
    for (name, text) in [
        ("transfers", "transfers?txs=5&accounts=7&hot=30&seed=9"),
        ("erc20", "erc20?txs=4&holders=9&tokens=3&hot=50"),
        ("hostile", "hostile?kind=cascade&txs=8&seed=2"),
        ("plain", "erc20"),
        ("swaps", "swaps?txs=9&pools=3&traders=5&zipf=1.25"),
        ("mainnet", "mainnet?txs=20&era=2022&seed=3"),
        ("orderbook", "orderbook?gas=500000&markets=2&cancels=50"),
    ] {
        put("workload", name, text);
    }
    for name in [
        "Prague",
        "BerlinToLondonAt5",
        "PragueToOsakaAtTime15k",
        "ArrowGlacierToParisAtDiffC0000",
        "BPO1ToBPO2AtTime15k",
    ] {
        put("network", name, name);
    }
    for (name, text) in [
        ("one", "5"),
        ("many", "1,4,9..=12,20..25"),
        ("newest", "-10..latest"),
        ("back", "latest-3..=latest"),
    ] {
        put("range", name, text);
    }
    put("endpoint", "plain", "http://127.0.0.1:8545/path?key=1");
    put("endpoint", "secret", "https://user:word@node.example:443\nAuthorization: Bearer x");
    tools();
    put("alloc", "genesis", fixture("environment/pre_state.json"));
    put(
        "alloc",
        "forms",
        r#"{"0x00000000000000000000000000000000000000aa":{"balance":"0x0","nonce":"0x1","code":"0xef010000000000000000000000000000000000000000bb","storage":{"0x00":"0x01","0x0000000000000000000000000000000000000000000000000000000000000002":"0x00"}},"0x00000000000000000000000000000000000000bb":{"balance":7}}"#,
    );
}

/// A transition and a state test, of a counter that is called.
fn tools() {
    let sender = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b";
    let key = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8";
    let counter = "0x00000000000000000000000000000000000000cc";
    let code = hex::encode_prefixed([0x60, 0, 0x54, 0x60, 1, 1, 0x60, 0, 0x55]);
    let alloc = format!(
        r#"{{"{sender}":{{"balance":"0x3635c9adc5dea00000","nonce":"0x0"}},"{counter}":{{"balance":"0x1","code":"{code}","storage":{{"0x00":"0x07"}}}}}}"#
    );
    let env = r#"{"currentCoinbase":"0x00000000000000000000000000000000000000bb","currentDifficulty":"0x0","currentGasLimit":"0x4c4b40","currentNumber":"0x5","currentTimestamp":"0x3e8","currentRandom":"0x1","currentBaseFee":"0x7","currentExcessBlobGas":"0x0","parentBeaconBlockRoot":"0x0000000000000000000000000000000000000000000000000000000000000001","withdrawals":[{"index":"0x0","validatorIndex":"0x1","address":"0x00000000000000000000000000000000000000dd","amount":"0x5"}],"ommers":[],"blockHashes":{"4":"0x0000000000000000000000000000000000000000000000000000000000000004"}}"#;
    let tx = |nonce: u64| {
        format!(
            r#"{{"type":"0x2","chainId":"0x1","nonce":"{nonce:#x}","to":"{counter}","gas":"0x186a0","maxFeePerGas":"0x10","maxPriorityFeePerGas":"0x1","value":"0x2","input":"0x","secretKey":"{key}"}}"#
        )
    };
    let input = |txs: &str| format!(r#"{{"alloc":{alloc},"env":{env},"txs":[{txs}]}}"#);
    put("t8n", "two", input(&format!("{},{}", tx(0), tx(1))));
    put("t8n", "gap", input(&format!("{},{},{}", tx(0), tx(7), tx(1))));
    put("t8n", "none", input(""));
    put("t8n", "rlp", format!(r#"{{"alloc":{alloc},"env":{env},"txsRlp":"0xc0"}}"#));
    let zero = B256::ZERO;
    let post = format!(
        r#"{{"hash":"{zero}","logs":"{zero}","indexes":{{"data":0,"gas":0,"value":0}}}},{{"hash":"{zero}","logs":"{zero}","indexes":{{"data":0,"gas":0,"value":1}},"expectException":"TransactionException.INSUFFICIENT_ACCOUNT_FUNDS"}}"#
    );
    let transaction = format!(
        r#"{{"data":["0x"],"gasLimit":["0x0186a0"],"gasPrice":"0x0a","nonce":"0x00","secretKey":"{key}","sender":"{sender}","to":"{counter}","value":["0x00","0x01"]}}"#
    );
    let state = format!(
        r#"{{"counter":{{"env":{env},"pre":{{"{counter}":{{"balance":"0x01","nonce":"0x00","code":"{code}","storage":{{"0x00":"0x07"}}}}}},"transaction":{transaction},"post":{{"Berlin":[{post}],"Prague":[{post}]}}}}}}"#
    );
    put("vectors", "state", &state);
    // A tar of one member: a header of 512 bytes (POSIX.1-1988, ustar), the content, two empty blocks.
    let mut header = [0u8; 512];
    header[..12].copy_from_slice(b"st/test.json");
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", state.len()).as_bytes());
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [&header[..], state.as_bytes()].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    put("archive", "tar", &tar);
    put("archive", "zst", zstd::encode_all(tar.as_slice(), 3).expect("compression"));
}

/// One of each type, signed by nobody: any signature that has the form of one has a sender.
fn transactions() -> Vec<(&'static str, Tx)> {
    let signature = Signature::new(U256::from(0x1234_5678_u64), U256::from(0x9abc_def0_u64), true);
    let to = Address::repeat_byte(0xaa);
    let access_list = AccessList(vec![AccessListItem {
        address: to,
        storage_keys: vec![B256::ZERO, B256::repeat_byte(1)],
    }]);
    let legacy = TxLegacy {
        chain_id: Some(1),
        nonce: 3,
        gas_price: 7,
        gas_limit: 50_000,
        to: TxKind::Call(to),
        value: U256::from(5),
        input: vec![1, 2, 3].into(),
    };
    let create = TxLegacy { chain_id: None, to: TxKind::Create, ..legacy.clone() };
    let listed = TxEip2930 {
        chain_id: 1,
        nonce: 4,
        gas_price: 7,
        gas_limit: 60_000,
        to: TxKind::Call(to),
        access_list: access_list.clone(),
        ..TxEip2930::default()
    };
    let dynamic = TxEip1559 {
        chain_id: 1,
        nonce: 5,
        gas_limit: 60_000,
        max_fee_per_gas: 9,
        max_priority_fee_per_gas: 2,
        to: TxKind::Create,
        input: vec![0x60].into(),
        ..TxEip1559::default()
    };
    let blob = TxEip4844 {
        chain_id: 1,
        gas_limit: 60_000,
        max_fee_per_gas: 9,
        to,
        blob_versioned_hashes: vec![B256::repeat_byte(1)],
        max_fee_per_blob_gas: 3,
        ..TxEip4844::default()
    };
    let inner = Authorization { chain_id: U256::from(1), address: to, nonce: 1 };
    let delegating = TxEip7702 {
        chain_id: 1,
        gas_limit: 90_000,
        max_fee_per_gas: 9,
        to,
        access_list,
        authorization_list: vec![SignedAuthorization::new_unchecked(inner, 1, U256::from(5), U256::from(6))],
        ..TxEip7702::default()
    };
    vec![
        ("legacy", legacy.into_signed(signature).into()),
        ("create", create.into_signed(signature).into()),
        ("listed", listed.into_signed(signature).into()),
        ("dynamic", dynamic.into_signed(signature).into()),
        ("blob", EthereumTxEnvelope::Eip4844(blob.into_signed(signature))),
        ("delegating", delegating.into_signed(signature).into()),
    ]
}

fn blocks(transactions: Vec<Tx>) {
    let header = Header {
        number: 5,
        timestamp: 1_000,
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(7),
        ..Header::default()
    };
    let old = Header { base_fee_per_gas: None, ..header.clone() };
    let modern = Header {
        withdrawals_root: Some(B256::ZERO),
        blob_gas_used: Some(131_072),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(B256::repeat_byte(4)),
        ..header.clone()
    };
    let withdrawal = Withdrawal { index: 1, validator_index: 2, address: Address::repeat_byte(3), amount: 4 };
    let all =
        |header: Header, withdrawals: Option<Vec<Withdrawal>>, ommers: Vec<Header>, transactions: Vec<Tx>| {
            alloy_rlp::encode(Block {
                header,
                body: BlockBody { transactions, ommers, withdrawals: withdrawals.map(Into::into) },
            })
        };
    put("block_rlp", "empty", all(header.clone(), None, Vec::new(), Vec::new()));
    put("block_rlp", "ommers", all(old.clone(), None, vec![old.clone(), header], transactions[..2].to_vec()));
    put("block_rlp", "modern", all(modern, Some(vec![withdrawal; 2]), Vec::new(), transactions));
}

/// Nodes as `witness_nodes` reads them: how many, then each after a third of its length, then operations.
fn tries() {
    let pad = |mut node: Vec<u8>| {
        node.resize(node.len().next_multiple_of(3), 0);
        node
    };
    // A leaf of the whole key 0x11.., which needs no padding: 2 + 1 + 33 + ... bytes.
    let leaf = |value: &[u8]| {
        let path = [&[0x20][..], &[0x11; 32]].concat();
        let mut payload = vec![0x80 + 33];
        payload.extend(path);
        payload.push(0x80 + value.len() as u8);
        payload.extend(value);
        [vec![0xf8, payload.len() as u8], payload].concat()
    };
    let one = leaf(&[0x55; 2]);
    assert!(one.len().is_multiple_of(3), "a node of {} bytes", one.len());
    let file = |nodes: &[Vec<u8>], ops: &[u8]| {
        let mut bytes = vec![nodes.len() as u8 - 1];
        for node in nodes {
            bytes.push((node.len() / 3) as u8);
            bytes.extend(node);
        }
        bytes.extend(ops);
        bytes
    };
    let ops = [0, 0x11, 2, 5, 0x12, 0, 7, 1, 4, 0x31, 1, 0, 0x11, 1];
    put("witness_nodes", "leaf", file(std::slice::from_ref(&one), &ops));
    // A branch of two hashes of the same later node; its children's keys are one nibble too long, or not.
    let mut branch = Vec::new();
    for child in 0..16 {
        match child {
            1 | 4 => branch.extend([&[0xa0][..], &[0; 32]].concat()),
            _ => branch.push(0x80),
        }
    }
    branch.push(0x80);
    let branch = [vec![0xf8, branch.len() as u8], branch].concat();
    put("witness_nodes", "branch", file(&[pad(branch.clone()), one.clone()], &ops));
    let extension = [vec![0xe4, 0x82, 0x00, 0x11], vec![0xa0], vec![0; 32]].concat();
    put("witness_nodes", "extension", file(&[pad(extension), pad(branch), one], &ops));
}
