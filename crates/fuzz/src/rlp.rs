//! Consensus encodings.

use alloy_consensus::{Header, Transaction, transaction::SignerRecoverable};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::U256;
use alloy_rlp::{BufMut, Encodable};
use braid_rules::{Block, ChainSpec, body, decode, difficulty, header};

/// The networks whose rules a block is held against.
const NETWORKS: [&str; 5] = ["Frontier", "London", "Shanghai", "Prague", "PragueToOsakaAtTime15k"];

/// A block: what decodes is the only encoding of what was decoded, and the rules of any fork can tell
/// whether it keeps them.
pub(crate) fn block(data: &[u8]) {
    let Ok(block) = Block::decode(data) else { return };
    assert_eq!(encode(&block), data, "a block has one encoding");
    for network in NETWORKS {
        let chain = ChainSpec::of_network(network, 1).unwrap_or_else(|error| panic!("{error}"));
        let fork = chain.fork_at(block.header.number, block.header.timestamp, U256::ZERO);
        let _ = body::check(&chain, fork, &block);
        let _ = body::senders(fork, &block.txs);
        let _ = header::next_base_fee(&block.header);
        let _ = header::next_excess_blob_gas(&chain, fork, &block.header);
        let _ = braid_rules::input::block_env(&chain, fork, &block.header);
        let Header { difficulty, timestamp, number, .. } = block.header;
        let _ = difficulty::next(fork, difficulty, timestamp, true, timestamp.saturating_add(13), number);
        // Its own ommers stand for parents: any header may claim to be one.
        for parent in block.ommers.iter().chain([&block.header]) {
            let _ = header::check(&chain, &block.header, parent, difficulty);
        }
    }
}

fn encode(block: &Block) -> Vec<u8> {
    let mut payload = Vec::new();
    block.header.encode(&mut payload);
    let mut txs = Vec::new();
    for tx in &block.txs {
        let envelope = tx.encoded_2718();
        if tx.is_legacy() {
            txs.put_slice(&envelope);
        } else {
            envelope.as_slice().encode(&mut txs);
        }
    }
    list(&txs, &mut payload);
    block.ommers.encode(&mut payload);
    if let Some(withdrawals) = &block.withdrawals {
        withdrawals.encode(&mut payload);
    }
    let mut rlp = Vec::new();
    list(&payload, &mut rlp);
    rlp
}

fn list(payload: &[u8], out: &mut Vec<u8>) {
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(out);
    out.put_slice(payload);
}

/// A transaction.
pub(crate) fn tx(data: &[u8]) {
    let Ok(tx) = decode::tx(data) else { return };
    assert_eq!(tx.encoded_2718(), data, "a transaction has one encoding");
    let sender = tx.recover_signer_unchecked().ok();
    if let Ok(strict) = tx.recover_signer() {
        assert_eq!(sender, Some(strict), "a low s has the same sender");
    }
    let env = braid_rules::input::tx_env(&tx, sender.unwrap_or_default());
    assert_eq!((env.nonce, env.gas_limit, env.value), (tx.nonce(), tx.gas_limit(), tx.value()));
}
