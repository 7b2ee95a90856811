//! An executed block against its header.

use crate::{Fork, RuleError};
use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, TxReceipt, TxType, proofs};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{B256, Bloom, Bytes, Log};
use braid_evm::{ExecutedBlock, Status};

/// What a receipt says of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Type of the transaction.
    pub tx_type: u8,
    /// Whether it succeeded.
    pub success: bool,
    /// Gas used in the block up to and including it.
    pub cumulative_gas_used: u64,
    /// Its logs.
    pub logs: Vec<Log>,
}

/// What the receipts of `block`, whose transactions have these types, say.
pub fn landed(types: impl IntoIterator<Item = u8>, block: &ExecutedBlock) -> Vec<Landed> {
    let mut cumulative_gas_used = 0u64;
    let one = |(tx_type, result): (u8, &braid_evm::TxResult)| {
        cumulative_gas_used = cumulative_gas_used.saturating_add(result.gas_used);
        let success = result.status == Status::Success;
        Landed { tx_type, success, cumulative_gas_used, logs: result.logs.clone() }
    };
    types.into_iter().zip(&block.results).map(one).collect()
}

/// Receipts as the chain encodes them from Byzantium on (EIP-658, EIP-2718).
pub fn receipts(landed: impl IntoIterator<Item = Landed>) -> Vec<ReceiptEnvelope> {
    let envelope = |one: Landed| {
        let Landed { tx_type, success, cumulative_gas_used, logs } = one;
        let receipt =
            Receipt { status: Eip658Value::Eip658(success), cumulative_gas_used, logs }.with_bloom();
        match TxType::try_from(tx_type) {
            Ok(TxType::Eip2930) => ReceiptEnvelope::Eip2930(receipt),
            Ok(TxType::Eip1559) => ReceiptEnvelope::Eip1559(receipt),
            Ok(TxType::Eip4844) => ReceiptEnvelope::Eip4844(receipt),
            Ok(TxType::Eip7702) => ReceiptEnvelope::Eip7702(receipt),
            Ok(TxType::Legacy) | Err(_) => ReceiptEnvelope::Legacy(receipt),
        }
    };
    landed.into_iter().map(envelope).collect()
}

/// Root of receipts.
pub fn receipts_root(receipts: &[ReceiptEnvelope]) -> B256 {
    proofs::calculate_receipt_root(receipts)
}

/// Bloom filter over the logs of receipts.
pub fn logs_bloom(receipts: &[ReceiptEnvelope]) -> Bloom {
    receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom())
}

/// Hash of requests (EIP-7685), each with its type byte first; empty ones left out.
pub fn requests_hash(requests: &[Bytes]) -> B256 {
    Requests::new(requests.to_vec()).requests_hash()
}

/// Checks that `block`, whose transactions have these types and which leaves a state with this root, is
/// what `header` says. Receipts before Byzantium hold roots of states inside the block, so theirs is not
/// checked there.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(
    fork: Fork,
    header: &Header,
    types: impl IntoIterator<Item = u8>,
    block: &ExecutedBlock,
    state_root: B256,
) -> Result<(), RuleError> {
    violations(fork, header, types, block, state_root).into_iter().next().map_or(Ok(()), Err)
}

/// As [`check`]: all rules that it breaks.
pub fn violations(
    fork: Fork,
    header: &Header,
    types: impl IntoIterator<Item = u8>,
    block: &ExecutedBlock,
    state_root: B256,
) -> Vec<RuleError> {
    let (gas_used, receipts) = (block.gas_used, receipts(landed(types, block)));
    let mut broken = Vec::new();
    if gas_used != header.gas_used {
        broken.push(RuleError::GasUsed { got: gas_used, header: header.gas_used });
    }
    if logs_bloom(&receipts) != header.logs_bloom {
        broken.push(RuleError::LogsBloom);
    }
    let root = receipts_root(&receipts);
    if fork >= Fork::Byzantium && root != header.receipts_root {
        broken.push(RuleError::ReceiptsRoot { got: root, header: header.receipts_root });
    }
    let hash = requests_hash(&block.requests);
    if let Some(header) = header.requests_hash.filter(|header| *header != hash) {
        broken.push(RuleError::RequestsHash { got: hash, header });
    }
    if state_root != header.state_root {
        broken.push(RuleError::StateRoot { got: state_root, header: header.state_root });
    }
    broken
}
