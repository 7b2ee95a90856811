//! `braid db snapshot` and `braid db restore`: folders that go on with a chain where a snapshot of it was made, and
//! restoring that is killed.

mod common;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::TrieAccount;
use braid_db::{SnapshotHeader, SnapshotItem, encode_snapshot};
use braid_store::trie::state_root;
use braid_testkit::{Rng, data};
use common::{Folder, code, json, long, unpack};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs a command that succeeds, and gives what it says.
fn ok(folder: &Folder, arguments: &[&str]) -> Value {
    let output = folder.braid(&[arguments, &["--json"]].concat());
    assert_eq!(code(&output), 0, "{arguments:?}: {output:?}");
    json(&output)
}

/// Runs a command that fails; the kind of the error.
fn fails(folder: &Folder, arguments: &[&str]) -> String {
    let output = folder.braid(&[arguments, &["--json"]].concat());
    assert_eq!(code(&output), 1, "{arguments:?}: {output:?}");
    json(&output)["error"]["kind"].as_str().unwrap().to_owned()
}

fn db(folder: &Folder, action: &str, data: &str, more: &[&str]) -> Value {
    ok(folder, &[&["db", action, "--data", data], more].concat())["result"].clone()
}

fn sync(folder: &Folder, from: &str, data: &str, until: u64) -> Value {
    ok(folder, &["sync", "--from", from, "--data", data, "--until", &until.to_string(), "-q"])
}

/// Whether a snapshot of each of two folders is the same file.
fn same(folder: &Folder, data: [&str; 2], version: u64) -> bool {
    let [one, other] = data.map(|data| {
        let file = format!("{data}-same.snap");
        db(folder, "snapshot", data, &["--out", &file, "--version", &version.to_string()]);
        fs::read(folder.0.join(file)).unwrap()
    });
    one == other
}

/// Imports a chain up to block `last`, restores what stood after block `at` in another folder, and imports the rest
/// there.
fn go_on(folder: &Folder, from: &str, (whole, cut): (&str, &str), at: u64, last: u64) -> Value {
    sync(folder, from, whole, last);
    let file = format!("{cut}.snap");
    let written = db(folder, "snapshot", whole, &["--out", &file, "--version", &at.to_string()]);
    let restored = ok(folder, &["db", "restore", &file, "--data", cut])["result"].clone();
    assert_eq!(restored, written);
    let stat = db(folder, "stat", cut, &[]);
    assert_eq!(stat["block_hash"], written["block_hash"], "{stat}");
    assert_eq!((stat["latest"].as_u64(), stat["bodies_from"].as_u64()), (Some(at), Some(at + 1)), "{stat}");
    let from_header = if at > 256 { at - 255 } else { 0 };
    assert_eq!(stat["headers_from"].as_u64(), Some(from_header), "{stat}");
    assert_eq!(stat["genesis"], db(folder, "stat", whole, &[])["genesis"]);
    let verified = db(folder, "verify", cut, &[]);
    assert_eq!(verified["blocks"], written["blocks"], "{verified}");
    assert!(same(folder, [whole, cut], at), "the snapshot of what was restored");
    let done = sync(folder, from, cut, last);
    assert_eq!((done["from"].as_u64(), done["blocks"].as_u64()), (Some(at + 1), Some(last - at)), "{done}");
    let [one, other] = [whole, cut].map(|data| db(folder, "stat", data, &[]));
    for name in ["state_root", "block_hash", "block_time", "latest", "genesis"] {
        assert_eq!(one[name], other[name], "{name}");
    }
    assert_eq!(other["bodies_from"].as_u64(), Some(at + 1), "{other}");
    let [one, other] = [whole, cut].map(|data| db(folder, "verify", data, &[]));
    for name in ["accounts", "slots", "latest", "state_root"] {
        assert_eq!(one[name], other[name], "{name}");
    }
    assert!(same(folder, [whole, cut], last), "a snapshot of the end");
    done
}

fn era1(data: &Path) -> String {
    data.join("ethereum/era1/mainnet-00000-5ec1ffb8.era1").display().to_string()
}

#[test]
fn mainnet_goes_on_from_a_snapshot() {
    let Some(data) = data() else { return };
    let (folder, from) = (Folder::new("restore-era1"), era1(&data));
    go_on(&folder, &from, ("a", "b"), 120, 200);
    // Where not all headers are there, and from a folder that was restored itself.
    go_on(&folder, &from, ("b", "c"), 300, 400);
    let stat = db(&folder, "stat", "c", &[]);
    assert_eq!(stat["headers_from"].as_u64(), Some(45), "{stat}");
    // With another chain it does not go on.
    let chain = folder.0.join("chain");
    fs::create_dir_all(&chain).unwrap();
    let archive = data.join("ethereum/rpc/execution-apis-tests.tar.zst");
    assert_eq!(unpack(&archive, &chain, &["tests/genesis.json", "tests/chain.rlp"]).len(), 2);
    assert_eq!(fails(&folder, &["sync", "--from", "chain", "--data", "c", "-q"]), "other_chain");
    // What is restored can be pruned and taken back as any folder.
    let pruned = db(&folder, "prune", "c", &["--keep", "20", "--bodies-before", "330"]);
    assert_eq!((pruned["versions"].as_u64(), pruned["bodies_gone"].as_u64()), (Some(20), Some(29)));
    db(&folder, "rollback", "c", &["--to", "390"]);
    assert_eq!(sync(&folder, &from, "c", 400)["blocks"].as_u64(), Some(10));
    assert!(same(&folder, ["b", "c"], 400));
    // Bodies that ommers may yet be held against stay.
    db(&folder, "prune", "c", &["--bodies-before", "1000"]);
    assert_eq!(db(&folder, "stat", "c", &[])["bodies_from"].as_u64(), Some(394));
}

#[test]
fn a_chain_with_transactions_goes_on_from_a_snapshot() {
    let Some(data) = data() else { return };
    let folder = Folder::new("restore-rlp");
    let chain = folder.0.join("chain");
    fs::create_dir_all(&chain).unwrap();
    let archive = data.join("ethereum/rpc/execution-apis-tests.tar.zst");
    assert_eq!(unpack(&archive, &chain, &["tests/genesis.json", "tests/chain.rlp"]).len(), 2);
    let blocks = ok(&folder, &["sync", "--from", "chain", "--data", "all", "-q"])["blocks"].as_u64().unwrap();
    let done = go_on(&folder, "chain", ("a", "b"), blocks / 2, blocks);
    assert!(done["txs"].as_u64().unwrap() > 20, "{done}");
}

/// What cannot be restored, written, or read says so in its document, and leaves what is there.
#[test]
fn what_is_in_the_way_or_damaged_is_named() {
    let folder = Folder::new("restore-refused");
    large(&folder.0.join("file"), 100);
    fs::create_dir(folder.0.join("d.part")).unwrap();
    fs::write(folder.0.join("d.part/note"), b"mine").unwrap();
    assert_eq!(fails(&folder, &["db", "restore", "file", "--data", "d"]), "place");
    assert!(folder.0.join("d.part/note").exists());
    ok(&folder, &["db", "restore", "file", "--data", "e"]);
    for out in ["/dev/null", "e/state", "e/archive.redb", "e/../e/new", "e"] {
        assert_eq!(fails(&folder, &["db", "snapshot", "--data", "e", "--out", out]), "place", "{out}");
    }
    db(&folder, "verify", "e", &[]);
    // An archive of which half is something else.
    let path = folder.0.join("e/archive.redb");
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[4096..half].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    for action in [&["verify"][..], &["rollback", "--to", "1000"], &["snapshot", "--out", "new"]] {
        let arguments = [&["db", action[0], "--data", "e"], &action[1..]].concat();
        let output = folder.braid(&[&arguments[..], &["--json"]].concat());
        assert_eq!(code(&output), 1, "{action:?}: {output:?}");
        let error = &json(&output)["error"];
        assert_eq!(error["kind"], "damaged", "{action:?}: {error}");
        assert!(error["message"].as_str().unwrap().contains("archive.redb"), "{action:?}: {error}");
    }
}

/// Blocks that ask BLOCKHASH for as far as it sees.
#[test]
fn blocks_see_the_hashes_that_came_with_a_snapshot() {
    let Some(data) = data() else { return };
    let folder = Folder::new("restore-hashes");
    let archive = data.join("ethereum/tests/tests_blockchain.tar.zst");
    let wanted = ["bcStateTests/blockhashTests.json", "bcStateTests/blockhashNonConstArg.json"];
    let found = unpack(&archive, &folder.0, &wanted);
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    let mut chains = 0;
    for file in found {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let tests: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for case in tests.as_object().unwrap().keys() {
            let from = format!("{name}#{case}");
            let all = format!("all-{chains}");
            let last = ok(&folder, &["sync", "--from", &from, "--data", &all, "-q"])["latest"].as_u64();
            let last = last.filter(|last| *last > 1).unwrap_or_else(|| panic!("{from} is too short"));
            let folders = (format!("a-{chains}"), format!("b-{chains}"));
            go_on(&folder, &from, (&folders.0, &folders.1), last - 1, last);
            chains += 1;
        }
    }
    assert!(chains >= wanted.len(), "{chains} chains");
}

/// A snapshot that takes a while: this many accounts.
fn large(path: &Path, count: u64) {
    let account = |number: u64| {
        let account = TrieAccount { nonce: number, balance: U256::from(number), ..TrieAccount::default() };
        (Address::from_word(B256::from(U256::from(number))), account)
    };
    let root = state_root((0..count).map(account));
    let mut all: Vec<_> = (0..count).map(account).map(|(of, account)| (keccak256(of), account)).collect();
    all.sort_by_key(|(key, _)| *key);
    let items = all.into_iter().map(|(key, account)| SnapshotItem::Account { key, account });
    let header = SnapshotHeader { version: 1000, root };
    encode_snapshot(fs::File::create(path).unwrap(), header, items).unwrap();
}

#[test]
fn restoring_is_killed_at_any_moment_and_done_again() {
    let folder = Folder::new("restore-killed");
    large(&folder.0.join("file"), 400_000);
    let start = Instant::now();
    let whole = ok(&folder, &["db", "restore", "file", "--data", "whole"])["result"].clone();
    let mut takes = start.elapsed();
    let seed = std::env::var("BRAID_SEED").map_or(1, |seed| seed.parse().expect("BRAID_SEED is a number"));
    let (mut rng, mut early, mut late) = (Rng::new(seed), 0, 0);
    for kill in 0..if long() { 200 } else { 12 } {
        let told = format!("kill {kill}, repeat with BRAID_SEED={seed}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
        let command = command.current_dir(&folder.0).args(["db", "restore", "file", "--data", "d"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Anywhere in it, and every third time about where the folder gets its place.
        let permille = if kill % 3 == 2 { 900 + rng.below(200) } else { rng.below(1000) };
        thread::sleep(takes.mul_f64(permille as f64 / 1000.0).max(Duration::from_millis(1)));
        // The hard way: SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        let there = folder.0.join("d").exists();
        (early, late) = (early + u32::from(!there), late + u32::from(there));
        if there {
            let verified = db(&folder, "verify", "d", &[]);
            assert_eq!(verified["state_root"], whole["state_root"], "{told}");
            assert!(!folder.0.join("d.part").exists(), "{told}");
            fs::remove_dir_all(folder.0.join("d")).unwrap();
            // It takes less than it took.
            takes = takes.mul_f64(0.85);
        }
        // What is left of it is in nobody's way.
        if kill % 4 == 0 {
            let again = ok(&folder, &["db", "restore", "file", "--data", "d"])["result"].clone();
            assert_eq!(again, whole, "{told}");
            assert_eq!(db(&folder, "verify", "d", &[])["accounts"].as_u64(), Some(400_000), "{told}");
            assert!(!folder.0.join("d.part").exists(), "{told}");
            fs::remove_dir_all(folder.0.join("d")).unwrap();
        }
    }
    println!("{early} killed before the folder was there, {late} after");
    assert!(early > 0, "no kill came in time: {takes:?}; seed {seed}");
}
