//! Blocks: header, environment, rites.

use super::{
    fork::{self, MAINNET},
    json::{JsonBody, JsonHeader, JsonTx},
    tx::{self, RawTxs, SignedTx, recover_senders},
};
use crate::WorkError;
use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256};
use braid_evm::BlockInput;
use braid_rules::{Fork, Parts, RuleError, blob, block_input};
use revm::{context_interface::block::BlobExcessGasAndPrice, primitives::hardfork::SpecId};
use std::{collections::BTreeMap, path::Path};

/// Most transactions a block may have.
const MAX_TXS: usize = 1_000_000;

/// What the loaders know of a block beside its JSON.
pub(super) struct About<'a> {
    pub(super) file: &'a Path,
    pub(super) chain_id: u64,
    /// Whether the input covers what happens after the last transaction.
    pub(super) full: bool,
    pub(super) dao_drain: Option<Vec<Address>>,
    /// Hashes of blocks before the parent.
    pub(super) block_hashes: BTreeMap<u64, B256>,
}

/// A block in the forms in which a case holds it.
pub(super) struct Loaded {
    pub(super) input: BlockInput,
    pub(super) raw: RawTxs,
    pub(super) header: Header,
    pub(super) withdrawals: Option<Vec<Withdrawal>>,
}

/// Chain id by the first transaction that names one; mainnet, if none does.
pub(super) fn chain_id_of(txs: &[JsonTx]) -> u64 {
    txs.iter().find_map(|tx| tx.chain_id).map_or(MAINNET, |id| id.0)
}

/// Builds the block and recovers its senders.
pub(super) fn build(about: About<'_>, header: &JsonHeader, body: &JsonBody) -> Result<Loaded, WorkError> {
    let file = about.file;
    let size = body.transactions.len();
    if size > MAX_TXS {
        let (size, limit) = (size as u64, MAX_TXS as u64);
        return Err(WorkError::TooLarge { file: file.into(), what: "number of transactions", size, limit });
    }
    let header = header_of(header);
    let (chain, fork) = fork::fork_at(about.chain_id, header.number, header.timestamp).ok_or_else(|| {
        WorkError::UnknownFork { file: file.into(), fork: format!("of chain {}", about.chain_id) }
    })?;
    let signed = body.transactions.iter().enumerate().map(|(index, tx)| tx::signed(file, index, tx));
    let txs: Vec<SignedTx> = signed.collect::<Result<_, _>>()?;
    let raw = RawTxs { txs, low_s: fork >= Fork::Homestead, file: file.into() };
    let senders = senders(&raw, &body.transactions)?;
    if about.full && !body.uncles.is_empty() {
        let reason = "uncles are listed by hash only, so their rewards are unknown";
        return Err(WorkError::invalid(file, "uncles", reason));
    }
    let withdrawals = withdrawals_of(body);
    let parts = Parts {
        header: &header,
        txs: &raw.txs,
        senders: &senders,
        ommers: &[],
        withdrawals: withdrawals.as_deref().unwrap_or_default(),
    };
    let mut input = block_input(&chain, fork, parts, about.block_hashes)
        .map_err(|error| WorkError::invalid(file, "block", error.to_string()))?;
    if !about.full {
        input.rites.after = None;
    }
    if let (Some((drained, _)), Some(listed)) = (&mut input.rites.dao_drain, about.dao_drain) {
        *drained = listed;
    }
    Ok(Loaded { input, raw, header, withdrawals })
}

/// Senders by signature, which are those that are listed.
fn senders(raw: &RawTxs, listed: &[JsonTx]) -> Result<Vec<Address>, WorkError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let senders = recover_senders(raw, threads)?;
    for (tx, (recovered, listed)) in senders.iter().zip(listed).enumerate() {
        if let Some(listed) = listed.from.filter(|listed| listed != recovered) {
            let (file, recovered) = (raw.file.clone(), *recovered);
            return Err(WorkError::SenderMismatch { file, tx, recovered, listed });
        }
    }
    Ok(senders)
}

fn header_of(json: &JsonHeader) -> Header {
    Header {
        parent_hash: json.parent_hash,
        ommers_hash: json.sha3_uncles,
        beneficiary: json.miner,
        state_root: json.state_root,
        transactions_root: json.transactions_root,
        receipts_root: json.receipts_root,
        logs_bloom: json.logs_bloom,
        difficulty: json.difficulty.0,
        number: json.number.0,
        gas_limit: json.gas_limit.0,
        gas_used: json.gas_used.0,
        timestamp: json.timestamp.0,
        extra_data: json.extra_data.clone(),
        mix_hash: json.mix_hash,
        nonce: json.nonce,
        base_fee_per_gas: json.base_fee_per_gas.map(|fee| fee.0),
        withdrawals_root: json.withdrawals_root,
        blob_gas_used: json.blob_gas_used.map(|gas| gas.0),
        excess_blob_gas: json.excess_blob_gas.map(|gas| gas.0),
        parent_beacon_block_root: json.parent_beacon_block_root,
        requests_hash: json.requests_hash,
        ..Header::default()
    }
}

fn withdrawals_of(body: &JsonBody) -> Option<Vec<Withdrawal>> {
    let withdrawals = body.withdrawals.as_ref()?.iter().map(|json| Withdrawal {
        index: json.index.0,
        validator_index: json.validator_index.0,
        address: json.address,
        amount: json.amount.0,
    });
    Some(withdrawals.collect())
}

/// What blobs cost in a block, and how many may be in it.
#[derive(Clone, Copy)]
pub(super) struct BlobEnv {
    pub(super) price: BlobExcessGasAndPrice,
    pub(super) max_gas: u64,
}

/// Blob rules from Cancun on; an excess that is not listed is zero.
pub(super) fn blob_env(
    file: &Path,
    chain_id: u64,
    spec: SpecId,
    timestamp: u64,
    excess: Option<u64>,
) -> Result<Option<BlobEnv>, WorkError> {
    let Some(params) = fork::blob_params_at(chain_id, spec, timestamp) else { return Ok(None) };
    let excess = excess.unwrap_or_default();
    let Some(price) = blob::price(&params, excess) else {
        return Err(WorkError::invalid(file, "excess blob gas", RuleError::BlobPrice { excess }.to_string()));
    };
    let price = BlobExcessGasAndPrice { excess_blob_gas: excess, blob_gasprice: price };
    Ok(Some(BlobEnv { price, max_gas: params.max_blob_gas_per_block() }))
}
