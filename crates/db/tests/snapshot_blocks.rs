//! Blocks in snapshots: which there are, what is refused, and the folders that are made of them.

mod common;

use alloy_consensus::{Header, proofs::calculate_ommers_root};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::TrieAccount;
use braid_db::{
    DataFolder, DataReader, DbError, SnapshotBlock, SnapshotDecoder, SnapshotError, SnapshotHeader,
    SnapshotItem, encode_snapshot, restore,
};
use braid_rules::{ChainSpec, Fork, RuleError, difficulty};
use braid_store::{disk::DiskOptions, trie::state_root};
use braid_work::{PreState, chain::Genesis};
use common::blocks;
use std::{fs, path::Path, time::Duration};

const LEASE: Duration = Duration::from_secs(60);

fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 1 << 16, journal_bytes: 1 << 20, workers: 1, ..DiskOptions::default() }
}

fn account() -> (Address, TrieAccount) {
    (Address::repeat_byte(1), TrieAccount { nonce: 1, balance: U256::from(7), ..TrieAccount::default() })
}

/// The root of a state of one account.
fn root() -> B256 {
    state_root([account()])
}

/// A snapshot with that state and these blocks.
fn encoded(version: u64, blocks: &[SnapshotBlock]) -> Vec<u8> {
    let (address, account) = account();
    let blocks = blocks.iter().map(|block| SnapshotItem::Block(Box::new(block.clone())));
    let items = blocks.chain([SnapshotItem::Account { key: keccak256(address), account }]);
    let mut bytes = Vec::new();
    encode_snapshot(&mut bytes, SnapshotHeader { version, root: root() }, items).unwrap();
    bytes
}

fn decoded(bytes: &[u8]) -> Result<Vec<SnapshotItem>, SnapshotError> {
    let mut decoder = SnapshotDecoder::new(bytes)?;
    std::iter::from_fn(|| decoder.next_item().transpose()).collect()
}

fn restored(bytes: &[u8], to: &Path) -> Result<DataFolder, SnapshotError> {
    let file = to.with_extension("snap");
    fs::write(&file, bytes).unwrap();
    restore(&file, to, options())?;
    Ok(DataFolder::open(to, options()).unwrap())
}

#[test]
fn a_folder_has_the_blocks_of_its_snapshot_and_gives_them_back() {
    let temp = tempfile::tempdir().unwrap();
    for version in [0, 1, 6, 7, 8, 254, 255, 256, 257, 1000] {
        let (all, to) = (blocks(version, root()), temp.path().join(version.to_string()));
        let bytes = encoded(version, &all);
        let folder = restored(&bytes, &to).unwrap();
        let (_, stat) = folder.stat().unwrap();
        let from = if version > 256 { version - 255 } else { 0 };
        assert_eq!((stat.headers_from, stat.bodies_from), (Some(from), None), "{version}");
        assert_eq!(folder.verify().unwrap().1, all.len() as u64, "{version}");
        for block in &all {
            let number = block.header.number;
            assert_eq!(folder.header(number).unwrap().as_ref(), Some(&block.header), "{version}");
            assert_eq!(folder.number(&block.header.hash_slow()).unwrap(), Some(number), "{version}");
        }
        // What is not there is told, and what there cannot be is not.
        for number in [0, 1, version / 2, version.saturating_sub(1), version] {
            let of = |what: &'static str, from: u64| DbError::NotKept { what, number, from };
            if number <= version {
                assert_eq!(folder.body(number).unwrap_err(), of("body", version + 1));
                assert_eq!(folder.receipts(number).unwrap_err(), of("list of receipts", version + 1));
                if number > 0 && number < from {
                    assert_eq!(folder.header(number).unwrap_err(), of("header", from));
                }
            }
        }
        assert_eq!(folder.header(version + 1), Ok(None));
        assert_eq!(folder.body(version + 1), Ok(None));
        // The next block finds those before it, and their ommers.
        folder.follower(ChainSpec::new(1, Vec::new())).unwrap();
        drop(folder);
        let again = to.with_extension("again");
        let reader = DataReader::open(&to, options()).unwrap();
        if from > 1 {
            let not_kept = DbError::NotKept { what: "header", number: 1, from };
            assert_eq!((reader.header(1), reader.header(version + 1)), (Err(not_kept), Ok(None)));
        }
        let stat = reader.snapshot(None, LEASE, &again).unwrap();
        assert_eq!(stat.block_hash, all.last().map(|block| block.header.hash_slow()));
        assert!(fs::read(again).unwrap() == bytes, "{version}");
    }
}

#[test]
fn a_folder_goes_on_with_the_chain_of_its_snapshot_only() {
    let temp = tempfile::tempdir().unwrap();
    let all = blocks(300, root());
    let genesis =
        |header: Header| Genesis { chain: ChainSpec::new(1, vec![]), header, pre: PreState::default() };
    let mut folder = restored(&encoded(300, &all), &temp.path().join("a")).unwrap();
    folder.begin(&genesis(all[0].header.clone())).unwrap();
    let other = Header { gas_limit: 9, ..all[0].header.clone() };
    assert!(matches!(folder.begin(&genesis(other)), Err(DbError::OtherChain { .. })));
    assert_eq!(folder.latest(), Some((300, root())));
    // A state without blocks is of no chain.
    let mut bare = restored(&encoded(300, &[]), &temp.path().join("b")).unwrap();
    assert_eq!((bare.header(0), bare.body(7)), (Ok(None), Ok(None)));
    let refused = bare.begin(&genesis(all[0].header.clone()));
    assert_eq!(refused, Err(DbError::NoBlocks { latest: 300 }));
    assert_eq!(bare.verify().unwrap().1, 0);
}

/// A block of the last seven must not be without its ommers, or the next block could have them again.
#[test]
fn ommers_come_along() {
    let temp = tempfile::tempdir().unwrap();
    let all = blocks(300, root());
    let folder = restored(&encoded(300, &all), &temp.path().join("a")).unwrap();
    let mut follower = folder.follower(ChainSpec::of_network("Frontier", 1).unwrap()).unwrap();
    let parent = folder.header(300).unwrap().unwrap();
    // That of block 299, and one that no block has.
    let (known, other) = (all[255].ommers[0].clone(), Header { number: 299, ..Header::default() });
    for (ommer, expected) in [
        (known.clone(), RuleError::OmmerIncluded { hash: known.hash_slow() }),
        (other.clone(), RuleError::OmmerParent { hash: other.hash_slow(), parent: other.parent_hash }),
    ] {
        let ommers = vec![ommer];
        let header = Header {
            number: 301,
            parent_hash: parent.hash_slow(),
            timestamp: 1,
            gas_limit: parent.gas_limit,
            difficulty: difficulty::next(Fork::Frontier, parent.difficulty, 0, false, 1, 301),
            ommers_hash: calculate_ommers_root(&ommers),
            ..Header::default()
        };
        let payload = [alloy_rlp::encode(&header), vec![0xc0], alloy_rlp::encode(&ommers)].concat();
        let mut rlp = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
        rlp.extend(payload);
        assert_eq!(*follower.next(&rlp).unwrap_err().error, expected);
    }
}

/// What is wrong with a chain is told with its block, whatever else is right.
#[test]
fn wrong_chains_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let refused = |what: &str, version: u64, number: u64, change: &dyn Fn(&mut Vec<SnapshotBlock>)| {
        let mut all = blocks(version, root());
        change(&mut all);
        let bytes = encoded(version, &all);
        let error = decoded(&bytes).map(|items| items.len()).unwrap_err();
        assert!(
            matches!(&error, SnapshotError::Chain { number: at, .. } if *at == number),
            "{what}: {error}"
        );
        assert_eq!(restored(&bytes, &temp.path().join("to")).unwrap_err(), error, "{what}");
        assert!(!temp.path().join("to").exists() && !temp.path().join("to.part").exists(), "{what}");
    };
    refused("another root", 9, 9, &|all| all[9].header.state_root = B256::ZERO);
    refused("another header", 9, 6, &|all| all[5].header.gas_limit += 1);
    refused("another genesis near", 9, 1, &|all| all[0].header.gas_limit += 1);
    refused("one left out", 9, 5, &|all| drop(all.remove(4)));
    refused("no genesis", 9, 1, &|all| drop(all.remove(0)));
    refused("no last", 9, 9, &|all| drop(all.pop()));
    refused("only the first", 300, 45, &|all| all.truncate(1));
    refused("one more", 9, 10, &|all| {
        let mut next = all[9].clone();
        (next.header.number, next.header.parent_hash) = (10, all[9].header.hash_slow());
        all.push(next);
    });
    refused("one too early", 300, 44, &|all| {
        let early = SnapshotBlock { header: Header { number: 44, ..Header::default() }, ..all[0].clone() };
        all.insert(1, early);
    });
    refused("twice", 9, 3, &|all| all.insert(4, all[3].clone()));
    refused("another total", 9, 8, &|all| all[8].total_difficulty += U256::ONE);
    refused("another first total", 300, 0, &|all| all[0].total_difficulty += U256::ONE);
    refused("a total that nothing leads to", 300, 46, &|all| all[1].total_difficulty += U256::ONE);
    refused("without its ommers", 9, 7, &|all| all[7].ommers.clear());
    refused("another ommer", 9, 9, &|all| all[9].ommers[0].gas_limit += 1);
    refused("ommers from nowhere", 9, 8, &|all| all[8].ommers = all[9].ommers.clone());
    refused("ommers that nobody needs", 300, 293, &|all| all[249].ommers = all[251].ommers.clone());
    refused("a fork beside it", 300, 100, &|all| all[56].header.parent_hash = B256::ZERO);
}

/// Records that are no blocks, or not where blocks stand.
#[test]
fn records_of_blocks_have_one_form_and_one_place() {
    let (all, (address, account)) = (blocks(2, root()), account());
    let block = |at: usize| SnapshotItem::Block(Box::new(all[at].clone()));
    let item = SnapshotItem::Account { key: keccak256(address), account };
    let header = SnapshotHeader { version: 2, root: root() };
    let whole = |items: Vec<SnapshotItem>| {
        let mut bytes = Vec::new();
        encode_snapshot(&mut bytes, header, items).unwrap();
        decoded(&bytes).map(|items| items.len()).map_err(|error| error.kind())
    };
    assert_eq!(whole(vec![block(0), block(1), block(2), item.clone()]), Ok(4));
    assert_eq!(whole(vec![item.clone(), block(0), block(1), block(2)]), Err("damaged"));
    assert_eq!(whole(vec![block(0), item.clone(), block(1), block(2)]), Err("chain"));
    assert_eq!(whole(vec![block(0), block(1)]), Err("chain"));
    let long = Header { extra_data: vec![0; 1 << 20].into(), ..Header::default() };
    let long = SnapshotBlock { header: long, ..all[0].clone() };
    let many = SnapshotBlock { ommers: vec![all[1].header.clone(); 4000], ..all[0].clone() };
    for block in [long, many] {
        let items = [SnapshotItem::Block(Box::new(block))];
        assert_eq!(encode_snapshot(Vec::new(), header, items).unwrap_err().kind(), "limit");
    }
}

/// A file of the format before blocks: made by a program of then, of the state after one block of a workload.
#[test]
fn the_format_without_blocks_is_read() {
    let bytes = include_bytes!("data/format-1.snap");
    let temp = tempfile::tempdir().unwrap();
    let folder = restored(bytes, &temp.path().join("a")).unwrap();
    let (verified, blocks, codes) = folder.verify().unwrap();
    assert_eq!((verified.accounts, verified.slots, codes, blocks), (5, 4, 1, 0));
    assert_eq!(folder.latest().map(|(latest, _)| latest), Some(24_000_000));
    drop(folder);
    // Written again, it is of the other format, of the same state.
    let again = temp.path().join("again");
    DataReader::open(&temp.path().join("a"), options()).unwrap().snapshot(None, LEASE, &again).unwrap();
    let again = fs::read(again).unwrap();
    assert!(again != bytes);
    assert_eq!(decoded(&again).unwrap(), decoded(bytes).unwrap());
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert!(decoded(&damaged).is_err(), "byte {at}");
        assert!(decoded(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut later = again;
    later[8] = 3;
    let checksum = crc32fast::hash(&later[..56]);
    later[56..60].copy_from_slice(&checksum.to_le_bytes());
    let error = decoded(&later).unwrap_err();
    assert_eq!(error, SnapshotError::Format { is: 3, known: 2 });
}
