//! An executed block against its header.

use crate::{Fork, RuleError, list_root};
use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxReceipt, TxType};
use alloy_eips::{eip2718::Encodable2718, eip4895::Withdrawal, eip7685::Requests};
use alloy_primitives::{B256, Bloom, Bytes, Log};
use alloy_rlp::Encodable;
use braid_evm::{ExecutedBlock, Status};
use braid_keccak::keccak256_many;
use std::collections::HashMap;

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
    let landed: Vec<Landed> = landed.into_iter().collect();
    let blooms = blooms(landed.iter().map(|one| &one.logs[..]));
    let envelope = |(one, logs_bloom): (Landed, Bloom)| {
        let Landed { tx_type, success, cumulative_gas_used, logs } = one;
        let receipt = Receipt { status: Eip658Value::Eip658(success), cumulative_gas_used, logs };
        let receipt = ReceiptWithBloom { receipt, logs_bloom };
        match TxType::try_from(tx_type) {
            Ok(TxType::Eip2930) => ReceiptEnvelope::Eip2930(receipt),
            Ok(TxType::Eip1559) => ReceiptEnvelope::Eip1559(receipt),
            Ok(TxType::Eip4844) => ReceiptEnvelope::Eip4844(receipt),
            Ok(TxType::Eip7702) => ReceiptEnvelope::Eip7702(receipt),
            Ok(TxType::Legacy) | Err(_) => ReceiptEnvelope::Legacy(receipt),
        }
    };
    landed.into_iter().zip(blooms).map(envelope).collect()
}

/// Receipts as the chain encodes them before Byzantium: with the root of the state after each transaction in the place
/// of its status (Yellow Paper, section 4.3.1, as it was before EIP-658).
pub fn early_receipts(
    landed: impl IntoIterator<Item = Landed>,
    roots: impl IntoIterator<Item = B256>,
) -> Vec<ReceiptEnvelope> {
    let landed: Vec<Landed> = landed.into_iter().collect();
    let blooms = blooms(landed.iter().map(|one| &one.logs[..]));
    let envelope = |((one, root), logs_bloom): ((Landed, B256), Bloom)| {
        let (status, cumulative_gas_used) = (Eip658Value::PostState(root), one.cumulative_gas_used);
        let receipt = Receipt { status, cumulative_gas_used, logs: one.logs };
        ReceiptEnvelope::Legacy(ReceiptWithBloom { receipt, logs_bloom })
    };
    landed.into_iter().zip(roots).zip(blooms).map(envelope).collect()
}

/// Bloom filters over these logs, receipt by receipt (Yellow Paper, section 4.3.1). What several logs have in common is
/// hashed once, and all of it together.
pub fn blooms<'l>(receipts: impl IntoIterator<Item = &'l [Log]>) -> Vec<Bloom> {
    let (mut numbers, mut distinct) = (HashMap::<&[u8], u32>::new(), Vec::<&[u8]>::new());
    let (mut items, mut ends) = (Vec::new(), Vec::new());
    for logs in receipts {
        for log in logs {
            let topics = log.data.topics().iter().map(|topic| &topic[..]);
            items.extend(std::iter::once(&log.address[..]).chain(topics).map(|item| {
                *numbers.entry(item).or_insert_with(|| {
                    distinct.push(item);
                    distinct.len() as u32 - 1
                })
            }));
        }
        ends.push(items.len());
    }
    let mut hashes = vec![B256::ZERO; distinct.len()];
    keccak256_many(&distinct, &mut hashes);
    let mut begin = 0;
    let bloom = |end| {
        let mut bloom = Bloom::ZERO;
        for item in &items[std::mem::replace(&mut begin, end)..end] {
            for pair in hashes[*item as usize][..6].chunks_exact(2) {
                let bit = usize::from(u16::from_be_bytes([pair[0], pair[1]])) % 2048;
                bloom[255 - bit / 8] |= 1 << (bit % 8);
            }
        }
        bloom
    };
    ends.into_iter().map(bloom).collect()
}

/// Root of receipts.
pub fn receipts_root(receipts: &[ReceiptEnvelope]) -> B256 {
    encoded_root(receipts)
}

/// Root of a list of transactions or receipts.
pub fn encoded_root<T: Encodable2718>(list: &[T]) -> B256 {
    root_of(list, |item, out| item.encode_2718(out))
}

/// Root of withdrawals (EIP-4895).
pub fn withdrawals_root(withdrawals: &[Withdrawal]) -> B256 {
    root_of(withdrawals, |withdrawal, out| withdrawal.encode(out))
}

/// Root of a list whose items are encoded so.
fn root_of<T>(list: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> B256 {
    let mut encoded = Vec::new();
    let end = |item: &T| {
        encode(item, &mut encoded);
        encoded.len()
    };
    let ends: Vec<usize> = list.iter().map(end).collect();
    let mut begin = 0;
    let items: Vec<&[u8]> =
        ends.iter().map(|end| &encoded[std::mem::replace(&mut begin, *end)..*end]).collect();
    list_root(&items)
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::proofs;
    use alloy_primitives::{Address, LogData, logs_bloom};

    fn log(seed: u8) -> Log {
        let topics = (0..seed % 5).map(|topic| B256::repeat_byte(topic * (seed % 3))).collect();
        let data = LogData::new_unchecked(topics, vec![seed; usize::from(seed)].into());
        Log { address: Address::repeat_byte(seed % 7), data }
    }

    #[test]
    fn blooms_and_roots_are_those_of_alloy() {
        let mut cumulative_gas_used = 0;
        let one = |tx: u8| {
            cumulative_gas_used += 21_000 + u64::from(tx);
            let logs = (0..tx % 6).map(|at| log(tx.wrapping_mul(31).wrapping_add(at))).collect();
            Landed { tx_type: tx % 5, success: !tx.is_multiple_of(3), cumulative_gas_used, logs }
        };
        let landed: Vec<Landed> = (0..200).map(one).collect();
        let expected: Vec<Bloom> = landed.iter().map(|one| logs_bloom(&one.logs)).collect();
        assert_eq!(blooms(landed.iter().map(|one| &one.logs[..])), expected);
        let copy = landed.clone();
        let receipts = receipts(landed);
        assert!(receipts.iter().map(TxReceipt::bloom).eq(expected));
        assert_eq!(receipts_root(&receipts), proofs::calculate_receipt_root(&receipts));
        let roots = (0..200).map(B256::repeat_byte);
        for (early, root) in early_receipts(copy, roots.clone()).iter().zip(roots) {
            let status = Eip658Value::PostState(root);
            let (cumulative_gas_used, logs) = (early.cumulative_gas_used(), early.logs().to_vec());
            let expected = Receipt { status, cumulative_gas_used, logs }.with_bloom();
            assert_eq!(*early, ReceiptEnvelope::Legacy(expected));
        }
        let withdrawal = |at: u64| Withdrawal {
            index: at,
            validator_index: at << (at % 60),
            address: Address::repeat_byte(at as u8),
            amount: u64::MAX >> (at % 64),
        };
        for count in [0, 1, 2, 16, 17, 130] {
            let withdrawals: Vec<Withdrawal> = (0..count).map(withdrawal).collect();
            let expected = proofs::calculate_withdrawals_root(&withdrawals);
            assert_eq!(withdrawals_root(&withdrawals), expected, "{count} withdrawals");
        }
    }
}
