//! From a description to a case.

use super::{Kind, Workload, compute, erc20, hostile, mainnet, mint, orderbook, swaps, transfers};
use crate::{Case, Expect, PreState, WorkError, load::fork};
use alloy_primitives::{Address, B256, U256, keccak256};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmValue, Rites};
use revm::{
    context::{BlockEnv, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use std::{collections::BTreeMap, sync::Arc};

/// The changing parts of a generated block.
pub(super) struct Generated {
    pub(super) spec: SpecId,
    pub(super) beneficiary: Address,
    pub(super) pre: PreState,
    pub(super) txs: Vec<TxEnv>,
}

pub(super) const GWEI: u64 = 1_000_000_000;
/// A block of mainnet under Osaka rules.
const NUMBER: u64 = 24_000_000;
pub(super) const TIMESTAMP: u64 = 1_766_000_000;
pub(super) const BASE_FEE: u64 = GWEI;
pub(super) const TIP: u64 = GWEI;
/// Wei that each account has: enough for any number of its transactions.
pub(super) const BALANCE: u128 = 1 << 100;
/// Generates the case of a workload, which is within limits since it was parsed.
pub(super) fn case(workload: &Workload) -> Result<Case, WorkError> {
    let block = match workload.kind {
        Kind::Transfers => Ok(transfers::block(workload)),
        Kind::Erc20 => erc20::block(workload),
        Kind::Swaps => swaps::block(workload),
        Kind::Mint => Ok(mint::block(workload)),
        Kind::Orderbook => Ok(orderbook::block(workload)),
        Kind::Compute => Ok(compute::block(workload)),
        Kind::Mainnet => mainnet::block(workload),
        Kind::Hostile => Ok(hostile::block(workload.hostile(), workload.at("txs"), workload.at("seed"))),
    };
    let block = block.map_err(|reason| WorkError::Workload { workload: workload.to_string(), reason })?;
    Ok(assemble(workload, block))
}

fn assemble(workload: &Workload, block: Generated) -> Case {
    let Generated { spec, beneficiary, pre, txs } = block;
    let gas_limit = txs.iter().map(|tx| tx.gas_limit).sum();
    let blob = fork::blob_params_at(fork::MAINNET, spec, TIMESTAMP);
    let env = BlockEnv {
        number: U256::from(NUMBER),
        beneficiary,
        timestamp: U256::from(TIMESTAMP),
        gas_limit,
        basefee: BASE_FEE,
        difficulty: U256::ZERO,
        prevrandao: Some(keccak256(workload.at("seed").to_be_bytes())),
        blob_excess_gas_and_price: blob.and_then(|params| {
            Some(BlobExcessGasAndPrice::new(0, u64::try_from(params.update_fraction).ok()?))
        }),
        slot_num: 0,
    };
    let input = BlockInput {
        chain_id: fork::MAINNET,
        spec,
        env,
        txs,
        block_hashes: BTreeMap::new(),
        max_blob_gas: blob.map(|params| params.max_blob_gas_per_block()),
        rites: Rites::default(),
        rules: braid_evm::EvmRules::default(),
        gas_used: None,
    };
    Case {
        name: workload.to_string(),
        path: None,
        input,
        raw: None,
        pre: Some(Arc::new(pre)),
        header: None,
        expect: Expect::default(),
    }
}

pub(super) fn put_account(
    pre: &mut PreState,
    address: Address,
    balance: U256,
    nonce: u64,
    code_hash: B256,
    has_storage: bool,
) {
    let account = AccountState { exists: true, balance, nonce, code_hash, generation: 0, has_storage };
    pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
}

pub(super) fn put_slot(pre: &mut PreState, address: Address, slot: U256, value: U256) {
    pre.store.set(EvmKey::Slot { address, generation: 0, slot }, Some(EvmValue::Slot(value)));
}

/// Addresses that look like any others.
pub(super) fn address(role: &str, index: u64) -> Address {
    Address::from_word(keccak256([role.as_bytes(), &index.to_be_bytes()].concat()))
}
