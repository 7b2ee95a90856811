//! In order, the executor gives what alloy-evm's own gives, call by call, and takes nearly all of it from
//! what was executed ahead.
//!
//! Random blocks are repeated by `BRAID_SEED`; `BRAID_LONG=1` runs many.

#[path = "../../profiles/tests/common/mod.rs"]
mod common;
mod door;

use alloy_evm::eth::spec::EthSpec;
use braid_testkit::data;
use common::{random, seed_to_repeat};
use door::{Call, Forks, Given, InOrder, assert_same, parallel, plain, play};
use revm::primitives::hardfork::SpecId;

#[test]
fn real_blocks() {
    let Some(data) = data() else { return };
    let factories = [1, 2, 4].map(|threads| (threads, parallel(EthSpec::mainnet(), threads)));
    let (mut blocks, mut txs) = (0, 0);
    for source in braid_work::load(&data.join("ethereum/mainnet")).unwrap() {
        let case = source.load().unwrap();
        let Some(given) = Given::of_case(&case) else { continue };
        let expected = plain(EthSpec::mainnet(), &given, &InOrder);
        let supported = given.env.cfg_env.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
        let ways = factories.iter().flat_map(|factory| [(factory, false), (factory, true)]);
        for ((threads, factory), deferred) in ways {
            let what = format!("block {} at {threads} threads, deferred: {deferred}", given.name);
            let before = factory.counts();
            assert_eq!(factory.speculate(given.deferred(deferred).ahead()).is_ok(), supported, "{what}");
            assert_same(&play(factory, &given, &InOrder), &expected, &what);
            let after = factory.counts();
            let used = after.used - before.used;
            assert_eq!(used, if supported { given.txs.len() as u64 } else { 0 }, "{what}: {after:?}");
            assert_eq!(after.discarded, before.discarded, "{what}");
        }
        blocks += u64::from(supported);
        txs += expected.receipts.len();
    }
    assert!(blocks > 30 && txs > 5_000, "{blocks} blocks, {txs} transactions");
}

#[test]
fn random_blocks() {
    let count = if std::env::var_os("BRAID_LONG").is_some() { 5_000 } else { 400 };
    let seeds = seed_to_repeat().map_or(0..count, |seed| seed..seed + 1);
    let (mut used, mut all, mut invalid) = (0, 0, 0);
    for seed in seeds {
        let world = random::block(seed);
        let spec = world.input.spec;
        let given = Given::of_input(&format!("random block {seed}"), &world.input, world.pre);
        let threads = 1 + (seed % 4) as u16;
        let expected = plain(Forks(spec), &given, &InOrder);
        for deferred in [false, true] {
            let factory = parallel(Forks(spec), threads);
            let what =
                format!("{spec:?} at {threads} threads, deferred: {deferred}; repeat with BRAID_SEED={seed}");
            let announced = factory.speculate(given.deferred(deferred).ahead());
            assert_same(&play(&factory, &given, &InOrder), &expected, &what);
            if announced.is_ok() {
                let ran = expected.calls.iter().filter(|call| call.executed()).count();
                assert_eq!(factory.counts().used, ran as u64, "{what}: {:?}", factory.counts());
                (used, all) = (used + factory.counts().used, all + ran as u64);
            }
        }
        invalid += u64::from(matches!(expected.calls.last(), Some(Call::Dropped)));
    }
    assert!(seed_to_repeat().is_some() || (all > 1_000 && used * 10 >= all * 9 && invalid > 0));
}
