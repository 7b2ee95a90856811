//! Forks against plain maps: what is read, roots, what is chosen and dropped, what a folder holds afterwards.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_db::{DataFolder, DataReader, DbError, Finished, ForkId, ForkLimits, Forks, LayeredState};
use braid_evm::{AccountDiff, AccountInfoDiff, EvmKey, EvmValue, ExecutedBlock};
use braid_store::{
    Below,
    disk::{DiskError, DiskOptions},
    trie::{state_root, storage_root},
};
use braid_testkit::Rng;
use braid_work::PreState;
use std::{collections::BTreeMap, time::Duration};

const ACCOUNTS: u64 = 30;

fn options() -> DiskOptions {
    DiskOptions {
        keep: 8,
        segment_bytes: 1 << 16,
        journal_bytes: 1 << 20,
        workers: 1,
        ..DiskOptions::default()
    }
}

fn address(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

/// The whole state in maps.
#[derive(Clone, Default)]
struct World(BTreeMap<Address, (AccountInfoDiff, BTreeMap<U256, U256>)>);

impl World {
    fn root(&self) -> B256 {
        state_root(self.0.iter().map(|(address, (info, slots))| {
            let storage_root = storage_root(slots.iter().map(|(slot, value)| (*slot, *value)));
            let (nonce, balance, code_hash) = (info.nonce, info.balance, info.code_hash);
            (*address, TrieAccount { nonce, balance, storage_root, code_hash })
        }))
    }

    /// A block that does anything to it; its changes are made here.
    fn block(&mut self, rng: &mut Rng, number: u64) -> Finished {
        let mut done = ExecutedBlock::default();
        for _ in 0..rng.below(12) {
            let address = address(rng.below(ACCOUNTS));
            let there = rng.below(5) > 0;
            let wiped = !there || rng.chance(20);
            let info = AccountInfoDiff {
                balance: U256::from(rng.below(1000)),
                nonce: rng.below(4),
                code_hash: keccak256(b"code"),
            };
            let slots: BTreeMap<U256, U256> =
                (0..rng.below(8)).map(|_| (U256::from(rng.below(20)), U256::from(rng.below(3)))).collect();
            let storage = if there { slots.clone() } else { BTreeMap::new() };
            done.diff.insert(address, AccountDiff { account: there.then_some(info), wiped, storage });
        }
        for (address, diff) in &done.diff {
            let Some(info) = diff.account else {
                self.0.remove(address);
                continue;
            };
            let (before, slots) = self.0.entry(*address).or_insert((info, BTreeMap::new()));
            *before = info;
            if diff.wiped {
                slots.clear();
            }
            slots.extend(diff.storage.clone());
            slots.retain(|_, value| !value.is_zero());
        }
        if number.is_multiple_of(3) {
            done.codes.insert(keccak256(b"code"), b"code".into());
        }
        Finished { number, block: None, done }
    }

    fn compare(&self, state: &LayeredState, told: &str) {
        let mut reader = state.reader().unwrap();
        for number in 0..ACCOUNTS + 2 {
            let address = address(number);
            let expected = self.0.get(&address);
            match reader.get(&EvmKey::Account(address)).unwrap() {
                Some(EvmValue::Account(found)) => {
                    assert_eq!(
                        Some(AccountInfoDiff::from(&found)),
                        expected.map(|(info, _)| *info),
                        "{told}"
                    );
                    let has = expected.is_some_and(|(_, slots)| !slots.is_empty());
                    assert!(found.has_storage || !has, "{told}");
                }
                found => assert_eq!((found, expected.is_none()), (None, true), "{told}"),
            }
            for slot in (0..20).map(U256::from) {
                let value = expected.and_then(|(_, slots)| slots.get(&slot).copied());
                let found = reader.get(&EvmKey::Slot { address, generation: 0, slot }).unwrap();
                assert_eq!(found, value.map(EvmValue::Slot), "{address} {slot} {told}");
                assert_eq!(reader.get(&EvmKey::Slot { address, generation: 1, slot }).unwrap(), None);
            }
        }
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    repeat.map_or(0..count, |seed| seed..seed + 1)
}

#[test]
fn forks_are_as_maps_are() {
    for seed in seeds(6) {
        let mut rng = Rng::new(seed);
        let temp = tempfile::tempdir().unwrap();
        let mut folder = DataFolder::open_or_create(temp.path(), options()).unwrap();
        let mut base = World::default();
        folder.begin_bare(0, &PreState::default()).unwrap();
        assert_eq!(folder.latest(), Some((0, EMPTY_ROOT_HASH)));
        let mut forks = Forks::new(&folder, ForkLimits::default()).unwrap();
        let mut worlds: BTreeMap<ForkId, World> = BTreeMap::new();
        for step in 0..80 {
            let told = format!("step {step}; repeat with BRAID_SEED={seed}");
            let ids: Vec<ForkId> = forks.ids().collect();
            let any = (!ids.is_empty()).then(|| ids[rng.below(ids.len().max(1) as u64) as usize]);
            match (rng.below(10), any) {
                (0, Some(id)) => {
                    // Choosing drops all that is not on it.
                    base = worlds[&id].clone();
                    forks.choose(&mut folder, id).unwrap_or_else(|error| panic!("{error} {told}"));
                    assert_eq!(folder.latest().unwrap().1, base.root(), "{told}");
                    worlds.retain(|id, _| forks.root(*id).is_ok());
                    assert_eq!(forks.root(id), Err(DbError::NoFork(id.0)), "{told}");
                }
                (1, Some(id)) => {
                    let gone = forks.drop_fork(id).unwrap();
                    let before = worlds.len();
                    worlds.retain(|id, _| forks.root(*id).is_ok());
                    assert_eq!(before - worlds.len(), gone, "{told}");
                }
                (at, any) => {
                    let parent = any.filter(|_| at > 3);
                    let mut world = parent.map_or(&base, |parent| &worlds[&parent]).clone();
                    let depth = forks.state(parent).unwrap().depth() as u64;
                    let block = world.block(&mut rng, forks.base() + depth + 1);
                    let id = forks.add(&folder, parent, block);
                    let id = id.unwrap_or_else(|error| panic!("{error} {told}"));
                    assert_eq!(forks.root(id).unwrap(), world.root(), "{told}");
                    assert_eq!(forks.parent(id).unwrap(), parent, "{told}");
                    worlds.insert(id, world);
                }
            }
            base.compare(forks.state(None).unwrap(), &told);
            for (id, world) in &worlds {
                world.compare(forks.state(Some(*id)).unwrap(), &told);
                assert_eq!(forks.root(*id).unwrap(), world.root(), "{told}");
            }
        }
        folder.verify().unwrap();
        let latest = folder.latest().unwrap();
        drop((forks, folder));
        let folder = DataFolder::open(temp.path(), options()).unwrap();
        assert_eq!(folder.latest(), Some(latest));
        base.compare(&folder.state(latest.0).unwrap(), "after opening it again");
    }
}

#[test]
fn limits_and_wrong_blocks_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut folder = DataFolder::open_or_create(temp.path(), options()).unwrap();
    assert_eq!(Forks::new(&folder, ForkLimits::default()).err(), Some(DbError::Empty));
    folder.begin_bare(7, &PreState::default()).unwrap();
    assert_eq!(folder.begin_bare(9, &PreState::default()), Err(DbError::Order { number: 9, latest: 7 }));
    let limits = ForkLimits { forks: 3, depth: 2, changes: 1000 };
    let mut forks = Forks::new(&folder, limits).unwrap();
    let mut rng = Rng::new(1);
    let mut block = |number| World::default().block(&mut rng, number);
    let wrong = forks.add(&folder, None, block(9));
    assert_eq!(wrong, Err(DbError::Order { number: 9, latest: 7 }));
    let one = forks.add(&folder, None, block(8)).unwrap();
    let two = forks.add(&folder, Some(one), block(9)).unwrap();
    let deep = forks.add(&folder, Some(two), block(10));
    assert_eq!(deep, Err(DbError::Limit { what: "blocks on one another", is: 3, limit: 2 }));
    forks.add(&folder, None, block(8)).unwrap();
    let many = forks.add(&folder, None, block(8));
    assert_eq!(many, Err(DbError::Limit { what: "number of forks", is: 4, limit: 3 }));
    assert_eq!(forks.add(&folder, Some(ForkId(99)), block(8)), Err(DbError::NoFork(99)));
    // A second writer; readers beside the first, of the state if not of code.
    let second = DataFolder::open(temp.path(), options());
    assert!(matches!(second, Err(DbError::Disk(DiskError::Locked { .. }))), "{second:?}");
    let reader = DataReader::open(temp.path(), options()).unwrap();
    assert_eq!(reader.versions().unwrap().len(), 1);
    let state = reader.state(None, Duration::from_secs(60)).unwrap();
    assert_eq!(state.reader().unwrap().get(&EvmKey::Account(address(0))).unwrap(), None);
    assert!(matches!(reader.header(7), Err(DbError::ArchiveBusy { .. })));
    assert!(state.reader().unwrap().get(&EvmKey::Code(keccak256(b"code"))).is_err());
    drop((state, forks, folder));
    let reader = DataReader::open(temp.path(), options()).unwrap();
    assert_eq!(reader.header(7), Ok(None));
}
