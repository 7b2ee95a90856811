//! What a node knows: blocks, and for each the state before it.

use crate::server::NodeError;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmValue, ExecutedBlock, Status};
use braid_work::PreState;
use revm::{
    Context, Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, SystemCallCommitEvm,
    context::{CfgEnv, ContextTr, TxEnv},
    database::CacheDB,
    primitives::TxKind,
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// One block as a node serves it.
#[derive(Clone)]
pub(crate) struct NodeBlock {
    /// With full transactions.
    pub(crate) block: Value,
    pub(crate) receipts: Value,
    /// What `debug_executionWitness` answers.
    pub(crate) witness: Option<Value>,
    pub(crate) traces: Value,
    pub(crate) pre: Arc<PreState>,
}

/// A node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) chain_id: u64,
    pub(crate) blocks: BTreeMap<u64, NodeBlock>,
    /// Blocks of which only the header is known.
    pub(crate) headers: BTreeMap<u64, Header>,
}

impl Node {
    /// Answers a call.
    pub(crate) fn answer(&self, method: &str, params: &Value) -> Result<Value, NodeError> {
        let number = |at: usize| {
            let text = params[at].as_str().expect("a block number").trim_start_matches("0x");
            u64::from_str_radix(text, 16).expect("a hex number")
        };
        let no_block = || (-32000, "block not found".to_owned());
        let block = |number: u64| self.blocks.get(&number).ok_or_else(no_block);
        Ok(match method {
            "eth_chainId" => json!(U256::from(self.chain_id)),
            "eth_blockNumber" => json!(U256::from(*self.blocks.keys().last().expect("blocks"))),
            "eth_getBlockByNumber" => match (self.blocks.get(&number(0)), self.headers.get(&number(0))) {
                (Some(block), _) if params[1] == json!(true) => block.block.clone(),
                (Some(block), _) => {
                    let mut block = block.block.clone();
                    for tx in block["transactions"].as_array_mut().expect("transactions") {
                        *tx = tx["hash"].clone();
                    }
                    block
                }
                (None, Some(header)) => {
                    let mut json = serde_json::to_value(header).expect("a header is JSON");
                    json["hash"] = json!(header.hash_slow());
                    json["transactions"] = json!([]);
                    json
                }
                (None, None) => Value::Null,
            },
            "eth_getBlockReceipts" => block(number(0))?.receipts.clone(),
            "debug_executionWitness" => match &block(number(0))?.witness {
                Some(witness) => witness.clone(),
                None => return Err((-32601, "the method does not exist/is not available".into())),
            },
            "debug_traceBlockByNumber" => {
                assert_eq!(params[1]["tracer"], "prestateTracer");
                block(number(0))?.traces.clone()
            }
            "eth_getBalance" => json!(self.account(params, number(1))?.balance),
            "eth_getTransactionCount" => json!(U256::from(self.account(params, number(1))?.nonce)),
            "eth_getCode" => {
                let account = self.account(params, number(1))?;
                json!(code(&*self.state(number(1))?, account.code_hash))
            }
            "eth_getStorageAt" => {
                let slot: U256 = serde_json::from_value(params[1].clone()).expect("a slot");
                let (state, address) = (self.state(number(2))?, address(params));
                json!(B256::from(slot_of(&state, address, slot)))
            }
            other => return Err((-32601, format!("the method {other} does not exist/is not available"))),
        })
    }

    /// The state after block `number`, which is known as the one before the next.
    fn state(&self, number: u64) -> Result<Arc<PreState>, NodeError> {
        let next = self.blocks.get(&(number + 1));
        next.map(|block| block.pre.clone()).ok_or_else(|| (-32000, "missing trie node".into()))
    }

    fn account(&self, params: &Value, number: u64) -> Result<AccountState, NodeError> {
        Ok(account_of(&*self.state(number)?, address(params)).unwrap_or_default())
    }
}

fn address(params: &Value) -> Address {
    serde_json::from_value(params[0].clone()).expect("an address")
}

pub(crate) fn account_of(state: &PreState, address: Address) -> Option<AccountState> {
    match state.store.get(&EvmKey::Account(address)) {
        Some(EvmValue::Account(account)) => Some(*account),
        _ => None,
    }
}

pub(crate) fn slot_of(state: &PreState, address: Address, slot: U256) -> U256 {
    match state.store.get(&EvmKey::Slot { address, generation: 0, slot }) {
        Some(EvmValue::Slot(value)) => *value,
        _ => U256::ZERO,
    }
}

fn code(state: &PreState, hash: B256) -> Bytes {
    match state.store.get(&EvmKey::Code(hash)) {
        Some(EvmValue::Code(code)) => code.original_bytes(),
        _ => Bytes::new(),
    }
}

/// `eth_getBlockReceipts` of an executed block.
pub(crate) fn receipts(done: &ExecutedBlock) -> Value {
    let mut gas = 0;
    let receipt = |result: &braid_evm::TxResult| {
        gas += result.gas_used;
        let logs = result
            .logs
            .iter()
            .map(|log| json!({ "address": log.address, "topics": log.data.topics(), "data": log.data.data }));
        let status = if result.status == Status::Success { "0x1" } else { "0x0" };
        json!({ "status": status, "cumulativeGasUsed": U256::from(gas), "logs": logs.collect::<Vec<_>>() })
    };
    Value::Array(done.results.iter().map(receipt).collect())
}

/// `debug_traceBlockByNumber` with the `prestateTracer`, as geth has it: for each transaction what it
/// found at what it touched; a contract created by a transaction of no recipient is left out.
pub(crate) fn traces(input: &BlockInput, pre: &PreState, hashes: &[B256]) -> Value {
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = None;
    let context = Context::mainnet().with_db(CacheDB::new(pre)).with_cfg(cfg);
    let mut evm = context.with_block(input.env.clone()).build_mainnet();
    for (contract, argument) in [
        (alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS, input.rites.parent_hash),
        (alloy_eips::eip4788::BEACON_ROOTS_ADDRESS, input.rites.parent_beacon_root),
    ] {
        let Some(argument) = argument else { continue };
        if account_of(pre, contract).is_some() {
            evm.system_call_commit(contract, argument.0.into()).expect("a system call");
        }
    }
    if let Some((from, to)) = &input.rites.dao_drain {
        let mut sum = U256::ZERO;
        for address in from {
            let account = evm.ctx.db_mut().load_account(*address).expect("an account");
            sum += std::mem::take(&mut account.info.balance);
        }
        evm.ctx.db_mut().load_account(*to).expect("an account").info.balance += sum;
    }
    let mut traces = Vec::new();
    for (tx, hash) in input.txs.iter().zip(hashes) {
        let result = evm.transact(tx.clone()).expect("a valid transaction");
        let mut accounts = Map::new();
        for (address, account) in &result.state {
            let before = evm.ctx.db_mut().basic(*address).expect("state in memory");
            let created = tx.kind == TxKind::Create && *address == tx.caller.create(tx.nonce);
            if created && before.is_none() {
                continue;
            }
            let info = before.clone().unwrap_or_default();
            let mut json = json!({ "balance": info.balance });
            if info.nonce > 0 {
                json["nonce"] = json!(info.nonce);
            }
            let bytes = match before.is_some() {
                true => evm.ctx.db_mut().code_by_hash(info.code_hash).expect("code").original_bytes(),
                false => Bytes::new(),
            };
            if !bytes.is_empty() {
                json["code"] = json!(bytes);
            }
            let slots = account.storage.iter();
            let slots = slots.map(|(slot, value)| {
                (B256::from(*slot).to_string(), json!(B256::from(value.original_value)))
            });
            json["storage"] = Value::Object(slots.collect());
            accounts.insert(address.to_string(), json);
        }
        evm.commit(result.state);
        traces.push(json!({ "txHash": hash, "result": accounts }));
    }
    Value::Array(traces)
}

/// Hashes of the transactions of a block in JSON.
pub(crate) fn tx_hashes(block: &Value) -> Vec<B256> {
    let txs = block["transactions"].as_array().expect("transactions");
    txs.iter().map(|tx| serde_json::from_value(tx["hash"].clone()).expect("a hash")).collect()
}

/// Who sends and what it creates, for tests that need to know.
pub(crate) fn created(txs: &[TxEnv]) -> Vec<Address> {
    let creates = txs.iter().filter(|tx| tx.kind == TxKind::Create);
    creates.map(|tx| tx.caller.create(tx.nonce)).collect()
}
