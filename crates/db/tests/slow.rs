//! A data folder whose reads are answered later: executions are suspended over them, and nothing comes out otherwise.

use alloy_primitives::{Address, B256, U256, keccak256};
use braid_core::{Control, Reader, State};
use braid_db::{DataFolder, Finished, Layer, LayeredState};
use braid_evm::{
    AccountDiff, AccountInfoDiff, AccountState, EvmKey, EvmShared, EvmValue, ExecOptions, ExecutedBlock,
    execute_block_with,
};
use braid_sched::{BlockStm, Pool, Serial, Waits};
use braid_store::{Below, disk::DiskOptions};
use braid_testkit::Rng;
use braid_work::{PreState, Workload};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// Far more than the pages that are kept in any case have room for.
const ACCOUNTS: u64 = 12_000;

/// Nothing is remembered but the last few pages.
fn forgetful() -> DiskOptions {
    DiskOptions {
        page_cache_bytes: 0,
        flat_entries: 0,
        workers: 1,
        journal_bytes: 1 << 20,
        ..DiskOptions::default()
    }
}

fn address(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn account(number: u64) -> AccountDiff {
    let info = AccountInfoDiff {
        balance: U256::from(number),
        nonce: number,
        code_hash: alloy_primitives::KECCAK256_EMPTY,
    };
    let storage = (0..number % 6).map(|slot| (U256::from(slot), U256::from(number + slot + 1)));
    AccountDiff { account: Some(info), wiped: false, storage: storage.collect() }
}

/// A folder at version 1, opened anew, so that nothing is in memory.
fn folder(path: &Path) -> DataFolder {
    let mut folder = DataFolder::open_or_create(path, forgetful()).unwrap();
    folder.begin_bare(0, &PreState::default()).unwrap();
    let diff: BTreeMap<_, _> = (0..ACCOUNTS).map(|number| (address(number), account(number))).collect();
    let finished =
        Finished { number: 1, block: None, done: ExecutedBlock { diff, ..ExecutedBlock::default() } };
    folder.record(std::slice::from_ref(&finished)).unwrap();
    folder.commit(&finished).unwrap();
    drop(folder);
    DataFolder::open(path, forgetful()).unwrap()
}

/// With a layer on it that changes, wipes and removes some.
fn layered(folder: &DataFolder) -> LayeredState {
    let state = folder.state(1).unwrap();
    let mut done = ExecutedBlock::default();
    for number in (0..ACCOUNTS).step_by(70) {
        done.diff.insert(address(number), AccountDiff { wiped: number % 2 == 0, ..account(number + 3) });
    }
    for number in (1..ACCOUNTS).step_by(310) {
        done.diff
            .insert(address(number), AccountDiff { account: None, wiped: true, storage: BTreeMap::new() });
    }
    let layer = Layer::new(&done, &mut *state.reader().unwrap()).unwrap();
    state.with(Arc::new(layer))
}

fn key(rng: &mut Rng) -> EvmKey {
    let address = address(rng.below(ACCOUNTS + 40));
    match rng.below(5) {
        0 | 1 => EvmKey::Account(address),
        2 | 3 => EvmKey::Slot { address, generation: 0, slot: U256::from(rng.below(7)) },
        _ if rng.chance(50) => EvmKey::Slot { address, generation: 1, slot: U256::ZERO },
        _ => EvmKey::Code(B256::repeat_byte(7)),
    }
}

#[test]
fn what_is_polled_is_what_is_asked_and_many_reads_are_under_way() {
    const NUMBERS: u32 = 48;
    let temp = tempfile::tempdir().unwrap();
    let state = layered(&folder(temp.path()));
    assert_eq!(Below::overlap(&state), 1);
    let pre = PreState::over(Arc::new(state.clone().overlapping(NUMBERS as u16)));
    assert_eq!(State::overlap(&pre), NUMBERS as u16, "a file has a queue");
    let plain = PreState::over(Arc::new(state));
    let (mut polled, mut asked) = (State::reader(&pre).unwrap(), State::reader(&plain).unwrap());
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    let seed = repeat.unwrap_or(1);
    let (mut rng, started, mut most) = (Rng::new(seed), Instant::now(), 0);
    for round in 0..60 {
        let keys: Vec<EvmKey> = (0..NUMBERS).map(|_| key(&mut rng)).collect();
        if round % 3 == 0 {
            polled.prefetch(&[key(&mut rng), key(&mut rng), key(&mut rng)]);
        }
        let (mut pending, mut first) = ((0..NUMBERS).collect::<Vec<u32>>(), true);
        while !pending.is_empty() {
            let mut waiting = Vec::new();
            for number in pending.drain(..) {
                let key = &keys[number as usize];
                match polled.poll(key, number) {
                    Poll::Pending => waiting.push(number),
                    Poll::Ready(answer) => {
                        let expected: Result<Option<EvmValue>, _> = asked.get(key);
                        assert_eq!(answer, expected, "{key:?}; repeat with BRAID_SEED={seed}");
                    }
                }
            }
            if std::mem::take(&mut first) {
                most = most.max(waiting.len());
            }
            if waiting.is_empty() {
                break;
            }
            while pending.is_empty() {
                polled.wait(Duration::from_millis(1), &mut pending);
                assert!(started.elapsed() < Duration::from_secs(100), "repeat with BRAID_SEED={seed}");
            }
            // One that is told of twice, or that was not told of yet.
            pending.extend(waiting);
            pending.sort_unstable();
            pending.dedup();
        }
    }
    assert!(most >= 16, "{most} reads under way at a time");
}

/// A block on a folder that forgets everything, its executions suspended over their reads.
#[test]
fn a_block_suspends_over_the_reads_of_a_folder() {
    let temp = tempfile::tempdir().unwrap();
    let workload: Workload = "transfers?txs=120&accounts=400".parse().unwrap();
    let case = workload.source().load().unwrap();
    let mut made = DataFolder::open_or_create(temp.path(), forgetful()).unwrap();
    let mut whole = PreState::clone(case.state().unwrap());
    for number in 0..ACCOUNTS {
        let account = AccountState { exists: true, nonce: number, ..AccountState::default() };
        whole.store.set(EvmKey::Account(address(number)), Some(EvmValue::Account(account)));
    }
    made.begin_bare(0, &whole).unwrap();
    drop(made);
    let folder = DataFolder::open(temp.path(), forgetful()).unwrap();
    let state = |overlap: u16| {
        let mut pre = PreState::over(Arc::new(folder.state(0).unwrap().overlapping(overlap)));
        pre.block_hashes.clone_from(&case.state().unwrap().block_hashes);
        pre
    };
    let (shared, control) = (EvmShared::default(), Control::default());
    let plain = state(1);
    let expected = execute_block_with(
        ExecOptions::default(),
        &Serial::new(),
        &shared,
        &case.input,
        &plain,
        &(),
        &control,
    );
    let mut expected = expected.unwrap().into_block(&plain).unwrap();
    expected.stats = Default::default();
    for threads in [1, 2] {
        for overlap in [1, 64] {
            let scheduler = BlockStm::new(Arc::new(Pool::new(threads))).waits(Waits::Resume);
            let pre = state(overlap);
            let ran = execute_block_with(
                ExecOptions::default(),
                &scheduler,
                &shared,
                &case.input,
                &pre,
                &(),
                &control,
            );
            let ran = ran.unwrap();
            let most = ran.stats.most_in_flight;
            assert_eq!(most > 1, overlap > 1, "{threads} threads: {most} of {overlap} in flight");
            let mut block = ran.into_block(&pre).unwrap();
            block.stats = Default::default();
            assert_eq!(block, expected, "{threads} threads, overlap {overlap}");
        }
    }
}
