//! Blocks: header, environment, rites.

use super::{
    fork::{self, DAO_FORK_BLOCK, MAINNET},
    json::{JsonBody, JsonHeader, JsonTx},
    tx::{self, RawTxs, SignedTx, recover_senders},
};
use crate::WorkError;
use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_evm::eth::dao_fork;
use alloy_primitives::{Address, B256, U256};
use braid_evm::{After, BlockInput, EvmRules, Rites};
use revm::{
    context::{BlockEnv, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use std::{collections::BTreeMap, path::Path};

/// Most transactions a block may have.
const MAX_TXS: usize = 1_000_000;

/// Largest ratio of excess blob gas to update fraction for which the price (its exponential) is computed:
/// e^50 wei is 5000 ether per blob gas, far above anything payable, and still fits the arithmetic.
const MAX_BLOB_PRICE_EXPONENT: u64 = 50;

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
    let spec = fork::spec_at(about.chain_id, header.number, header.timestamp).ok_or_else(|| {
        WorkError::UnknownFork { file: file.into(), fork: format!("of chain {}", about.chain_id) }
    })?;
    let signed = body.transactions.iter().enumerate().map(|(index, tx)| tx::signed(file, index, tx));
    let txs: Vec<SignedTx> = signed.collect::<Result<_, _>>()?;
    let raw = RawTxs { txs, low_s: spec.is_enabled_in(SpecId::HOMESTEAD), file: file.into() };
    let txs = txs_with_senders(&raw, &body.transactions)?;

    let blob = blob_env(file, about.chain_id, spec, header.timestamp, header.excess_blob_gas)?;
    let mut block_hashes = about.block_hashes;
    if let Some(parent) = header.number.checked_sub(1) {
        block_hashes.insert(parent, header.parent_hash);
    }
    let withdrawals = withdrawals_of(body);
    let rites = Rites {
        parent_hash: spec.is_enabled_in(SpecId::PRAGUE).then_some(header.parent_hash),
        parent_beacon_root: header.parent_beacon_block_root.filter(|_| spec.is_enabled_in(SpecId::CANCUN)),
        dao_drain: dao_drain(about.chain_id, header.number, about.dao_drain),
        after: about.full.then(|| after(spec, &header, withdrawals.as_deref())),
    };
    if about.full && !body.uncles.is_empty() {
        let reason = "uncles are listed by hash only, so their rewards are unknown";
        return Err(WorkError::invalid(file, "uncles", reason));
    }
    let env = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: spec.is_enabled_in(SpecId::MERGE).then_some(header.mix_hash),
        blob_excess_gas_and_price: blob.map(|blob| blob.price),
        slot_num: 0,
    };
    let max_blob_gas = blob.map(|blob| blob.max_gas);
    let rules = EvmRules::default();
    let input =
        BlockInput { chain_id: about.chain_id, spec, env, txs, block_hashes, max_blob_gas, rites, rules };
    Ok(Loaded { input, raw, header, withdrawals })
}

fn txs_with_senders(raw: &RawTxs, listed: &[JsonTx]) -> Result<Vec<TxEnv>, WorkError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let senders = recover_senders(raw, threads)?;
    for (tx, (recovered, listed)) in senders.iter().zip(listed).enumerate() {
        if let Some(listed) = listed.from.filter(|listed| listed != recovered) {
            let (file, recovered) = (raw.file.clone(), *recovered);
            return Err(WorkError::SenderMismatch { file, tx, recovered, listed });
        }
    }
    Ok(raw.txs.iter().zip(senders).map(|(tx, sender)| tx::env_of_signed(tx, sender)).collect())
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

fn after(spec: SpecId, header: &Header, withdrawals: Option<&[Withdrawal]>) -> After {
    const GWEI: u128 = 1_000_000_000;
    let reward = fork::block_reward(spec);
    let in_wei = |one: &Withdrawal| (one.address, u128::from(one.amount) * GWEI);
    After {
        rewards: if reward == 0 { Vec::new() } else { vec![(header.beneficiary, reward)] },
        withdrawals: withdrawals.unwrap_or_default().iter().map(in_wei).collect(),
        requests: spec.is_enabled_in(SpecId::PRAGUE),
    }
}

fn dao_drain(chain_id: u64, number: u64, listed: Option<Vec<Address>>) -> Option<(Vec<Address>, Address)> {
    (chain_id == MAINNET && number == DAO_FORK_BLOCK).then(|| {
        let drained = listed.unwrap_or_else(|| dao_fork::DAO_HARDFORK_ACCOUNTS.to_vec());
        (drained, dao_fork::DAO_HARDFORK_BENEFICIARY)
    })
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
    let fraction = u64::try_from(params.update_fraction).unwrap_or(u64::MAX);
    if excess / fraction >= MAX_BLOB_PRICE_EXPONENT {
        let (size, limit) = (excess, fraction.saturating_mul(MAX_BLOB_PRICE_EXPONENT));
        return Err(WorkError::TooLarge { file: file.into(), what: "excess blob gas", size, limit });
    }
    let price = BlobExcessGasAndPrice::new(excess, fraction);
    Ok(Some(BlobEnv { price, max_gas: params.max_blob_gas_per_block() }))
}
