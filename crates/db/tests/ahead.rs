//! Roots that are begun ahead, whatever they are told, against headers.

use alloy_primitives::{Address, B256, U256};
use braid_core::Write;
use braid_db::{DataFolder, Finished, WitnessTries, root_ahead, version_ahead};
use braid_evm::{AccountDiff, AccountInfoDiff, AccountState, EvmKey, EvmValue, ExecutedBlock};
use braid_sched::Pool;
use braid_store::{
    disk::DiskOptions,
    trie::{Crew, TrieNodes},
};
use braid_testkit::{Rng, data};
use braid_work::PreState;
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

/// A block that changes anything.
fn block(rng: &mut Rng, number: u64) -> Finished {
    let mut done = ExecutedBlock::default();
    for _ in 0..1 + rng.below(20) {
        let info = AccountInfoDiff {
            balance: U256::from(rng.below(1000)),
            nonce: rng.below(4),
            code_hash: B256::repeat_byte(1),
        };
        let account = (!rng.chance(10)).then_some(info);
        let count = if account.is_some() { rng.below(12) } else { 0 };
        let storage = (0..count).map(|_| (U256::from(rng.below(40)), U256::from(rng.below(3)))).collect();
        let wiped = account.is_none() || rng.chance(10);
        let address = Address::repeat_byte(rng.below(60) as u8);
        done.diff.insert(address, AccountDiff { account, wiped, storage });
    }
    Finished { number, block: None, done }
}

#[test]
fn versions_on_disk_are_the_same_whatever_is_told_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskOptions { segment_bytes: 1 << 16, ..DiskOptions::default() };
    let mut data = DataFolder::open_or_create(&folder.path().join("data"), options).unwrap();
    data.begin_bare(0, &PreState::default()).unwrap();
    let (mut rng, mut locations) = (Rng::new(1), 0);
    for number in 1..=60 {
        let finished = block(&mut rng, number);
        let expected = data.prepare(&finished).unwrap().root();
        let ((), begun) = version_ahead::<_, Infallible>(data.begin_version().unwrap(), |told| {
            let writes = if number % 5 == 0 { Vec::new() } else { writes(&mut rng, &finished.done.diff) };
            writes.chunks(50).for_each(|writes| told.feed(writes));
            std::thread::sleep(Duration::from_millis(number % 4 * 3));
            Ok(())
        })
        .unwrap();
        let (prepared, stats) = data.prepare_begun(&finished, begun).unwrap();
        assert_eq!(prepared.root(), expected, "block {number}: {stats:?}");
        locations += stats.locations;
        data.record(std::slice::from_ref(&finished)).unwrap();
        data.commit_prepared(prepared).unwrap();
    }
    data.store().verify().unwrap();
    assert!(locations > 100, "only {locations} locations were told");
}
