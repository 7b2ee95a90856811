//! The law as a property, with shrinking: any block, any thread count, any perturbation.
#![cfg(not(any(feature = "shuttle", feature = "loom")))]

use braid_sched::{Batch, BlockStm, Graph, Occ, OccRounds, Policy, Pool, Serial, Waits};
use braid_testkit::{Case, Family, Telling, check, check_told};
use proptest::prelude::*;
use std::sync::Arc;

fn cases() -> impl Strategy<Value = Case> {
    (prop::sample::select(Family::ALL.to_vec()), any::<u64>(), 1u32..50, 1u64..30, 0u64..=100, 0u64..60)
        .prop_map(|(family, seed, txs, keys, hot_percent, error_permille)| Case {
            family,
            seed,
            txs,
            keys,
            hot_percent,
            error_permille,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn serial_is_the_oracle(case in cases()) {
        prop_assert_eq!(check(&Serial::new(), case), Ok(()));
    }

    #[test]
    fn occ_is_serial(case in cases(), threads in 1u16..6, chaos: u64) {
        let scheduler = Occ::new(Arc::new(Pool::new(threads))).chaos(chaos);
        prop_assert_eq!(check(&scheduler, case), Ok(()));
    }

    #[test]
    fn block_stm_is_serial(case in cases(), threads in 1u16..6, chaos: u64, resume: bool) {
        let waits = if resume { Waits::Resume } else { Waits::Retry };
        let scheduler = BlockStm::new(Arc::new(Pool::new(threads))).waits(waits).chaos(chaos);
        prop_assert_eq!(check(&scheduler, case), Ok(()));
    }

    #[test]
    fn graph_is_serial(
        case in cases(),
        threads in 1u16..6,
        chaos: u64,
        policy in prop::sample::select(Policy::ALL.to_vec()),
        binding in prop::sample::select(vec![0u64, 60, 100]),
        told: u64,
    ) {
        let scheduler = Graph::new(Arc::new(Pool::new(threads)), policy).chaos(chaos);
        prop_assert_eq!(check(&scheduler, case), Ok(()));
        prop_assert_eq!(check_told(&scheduler, case, Telling::random(binding, told)), Ok(()));
    }

    #[test]
    fn batch_is_serial(case in cases(), threads in 1u16..6, chaos: u64, most in 1u32..70, told: u64) {
        let scheduler = Batch::new(Arc::new(Pool::new(threads))).most(most).chaos(chaos);
        prop_assert_eq!(check(&scheduler, case), Ok(()));
        prop_assert_eq!(check_told(&scheduler, case, Telling::random(told % 101, told)), Ok(()));
    }

    #[test]
    fn occ_rounds_is_serial(case in cases(), threads in 1u16..6, chaos: u64) {
        let scheduler = OccRounds::new(Arc::new(Pool::new(threads))).chaos(chaos);
        prop_assert_eq!(check(&scheduler, case), Ok(()));
    }
}
