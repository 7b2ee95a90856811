//! From a block with senders to what engines execute.

use crate::{ChainSpec, Fork, ForkCondition, RuleError, SignedTx, blob, ommers};
use alloy_consensus::{Header, Transaction, Typed2718};
use alloy_eips::{eip4895::Withdrawal, eip7702::SignedAuthorization};
use alloy_evm::eth::dao_fork;
use alloy_primitives::{Address, B256, U256};
use braid_evm::{After, BlockInput, Rites};
use revm::{
    context::{BlockEnv, TxEnv, either::Either},
    context_interface::{
        block::BlobExcessGasAndPrice,
        transaction::{RecoveredAuthority, RecoveredAuthorization},
    },
};
use std::collections::BTreeMap;

const WEI_PER_GWEI: u128 = 1_000_000_000;

/// A block whose senders are known.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its transactions, in order.
    pub txs: &'a [SignedTx],
    /// Their senders.
    pub senders: &'a [Address],
    /// Its ommers.
    pub ommers: &'a [Header],
    /// Its withdrawals; none before Shanghai.
    pub withdrawals: &'a [Withdrawal],
}

/// What engines execute: the block in full, with all that `fork` does around its transactions.
/// `block_hashes` are those of earlier blocks by number; the parent's is added.
///
/// # Errors
/// [`RuleError::Senders`], [`RuleError::BlobPrice`].
pub fn block_input(
    chain: &ChainSpec,
    fork: Fork,
    parts: Parts<'_>,
    mut block_hashes: BTreeMap<u64, B256>,
) -> Result<BlockInput, RuleError> {
    let Parts { header, txs, senders, .. } = parts;
    if senders.len() != txs.len() {
        let last = senders.last().copied();
        return Err(RuleError::Senders { senders: senders.len(), txs: txs.len(), last });
    }
    if let Some(parent) = header.number.checked_sub(1) {
        block_hashes.insert(parent, header.parent_hash);
    }
    let (spec, rules) = ChainSpec::evm(fork);
    Ok(BlockInput {
        chain_id: chain.chain_id,
        spec,
        env: block_env(chain, fork, header)?,
        txs: txs.iter().zip(senders).map(|(tx, sender)| tx_env(tx, *sender)).collect(),
        block_hashes,
        max_blob_gas: chain.blob_params(fork).map(|params| params.max_blob_gas_per_block()),
        rites: rites(chain, fork, parts),
        rules,
        gas_used: Some(header.gas_used),
    })
}

/// The environment of a block's transactions.
///
/// # Errors
/// [`RuleError::BlobPrice`].
pub fn block_env(chain: &ChainSpec, fork: Fork, header: &Header) -> Result<BlockEnv, RuleError> {
    let blob_excess_gas_and_price = match chain.blob_params(fork) {
        Some(params) => {
            let excess = header.excess_blob_gas.unwrap_or_default();
            let price = blob::price(&params, excess).ok_or(RuleError::BlobPrice { excess })?;
            Some(BlobExcessGasAndPrice { excess_blob_gas: excess, blob_gasprice: price })
        }
        None => None,
    };
    Ok(BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: (fork >= Fork::Paris).then_some(header.mix_hash),
        blob_excess_gas_and_price,
        slot_num: header.slot_number.unwrap_or_default(),
    })
}

/// What a block does besides its transactions: EIP-2935 and EIP-4788, the DAO drain (EIP-779), rewards
/// (Yellow Paper, 11.3), withdrawals (EIP-4895), requests (EIP-7685).
fn rites(chain: &ChainSpec, fork: Fork, parts: Parts<'_>) -> Rites {
    let header = parts.header;
    let drains = chain.condition(Fork::Dao) == ForkCondition::Block(header.number);
    let in_wei = |one: &Withdrawal| (one.address, u128::from(one.amount) * WEI_PER_GWEI);
    Rites {
        parent_hash: (fork >= Fork::Prague).then_some(header.parent_hash),
        parent_beacon_root: header.parent_beacon_block_root.filter(|_| fork >= Fork::Cancun),
        dao_drain: drains.then(|| {
            let mut from = dao_fork::DAO_HARDFORK_ACCOUNTS.to_vec();
            from.sort_unstable();
            (from, dao_fork::DAO_HARDFORK_BENEFICIARY)
        }),
        after: Some(After {
            rewards: ommers::rewards(fork, header.number, header.beneficiary, parts.ommers),
            withdrawals: parts.withdrawals.iter().map(in_wei).collect(),
            requests: fork >= Fork::Prague,
        }),
    }
}

/// What the EVM takes, from a signed transaction and its sender.
pub fn tx_env(tx: &SignedTx, sender: Address) -> TxEnv {
    let dynamic_fee = tx.is_dynamic_fee();
    TxEnv {
        tx_type: tx.ty(),
        caller: sender,
        gas_limit: tx.gas_limit(),
        gas_price: tx.max_fee_per_gas(),
        kind: tx.kind(),
        value: tx.value(),
        data: tx.input().clone(),
        nonce: tx.nonce(),
        chain_id: tx.chain_id(),
        access_list: tx.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: if dynamic_fee { tx.max_priority_fee_per_gas() } else { None },
        blob_hashes: tx.blob_versioned_hashes().unwrap_or_default().to_vec(),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list: tx.authorization_list().unwrap_or_default().iter().map(authorization).collect(),
    }
}

/// What the EVM takes of an authorization. EIP-7702: an authority that cannot be recovered makes its
/// authorization void, not the transaction.
pub fn authorization(signed: &SignedAuthorization) -> Either<SignedAuthorization, RecoveredAuthorization> {
    let authority = match signed.recover_authority() {
        Ok(authority) => RecoveredAuthority::Valid(authority),
        Err(_) => RecoveredAuthority::Invalid,
    };
    Either::Right(RecoveredAuthorization::new_unchecked(signed.inner().clone(), authority))
}
