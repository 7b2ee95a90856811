//! Versions that are begun before their changes are known, whatever is told of them.

use crate::{
    oracle::{World, address},
    seeds, small,
};
use alloy_primitives::{Address, U256};
use braid_store::{
    disk::{Begun, DiskOptions, DiskStore},
    io::{FaultMedium, Faults},
};
use braid_testkit::Rng;
use std::{collections::BTreeSet, sync::Arc};

type Change = (Address, Option<(U256, U256)>);

/// All that is not in the one as it is in the other.
fn differences(before: &World, after: &World) -> Vec<Change> {
    let mut changes = Vec::new();
    let addresses: BTreeSet<&Address> = before.accounts.keys().chain(after.accounts.keys()).collect();
    for address in addresses {
        let (was, is) = (before.accounts.get(address), after.accounts.get(address));
        if was == is {
            continue;
        }
        changes.push((*address, None));
        let slots = was.into_iter().chain(is).flat_map(|(_, slots)| slots.keys());
        for slot in slots.collect::<BTreeSet<_>>() {
            let (was, is) = (before.slot(address, slot), after.slot(address, slot));
            if was != is {
                changes.push((*address, Some((*slot, is))));
            }
        }
    }
    changes
}

/// Tells of nothing, some, all, wrong things, or more than there is, and works on it for a while.
fn tell(rng: &mut Rng, begun: &mut Begun, mut changes: Vec<Change>) {
    let way = rng.below(6);
    match way {
        0 => changes.clear(),
        1 => changes.retain(|_| rng.chance(60)),
        2 => {
            for (_, slot) in &mut changes {
                if let Some((_, value)) = slot.as_mut().filter(|_| rng.chance(30)) {
                    *value = U256::from(rng.below(3));
                }
            }
        }
        3 => {
            for _ in 0..rng.below(60) {
                let slot = (U256::from(rng.below(300)), U256::from(rng.below(3)));
                changes.push((address(rng.below(80)), rng.chance(80).then_some(slot)));
            }
        }
        _ => {}
    }
    let some = 1 + rng.below(20) as usize;
    for changes in changes.chunks(some) {
        begun.tell(changes);
        for _ in 0..rng.below(2 * some as u64) {
            begun.step();
        }
    }
    while way > 1 && begun.step() {}
    // What is told twice changes nothing.
    if rng.chance(20) {
        begun.tell(&changes);
    }
}

#[test]
fn what_is_told_ahead_changes_no_root_and_no_byte() {
    let mut used = 0;
    for seed in seeds(60) {
        let mut rng = Rng::new(seed);
        let workers = 1 + seed as usize % 3;
        let options = DiskOptions { keep: 1 + rng.below(4) as usize, workers, ..small() };
        let mediums = [0, 1].map(|_| FaultMedium::new(seed, Faults::default()));
        let [mut store, mut plain] =
            mediums.map(|medium| DiskStore::create_on(Arc::new(medium), options).unwrap());
        let (mut world, accounts) = (World::default(), 1 + rng.below(80));
        // A third begins with nothing.
        for version in 0..if seed % 3 == 0 { 0 } else { 40 } {
            let batch = world.change(&mut rng, accounts, 20);
            store.apply(version, &batch).unwrap();
            plain.apply(version, &batch).unwrap();
        }
        for version in (40..).step_by(3).take(12) {
            let told = format!("version {version}; repeat with BRAID_SEED={seed}");
            let (mut first, mut second) = (world.clone(), world.clone());
            let batches = [first.change(&mut rng, accounts, 25), second.change(&mut rng, accounts, 25)];
            // Two forks on the latest version, one of which is dropped early at times, and one on the first of them.
            let mut begun = store.begin().unwrap();
            let mut other = store.begin().unwrap();
            tell(&mut rng, &mut begun, differences(&world, &first));
            tell(&mut rng, &mut other, differences(&world, &second));
            used += begun.told();
            let other = rng.chance(70).then_some(other);
            let one = store.prepare_begun(begun, None, version, &batches[0]).unwrap();
            assert_eq!(one.root(), first.root(), "{told}");
            if let Some(other) = other {
                let other = store.prepare_begun(other, None, version, &batches[1]).unwrap();
                assert_eq!(other.root(), second.root(), "{told}");
            }
            let mut third = first.clone();
            let batch = third.change(&mut rng, accounts, 25);
            let mut above = store.begin_on(&one).unwrap();
            let mut wrong = store.begin().unwrap();
            tell(&mut rng, &mut above, differences(&first, &third));
            tell(&mut rng, &mut wrong, differences(&first, &third));
            // What is on something else is not used.
            let begun = if rng.chance(30) { wrong } else { above };
            let two = store.prepare_begun(begun, Some(&one), version + 1, &batch).unwrap();
            assert_eq!(two.root(), third.root(), "{told}");
            let stale = store.begin().unwrap();
            // What is begun keeps its version, on which it depends what is written again.
            let _kept = plain.begin().unwrap();
            // Another store, which nobody tells anything ahead, writes as much.
            let plain_one = plain.prepare(version, &batches[0]).unwrap();
            let plain_two = plain.prepare_on(&plain_one, version + 1, &batch).unwrap();
            for (prepared, other) in [(one, plain_one), (two, plain_two)] {
                assert_eq!(store.commit(prepared).unwrap(), plain.commit(other).unwrap(), "{told}");
            }
            world = third;
            let mut fourth = world.clone();
            let batch = fourth.change(&mut rng, accounts, 25);
            let three = store.prepare_begun(stale, None, version + 2, &batch).unwrap();
            assert_eq!(three.root(), fourth.root(), "{told}");
            assert_eq!(store.commit(three), plain.apply(version + 2, &batch), "{told}");
            let [one, other] = [&store, &plain].map(|store| store.stat().unwrap().current_bytes);
            assert_eq!(one, other, "{told}");
            world = fourth;
            world.compare(&store.view(version + 2).unwrap(), &told);
            store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
        }
    }
    assert!(used > 0, "nothing was told");
}
