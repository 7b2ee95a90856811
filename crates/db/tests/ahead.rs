//! Roots that are begun ahead, whatever they are told, against headers.

use alloy_primitives::{Address, U256};
use braid_core::Write;
use braid_db::{WitnessTries, root_ahead};
use braid_evm::{AccountDiff, AccountState, EvmKey, EvmValue};
use braid_sched::Pool;
use braid_store::trie::{Crew, TrieNodes};
use braid_testkit::{Rng, data};
use revm::primitives::hardfork::SpecId;
use std::{collections::BTreeMap, convert::Infallible, time::Duration};

/// What may be told of a block that ends so: some of it, some of it wrong, and other things.
fn writes(rng: &mut Rng, diff: &BTreeMap<Address, AccountDiff>) -> Vec<(EvmKey, Write<EvmValue>)> {
    let mut writes = Vec::new();
    for _ in 0..3 {
        for (address, change) in diff {
            if rng.chance(70) {
                let account = EvmValue::Account(AccountState::default());
                writes.push((EvmKey::Account(*address), Write::Put(account)));
            }
            let mut slots: Vec<(U256, U256)> =
                change.storage.iter().map(|(slot, value)| (*slot, *value)).collect();
            if rng.chance(20) {
                slots.push((U256::from(rng.below(8)), U256::from(rng.below(3))));
            }
            for (slot, value) in slots {
                let value = if rng.chance(40) { U256::from(rng.below(3)) } else { value };
                let generation = u32::from(rng.chance(5));
                let key = EvmKey::Slot { address: *address, generation, slot };
                match rng.below(10) {
                    0 => {}
                    1 => writes.push((key, Write::Delete)),
                    _ => writes.push((key, Write::Put(EvmValue::Slot(value)))),
                }
            }
        }
    }
    writes
}

#[test]
fn roots_are_those_of_headers_whatever_is_told_ahead() {
    let Some(data) = data() else { return };
    let (mut blocks, mut again, mut ahead) = (0, 0, 0);
    for source in braid_work::load(&data.join("ethereum/mainnet")).unwrap() {
        let case = source.load().unwrap();
        let (Some(witness), Some(root)) =
            (&case.expect.witness, case.header.as_ref().map(|header| header.state_root))
        else {
            continue;
        };
        let Some(diff) = &case.expect.post_state else { continue };
        let clears_empty = case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
        let nodes: TrieNodes = witness.nodes.iter().cloned().collect();
        let tries = WitnessTries::new(witness, &nodes);
        for seed in 0..4 {
            let mut rng = Rng::new(seed);
            let ((), begun) = root_ahead::<_, Infallible>(tries.clone(), |told| {
                let writes = if seed == 0 { Vec::new() } else { writes(&mut rng, diff) };
                writes.chunks(50).for_each(|writes| told.feed(writes));
                // Time to work ahead; whatever is done of it is right.
                std::thread::sleep(Duration::from_millis(seed * 10));
                Ok(())
            })
            .unwrap();
            // Shared among none, a few, and more than there are.
            let pool = Pool::new(2);
            let mut split = |count: usize, work: &(dyn Fn(usize) + Sync)| pool.split(count, work);
            let mut crew = Crew::new(1 + seed as usize, &mut split);
            let rooted = begun.finish(witness, diff, clears_empty, &mut crew).unwrap();
            let (found, stats) = (rooted.root, rooted.stats);
            assert_eq!(found, root, "{} with seed {seed}: {stats:?}", case.name);
            again += u32::from(stats.again);
            ahead += u32::from(stats.locations > 0 && !stats.again);
            assert!(seed > 0 || !stats.again, "{}: {stats:?}", case.name);
        }
        blocks += 1;
    }
    println!("{blocks} blocks, {again} roots were found again, {ahead} with what was done ahead");
    assert!(ahead > 0, "nothing was done ahead");
    assert!(blocks >= 8, "only {blocks} blocks with a witness");
}
