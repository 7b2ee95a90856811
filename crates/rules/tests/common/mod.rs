//! Valid headers and blocks to break.
#![allow(dead_code, reason = "each test uses its part")]

use alloy_consensus::{
    Header, SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy, proofs,
};
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip4895::Withdrawal};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, address, uint};
use braid_rules::{Block, ChainSpec, Fork, SignedTx, body, difficulty, header};

/// Miners of blocks and of ommers.
pub(crate) const MINER: Address = address!("0x000000000000000000000000000000000000c0de");

pub(crate) fn chain(network: &str) -> ChainSpec {
    ChainSpec::of_network(network, 1).unwrap()
}

/// Fork of the block with this number and time, at which no network of these tests merges by difficulty.
pub(crate) fn fork(chain: &ChainSpec, number: u64, timestamp: u64) -> Fork {
    chain.fork_at(number, timestamp, U256::ZERO)
}

pub(crate) fn genesis(chain: &ChainSpec) -> Header {
    let mut header = Header { gas_limit: 30_000_000, ..Header::default() };
    header.difficulty = U256::from(if fork(chain, 0, 0) < Fork::Paris { 1_000_000 } else { 0 });
    fill(fork(chain, 0, 0), &mut header);
    header
}

/// The fields that `fork` has, with values of a block without content.
fn fill(fork: Fork, header: &mut Header) {
    header.base_fee_per_gas = (fork >= Fork::London).then_some(header::INITIAL_BASE_FEE);
    header.withdrawals_root = (fork >= Fork::Shanghai).then(|| proofs::calculate_withdrawals_root(&[]));
    header.blob_gas_used = (fork >= Fork::Cancun).then_some(0);
    header.excess_blob_gas = (fork >= Fork::Cancun).then_some(0);
    header.parent_beacon_block_root = (fork >= Fork::Cancun).then_some(B256::ZERO);
    header.requests_hash = (fork >= Fork::Prague).then(|| braid_rules::outcome::requests_hash(&[]));
}

/// An empty block `elapsed` seconds after `parent`.
pub(crate) fn child(chain: &ChainSpec, parent: &Header, elapsed: u64) -> Header {
    let (number, timestamp) = (parent.number + 1, parent.timestamp + elapsed);
    let fork = fork(chain, number, timestamp);
    let mut child = Header {
        parent_hash: parent.hash_slow(),
        number,
        timestamp,
        gas_limit: parent.gas_limit,
        beneficiary: MINER,
        ..Header::default()
    };
    fill(fork, &mut child);
    if fork >= Fork::London {
        child.base_fee_per_gas = Some(header::next_base_fee(parent));
        if parent.base_fee_per_gas.is_none() {
            child.gas_limit *= 2;
        }
    }
    child.excess_blob_gas = header::next_excess_blob_gas(chain, fork, parent);
    let ommers = parent.ommers_hash != alloy_consensus::EMPTY_OMMER_ROOT_HASH;
    child.difficulty = difficulty::next(fork, parent.difficulty, parent.timestamp, ommers, timestamp, number);
    child
}

/// A transaction of that type, which someone has signed, with so many blobs if it can have any.
pub(crate) fn tx(ty: u8, blobs: usize) -> SignedTx {
    let (to, gas_limit, input) = (MINER, 21_000, Bytes::new());
    let signature = Signature::new(U256::from(1), U256::from(9), false);
    match ty {
        0 => {
            TxLegacy { gas_limit, to: TxKind::Call(to), ..TxLegacy::default() }.into_signed(signature).into()
        }
        1 => TxEip2930 { chain_id: 1, gas_limit, to: TxKind::Call(to), ..TxEip2930::default() }
            .into_signed(signature)
            .into(),
        2 => TxEip1559 { chain_id: 1, gas_limit, to: TxKind::Call(to), ..TxEip1559::default() }
            .into_signed(signature)
            .into(),
        3 => SignedTx::Eip4844(
            TxEip4844 {
                chain_id: 1,
                gas_limit,
                to,
                blob_versioned_hashes: vec![B256::with_last_byte(1); blobs],
                ..TxEip4844::default()
            }
            .into_signed(signature),
        ),
        _ => TxEip7702 { chain_id: 1, gas_limit, to, input, ..TxEip7702::default() }
            .into_signed(signature)
            .into(),
    }
}

/// A legacy transaction signed for a chain (EIP-155), or for any.
pub(crate) fn legacy(chain_id: Option<u64>) -> SignedTx {
    let signature = Signature::new(U256::from(1), U256::from(9), false);
    TxLegacy { chain_id, to: TxKind::Call(MINER), ..TxLegacy::default() }.into_signed(signature).into()
}

/// The order of the curve of signatures.
pub(crate) const CURVE_ORDER: U256 =
    uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// A block after the genesis of `chain`, with this body, whose header says so.
pub(crate) fn block(chain: &ChainSpec, txs: Vec<SignedTx>, withdrawals: Vec<Withdrawal>) -> Block {
    let mut header = child(chain, &genesis(chain), 12);
    let fork = fork(chain, header.number, header.timestamp);
    header.transactions_root = proofs::calculate_transaction_root(&txs);
    header.blob_gas_used = (fork >= Fork::Cancun).then(|| body::blob_gas_of(&txs));
    let withdrawals = (fork >= Fork::Shanghai).then_some(withdrawals);
    header.withdrawals_root = withdrawals.as_deref().map(proofs::calculate_withdrawals_root);
    let hash = header.hash_slow();
    Block { header, hash, txs, ommers: Vec::new(), withdrawals, size: 1000 }
}

pub(crate) fn withdrawal() -> Withdrawal {
    Withdrawal { index: 1, validator_index: 2, address: MINER, amount: 3 }
}

pub(crate) const BLOB: u64 = DATA_GAS_PER_BLOB;
