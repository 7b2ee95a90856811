//! Snapshots: round trips, damage to every byte, and what is hostile.

mod common;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_db::{
    DataFolder, DataReader, Finished, SnapshotDecoder, SnapshotError, SnapshotHeader, SnapshotItem,
    SnapshotTotals, encode_snapshot, restore,
};
use braid_evm::{AccountDiff, AccountInfoDiff, ExecutedBlock};
use braid_store::{
    disk::{DiskOptions, Entry, View},
    trie::{state_root, storage_root},
};
use braid_testkit::Rng;
use braid_work::PreState;
use std::{fs, path::Path, time::Duration};

const LEASE: Duration = Duration::from_secs(60);

fn options() -> DiskOptions {
    DiskOptions {
        keep: 8,
        segment_bytes: 1 << 16,
        journal_bytes: 1 << 20,
        workers: 1,
        ..DiskOptions::default()
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    repeat.map_or(0..count, |seed| seed..seed + 1)
}

/// A block that does anything; its codes are new or known.
fn block(rng: &mut Rng, number: u64) -> Finished {
    let mut done = ExecutedBlock::default();
    for _ in 0..rng.below(40) {
        let address = Address::from_word(keccak256(rng.below(60).to_be_bytes()));
        let code = Bytes::from(vec![0x5b; 1 + rng.below(5) as usize]);
        let code_hash = if rng.chance(50) { alloy_primitives::KECCAK256_EMPTY } else { keccak256(&code) };
        if code_hash != alloy_primitives::KECCAK256_EMPTY {
            done.codes.insert(code_hash, code);
        }
        let there = rng.below(6) > 0;
        let balance = U256::from(rng.bits()) << (rng.below(190) as usize);
        let info = AccountInfoDiff { balance, nonce: rng.bits() >> rng.below(64), code_hash };
        let slots = (0..if there { rng.below(9) } else { 0 })
            .map(|_| (U256::from(rng.below(30)), U256::from(rng.below(3)) << (rng.below(250) as usize)));
        let storage = slots.collect();
        let wiped = !there || rng.chance(10);
        done.diff.insert(address, AccountDiff { account: there.then_some(info), wiped, storage });
    }
    Finished { number, block: None, done }
}

/// A folder with some versions, the latest of this number.
fn folder(path: &Path, rng: &mut Rng, last: u64) -> DataFolder {
    let mut folder = DataFolder::open_or_create(path, options()).unwrap();
    folder.begin_bare(0, &PreState::default()).unwrap();
    for number in 1..=last {
        let finished = block(rng, number);
        folder.record(std::slice::from_ref(&finished)).unwrap();
        folder.commit(&finished).unwrap();
    }
    folder
}

fn entries(view: &View) -> Vec<Entry> {
    view.entries().map(|entry| entry.unwrap()).collect()
}

#[test]
fn a_version_goes_through_a_file_and_comes_back() {
    for seed in seeds(12) {
        let (mut rng, temp) = (Rng::new(seed), tempfile::tempdir().unwrap());
        let told = format!("repeat with BRAID_SEED={seed}");
        let at = |name: &str| temp.path().join(name);
        let last = rng.below(7);
        drop(folder(&at("a"), &mut rng, last));
        let reader = DataReader::open(&at("a"), options()).unwrap();
        let version = rng.below(last + 1);
        let stat = reader.snapshot(Some(version), LEASE, &at("file")).unwrap();
        assert_eq!(stat.bytes, fs::metadata(at("file")).unwrap().len(), "{told}");
        let restored =
            restore(&at("file"), &at("b"), options()).unwrap_or_else(|error| panic!("{error} {told}"));
        assert_eq!(restored, stat, "{told}");
        let view = reader.view(Some(version), LEASE).unwrap();
        let back = DataFolder::open(&at("b"), options()).unwrap();
        assert_eq!(back.latest(), Some((version, view.root())), "{told}");
        assert_eq!(back.store().versions().count(), 1, "{told}");
        let (verified, _, codes) = back.verify().unwrap();
        assert_eq!(
            (verified.accounts, verified.slots, codes),
            (stat.totals.accounts, stat.totals.slots, stat.totals.codes)
        );
        let all = entries(&view);
        assert_eq!(entries(&back.view().unwrap()), all, "{told}");
        for entry in all {
            if let Entry::Account { account, .. } = entry {
                assert!(back.code(&account.code_hash).unwrap().is_some(), "{told}");
            }
        }
        drop((back, view, reader));
        // Of the same state the same file, over one that is there.
        fs::write(at("again"), b"something else").unwrap();
        DataReader::open(&at("b"), options()).unwrap().snapshot(None, LEASE, &at("again")).unwrap();
        assert!(fs::read(at("again")).unwrap() == fs::read(at("file")).unwrap(), "{told}");
        // And blocks go on from it as they do from the other.
        if version == last {
            let next = block(&mut rng, last + 1);
            let roots = ["a", "b"].map(|name| {
                let mut folder = DataFolder::open(&at(name), options()).unwrap();
                folder.record(std::slice::from_ref(&next)).unwrap();
                folder.commit(&next).unwrap().root
            });
            assert_eq!(roots[0], roots[1], "{told}");
        }
        let names: Vec<_> =
            fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 4, "nothing else is left: {names:?}; {told}");
    }
}

/// More than is made a version at once, one account with most of it; at a version that leaves room for others before
/// it, and at one that does not.
#[test]
fn large_states_are_restored_part_by_part() {
    let temp = tempfile::tempdir().unwrap();
    let slots =
        |of: u64, count: u64| (0..count).map(move |slot| (U256::from(slot), U256::from(slot * 7 + of + 1)));
    let world: Vec<(Address, TrieAccount, u64)> = (0..300u64)
        .map(|number| {
            let count = if number == 7 { 140_000 } else { number % 5 };
            let account = TrieAccount {
                nonce: number,
                balance: U256::from(number),
                storage_root: storage_root(slots(number, count)),
                ..TrieAccount::default()
            };
            (Address::from_word(keccak256(number.to_be_bytes())), account, count)
        })
        .collect();
    let root = state_root(world.iter().map(|(address, account, _)| (*address, *account)));
    let mut order: Vec<_> =
        world.iter().map(|(address, account, count)| (keccak256(address), account, count)).collect();
    order.sort_by_key(|(key, ..)| *key);
    let items = order.iter().flat_map(|(key, account, count)| {
        let mut keys: Vec<_> = slots(account.nonce, **count)
            .map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), value))
            .collect();
        keys.sort();
        let account = SnapshotItem::Account { key: *key, account: **account };
        std::iter::once(account).chain(keys.into_iter().map(|(key, value)| SnapshotItem::Slot { key, value }))
    });
    let items: Vec<SnapshotItem> = items.collect();
    for version in [0, 1, 1_000] {
        let mut bytes = Vec::new();
        let header = SnapshotHeader { version, root };
        let totals = encode_snapshot(&mut bytes, header, items.iter().cloned()).unwrap();
        assert_eq!((totals.accounts, totals.slots), (300, 140_598));
        let (file, to) = (temp.path().join("file"), temp.path().join(format!("to-{version}")));
        fs::write(&file, &bytes).unwrap();
        let stat = restore(&file, &to, DiskOptions::default()).unwrap();
        assert_eq!((stat.header, stat.totals), (header, totals));
        let folder = DataFolder::open(&to, DiskOptions::default()).unwrap();
        assert_eq!(folder.store().versions().collect::<Vec<_>>(), [(version, root)]);
    }
}

/// A small state with everything in it.
fn sample() -> (SnapshotHeader, Vec<SnapshotItem>) {
    let code = Bytes::from_static(b"\x60\x00\x60\x00");
    let hash = keccak256(&code);
    let plain = |number: u64| Address::from_word(keccak256(number.to_be_bytes()));
    let mut accounts: Vec<_> = (0..12u64)
        .map(|number| {
            let slots: Vec<(U256, U256)> =
                (0..number % 4).map(|slot| (U256::from(slot), U256::MAX >> (slot * 80) as usize)).collect();
            let code_hash = if number % 3 == 0 { hash } else { alloy_primitives::KECCAK256_EMPTY };
            let storage_root = storage_root(slots.iter().copied());
            let balance = U256::from(number) << (20 * number as usize);
            (plain(number), TrieAccount { nonce: number, balance, storage_root, code_hash }, slots)
        })
        .collect();
    accounts.sort_by_key(|(address, ..)| keccak256(address));
    let root = state_root(accounts.iter().map(|(address, account, _)| (*address, *account)));
    let mut items = Vec::new();
    for (address, account, slots) in accounts {
        let account = TrieAccount { storage_root: EMPTY_ROOT_HASH, ..account };
        items.push(SnapshotItem::Account { key: keccak256(address), account });
        let mut slots: Vec<_> =
            slots.into_iter().map(|(slot, value)| (keccak256(slot.to_be_bytes::<32>()), value)).collect();
        slots.sort();
        items.extend(slots.into_iter().map(|(key, value)| SnapshotItem::Slot { key, value }));
    }
    items.push(SnapshotItem::Code { hash, code });
    (SnapshotHeader { version: 5, root }, items)
}

/// The same after blocks.
fn sample_of_a_chain() -> (SnapshotHeader, Vec<SnapshotItem>) {
    let (header, items) = sample();
    let blocks = common::blocks(header.version, header.root).into_iter().map(Box::new);
    (header, blocks.map(SnapshotItem::Block).chain(items).collect())
}

fn encoded(header: SnapshotHeader, items: &[SnapshotItem]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_snapshot(&mut bytes, header, items.iter().cloned()).unwrap();
    bytes
}

fn decoded(bytes: &[u8]) -> Result<(SnapshotHeader, Vec<SnapshotItem>), SnapshotError> {
    let mut decoder = SnapshotDecoder::new(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = decoder.next_item()? {
        items.push(item);
    }
    Ok((decoder.header(), items))
}

/// Restores bytes; after an error nothing is left.
fn restored(bytes: &[u8]) -> Result<SnapshotTotals, SnapshotError> {
    let temp = tempfile::tempdir().unwrap();
    let (file, to) = (temp.path().join("file"), temp.path().join("to"));
    fs::write(&file, bytes).unwrap();
    let done = restore(&file, &to, options());
    let left = fs::read_dir(temp.path()).unwrap().count();
    assert_eq!(left, 1 + usize::from(done.is_ok()), "{done:?}");
    done.map(|stat| stat.totals)
}

#[test]
fn every_damaged_bit_and_every_cut_is_noticed() {
    let (header, items) = sample_of_a_chain();
    let bytes = encoded(header, &items);
    assert_eq!(decoded(&bytes).unwrap(), (header, items));
    let totals = restored(&bytes).unwrap();
    assert_eq!((totals.accounts, totals.blocks), (12, 6));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(decoded(&damaged).is_err(), "bit {bit} of byte {at}");
        }
        let cut = decoded(&bytes[..at]).unwrap_err();
        let expected = if at < 8 { "not_a_snapshot" } else { "cut" };
        assert_eq!(cut.kind(), expected, "cut at {at}: {cut}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(decoded(&longer).unwrap_err().kind(), "damaged");
    // Each region, into a folder.
    for at in [0, 9, 17, 30, 57, 60, 65, 69, 90, bytes.len() - 40, bytes.len() - 30, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        restored(&damaged).unwrap_err();
        restored(&bytes[..at]).unwrap_err();
    }
}

#[test]
fn what_is_whole_and_wrong_is_refused() {
    let (header, items) = sample();
    let kind = |header: SnapshotHeader, items: &[SnapshotItem]| {
        restored(&encoded(header, items)).map_err(|error| error.kind())
    };
    assert!(kind(header, &items).is_ok());
    let last = items.len() - 1;
    assert_eq!(kind(SnapshotHeader { root: B256::ZERO, ..header }, &items), Err("state_root"));
    assert_eq!(kind(header, &items[1..last]), Err("missing_code"));
    assert_eq!(kind(header, &items[..last]), Err("missing_code"));
    let without: Vec<SnapshotItem> =
        items.iter().enumerate().filter(|(at, _)| *at != 3).map(|(_, item)| item.clone()).collect();
    assert!(matches!(kind(header, &without), Err("state_root" | "damaged")));
    let mut stray = items.clone();
    stray.push(SnapshotItem::Code { hash: B256::repeat_byte(0xff), code: Bytes::from_static(b"x") });
    assert_eq!(kind(header, &stray), Err("damaged"), "another hash");
    let code = Bytes::from_static(b"stray");
    let mut stray = items.clone();
    stray.push(SnapshotItem::Code { hash: keccak256(&code), code });
    stray[last..].sort_by_key(|item| match item {
        SnapshotItem::Code { hash, .. } => *hash,
        _ => B256::ZERO,
    });
    assert_eq!(kind(header, &stray), Err("stray_code"));
    // Out of order, twice, without an account, after codes, empty.
    let swapped = |a: usize, b: usize| {
        let mut items = items.clone();
        items.swap(a, b);
        items
    };
    assert_eq!(kind(header, &swapped(0, last)), Err("stray_code"));
    assert_eq!(kind(header, &swapped(last - 1, last)), Err("damaged"));
    let accounts: Vec<usize> =
        (0..last).filter(|at| matches!(items[*at], SnapshotItem::Account { .. })).collect();
    assert_eq!(kind(header, &swapped(accounts[0], accounts[5])), Err("damaged"));
    let mut twice = items.clone();
    twice.insert(accounts[4], items[accounts[4]].clone());
    assert_eq!(kind(header, &twice), Err("damaged"));
    let slot = SnapshotItem::Slot { key: B256::ZERO, value: U256::ONE };
    assert_eq!(kind(header, std::slice::from_ref(&slot)), Err("damaged"));
    let mut zero = items.clone();
    zero.insert(accounts[1], SnapshotItem::Slot { key: B256::repeat_byte(0xff), value: U256::ZERO });
    assert_eq!(kind(header, &zero), Err("damaged"));
    let long = [SnapshotItem::Code { hash: B256::ZERO, code: vec![0; (2 << 20) + 1].into() }];
    assert_eq!(encode_snapshot(Vec::new(), header, long).unwrap_err().kind(), "limit");
    // Lengths that nobody should believe.
    let bytes = encoded(header, &items);
    for (at, length) in [(60, u32::MAX), (64, u32::MAX), (60, (4 << 20) + 1), (64, 5 << 20)] {
        let mut large = bytes.clone();
        large[at..at + 4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decoded(&large).unwrap_err().kind(), "limit", "{length} at {at}");
    }
    assert_eq!(decoded(b"").unwrap_err().kind(), "not_a_snapshot");
    assert_eq!(decoded(b"PK\x03\x04 something else altogether").unwrap_err().kind(), "not_a_snapshot");
}

#[test]
fn what_is_there_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let (header, items) = sample();
    fs::write(at("file"), encoded(header, &items)).unwrap();
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/note"), b"mine").unwrap();
    assert_eq!(restore(&at("file"), &at("full"), options()).unwrap_err().kind(), "exists");
    assert_eq!(fs::read(at("full/note")).unwrap(), b"mine");
    // An empty one is in nobody's way, and what a process left that died is removed.
    fs::create_dir(at("empty")).unwrap();
    drop(DataFolder::open_or_create(&at("empty.part"), options()).unwrap());
    fs::write(at("empty.part/restoring"), b"").unwrap();
    restore(&at("file"), &at("empty"), options()).unwrap();
    assert!(!at("empty.part").exists() && !at("empty/restoring").exists());
    // Unless somebody is at work there.
    fs::create_dir(at("busy.part")).unwrap();
    let mark = fs::File::create(at("busy.part/restoring")).unwrap();
    mark.lock().unwrap();
    assert_eq!(restore(&at("file"), &at("busy"), options()).unwrap_err().kind(), "locked");
    drop(mark);
    restore(&at("file"), &at("busy"), options()).unwrap();
    assert_eq!(restore(&at("nowhere"), &at("x"), options()).unwrap_err().kind(), "io");
    // A file that cannot be made, and a version that is not there.
    let reader = DataReader::open(&at("empty"), options()).unwrap();
    assert_eq!(reader.snapshot(None, LEASE, &at("no/such/folder/file")).unwrap_err().kind(), "io");
    assert_eq!(reader.snapshot(Some(4), LEASE, &at("none")).unwrap_err().kind(), "no_version");
    assert!(!at("none").exists());
}

/// What stands where a folder is to be made is removed only if restoring left it.
#[test]
fn what_nobody_restored_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let (header, items) = sample();
    fs::write(at("file"), encoded(header, &items)).unwrap();
    fs::create_dir(at("foreign.part")).unwrap();
    fs::write(at("foreign.part/note"), b"mine").unwrap();
    // Also with the mark; and a whole data folder without it.
    fs::create_dir(at("marked.part")).unwrap();
    fs::write(at("marked.part/note"), b"mine").unwrap();
    fs::write(at("marked.part/restoring"), b"").unwrap();
    drop(DataFolder::open_or_create(&at("data.part"), options()).unwrap());
    fs::write(at("plain.part"), b"mine").unwrap();
    std::os::unix::fs::symlink(at("foreign.part"), at("link.part")).unwrap();
    for name in ["foreign", "marked", "data", "plain", "link"] {
        let error = restore(&at("file"), &at(name), options()).unwrap_err();
        assert_eq!(error.kind(), "place", "{name}: {error}");
        assert!(error.to_string().contains(&format!("{name}.part")), "{error}");
        assert!(!at(name).exists() && fs::symlink_metadata(at(&format!("{name}.part"))).is_ok(), "{name}");
    }
    assert_eq!(fs::read(at("foreign.part/note")).unwrap(), b"mine");
    assert!(at("data.part/state").exists());
}

#[test]
fn of_many_who_restore_the_same_folder_one_does() {
    let temp = tempfile::tempdir().unwrap();
    let (header, items) = sample();
    let (file, to) = (temp.path().join("file"), temp.path().join("d"));
    fs::write(&file, encoded(header, &items)).unwrap();
    for round in 0..10 {
        let done: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| restore(&file, &to, options()))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let kinds: Vec<&str> =
            done.iter().map(|one| one.as_ref().map_or_else(|e| e.kind(), |_| "ok")).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "ok").count(), 1, "{round}: {kinds:?}");
        assert!(kinds.iter().all(|kind| ["ok", "locked", "exists"].contains(kind)), "{round}: {kinds:?}");
        DataFolder::open(&to, options()).unwrap().verify().unwrap();
        assert!(!temp.path().join("d.part").exists(), "{round}");
        fs::remove_dir_all(&to).unwrap();
    }
}

/// A snapshot takes the place of nothing, or of a file that is not the folder's.
#[test]
fn a_snapshot_replaces_files_only() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let (header, items) = sample();
    let whole = encoded(header, &items);
    fs::write(at("file"), &whole).unwrap();
    restore(&at("file"), &at("d"), options()).unwrap();
    let reader = DataReader::open(&at("d"), options()).unwrap();
    let to = |out: &Path| reader.snapshot(None, LEASE, out);
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    fs::create_dir_all(at("folder/below")).unwrap();
    fs::write(at("other"), b"mine").unwrap();
    std::os::unix::fs::symlink(at("other"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("d"), at("way")).unwrap();
    let names = ["socket", "folder", "link", "d/state", "d/archive.redb", "d/new", "d/leases/new", "way/new"];
    for name in names {
        let error = to(&at(name)).unwrap_err();
        assert_eq!(error.kind(), "place", "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    drop(socket);
    assert_eq!(fs::read(at("other")).unwrap(), b"mine");
    // What is beside it and is another's stays; what a process left that died goes.
    let mine = ["x.part", "x.1-2-3.part", "x.7-7.part", "y.1-0.part"];
    mine.iter().for_each(|name| fs::write(at(name), b"mine, and not a snapshot").unwrap());
    fs::write(at("x.1-0.part"), &whole[..100]).unwrap();
    let running = fs::File::create(at("x.2-0.part")).unwrap();
    fs::write(at("x.2-0.part"), &whole[..100]).unwrap();
    running.lock().unwrap();
    for _ in 0..2 {
        to(&at("x")).unwrap();
        assert!(fs::read(at("x")).unwrap() == whole);
    }
    mine.iter().for_each(|name| assert_eq!(fs::read(at(name)).unwrap(), b"mine, and not a snapshot"));
    assert!(!at("x.1-0.part").exists() && at("x.2-0.part").exists());
    // Several who write to one place do not write into each other's.
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| to(&at("z")).unwrap())).collect();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap().bytes, whole.len() as u64));
    });
    assert!(fs::read(at("z")).unwrap() == whole);
    let left = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("z.");
    assert_eq!(fs::read_dir(temp.path()).unwrap().map(Result::unwrap).filter(left).count(), 0);
}
