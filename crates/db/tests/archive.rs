//! The archive of a data folder: what pruning leaves, what `verify` sees, and files of which a bit is another.

use alloy_consensus::{Header, Signed, TxLegacy, proofs::calculate_ommers_root};
use alloy_primitives::{Address, B256, Bytes, Log, Signature, U256, keccak256};
use braid_db::{DataFolder, DataReader, DbError, Finished};
use braid_evm::{AccountDiff, AccountInfoDiff, ExecutedBlock, Status, TxResult};
use braid_rules::{Block, ChainSpec, Fork, RuleError, SignedTx, difficulty, outcome};
use braid_store::disk::DiskOptions;
use braid_testkit::Rng;
use braid_work::{PreState, chain::Genesis};
use redb::{Database, TableDefinition};
use std::{fs, ops::Range, path::Path, sync::Arc, time::Duration};

type Rows = TableDefinition<'static, u64, &'static [u8]>;

const LEASE: Duration = Duration::from_secs(60);

fn options() -> DiskOptions {
    DiskOptions {
        keep: 20,
        segment_bytes: 1 << 16,
        journal_bytes: 1 << 20,
        workers: 1,
        ..DiskOptions::default()
    }
}

fn tx(number: u64) -> SignedTx {
    let tx = TxLegacy { nonce: number, gas_limit: 21_000, ..TxLegacy::default() };
    SignedTx::Legacy(Signed::new_unchecked(tx, Signature::test_signature(), B256::with_last_byte(1)))
}

/// A block that changes nothing, has the ommer given, and from block 30 on a transaction, whose receipt is as before
/// Byzantium until block 35.
fn next(parent: &Header, ommers: Vec<Header>) -> Finished {
    let number = parent.number + 1;
    let txs: Vec<SignedTx> = (number >= 30).then(|| tx(number)).into_iter().collect();
    let logs = vec![Log::new_unchecked(Address::repeat_byte(number as u8), Vec::new(), Bytes::new())];
    let result = |_: &SignedTx| TxResult {
        status: Status::Success,
        gas_used: 21_000,
        logs: logs.clone(),
        output: Bytes::new(),
        created: None,
    };
    let done = ExecutedBlock { results: txs.iter().map(result).collect(), ..ExecutedBlock::default() };
    let landed = outcome::landed(txs.iter().map(|_| 0), &done);
    let receipts = match number < 35 {
        true => outcome::early_receipts(landed, txs.iter().map(|_| B256::with_last_byte(7))),
        false => outcome::receipts(landed),
    };
    let header = Header {
        number,
        parent_hash: parent.hash_slow(),
        state_root: parent.state_root,
        timestamp: parent.timestamp + 1,
        gas_limit: parent.gas_limit,
        gas_used: 21_000 * txs.len() as u64,
        difficulty: difficulty::next(
            Fork::Frontier,
            parent.difficulty,
            parent.timestamp,
            false,
            parent.timestamp + 1,
            number,
        ),
        ommers_hash: calculate_ommers_root(&ommers),
        transactions_root: outcome::encoded_root(&txs),
        receipts_root: outcome::receipts_root(&receipts),
        logs_bloom: outcome::logs_bloom(&receipts),
        ..Header::default()
    };
    let block = Block { hash: header.hash_slow(), header, txs, ommers, withdrawals: None, size: 0 };
    Finished { number, block: Some(Arc::new(block)), done }
}

/// The ommer of a block; every other one has one.
fn ommers(number: u64) -> Vec<Header> {
    (number % 2 == 1)
        .then(|| Header { number: number - 1, nonce: [7; 8].into(), ..Header::default() })
        .into_iter()
        .collect()
}

/// A folder with a chain up to block 50, of which versions from 31 on are kept.
fn chain(path: &Path) -> DataFolder {
    let pre = PreState::default();
    let mut header = Header {
        state_root: pre.state_root(),
        difficulty: U256::from(1 << 20),
        gas_limit: 1 << 24,
        ..Header::default()
    };
    let mut folder = DataFolder::open_or_create(path, options()).unwrap();
    let spec = ChainSpec::of_network("Frontier", 1).unwrap();
    folder.begin(&Genesis { chain: spec, header: header.clone(), pre }).unwrap();
    for number in 1..=50 {
        let finished = next(&header, ommers(number));
        folder.record(std::slice::from_ref(&finished)).unwrap();
        folder.commit(&finished).unwrap();
        header = finished.block.unwrap().header.clone();
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn snapshot(path: &Path, version: u64) -> Result<Vec<u8>, String> {
    let out = path.with_extension("snap");
    let reader = DataReader::open(path, options()).unwrap();
    reader.snapshot(Some(version), LEASE, &out).map_err(|error| error.to_string())?;
    Ok(fs::read(out).unwrap())
}

/// What is said to a block after the latest that has these ommers.
fn said(folder: &DataFolder, ommers: Vec<Header>) -> Result<(), RuleError> {
    let mut follower = folder.follower(ChainSpec::of_network("Frontier", 1).unwrap()).unwrap();
    let parent = folder.header(folder.latest().unwrap().0).unwrap().unwrap();
    let block = next(&parent, ommers).block.unwrap();
    let (header, ommers) = (alloy_rlp::encode(&block.header), alloy_rlp::encode(&block.ommers));
    let payload = [header, alloy_rlp::encode(&block.txs), ommers].concat();
    let mut rlp = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
    rlp.extend(payload);
    follower.next(&rlp).map(drop).map_err(|error| *error.error)
}

/// What was recorded, and never committed, is no block of the chain, also when another block has its number.
#[test]
fn blocks_beyond_the_last_version_do_not_count() {
    let temp = tempfile::tempdir().unwrap();
    let mut folder = chain(temp.path());
    let parent = folder.header(50).unwrap().unwrap();
    let hash = |finished: &Finished| finished.block.as_ref().unwrap().hash;
    let [left, taken] = [Vec::new(), ommers(51)].map(|ommers| next(&parent, ommers));
    folder.record(std::slice::from_ref(&left)).unwrap();
    let stat = folder.stat().unwrap().1;
    assert_eq!((stat.headers, stat.bodies, folder.number(&hash(&left)).unwrap()), (51, 51, None));
    folder.record(std::slice::from_ref(&taken)).unwrap();
    folder.commit(&taken).unwrap();
    let found = [&left, &taken].map(|finished| folder.number(&hash(finished)).unwrap());
    assert_eq!((folder.stat().unwrap().1.headers, found), (52, [None, Some(51)]));
    drop(folder);
    assert_eq!(DataReader::open(temp.path(), options()).unwrap().archive_stat().unwrap().headers, 52);
}

/// A block must not have ommers again that one of the seven before it had, wherever a chain was taken back to.
#[test]
fn ommers_stay_for_every_version_that_a_chain_can_be_taken_back_to() {
    let temp = tempfile::tempdir().unwrap();
    let (whole, path) = (temp.path().join("whole"), temp.path().join("pruned"));
    drop(chain(&whole));
    for (before, first) in [(1000, 44), (33, 33), (28, 28)] {
        copy(&whole, &path);
        let mut folder = DataFolder::open(&path, options()).unwrap();
        assert_eq!(folder.prune(None, Some(before)).unwrap(), (0, first));
        assert_eq!(folder.stat().unwrap().1.bodies_from, Some(first));
        folder.verify().unwrap();
        drop(folder);
        for version in [31, 32, 37, 50] {
            assert!(snapshot(&path, version) == snapshot(&whole, version), "{before}, {version}");
        }
        let mut folder = DataFolder::open(&path, options()).unwrap();
        for version in [40, 37, 31] {
            folder.rollback(version).unwrap();
            for number in (version - 6..=version).filter(|number| number % 2 == 1) {
                let known = ommers(number);
                let hash = known[0].hash_slow();
                assert_eq!(said(&folder, known), Err(RuleError::OmmerIncluded { hash }), "{number}");
            }
        }
        folder.verify().unwrap();
        fs::remove_dir_all(&path).unwrap();
    }
}

/// A folder that lacks them, because they went when nobody kept them, says so, and stays as it is.
#[test]
fn without_the_ommers_that_it_needs_a_chain_does_not_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("d");
    let mut folder = chain(&path);
    folder.prune(None, Some(1000)).unwrap();
    drop(folder);
    edit(&path, |txn| txn.open_table(Rows::new("ommers")).unwrap().retain(|_, _| false).unwrap());
    let mut folder = DataFolder::open(&path, options()).unwrap();
    let missing = |number| DbError::NotKept { what: "list of ommers", number, from: 44 };
    assert_eq!(folder.rollback(46), Err(missing(43)));
    assert_eq!(folder.latest().map(|(latest, _)| latest), Some(50));
    assert_eq!(folder.rollback(30), Err(DbError::NoVersion { version: 30, first: 31, last: 50 }));
    folder.rollback(50).unwrap();
    folder.follower(ChainSpec::of_network("Frontier", 1).unwrap()).unwrap();
    drop(folder);
    assert_eq!(snapshot(&path, 46), Err(missing(41).to_string()));
}

/// Changes the archive of a folder behind its back.
fn edit(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(path.join("archive.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
}

/// Puts in the place of a row what `change` makes of it.
fn change(path: &Path, table: &'static str, number: u64, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    edit(path, |txn| {
        let mut table = txn.open_table(Rows::new(table)).unwrap();
        let row = table.remove(number).unwrap().unwrap().value().to_vec();
        if let Some(row) = change(row) {
            table.insert(number, row.as_slice()).unwrap();
        }
    });
}

fn flipped(at: usize) -> impl Fn(Vec<u8>) -> Option<Vec<u8>> {
    move |mut row| {
        let at = row.len() - at;
        row[at] ^= 1;
        Some(row)
    }
}

#[test]
fn verifying_sees_what_is_wrong_with_any_row() {
    let temp = tempfile::tempdir().unwrap();
    let (whole, path) = (temp.path().join("whole"), temp.path().join("d"));
    chain(&whole).verify().unwrap();
    let damaged = |what: &'static str,
                   number: u64,
                   table: &'static str,
                   to: &dyn Fn(Vec<u8>) -> Option<Vec<u8>>| {
        copy(&whole, &path);
        change(&path, table, number, to);
        let error = DataFolder::open(&path, options()).unwrap().verify().unwrap_err();
        let told = error.to_string();
        assert!(told.contains(what) && told.contains(&format!("block {number}")), "{table} {number}: {told}");
        fs::remove_dir_all(&path).unwrap();
    };
    damaged("total difficulty", 12, "total_difficulties", &flipped(1));
    damaged("header", 12, "headers", &flipped(1));
    damaged("body", 12, "bodies", &|_| None);
    // A block without transactions has no receipts, before Byzantium as well.
    damaged("list of receipts", 12, "receipts", &|_| None);
    let of_one = alloy_rlp::encode(outcome::receipts(outcome::landed(
        [0],
        &next(&Header { number: 40, ..Header::default() }, vec![]).done,
    )));
    damaged("list of receipts", 12, "receipts", &|_| Some(of_one.clone()));
    damaged("list of receipts", 32, "receipts", &|_| Some(vec![0xc0]));
    // The address in the log, of before Byzantium and of after.
    for number in [32, 45] {
        damaged("list of receipts", number, "receipts", &flipped(5));
    }
    // The status, where the root says it; and the gas.
    let with = |status: u8, gas: u64| {
        move |rlp: Vec<u8>| {
            let mut receipts: Vec<alloy_consensus::ReceiptEnvelope> = alloy_rlp::decode_exact(&rlp).unwrap();
            if let alloy_consensus::ReceiptEnvelope::Legacy(legacy) = &mut receipts[0] {
                legacy.receipt.status = (status == 1).into();
                legacy.receipt.cumulative_gas_used = gas;
            }
            Some(alloy_rlp::encode(receipts))
        }
    };
    damaged("list of receipts", 45, "receipts", &with(0, 21_000));
    damaged("list of receipts", 45, "receipts", &with(1, 21_001));
    damaged("list of receipts", 32, "receipts", &with(1, 21_001));
}

#[test]
fn verifying_misses_code_that_an_account_has() {
    let temp = tempfile::tempdir().unwrap();
    let mut folder = DataFolder::open_or_create(temp.path(), options()).unwrap();
    folder.begin_bare(0, &PreState::default()).unwrap();
    let code = Bytes::from(vec![0x5b; 7]);
    let info = AccountInfoDiff { balance: U256::ZERO, nonce: 1, code_hash: keccak256(&code) };
    let diff = AccountDiff { account: Some(info), wiped: false, storage: Default::default() };
    let done = ExecutedBlock {
        diff: [(Address::repeat_byte(1), diff)].into(),
        codes: [(keccak256(&code), code.clone())].into(),
        ..ExecutedBlock::default()
    };
    let finished = Finished { number: 1, block: None, done };
    folder.record(std::slice::from_ref(&finished)).unwrap();
    folder.commit(&finished).unwrap();
    assert_eq!(folder.verify().unwrap().2, 1);
    drop(folder);
    edit(temp.path(), |txn| {
        let codes = TableDefinition::<[u8; 32], &[u8]>::new("codes");
        txn.open_table(codes).unwrap().remove(keccak256(&code).0).unwrap();
    });
    let error = DataFolder::open(temp.path(), options()).unwrap().verify().unwrap_err();
    let told = error.to_string();
    assert_eq!(error.kind(), "damaged");
    assert!(told.contains("archive.redb") && told.contains(&keccak256(&code).to_string()), "{told}");
}

/// Pages of a file that are not empty.
fn pages(file: &[u8]) -> Vec<Range<usize>> {
    let pages = (0..file.len()).step_by(4096).map(|at| at..(at + 4096).min(file.len()));
    pages.filter(|page| file[page.clone()].iter().any(|byte| *byte != 0)).collect()
}

/// Whatever bit is another, nothing panics, and what takes the chain back does all or nothing.
#[test]
fn a_flipped_bit_is_an_error_or_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (whole, path) = (temp.path().join("whole"), temp.path().join("d"));
    drop(chain(&whole));
    let file = fs::read(whole.join("archive.redb")).unwrap();
    let pages = pages(&file);
    let seed = std::env::var("BRAID_SEED").map_or(1, |seed| seed.parse().expect("BRAID_SEED is a number"));
    let (mut rng, mut named) = (Rng::new(seed), 0);
    for _ in 0..if std::env::var_os("BRAID_LONG").is_some_and(|long| long == "1") { 3000 } else { 150 } {
        copy(&whole, &path);
        let page = &pages[rng.below(pages.len() as u64) as usize];
        let used: Vec<usize> = page.clone().filter(|at| file[*at] != 0).collect();
        let (at, bit) = (used[rng.below(used.len() as u64) as usize], rng.below(8));
        let mut other = file.clone();
        other[at] ^= 1 << bit;
        fs::write(path.join("archive.redb"), &other).unwrap();
        let told = format!("byte {at} bit {bit}, repeat with BRAID_SEED={seed}");
        drop(snapshot(&path, 50));
        let archive_named = match DataFolder::open(&path, options()) {
            Err(error) => error.to_string().contains("archive.redb"),
            Ok(mut folder) => {
                let verified = folder.verify().map(drop);
                let latest = |folder: &DataFolder| folder.latest().map(|(latest, _)| latest);
                match folder.rollback(35) {
                    Ok(()) => assert_eq!(latest(&folder), Some(35), "{told}"),
                    Err(_) => assert_eq!(latest(&folder), Some(50), "{told}"),
                }
                verified.is_err_and(|error| error.to_string().contains("archive.redb"))
            }
        };
        named += u32::from(archive_named);
        fs::remove_dir_all(&path).unwrap();
    }
    assert!(named > 0, "no damage was one of the file; seed {seed}");
}

#[test]
fn a_reader_has_the_archive_once_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain");
    let writer = chain(&path);
    let reader = DataReader::open(&path, options()).unwrap();
    assert!(matches!(reader.header(1), Err(DbError::ArchiveBusy { .. })));
    drop(writer);
    assert_eq!(reader.header(1).unwrap().map(|header| header.number), Some(1));
}
