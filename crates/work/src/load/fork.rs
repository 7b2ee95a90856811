//! Which rules and which blob prices are in force where, for blocks that come without a chain.

use alloy_eips::eip7840::BlobParams;
use alloy_primitives::U256;
pub use braid_rules::id::{HOLESKY, MAINNET};
use braid_rules::{ChainSpec, Fork};
use revm::primitives::hardfork::SpecId;

/// The chain, and the fork in force in a block of it; `None` for a chain whose schedule is not known here.
pub fn fork_at(chain_id: u64, number: u64, timestamp: u64) -> Option<(ChainSpec, Fork)> {
    let chain = ChainSpec::of_chain(chain_id)?;
    let fork = chain.fork_at(number, timestamp, U256::ZERO);
    Some((chain, fork))
}

/// Blob parameters of a block of which only `spec` and time are known: of the chain's schedule, or of
/// `spec` if the schedule has none there or is not known. `None` before Cancun.
pub fn blob_params_at(chain_id: u64, spec: SpecId, timestamp: u64) -> Option<BlobParams> {
    // Whatever has a time to look up is after the Merge.
    let scheduled = fork_at(chain_id, u64::MAX, timestamp).and_then(|(chain, fork)| chain.blob_params(fork));
    match spec {
        _ if !spec.is_enabled_in(SpecId::CANCUN) => None,
        _ if scheduled.is_some() => scheduled,
        _ if spec.is_enabled_in(SpecId::OSAKA) => Some(BlobParams::osaka()),
        _ if spec.is_enabled_in(SpecId::PRAGUE) => Some(BlobParams::prague()),
        _ => Some(BlobParams::cancun()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_schedule_moves_without_the_spec() {
        let max = |spec, time| blob_params_at(MAINNET, spec, time).map(|params| params.max_blob_count);
        assert_eq!(max(SpecId::SHANGHAI, 1_681_338_455), None);
        assert_eq!(max(SpecId::CANCUN, 1_710_338_135), Some(6));
        assert_eq!(max(SpecId::PRAGUE, 1_746_612_311), Some(9));
        assert_eq!(max(SpecId::OSAKA, 1_765_290_071), Some(15));
        assert_eq!(max(SpecId::OSAKA, 1_767_747_671), Some(21));
        assert_eq!(blob_params_at(99, SpecId::PRAGUE, 0).map(|params| params.max_blob_count), Some(9));
        assert_eq!(fork_at(5, 1, 1), None);
        assert!(fork_at(HOLESKY, 1, 1_707_305_664).is_some_and(|(_, fork)| fork == Fork::Cancun));
    }
}
