//! Versions prepared on one another, and versions that are let go.

use crate::{oracle::World, seeds, small};
use braid_store::{
    disk::{Batch, DiskError, DiskOptions, DiskStore, Prepared},
    io::{FaultMedium, Faults},
};
use braid_testkit::Rng;
use std::sync::Arc;

/// One that is prepared, the state it is of, and where in the tree it is.
struct Node {
    prepared: Option<Prepared>,
    world: World,
    version: u64,
    parent: Option<usize>,
}

#[test]
fn trees_of_prepared_versions_are_those_of_the_oracle() {
    for seed in seeds(40) {
        let mut rng = Rng::new(seed);
        let options =
            DiskOptions { keep: 1 + rng.below(4) as usize, workers: 1 + seed as usize % 2, ..small() };
        let medium = FaultMedium::new(seed, Faults::default());
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
        let mut world = World::default();
        let (accounts, mut version) = (1 + rng.below(60), 0);
        store.apply(0, &world.change(&mut rng, accounts, 50)).unwrap();
        for round in 0..6 {
            let told = format!("round {round}; repeat with BRAID_SEED={seed}");
            let mut nodes: Vec<Node> = Vec::new();
            for _ in 0..1 + rng.below(10) {
                let parent = rng.chance(80).then(|| rng.below(nodes.len().max(1) as u64) as usize);
                let parent = parent.filter(|_| !nodes.is_empty());
                let (mut next, from) = match parent {
                    Some(parent) => (nodes[parent].world.clone(), nodes[parent].version),
                    None => (world.clone(), version),
                };
                let changes = rng.below(30);
                let batch = next.change(&mut rng, accounts, changes);
                let prepared = match parent.map(|parent| nodes[parent].prepared.as_ref().unwrap()) {
                    Some(on) => store.prepare_on(on, from + 1, &batch),
                    None => store.prepare(from + 1, &batch),
                };
                let prepared = prepared.unwrap_or_else(|error| panic!("{error} {told}"));
                assert_eq!((prepared.version(), prepared.root()), (from + 1, next.root()), "{told}");
                nodes.push(Node { prepared: Some(prepared), world: next, version: from + 1, parent });
            }
            // One of them, and all that it is on.
            let mut way = vec![rng.below(nodes.len() as u64) as usize];
            while let Some(parent) = nodes[way[way.len() - 1]].parent {
                way.push(parent);
            }
            for at in way.iter().rev() {
                let prepared = nodes[*at].prepared.take().unwrap();
                store.commit(prepared).unwrap_or_else(|error| panic!("{error} {told}"));
                version = nodes[*at].version;
                nodes[*at].world.compare(&store.view(version).unwrap(), &told);
                store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
            }
            world = nodes[way[0]].world.clone();
            // Whether each of the others is on what was committed last, and directly.
            for at in 0..nodes.len() {
                let Some(prepared) = nodes[at].prepared.take() else { continue };
                let (mut above, parent) = (nodes[at].parent, nodes[at].parent);
                while let Some(one) = above.filter(|one| *one != way[0]) {
                    above = nodes[one].parent;
                }
                let next = store.prepare_on(&prepared, prepared.version() + 1, &Batch::default());
                match above {
                    Some(_) => assert_eq!(next.map(|next| next.root()), Ok(prepared.root()), "{told}"),
                    None => assert!(matches!(next, Err(DiskError::Stale { .. })), "{next:?} {told}"),
                }
                if parent != Some(way[0]) {
                    let stale = store.commit(prepared);
                    assert!(matches!(stale, Err(DiskError::Stale { .. })), "{stale:?} {told}");
                }
            }
            if rng.chance(30) {
                drop(store);
                store = DiskStore::open_on(Arc::new(medium.clone()), options).unwrap();
                world.compare(&store.view(version).unwrap(), &told);
            }
        }
    }
}

#[test]
fn what_is_pruned_is_gone_for_good_and_the_rest_is_whole() {
    for seed in seeds(20) {
        let told = format!("repeat with BRAID_SEED={seed}");
        let mut rng = Rng::new(seed);
        let medium = FaultMedium::new(seed, Faults::default());
        let options = DiskOptions { keep: 10, ..small() };
        let mut store = DiskStore::create_on(Arc::new(medium.clone()), options).unwrap();
        let (mut world, mut version) = (World::default(), 0);
        for _ in 0..4 {
            for _ in 0..8 {
                version += 1;
                store.apply(version, &world.change(&mut rng, 40, 20)).unwrap();
            }
            let keep = 1 + rng.below(5) as usize;
            let pinned = rng.chance(50).then(|| store.view(version - 5).unwrap());
            let (before, left) =
                (store.versions().count(), if pinned.is_some() { keep.max(6) } else { keep });
            let prepared = store.prepare(version + 1, &Batch::default()).unwrap();
            assert_eq!(store.prune(keep).unwrap(), before - left, "{told}");
            let known: Vec<u64> = store.versions().map(|(version, _)| version).collect();
            assert_eq!(known, (version + 1 - left as u64..=version).collect::<Vec<_>>(), "{told}");
            assert_eq!(store.view(known[0] - 1).err(), Some(DiskError::NoVersion(known[0] - 1)), "{told}");
            if before > left {
                assert!(matches!(store.commit(prepared), Err(DiskError::Stale { .. })), "{told}");
            }
            store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
            drop((store, pinned));
            store = DiskStore::open_on(Arc::new(medium.clone()), options).unwrap();
            assert_eq!(store.versions().map(|(version, _)| version).collect::<Vec<_>>(), known, "{told}");
            world.compare(&store.view(version).unwrap(), &told);
            store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
        }
        assert!(matches!(store.prune(0), Err(DiskError::Limit { .. })));
    }
}
