//! What a node does with a block besides executing it: recovering senders before, roots and hashes
//! after. The same code for every profile, timed apart from execution.

use crate::world::Case;
use alloy_consensus::{
    Eip658Value, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxReceipt, TxType,
    proofs::calculate_receipt_root,
};
use alloy_primitives::{B256, Bloom, keccak256};
use braid_evm::{BlockInput, ExecutedBlock, Status};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Times it: the median of three runs.
pub(crate) fn time(case: &dyn Case, done: &ExecutedBlock, threads: usize) -> Duration {
    let mut times = [0; 3].map(|_| {
        let start = Instant::now();
        case.recover_senders(threads);
        black_box(receipts(case.input(), done));
        black_box(hash_changes(done));
        start.elapsed()
    });
    times.sort_unstable();
    times[1]
}

/// Root and bloom of the receipts. Receipts carry a status, as from Byzantium (EIP-658) on; earlier
/// blocks, which carry state roots, cost as much.
fn receipts(input: &BlockInput, done: &ExecutedBlock) -> (B256, Bloom) {
    let (mut total, mut bloom) = (0u64, Bloom::ZERO);
    let mut receipts = Vec::with_capacity(done.results.len());
    for (tx, result) in input.txs.iter().zip(&done.results) {
        total = total.saturating_add(result.gas_used);
        let receipt = Receipt {
            status: Eip658Value::Eip658(result.status == Status::Success),
            cumulative_gas_used: total,
            logs: result.logs.clone(),
        };
        let logs_bloom = receipt.bloom();
        bloom |= logs_bloom;
        let receipt = ReceiptWithBloom { receipt, logs_bloom };
        receipts.push(match TxType::try_from(tx.tx_type) {
            Ok(TxType::Eip2930) => ReceiptEnvelope::Eip2930(receipt),
            Ok(TxType::Eip1559) => ReceiptEnvelope::Eip1559(receipt),
            Ok(TxType::Eip4844) => ReceiptEnvelope::Eip4844(receipt),
            Ok(TxType::Eip7702) => ReceiptEnvelope::Eip7702(receipt),
            Ok(TxType::Legacy) | Err(_) => ReceiptEnvelope::Legacy(receipt),
        });
    }
    (calculate_receipt_root(&receipts), bloom)
}

/// Keys of the state trie are hashes: one for each changed account, slot and code.
fn hash_changes(done: &ExecutedBlock) -> B256 {
    let mut mix = B256::ZERO;
    for (address, change) in &done.diff {
        mix ^= keccak256(address);
        for slot in change.storage.keys() {
            mix ^= keccak256(slot.to_be_bytes::<32>());
        }
    }
    done.codes.values().fold(mix, |mix, code| mix ^ keccak256(code))
}
