//! What a node does with a block besides executing it: recovering senders before, roots and hashes
//! after. The same code for every profile, timed apart from execution.

use crate::world::Case;
use alloy_primitives::{B256, Bloom};
use braid_evm::{BlockInput, ExecutedBlock};
use braid_keccak::keccak256_many;
use braid_rules::outcome;
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
    let receipts = outcome::receipts(outcome::landed(input.txs.iter().map(|tx| tx.tx_type), done));
    (outcome::receipts_root(&receipts), outcome::logs_bloom(&receipts))
}

/// Keys of the state trie are hashes: one for each changed account, slot and code.
fn hash_changes(done: &ExecutedBlock) -> Vec<B256> {
    let addresses: Vec<&[u8]> = done.diff.keys().map(|address| &address[..]).collect();
    let slots: Vec<[u8; 32]> =
        done.diff.values().flat_map(|change| change.storage.keys()).map(|slot| slot.to_be_bytes()).collect();
    let codes = done.codes.values().map(|code| &code[..]);
    let names: Vec<&[u8]> =
        addresses.into_iter().chain(slots.iter().map(|slot| &slot[..])).chain(codes).collect();
    let mut hashes = vec![B256::ZERO; names.len()];
    keccak256_many(&names, &mut hashes);
    hashes
}
