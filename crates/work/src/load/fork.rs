//! Which rules and which blob prices are in force where.

use alloy_eips::eip7840::BlobParams;
use revm::primitives::hardfork::SpecId;

/// Chain id of Ethereum mainnet.
pub const MAINNET: u64 = 1;
/// Chain id of the Holesky test network.
pub const HOLESKY: u64 = 17_000;

/// First mainnet block of each fork before the Merge; the Merge itself. As in the execution specs
/// (ethereum/execution-specs, `src/ethereum/*/__init__.py`).
const MAINNET_BLOCKS: [(u64, SpecId); 10] = [
    (15_537_394, SpecId::MERGE),
    (12_965_000, SpecId::LONDON),
    (12_244_000, SpecId::BERLIN),
    (9_069_000, SpecId::ISTANBUL),
    (7_280_000, SpecId::PETERSBURG),
    (4_370_000, SpecId::BYZANTIUM),
    (2_675_000, SpecId::SPURIOUS_DRAGON),
    (2_463_000, SpecId::TANGERINE),
    (1_150_000, SpecId::HOMESTEAD),
    (0, SpecId::FRONTIER),
];

/// Activation times of a chain after the Merge, newest first.
struct Times {
    osaka: u64,
    prague: u64,
    cancun: u64,
    shanghai: u64,
    /// EIP-7892: blob parameters only.
    bpo2: u64,
    bpo1: u64,
}

const MAINNET_TIMES: Times = Times {
    osaka: 1_764_798_551,
    prague: 1_746_612_311,
    cancun: 1_710_338_135,
    shanghai: 1_681_338_455,
    bpo2: 1_767_747_671,
    bpo1: 1_765_290_071,
};

const HOLESKY_TIMES: Times = Times {
    osaka: 1_759_308_480,
    prague: 1_740_434_112,
    cancun: 1_707_305_664,
    shanghai: 1_696_000_704,
    bpo2: 1_760_389_824,
    bpo1: 1_759_800_000,
};

/// First DAO fork block, where balances move irregularly (EIP-779).
pub(crate) const DAO_FORK_BLOCK: u64 = 1_920_000;

/// Rules of a block; `None` for a chain whose schedule is not known here.
pub fn spec_at(chain_id: u64, number: u64, timestamp: u64) -> Option<SpecId> {
    let times = times(chain_id)?;
    let by_time = [
        (times.osaka, SpecId::OSAKA),
        (times.prague, SpecId::PRAGUE),
        (times.cancun, SpecId::CANCUN),
        (times.shanghai, SpecId::SHANGHAI),
    ];
    let merged = chain_id == HOLESKY || number >= MAINNET_BLOCKS[0].0;
    if merged {
        let spec = by_time.into_iter().find(|(from, _)| timestamp >= *from);
        return Some(spec.map_or(SpecId::MERGE, |(_, spec)| spec));
    }
    MAINNET_BLOCKS.into_iter().find(|(from, _)| number >= *from).map(|(_, spec)| spec)
}

/// Blob parameters of a block: of the chain's schedule at `timestamp`, or of `spec` if the schedule has
/// none there or is not known. `None` before Cancun.
pub fn blob_params_at(chain_id: u64, spec: SpecId, timestamp: u64) -> Option<BlobParams> {
    let scheduled = times(chain_id).and_then(|times| {
        let by_time = [
            (times.bpo2, BlobParams::bpo2()),
            (times.bpo1, BlobParams::bpo1()),
            (times.osaka, BlobParams::osaka()),
            (times.prague, BlobParams::prague()),
            (times.cancun, BlobParams::cancun()),
        ];
        by_time.into_iter().find(|(from, _)| timestamp >= *from).map(|(_, params)| params)
    });
    match spec {
        _ if !spec.is_enabled_in(SpecId::CANCUN) => None,
        _ if scheduled.is_some() => scheduled,
        _ if spec.is_enabled_in(SpecId::OSAKA) => Some(BlobParams::osaka()),
        _ if spec.is_enabled_in(SpecId::PRAGUE) => Some(BlobParams::prague()),
        _ => Some(BlobParams::cancun()),
    }
}

/// Static block reward in wei (EIP-649, EIP-1234), zero after the Merge.
pub(crate) fn block_reward(spec: SpecId) -> u128 {
    const ETHER: u128 = 1_000_000_000_000_000_000;
    match spec {
        _ if spec.is_enabled_in(SpecId::MERGE) => 0,
        _ if spec.is_enabled_in(SpecId::PETERSBURG) => 2 * ETHER,
        _ if spec.is_enabled_in(SpecId::BYZANTIUM) => 3 * ETHER,
        _ => 5 * ETHER,
    }
}

fn times(chain_id: u64) -> Option<&'static Times> {
    match chain_id {
        MAINNET => Some(&MAINNET_TIMES),
        HOLESKY => Some(&HOLESKY_TIMES),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fork_begins_at_its_block_and_ends_before_the_next() {
        for (block, spec) in MAINNET_BLOCKS {
            assert_eq!(spec_at(MAINNET, block, 0), Some(spec), "block {block}");
            if let Some(before) = block.checked_sub(1) {
                assert!(spec_at(MAINNET, before, 0).is_some_and(|earlier| earlier < spec), "block {before}");
            }
        }
    }

    #[test]
    fn each_fork_begins_at_its_time() {
        let late = MAINNET_BLOCKS[0].0 + 1;
        let times = [
            (MAINNET_TIMES.shanghai, SpecId::SHANGHAI),
            (MAINNET_TIMES.cancun, SpecId::CANCUN),
            (MAINNET_TIMES.prague, SpecId::PRAGUE),
            (MAINNET_TIMES.osaka, SpecId::OSAKA),
        ];
        for (time, spec) in times {
            assert_eq!(spec_at(MAINNET, late, time), Some(spec));
            assert!(spec_at(MAINNET, late, time - 1).is_some_and(|earlier| earlier < spec));
        }
        assert_eq!(spec_at(HOLESKY, 1, HOLESKY_TIMES.cancun), Some(SpecId::CANCUN));
        assert_eq!(spec_at(5, 1, 1), None);
    }

    #[test]
    fn blob_schedule_moves_without_the_spec() {
        let max = |spec, time| blob_params_at(MAINNET, spec, time).map(|params| params.max_blob_count);
        assert_eq!(max(SpecId::SHANGHAI, MAINNET_TIMES.shanghai), None);
        assert_eq!(max(SpecId::CANCUN, MAINNET_TIMES.cancun), Some(6));
        assert_eq!(max(SpecId::PRAGUE, MAINNET_TIMES.prague), Some(9));
        assert_eq!(max(SpecId::OSAKA, MAINNET_TIMES.bpo1), Some(15));
        assert_eq!(max(SpecId::OSAKA, MAINNET_TIMES.bpo2), Some(21));
        assert_eq!(blob_params_at(99, SpecId::PRAGUE, 0).map(|params| params.max_blob_count), Some(9));
    }
}
