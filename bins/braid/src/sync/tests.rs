//! Blockchain tests through a data folder, as `braid sync` imports a chain: pre-state, blocks and receipts, every root
//! that a header says, those of receipts before Byzantium included.
//!
//! Some of the cases, or all of them with `BRAID_LONG=1`. Folders are in memory where the system has a file system
//! there: what they say counts here, and waiting until a disk has it took most of the time.

use super::{
    options,
    pipeline::{Imported, import},
    source,
};
use alloy_primitives::{B256, Bytes};
use braid_db::DataFolder;
use braid_profiles::profile;
use braid_rules::{Block, Fork};
use braid_testkit::data;
use braid_vectors::chain::ChainCase;
use braid_work::{Chain, PreState, chain::Import};
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
};

/// Archives of blockchain tests.
const ARCHIVES: [&str; 6] = [
    "tests_blockchain",
    "tests_blockchain_gst",
    "legacy_blockchain_valid",
    "eest_blockchain_older",
    "eest_blockchain_prague",
    "eest_blockchain_osaka",
];
/// Without `BRAID_LONG=1`, one of so many cases is run.
const SAMPLE: usize = 10;
/// Threads that import chains.
const WORKERS: usize = 2;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A folder of a test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only uniqueness within the process matters.
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
        let path = memory.unwrap_or_else(std::env::temp_dir);
        let path = path.join(format!("braid-sync-{}-{next}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Each chain of an archive.
pub(crate) fn chains(archive: &Path, mut each: impl FnMut(&str, ChainCase)) {
    let mut decoder = zstd::Decoder::new(fs::File::open(archive).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        if !name.ends_with(".json") || entry.read_to_end(&mut bytes).is_err() {
            continue;
        }
        let Ok(cases) = braid_vectors::load(&name.as_str().into(), &bytes) else { continue };
        for (case, chain) in cases.into_iter().filter_map(source::of_chain) {
            each(&format!("{name}#{case}"), chain);
        }
    }
}

/// Imports a chain into a folder of its own; what came of it, and the latest block and root.
fn imported(source: &Import, engine: (&str, usize)) -> (Imported, Option<(u64, B256)>) {
    let folder = Folder::new();
    let options = braid_store::disk::DiskOptions { journal_bytes: 1 << 20, ..options(1, 4) };
    let mut data = DataFolder::open_or_create(&folder.0, options).unwrap();
    data.begin(&source.genesis).unwrap();
    let mut engine = (profile(engine.0).unwrap().build)(engine.1).unwrap();
    let mut all = Imported::default();
    for part in source.parts_from(1) {
        let (_, blocks) = part.unwrap();
        let follower = data.follower(source.genesis.chain.clone()).unwrap();
        let chain = Chain::of_blocks(source.name.clone(), Arc::new(PreState::default()), blocks, follower);
        all.add(import(&mut data, &chain, engine.as_mut(), &GO_ON, &mut |_| ()));
    }
    if all.failed.is_none() {
        data.verify().unwrap();
    }
    let latest = data.latest();
    (all, latest)
}

/// The canonical blocks of a chain.
pub(crate) fn blocks(source: &Import) -> Vec<Bytes> {
    source.parts_from(1).flat_map(|part| part.unwrap().1).collect()
}

/// Imports a chain by an engine, and holds the end against the last block.
fn goes_through(name: &str, source: &Import, engine: (&str, usize)) -> Imported {
    let blocks = blocks(source);
    let last = blocks.last().and_then(|rlp| Block::decode(rlp).ok()).map(|block| block.header);
    let (done, latest) = imported(source, engine);
    assert_eq!(done.failed, None, "{name} by {engine:?}");
    let expected = last.map(|last| (last.number, last.state_root));
    assert_eq!((done.blocks, latest), (blocks.len() as u64, expected), "{name} by {engine:?}");
    done
}

#[test]
fn every_blockchain_test_goes_through_a_folder() {
    let Some(folder) = data() else { return };
    let step = if std::env::var_os("BRAID_LONG").is_some_and(|long| long == "1") { 1 } else { SAMPLE };
    let (mut seen, mut drafts, mut run) = (0, 0, 0);
    let early = AtomicUsize::new(0);
    let (chosen, taken) = sync_channel::<(String, Import, usize)>(WORKERS);
    let taken = Arc::new(Mutex::new(taken));
    // Who reads the archives waits for the others, and a panic of one of them ends the test.
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let (taken, early) = (taken.clone(), &early);
            scope.spawn(move || {
                loop {
                    let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((name, source, number)) = next else { return };
                    let engine = [("braid", 2), ("serial", 1), ("aptos", 2)][number % 3];
                    let done = goes_through(&name, &source, engine);
                    let fork = source.genesis.chain.fork_at(1, 0, Default::default());
                    early.fetch_add(
                        usize::from(done.txs > 0 && fork < Fork::Byzantium),
                        // Relaxed: looked at after the threads have ended.
                        Ordering::Relaxed,
                    );
                }
            });
        }
        drop(taken);
        for archive in ARCHIVES {
            chains(&folder.join(format!("ethereum/tests/{archive}.tar.zst")), |name, case| {
                // Vectors of a draft, which is another one than is implemented: nothing is demanded of them.
                if case.is_draft() {
                    drafts += 1;
                    return;
                }
                seen += 1;
                if seen % step != 0 {
                    return;
                }
                let Ok(source) = source::import(Path::new("x.json"), name, case) else { return };
                if source.last() == 0 {
                    return;
                }
                run += usize::from(chosen.send((name.to_owned(), source, run)).is_ok());
            });
        }
        drop(chosen);
    });
    let early = early.into_inner();
    println!(
        "{run} chains of {seen} and {drafts} of a draft; {early} begin before Byzantium and have transactions"
    );
    assert!(run > seen / step / 2 && early > 0, "{run} of {seen}, {early} before Byzantium");
}

/// Chains whose last block is of before Byzantium, mostly with transactions, each as it is and with another receipts
/// root in that block, which nothing else of the block says to be wrong. `each` is told the number of the block.
pub(crate) fn wrong_receipts(folder: &Path, mut each: impl FnMut(&str, &Import, &Import, u64)) {
    let (mut tried, mut with_txs) = (0, 0);
    chains(&folder.join("ethereum/tests/legacy_blockchain_valid.tar.zst"), |name, case| {
        if with_txs >= 5 {
            return;
        }
        let Ok(source) = source::import(Path::new("x.json"), name, case) else { return };
        let fork = source.genesis.chain.fork_at(1, 0, Default::default());
        let mut blocks = blocks(&source);
        let Some(mut last) = blocks.pop().and_then(|rlp| Block::decode(&rlp).ok()) else { return };
        if fork >= Fork::Byzantium || (last.txs.is_empty() && tried > 3) {
            return;
        }
        last.header.receipts_root.0[7] ^= 1;
        blocks.push(encode(&last).into());
        let wrong = Import::of_blocks(name.to_owned(), source.genesis.clone(), blocks);
        each(name, &source, &wrong, last.header.number);
        tried += 1;
        with_txs += usize::from(!last.txs.is_empty());
    });
    assert!(with_txs >= 5, "{tried} chains, {with_txs} with transactions at the end");
}

#[test]
fn a_wrong_receipts_root_of_before_byzantium_is_refused() {
    let Some(folder) = data() else { return };
    wrong_receipts(&folder, |name, _, wrong, number| {
        let (done, latest) = imported(wrong, ("serial", 1));
        let failure = done.failed.unwrap_or_else(|| panic!("{name}: it was imported"));
        assert_eq!((failure.block, failure.kind.as_str()), (number, "receipts_root"), "{name}: {failure:?}");
        assert_eq!(latest.map(|(latest, _)| latest), Some(number - 1), "{name}");
    });
}

/// The consensus encoding of a block of legacy transactions.
pub(crate) fn encode(block: &Block) -> Vec<u8> {
    use alloy_eips::eip2718::Encodable2718;
    use alloy_rlp::Encodable;
    let list = |payload: &[u8]| {
        let mut out = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut out);
        out.extend_from_slice(payload);
        out
    };
    let txs: Vec<u8> = block.txs.iter().flat_map(|tx| tx.encoded_2718()).collect();
    let mut payload = Vec::new();
    block.header.encode(&mut payload);
    payload.extend(list(&txs));
    block.ommers.encode(&mut payload);
    list(&payload)
}

#[test]
fn a_message_names_a_file_if_it_has_more_than_its_letters() {
    for (message, file, named) in [
        ("version 7 is not retained", "d", false),
        ("version 7 is not retained", "not", true),
        ("the archive d/archive.redb is damaged", "d", true),
        ("the archive a/d/archive.redb is damaged", "d", false),
        ("d: version 7 is not retained", "d", true),
        ("made-of d-2, d.2, 2d", "made", false),
    ] {
        assert_eq!(super::names(message, file), named, "{message}, {file}");
    }
}
