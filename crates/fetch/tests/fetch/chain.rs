//! A made-up chain of a few blocks under Osaka rules: signed transactions, contracts created and called
//! in the same block, BLOCKHASH, withdrawals, system contracts; with real roots and whole tries.

use crate::{
    Temp,
    node::{Node, NodeBlock, receipts, traces, tx_hashes},
};
use alloy_consensus::{
    BlockHeader, Eip658Value, Header, Receipt, ReceiptEnvelope, SignableTransaction, Transaction, TxEip1559,
    TxEnvelope, TxReceipt, proofs,
};
use alloy_eips::{eip2935, eip4788, eip4895::Withdrawal, eip7002, eip7251, eip7685::Requests};
use alloy_primitives::{Address, B256, Bloom, Bytes, Signature, TxKind, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer};
use braid_core::Control;
use braid_evm::{BlockInput, EvmValue, ExecutedBlock, Status};
use braid_profiles::{Engine, LeanEngine};
use braid_work::{Alloc, AllocAccount};
use k256::ecdsa::SigningKey;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Number of the first block; the ones before are headers only.
pub(crate) const FIRST: u64 = 24_000_000;
/// Number of blocks.
pub(crate) const BLOCKS: u64 = 3;
const HEADERS: u64 = 6;
const TIME: u64 = 1_768_000_000;
const GWEI: u64 = 1_000_000_000;

/// Counts in slot 0, keeps the hash of the block three before in slot 1 and the code hash of the account
/// named by its input in slot 2, and logs.
const BUSY: [u8; 33] = [
    0x60, 0x00, 0x54, 0x60, 0x01, 0x01, 0x60, 0x00, 0x55, 0x60, 0x03, 0x43, 0x03, 0x40, 0x60, 0x01, 0x55,
    0x60, 0x00, 0x35, 0x3f, 0x60, 0x02, 0x55, 0x60, 0xaa, 0x60, 0x00, 0x60, 0x00, 0xa1, 0x00, 0x00,
];

/// Creation code of a contract with 7 in slot 5 and [`BUSY`] as its code, but for the last byte, which is
/// never run.
fn creation() -> Vec<u8> {
    let size = BUSY.len() as u8;
    let head = [
        0x60, 0x07, 0x60, 0x05, 0x55, 0x60, size, 0x60, 0x11, 0x60, 0x00, 0x39, 0x60, size, 0x60, 0x00, 0xf3,
    ];
    let mut code = [&head[..], &BUSY].concat();
    code.push(0xfe);
    code.remove(code.len() - 2);
    code
}

fn contract(number: u8) -> Address {
    Address::repeat_byte(0xc0 + number)
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number + 1; 32]).expect("a key")
}

fn sender(number: u8) -> Address {
    Address::from_private_key(&key(number))
}

fn genesis() -> Alloc {
    let with_code =
        |code: &[u8]| AllocAccount { nonce: 1, code: Bytes::copy_from_slice(code), ..Default::default() };
    let mut accounts: BTreeMap<Address, AllocAccount> = BTreeMap::new();
    for number in 0..6 {
        let balance = U256::from(10u128.pow(18)) * U256::from(number + 1);
        accounts.insert(sender(number), AllocAccount { balance, nonce: 3, ..Default::default() });
    }
    for (address, code) in [
        (eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE),
        (eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE),
        (eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE),
        (eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE),
    ] {
        accounts.insert(address, with_code(code));
    }
    let mut busy = with_code(&BUSY);
    busy.storage = BTreeMap::from([(U256::ZERO, U256::from(41)), (U256::from(9), U256::from(9))]);
    accounts.insert(contract(0), busy);
    // Its code is looked at by hash and never run.
    accounts.insert(contract(1), with_code(&[0x60, 0x01, 0x00]));
    Alloc(accounts)
}

/// Nonces go on from block to block.
fn txs(block: u64, nonces: &mut BTreeMap<u8, u64>) -> Vec<TxEnvelope> {
    let mut txs = Vec::new();
    let mut add = |from: u8, to: Option<Address>, value: u64, input: Vec<u8>| {
        let nonce = nonces.entry(from).or_insert(3);
        let tx = TxEip1559 {
            chain_id: 1,
            nonce: *nonce,
            gas_limit: if input.is_empty() { 21_000 } else { 400_000 },
            max_fee_per_gas: u128::from(5 * GWEI),
            max_priority_fee_per_gas: u128::from(GWEI),
            to: to.map_or(TxKind::Create, TxKind::Call),
            value: U256::from(value),
            input: input.into(),
            ..Default::default()
        };
        *nonce += 1;
        let signed = key(from).sign_prehash_recoverable(tx.signature_hash().as_slice()).expect("a signature");
        txs.push(TxEnvelope::from(tx.into_signed(Signature::from(signed))));
        sender(from).create(*nonce - 1)
    };
    let look_at = |address: Address| address.into_word().to_vec();
    add(0, Some(Address::repeat_byte(0x77 + block as u8)), 1000, Vec::new());
    let created = add(1, None, 0, creation());
    add(2, Some(created), 0, look_at(contract(1)));
    add(3, Some(contract(0)), 0, look_at(sender(4)));
    add(0, Some(contract(0)), 0, look_at(created));
    add(4, Some(sender(5)), 5, Vec::new());
    add(5, Some(eip2935::HISTORY_STORAGE_ADDRESS), 0, U256::from(FIRST + block - 1).to_be_bytes_vec());
    txs
}

fn rpc_tx(tx: &TxEnvelope, from: Address) -> Value {
    let signature = tx.signature();
    let input = tx.input().clone();
    json!({
        "hash": tx.tx_hash(), "type": "0x2", "from": from, "chainId": "0x1", "nonce": U256::from(tx.nonce()),
        "gas": U256::from(tx.gas_limit()), "gasPrice": U256::from(tx.max_fee_per_gas()),
        "maxFeePerGas": U256::from(tx.max_fee_per_gas()),
        "maxPriorityFeePerGas": U256::from(tx.max_priority_fee_per_gas().expect("a tip")),
        "to": tx.to(), "value": tx.value(), "input": input, "accessList": [],
        "r": signature.r(), "s": signature.s(), "v": U256::from(signature.v()), "yParity": U256::from(signature.v()),
        "blockNumber": "0x0", "transactionIndex": "0x0",
    })
}

/// The block in its RPC form.
fn rpc_block(header: &Header, txs: &[TxEnvelope], withdrawals: &[Withdrawal]) -> Value {
    use alloy_consensus::transaction::SignerRecoverable;
    let mut block = serde_json::to_value(header).expect("a header is JSON");
    block["hash"] = json!(header.hash_slow());
    let from = |tx: &TxEnvelope| tx.recover_signer().expect("a signer");
    block["transactions"] = txs.iter().map(|tx| rpc_tx(tx, from(tx))).collect();
    block["withdrawals"] = json!(withdrawals);
    block["uncles"] = json!([]);
    block["size"] = json!("0x1234");
    block
}

/// Decodes a block by way of the loader.
fn decode(folder: &Path, block: &Value) -> BlockInput {
    std::fs::create_dir_all(folder).expect("a folder");
    let bytes = zstd::encode_all(block.to_string().as_bytes(), 1).expect("compression");
    std::fs::write(folder.join("block.json.zst"), bytes).expect("a file");
    std::fs::write(folder.join("meta.json"), r#"{"chain_id":1,"scope":"full_block"}"#).expect("a file");
    braid_work::load(folder).expect("a case")[0].load().expect("a case that loads").input
}

/// Root, and the RLP of all nodes, of a trie.
fn trie(leaves: BTreeMap<B256, Vec<u8>>) -> (B256, Vec<Bytes>) {
    if leaves.is_empty() {
        return (EMPTY_ROOT_HASH, Vec::new());
    }
    let keys: Vec<Nibbles> = leaves.keys().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(keys));
    for (key, value) in &leaves {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes().into_nodes_sorted();
    (root, nodes.into_iter().map(|(_, node)| node).collect())
}

/// Root, and all nodes of all tries, of a state.
fn tries(state: &Alloc) -> (B256, Vec<Bytes>) {
    let (mut leaves, mut nodes) = (BTreeMap::new(), Vec::new());
    for (address, account) in &state.0 {
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots =
            slots.map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), alloy_rlp::encode(value)));
        let (storage_root, more) = trie(slots.collect());
        nodes.extend(more);
        let (nonce, balance, code_hash) = (account.nonce, account.balance, keccak256(&account.code));
        let account = TrieAccount { nonce, balance, storage_root, code_hash };
        leaves.insert(keccak256(address), alloy_rlp::encode(account));
    }
    let (root, more) = trie(leaves);
    nodes.extend(more);
    (root, nodes)
}

/// Enters what executing the block gave.
fn complete(header: &mut Header, done: &ExecutedBlock, state_root: B256) {
    let mut gas = 0;
    let receipts: Vec<ReceiptEnvelope> = done
        .results
        .iter()
        .map(|result| {
            gas += result.gas_used;
            let status = Eip658Value::Eip658(result.status == Status::Success);
            let receipt = Receipt { status, cumulative_gas_used: gas, logs: result.logs.clone() };
            ReceiptEnvelope::Eip1559(receipt.with_bloom())
        })
        .collect();
    header.gas_used = gas;
    header.receipts_root = proofs::calculate_receipt_root(&receipts);
    header.logs_bloom = receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    header.requests_hash = Some(Requests::new(done.requests.clone()).requests_hash());
    header.state_root = state_root;
}

/// A node with the chain. Headers in witnesses are RLP, as reth has them, in even blocks, and objects, as
/// geth has them, in odd ones.
pub(crate) fn node() -> Node {
    let temp = Temp::new();
    let (mut state, mut nonces) = (genesis(), BTreeMap::new());
    let mut headers: BTreeMap<u64, Header> = BTreeMap::new();
    for number in FIRST - HEADERS..FIRST {
        let parent_hash = headers.get(&(number - 1)).map_or(B256::ZERO, Header::hash_slow);
        let timestamp = TIME - 12 * (FIRST - number);
        headers.insert(number, Header { number, parent_hash, timestamp, ..Header::default() });
    }
    headers.get_mut(&(FIRST - 1)).expect("a parent").state_root = tries(&state).0;
    let mut blocks = BTreeMap::new();
    for index in 0..BLOCKS {
        let number = FIRST + index;
        let (root, nodes) = tries(&state);
        let parent = headers[&(number - 1)].clone();
        assert_eq!(parent.state_root(), root);
        let txs = txs(index, &mut nonces);
        let withdrawals =
            [Withdrawal { index, validator_index: 1, address: Address::repeat_byte(0x99), amount: 7 }];
        let mut header = Header {
            number,
            parent_hash: parent.hash_slow(),
            beneficiary: Address::repeat_byte(0xbb),
            transactions_root: proofs::calculate_transaction_root(&txs),
            gas_limit: 30_000_000,
            timestamp: TIME + 12 * index,
            base_fee_per_gas: Some(GWEI),
            withdrawals_root: Some(proofs::calculate_withdrawals_root(&withdrawals)),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::repeat_byte(index as u8 + 1)),
            requests_hash: Some(B256::ZERO),
            difficulty: U256::ZERO,
            ..Header::default()
        };
        let mut input = decode(&temp.0.join(number.to_string()), &rpc_block(&header, &txs, &withdrawals));
        input.block_hashes.extend(headers.iter().map(|(number, header)| (*number, header.hash_slow())));
        let mut pre = state.pre_state(Path::new("chain")).expect("a state");
        pre.block_hashes.clone_from(&input.block_hashes);
        let pre = Arc::new(pre);
        let ran = LeanEngine.execute(&input, &pre, &Control::default());
        let done = ran.unwrap_or_else(|error| panic!("block {number}: {error}")).into_block(&pre);
        assert!(done.results.iter().all(|result| result.status == Status::Success), "{:?}", done.results);
        state.apply(&done);
        complete(&mut header, &done, tries(&state).0);
        let block = rpc_block(&header, &txs, &withdrawals);
        let ancestors = headers.values().rev().take(3);
        let witness_headers: Vec<Value> = match number % 2 {
            0 => ancestors.map(|header| json!(Bytes::from(alloy_rlp::encode(header)))).collect(),
            _ => ancestors.map(|header| serde_json::to_value(header).expect("JSON")).collect(),
        };
        let codes = run_codes(&pre);
        let witness = json!({ "state": nodes, "codes": codes, "keys": [], "headers": witness_headers });
        let traces = traces(&input, &pre, &tx_hashes(&block));
        headers.insert(number, header);
        let (receipts, witness) = (receipts(&done), Some(witness));
        blocks.insert(number, NodeBlock { block, receipts, witness, traces, pre });
    }
    headers.retain(|number, _| *number < FIRST);
    Node { chain_id: 1, blocks, headers }
}

/// Codes of the state, without the one that is never run.
fn run_codes(pre: &braid_work::PreState) -> Vec<Bytes> {
    let code = |(_, value): (_, &EvmValue)| match value {
        EvmValue::Code(code) => Some(code.original_bytes()),
        _ => None,
    };
    pre.store.iter().filter_map(code).filter(|code| code.len() > 3).collect()
}
