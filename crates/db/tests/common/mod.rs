//! What the tests of snapshots share.

use alloy_consensus::{Header, proofs::calculate_ommers_root};
use alloy_primitives::{B256, U256};
use braid_db::SnapshotBlock;

/// The blocks of a snapshot of this version, the last of which leaves a state with this root. Every other one has an
/// ommer.
pub(crate) fn blocks(version: u64, root: B256) -> Vec<SnapshotBlock> {
    let (mut all, mut parent, mut total_difficulty) = (Vec::new(), B256::ZERO, U256::ZERO);
    for number in 0..=version {
        let ommers = match number % 2 {
            0 => Vec::new(),
            _ => vec![Header { number: number - 1, nonce: [7; 8].into(), ..Header::default() }],
        };
        let header = Header {
            number,
            parent_hash: parent,
            state_root: if number == version { root } else { B256::with_last_byte(number as u8) },
            ommers_hash: calculate_ommers_root(&ommers),
            difficulty: U256::from(number % 11 + 1) << (number % 70) as usize,
            gas_limit: number << 20,
            extra_data: vec![number as u8; number as usize % 33].into(),
            base_fee_per_gas: (number % 3 == 0).then_some(number),
            ..Header::default()
        };
        parent = header.hash_slow();
        total_difficulty += header.difficulty;
        all.push(SnapshotBlock { header, total_difficulty, ommers });
    }
    let near = version.saturating_sub(255);
    all.retain(|block| block.header.number == 0 || block.header.number >= near);
    for block in &mut all {
        if block.header.number + 7 <= version {
            block.ommers.clear();
        }
    }
    all
}
