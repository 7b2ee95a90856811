//! Reads that are answered later give what reads give that are waited for: on every medium, in every order of
//! completion, with failures, and under a schedule that suspends its executions over them.

use alloy_primitives::{Address, U256, keccak256};
use alloy_trie::TrieAccount;
use braid_core::{Block, Control, Hint, Mode, Reader, Scheduler, State, StoreError, Trust};
use braid_sched::{BlockStm, Pool, Serial, Waits};
use braid_store::{
    disk::{Batch, DiskError, DiskOptions, DiskStore, View, ViewReader, ViewState},
    io::{DelayedMedium, FaultMedium, Faults, FileMedium, Medium, ReadWay},
};
use braid_testkit::{Num, Op, RecordingSink, Rng, Toy, ToyTx};
use std::{
    collections::HashMap,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

const ACCOUNTS: u64 = 900;
/// Of those accounts that have any.
const SLOTS: u64 = 12;
/// Reads of one reader at a time.
const NUMBERS: usize = 64;

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

fn address(of: u64) -> Address {
    Address::from_slice(&keccak256(of.to_le_bytes())[..20])
}

fn account(of: u64) -> TrieAccount {
    TrieAccount { nonce: of, balance: U256::from(of * 7 + 1), ..TrieAccount::default() }
}

/// Fills a store with accounts, of which each third has slots, in a few versions.
fn fill(store: &mut DiskStore) {
    for version in 1..=3 {
        let mut batch = Batch::default();
        for of in (0..ACCOUNTS).filter(|of| of % 3 == version % 3 || version == 1) {
            let slots = (0..SLOTS)
                .filter(|_| of % 3 == 0)
                .map(|slot| (U256::from(slot), U256::from(of + version + slot)));
            batch.change(address(of), Some(account(of + version)), false, slots);
        }
        store.apply(version, &batch).expect("a commit");
    }
}

/// What is asked of a state: an account's balance, or a slot, present or not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Account(u64),
    Slot(u64, u64),
}

impl Ask {
    fn random(rng: &mut Rng) -> Ask {
        let of = rng.below(ACCOUNTS + ACCOUNTS / 10);
        if rng.below(2) == 0 { Ask::Account(of) } else { Ask::Slot(of / 3 * 3, rng.below(SLOTS + 4)) }
    }
}

fn failed(error: DiskError) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn read(reader: &mut ViewReader<'_>, ask: &Ask) -> Result<Option<U256>, StoreError> {
    match ask {
        Ask::Account(of) => {
            let account = reader.account(&address(*of)).map_err(failed)?;
            Ok(account.map(|account| account.balance))
        }
        Ask::Slot(of, slot) => {
            // Two questions for one answer, as an EVM's state asks them.
            let there = reader.account(&address(*of)).map_err(failed)?.is_some();
            let value = reader.slot(&address(*of), &U256::from(*slot)).map_err(failed)?;
            Ok(there.then_some(value))
        }
    }
}

fn state(
    view: &View,
) -> ViewState<impl Fn(&mut ViewReader<'_>, &Ask) -> Result<Option<U256>, StoreError> + Sync + Clone> {
    view.state(read)
}

/// Asks `count` questions of one reader, many at a time and some of them early, and compares each answer with what
/// `expect` says.
fn poll_all(
    view: &View,
    seed: u64,
    count: usize,
    mut expect: impl FnMut(&Ask, Result<Option<U256>, StoreError>),
) {
    let state = state(view).overlapping(NUMBERS as u16);
    assert_eq!(State::<Ask, U256>::overlap(&state), NUMBERS as u16, "this medium has a queue");
    let mut reader = State::<Ask, U256>::reader(&state).expect("a reader");
    let mut rng = Rng::new(seed);
    let (mut asked, mut answered, started) = (0, 0, Instant::now());
    let mut running: Vec<Option<Ask>> = vec![None; NUMBERS];
    let mut able: Vec<u32> = (0..NUMBERS as u32).collect();
    while answered < count {
        for number in able.drain(..) {
            let place = &mut running[number as usize];
            loop {
                // Now and then a question is given up for another.
                if place.is_none() || rng.below(50) == 0 {
                    if place.is_none() && asked == count {
                        break;
                    }
                    asked += usize::from(place.is_none());
                    *place = Some(Ask::random(&mut rng));
                }
                if rng.below(4) == 0 {
                    reader.prefetch(&[Ask::random(&mut rng), Ask::random(&mut rng)]);
                }
                let Some(ask) = *place else { break };
                let Poll::Ready(answer) = reader.poll(&ask, number) else { break };
                expect(&ask, answer);
                answered += 1;
                *place = None;
            }
        }
        reader.wait(Duration::from_millis(1), &mut able);
        assert!(started.elapsed() < Duration::from_secs(100), "seed {seed}: {answered} of {count} answers");
    }
}

fn compare(store: &DiskStore, seed: u64, count: usize) {
    for (version, _) in store.versions() {
        let view = store.view(version).expect("retained");
        poll_all(&view, seed + version, count, |ask, answer| {
            assert_eq!(answer, read(&mut view.reader(), ask), "seed {seed}, version {version}, {ask:?}");
        });
    }
}

#[test]
fn answers_that_come_later_are_the_same() {
    for seed in 0..6 {
        let below = Arc::new(FaultMedium::new(seed, Faults::default()));
        fill(&mut DiskStore::create_on(below.clone(), forgetful()).expect("a new store"));
        let most = Duration::from_micros(20 << seed);
        let medium = Arc::new(DelayedMedium::random(below, most, seed));
        // With a memory that holds the last pages only, and with one that holds all.
        let (bytes, entries) = if seed % 2 == 0 { (0, 0) } else { (1 << 20, 1 << 10) };
        let options = DiskOptions { page_cache_bytes: bytes, flat_entries: entries, ..forgetful() };
        let store = DiskStore::open_on(medium, options).expect("the same store");
        compare(&store, seed, 200);
    }
}

#[test]
fn files_are_read_by_the_kernel_and_by_threads() {
    for way in [ReadWay::Uring, ReadWay::Threads] {
        if way == ReadWay::Uring && ReadWay::best() != way {
            eprintln!("SKIPPED: this system allows no io_uring");
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let medium = Arc::new(FileMedium::create(&path).expect("a file").read_by(way));
        let mut store = DiskStore::create_on(medium, forgetful()).expect("a new store");
        fill(&mut store);
        compare(&store, 1, 2000);
    }
}

#[test]
fn a_failure_is_told_to_who_asked() {
    let below = Arc::new(FaultMedium::new(1, Faults::default()));
    fill(&mut DiskStore::create_on(below.clone(), forgetful()).expect("a new store"));
    let delay = Duration::from_micros(20);
    let medium = Arc::new(DelayedMedium::random(below.clone(), delay, 3));
    let store = DiskStore::open_on(medium, forgetful()).expect("the same store");
    let view = store.view(3).expect("retained");
    let mut truth = HashMap::new();
    poll_all(&view, 5, 400, |ask, answer| drop(truth.insert(format!("{ask:?}"), answer)));
    below.set_faults(Faults { read_error_every: Some(3), ..Faults::default() });
    let (mut good, mut bad) = (0, 0);
    poll_all(&view, 5, 400, |ask, answer| match answer {
        Ok(value) => {
            good += 1;
            if let Some(known) = truth.get(&format!("{ask:?}")) {
                assert_eq!(Ok(value), *known, "{ask:?}");
            }
        }
        Err(error) => {
            bad += 1;
            assert!(error.to_string().contains("read error"), "{error}");
        }
    });
    assert!(good > 20 && bad > 20, "{good} answers, {bad} failures");
}

#[test]
fn a_damaged_page_is_found_by_whoever_reads_it() {
    let below = Arc::new(FaultMedium::new(1, Faults::default()));
    let store = DiskStore::create_on(below.clone(), forgetful());
    let mut store = store.expect("a new store");
    fill(&mut store);
    drop(store);
    let whole = below.len().expect("a length");
    let mut rng = Rng::new(9);
    // Beyond superblocks and journal.
    for _ in 0..60 {
        let from = (whole / 2) * 8;
        below.flip(from + rng.below(whole * 8 - from));
    }
    let medium = Arc::new(DelayedMedium::random(below, Duration::from_micros(10), 3));
    let store = DiskStore::open_on(medium, forgetful()).expect("the same store");
    let view = store.view(3).expect("retained");
    let mut bad = 0;
    poll_all(&view, 5, 1000, |ask, answer| {
        assert_eq!(answer, read(&mut view.reader(), ask), "{ask:?}");
        bad += usize::from(answer.is_err());
    });
    assert!(bad > 0, "some of them are damaged");
}

#[test]
fn readers_go_while_reads_are_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    for way in [ReadWay::best(), ReadWay::Threads] {
        let path = folder.path().join(format!("{way:?}"));
        let medium = Arc::new(FileMedium::create(&path).expect("a file").read_by(way));
        let mut store = DiskStore::create_on(medium, forgetful()).expect("a new store");
        fill(&mut store);
        let view = store.view(3).expect("retained");
        let state = state(&view).overlapping(NUMBERS as u16);
        let mut rng = Rng::new(4);
        for _ in 0..200 {
            let mut reader = State::<Ask, U256>::reader(&state).expect("a reader");
            for number in 0..rng.below(NUMBERS as u64) as u32 {
                drop(reader.poll(&Ask::random(&mut rng), number));
            }
            reader.wait(Duration::ZERO, &mut Vec::new());
        }
        compare(&store, 7, 300);
    }
}

/// Numbers of a toy machine in the slots of one account.
fn toy(
    view: &View,
) -> ViewState<impl Fn(&mut ViewReader<'_>, &u64) -> Result<Option<Num>, StoreError> + Sync + Clone> {
    view.state(|reader: &mut ViewReader<'_>, key: &u64| {
        let value = reader.slot(&address(key % 100), &U256::from(key / 100)).map_err(failed)?;
        Ok((!value.is_zero()).then(|| Num(value.to::<u64>() as i64)))
    })
}

#[test]
fn a_schedule_suspends_its_executions_over_pages() {
    for seed in 0..8 {
        let below = Arc::new(FaultMedium::new(seed, Faults::default()));
        let mut store = DiskStore::create_on(below.clone(), forgetful()).expect("a new store");
        let mut batch = Batch::default();
        for of in 0..100 {
            let slots = (0..40).map(|slot| (U256::from(slot), U256::from(of * 40 + slot + 1)));
            batch.change(address(of), Some(account(of)), false, slots);
        }
        store.apply(1, &batch).expect("a commit");
        drop(store);
        // Opened anew for each run, so that nothing is in memory.
        let view = || {
            let medium = DelayedMedium::random(below.clone(), Duration::from_micros(60), seed);
            let store = DiskStore::open_on(Arc::new(medium), forgetful()).expect("the same store");
            store.view(1).expect("retained")
        };
        let (mut rng, mut txs, mut hints) = (Rng::new(seed), Vec::new(), Vec::new());
        for _ in 0..60 {
            let keys = [(); 3].map(|()| rng.below(4400));
            let [a, b, c] = keys;
            txs.push(ToyTx {
                ops: vec![Op::Read(a), Op::ReadNear(b, 5), Op::Put(a), Op::Add(c, 3), Op::Take(b, 1)],
            });
            let access = keys.map(|key| (key, Mode::Write)).to_vec();
            hints.push(Hint { trust: Trust::Guess, access });
        }
        let expected = run(&Serial::new(), &toy(&view()), &txs, &[]);
        for threads in [1, 2, 4] {
            let scheduler = BlockStm::new(Arc::new(Pool::new(threads))).waits(Waits::Resume).chaos(seed);
            for hints in [&[][..], &hints] {
                let ran = run(&scheduler, &toy(&view()).overlapping(50), &txs, hints);
                assert_eq!(ran.0, expected.0, "seed {seed}, {threads} workers, {} hints", hints.len());
                assert!(ran.1 > 0, "seed {seed}, {threads} workers: {} in flight", ran.1);
            }
        }
    }
}

/// Changes of a block, and the most executions that were suspended.
fn run<S: State<u64, Num>>(
    scheduler: &impl Scheduler,
    state: &S,
    txs: &[ToyTx],
    hints: &[Hint<u64>],
) -> (Vec<(u64, Option<Num>)>, u64) {
    let block = Block::new(&Toy::<false>, txs, state).with_hints(hints);
    let outcome = scheduler.run(&block, &mut RecordingSink::default(), &(), &Control::default());
    let outcome = outcome.expect("valid");
    (outcome.changes, outcome.stats.most_in_flight)
}

/// Roots of blocks on pages that are not in memory, which an update reads many at a time: those of a store that has all
/// in memory. What cannot be read is an error, and another time the root is right.
#[test]
fn roots_on_cold_pages_are_the_same() {
    let mut failed = 0;
    for seed in 0..12 {
        let mut rng = Rng::new(seed);
        let below = Arc::new(FaultMedium::new(seed, Faults::default()));
        let batch = |rng: &mut Rng, count: u64| {
            let mut batch = Batch::default();
            for _ in 0..count {
                let address = Address::from_word(keccak256(rng.below(600).to_be_bytes()));
                let account = TrieAccount { nonce: rng.below(9), ..TrieAccount::default() };
                let slots: Vec<_> = (0..rng.below(12))
                    .map(|_| (U256::from(rng.below(40)), U256::from(rng.below(4))))
                    .collect();
                batch.change(address, (!rng.chance(5)).then_some(account), rng.chance(5), slots);
            }
            batch
        };
        let mut warm =
            DiskStore::create_on(Arc::new(FaultMedium::new(seed, Faults::default())), forgetful()).unwrap();
        let genesis = batch(&mut rng, 800);
        warm.apply(1, &genesis).unwrap();
        DiskStore::create_on(below.clone(), forgetful()).unwrap().apply(1, &genesis).unwrap();
        for version in 2..8 {
            let told = format!("version {version}, seed {seed}");
            let medium = DelayedMedium::random(below.clone(), Duration::from_micros(20), seed);
            // With a memory that holds nothing for long, and with one that holds all.
            let page_cache_bytes = if seed % 2 == 0 { 0 } else { 1 << 22 };
            let options = DiskOptions { workers: 1 + seed as usize % 3, page_cache_bytes, ..forgetful() };
            let mut store = DiskStore::open_on(Arc::new(medium), options).unwrap();
            let batch = batch(&mut rng, 300);
            below.set_faults(Faults { read_error_every: Some(40), ..Faults::default() });
            failed += usize::from(store.prepare(version, &batch).is_err());
            below.set_faults(Faults::default());
            let prepared = store.prepare(version, &batch).unwrap();
            assert_eq!(prepared.root(), warm.apply(version, &batch).unwrap().root, "{told}");
            store.commit(prepared).unwrap();
            store.verify().unwrap_or_else(|error| panic!("{error} {told}"));
        }
    }
    assert!(failed > 20, "only {failed} failed");
}
