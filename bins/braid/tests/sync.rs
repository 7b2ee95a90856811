//! `braid sync`, `braid db` and `braid run --store` on real chains, killed in the middle, and on wrong ones.
//!
//! Of mainnet's first archive 400 blocks are imported, all 8,191 with `BRAID_LONG=1`.

mod common;

use braid_testkit::{Rng, data};
use common::{Folder, code, err, json, long, out, unpack};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

fn era1(data: &Path) -> String {
    data.join("ethereum/era1/mainnet-00000-5ec1ffb8.era1").display().to_string()
}

/// The block to import up to, as text and as a number.
fn last() -> (&'static str, u64) {
    if long() { ("8191", 8191) } else { ("400", 400) }
}

fn stat(folder: &Folder, data: &str) -> Value {
    json(&folder.braid(&["db", "stat", "--data", data, "--json"]))["result"].clone()
}

#[test]
fn mainnet_is_imported_killed_and_gone_on_with() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-era1");
    let (from, (until, last)) = (era1(&data), last());
    let arguments =
        ["sync", "--from", &from, "--data", "d", "--until", until, "--json", "--profile", "serial"];
    let seed = 1;
    let (mut rng, mut kills, mut before) = (Rng::new(seed), 0, 0);
    while kills < 6 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
        let command = command.current_dir(&folder.0).args(arguments);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(20 + rng.below(400)));
        // The hard way: SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if !folder.0.join("d/state").exists() {
            continue;
        }
        let verified = folder.braid(&["db", "verify", "--data", "d", "--json"]);
        let verified = json(&verified);
        assert_eq!(verified["error"], Value::Null, "kill {kills}, seed {seed}: {verified}");
        let latest = verified["result"]["latest"].as_u64().unwrap_or(0);
        assert!(latest >= before, "kill {kills}, seed {seed}: block {latest} after {before}");
        before = latest;
    }
    let done = folder.braid(&arguments);
    let document = json(&done);
    assert_eq!((code(&done), &document["status"]), (0, &"ok".into()), "{done:?}");
    assert_eq!((document["latest"].as_u64(), &document["error"]), (Some(last), &Value::Null));
    assert!(
        before == 0 || document["from"].as_u64() == Some(before + 1).filter(|next| *next <= last),
        "{document}"
    );
    let verified = folder.braid(&["db", "verify", "--data", "d", "--json"]);
    let verified = &json(&verified)["result"];
    assert_eq!((verified["blocks"].as_u64(), verified["latest"].as_u64()), (Some(last + 1), Some(last)));
    // The same without being killed.
    let whole = folder.braid(&["sync", "--from", &from, "--data", "e", "--until", until, "--json", "-q"]);
    let whole = json(&whole);
    assert_eq!((&whole["root"], &whole["blocks"]), (&document["root"], &last.into()));
    let again = folder.braid(&["sync", "--from", &from, "--data", "e", "--until", until, "--json", "-q"]);
    assert_eq!((code(&again), json(&again)["blocks"].as_u64()), (0, Some(0)));
    commands(&folder, last);
}

/// `db` on the folder `e`, which ends with block `last`.
fn commands(folder: &Folder, last: u64) {
    let before = stat(folder, "e");
    assert_eq!((before["latest"].as_u64(), before["versions"].as_u64()), (Some(last), Some(128)));
    assert_eq!(before["genesis"], "0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3");
    // The beneficiary of block 1, which is there, and an address that is not.
    for (address, there) in [("0x05a56e2d52c817161883f50c441c3228cfe54d9f", true), ("0x01", false)] {
        let address = format!("0x{:0>40}", address.trim_start_matches("0x"));
        let proof = folder.braid(&["db", "proof", "--data", "e", &address, "0", "0x7", "--json"]);
        let proof = json(&proof)["result"].clone();
        assert_eq!((&proof["address"], proof["balance"] != "0x0"), (&address.into(), there), "{proof}");
        assert_eq!(proof["storageProof"].as_array().unwrap().len(), 2);
        assert!(!proof["accountProof"].as_array().unwrap().is_empty());
    }
    let unknown = folder.braid(&["db", "proof", "--data", "e", &format!("0x{:040}", 1), "--block", "3"]);
    assert_eq!(code(&unknown), 1, "{unknown:?}");
    snapshots(folder, &before);
    let to = (last - 10).to_string();
    let back = json(&folder.braid(&["db", "rollback", "--data", "e", "--to", &to, "--json"]));
    assert_eq!(
        (back["result"]["blocks_gone"].as_u64(), back["result"]["latest"].as_u64()),
        (Some(10), Some(last - 10))
    );
    let gone = folder.braid(&["db", "rollback", "--data", "e", "--to", "1"]);
    assert_eq!(code(&gone), 1, "{gone:?}");
    let pruned =
        folder.braid(&["db", "prune", "--data", "e", "--keep", "5", "--bodies-before", "100", "--json"]);
    let pruned = &json(&pruned)["result"];
    assert_eq!((pruned["versions"].as_u64(), pruned["bodies_gone"].as_u64()), (Some(5), Some(100)));
    let verified = folder.braid(&["db", "verify", "--data", "e"]);
    assert_eq!(code(&verified), 0, "{verified:?}");
    let from = data().map(|data| era1(&data)).unwrap();
    let on = ["sync", "--from", &from, "--data", "e", "--until", &last.to_string(), "--json"];
    assert_eq!(
        (
            json(&folder.braid(&on))["blocks"].as_u64(),
            stat(folder, "e")["state_root"] == before["state_root"]
        ),
        (Some(10), true)
    );
}

/// The folder `e` to a file, and back.
fn snapshots(folder: &Folder, before: &Value) {
    let written = folder.braid(&["db", "snapshot", "--data", "e", "--out", "e.snap", "--json"]);
    let written = json(&written)["result"].clone();
    assert_eq!(written["state_root"], before["state_root"], "{written}");
    assert!(written["accounts"].as_u64().unwrap() > 8_893, "{written}");
    let restored = folder.braid(&["db", "restore", "e.snap", "--store", "r", "--json"]);
    let restored = json(&restored)["result"].clone();
    assert_eq!(restored, written);
    assert_eq!(code(&folder.braid(&["db", "verify", "--data", "r"])), 0);
    let after = stat(folder, "r");
    assert_eq!((&after["state_root"], &after["latest"]), (&before["state_root"], &before["latest"]));
    let again = folder.braid(&["db", "restore", "e.snap", "--data", "r", "--json"]);
    assert_eq!((code(&again), &json(&again)["error"]["kind"]), (1, &"exists".into()));
    // An older version that is kept, and one that is not.
    let version = (before["oldest"].as_u64().unwrap() + 3).to_string();
    let older = folder.braid(&[
        "db",
        "snapshot",
        "--data",
        "e",
        "--out",
        "old.snap",
        "--version",
        &version,
        "--json",
    ]);
    assert_eq!(json(&older)["result"]["version"].as_u64(), version.parse().ok(), "{older:?}");
    let gone =
        folder.braid(&["db", "snapshot", "--data", "e", "--out", "no.snap", "--version", "1", "--json"]);
    assert_eq!((code(&gone), &json(&gone)["error"]["kind"]), (1, &"no_version".into()));
    assert!(!folder.0.join("no.snap").exists());
    // Damaged: no folder is left.
    let mut bytes = fs::read(folder.0.join("e.snap")).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    folder.write("bad.snap", &bytes);
    let bad = folder.braid(&["db", "restore", "bad.snap", "--data", "b", "--json"]);
    assert_eq!((code(&bad), &json(&bad)["error"]["kind"]), (1, &"damaged".into()), "{bad:?}");
    assert!(
        err(&bad).contains("bad.snap") && !folder.0.join("b").exists() && !folder.0.join("b.part").exists()
    );
}

#[test]
fn a_chain_with_transactions_is_imported_and_a_wrong_one_stops() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-rlp");
    let chain = folder.0.join("chain");
    fs::create_dir_all(&chain).unwrap();
    let archive = data.join("ethereum/rpc/execution-apis-tests.tar.zst");
    assert_eq!(unpack(&archive, &chain, &["tests/genesis.json", "tests/chain.rlp"]).len(), 2);
    let done = folder.braid(&["sync", "--from", "chain", "--data", "d", "-j", "2", "--json", "-q"]);
    let document = json(&done);
    assert_eq!(code(&done), 0, "{done:?}");
    assert!(document["txs"].as_u64().unwrap() > 50, "{document}");
    let blocks = document["blocks"].as_u64().unwrap();
    let serial = folder.braid(&[
        "sync",
        "--from",
        "chain/chain.rlp",
        "--data",
        "s",
        "--profile",
        "lean",
        "--json",
        "-q",
    ]);
    assert_eq!(json(&serial)["root"], document["root"], "{serial:?}");
    let verified = json(&folder.braid(&["db", "verify", "--data", "d", "--json"]));
    assert!(
        verified["result"]["codes"].as_u64().unwrap() > 0
            && verified["result"]["slots"].as_u64().unwrap() > 0
    );
    // Another chain into the same folder.
    let other = folder.braid(&["sync", "--from", &era1(&data), "--data", "d", "--json", "-q"]);
    assert_eq!((code(&other), &json(&other)["error"]["kind"]), (1, &"other_chain".into()), "{other:?}");
    // A chain that is cut, and one with a bit changed: they end at a block, and what is before it stays.
    let rlp = fs::read(chain.join("chain.rlp")).unwrap();
    let mut bad = rlp.clone();
    let at = bad.len() * 3 / 4;
    bad[at] ^= 1;
    for (name, bytes) in [("cut", &rlp[..rlp.len() - 10]), ("bad", &bad[..])] {
        folder.write(&format!("{name}/chain.rlp"), bytes);
        fs::copy(chain.join("genesis.json"), folder.0.join(name).join("genesis.json")).unwrap();
        let stopped = folder.braid(&["sync", "--from", name, "--data", &format!("{name}-d"), "--json", "-q"]);
        assert_eq!(code(&stopped), 1, "{stopped:?}");
        let document = json(&stopped);
        assert!(document["error"]["message"].as_str().unwrap().contains("block "), "{document}");
        if let Some(latest) = document["latest"].as_u64() {
            assert!(latest < blocks, "{document}");
            let verified = folder.braid(&["db", "verify", "--data", &format!("{name}-d")]);
            assert_eq!(code(&verified), 0, "{verified:?}");
            // With the right blocks it goes on.
            let on =
                folder.braid(&["sync", "--from", "chain", "--data", &format!("{name}-d"), "--json", "-q"]);
            assert_eq!(json(&on)["root"], json(&done)["root"], "{on:?}");
        }
    }
}

/// The blocks of a file, each in its consensus encoding.
fn blocks_of(rlp: &[u8]) -> Vec<&[u8]> {
    let (mut blocks, mut rest) = (Vec::new(), rlp);
    while !rest.is_empty() {
        let mut after = rest;
        alloy_rlp::Header::decode_bytes(&mut after, true).unwrap();
        blocks.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    blocks
}

#[test]
fn blocks_are_taken_by_their_numbers_and_held_against_those_that_are_there() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-parts");
    let archive = data.join("ethereum/rpc/execution-apis-tests.tar.zst");
    assert_eq!(unpack(&archive, &folder.0, &["tests/genesis.json", "tests/chain.rlp"]).len(), 2);
    let rlp = fs::read(folder.0.join("chain.rlp")).unwrap();
    let blocks = blocks_of(&rlp);
    let part = |name: &str, numbers: std::ops::Range<usize>| {
        folder.write(name, &blocks[numbers.start - 1..numbers.end - 1].concat());
    };
    let sync = |from: &str, data: &str| {
        let done = folder.braid(&[
            "sync",
            "--from",
            from,
            "--genesis",
            "genesis.json",
            "--data",
            data,
            "--json",
            "-q",
            "-j",
            "1",
        ]);
        (code(&done), json(&done))
    };
    part("first.rlp", 1..20);
    part("second.rlp", 20..40);
    part("third.rlp", 30..46);
    part("gap.rlp", 48..50);
    // A first block by which nobody can tell, and blocks of another chain: two with the same number.
    part("empty.rlp", 1..1);
    let mut other = blocks[..30].to_vec();
    other[29] = blocks[30];
    folder.write("other.rlp", &other.concat());
    for (from, first, latest) in [
        ("first.rlp", Some(1), 19),
        ("second.rlp", Some(20), 39),
        ("second.rlp", None, 39),
        ("third.rlp", Some(40), 45),
    ] {
        let (code, document) = sync(from, "d");
        assert_eq!((code, document["from"].as_u64()), (0, first), "{from}: {document}");
        assert_eq!(document["latest"], latest, "{from}: {document}");
    }
    for (from, kind) in [("gap.rlp", "gap"), ("empty.rlp", "invalid"), ("other.rlp", "other_chain")] {
        let (code, document) = sync(from, "d");
        assert_eq!((code, &document["error"]["kind"]), (1, &kind.into()), "{from}: {document}");
    }
    // Blocks that do not follow the genesis block do not begin a folder.
    let (code, document) = sync("second.rlp", "none");
    assert_eq!((code, &document["error"]["kind"]), (1, &"gap".into()), "{document}");
    assert_eq!((&document["latest"], stat(&folder, "none")["versions"].as_u64()), (&Value::Null, Some(0)));
    let [parts, whole] = ["d", "whole"].map(|data| {
        assert_eq!(sync("chain.rlp", data).0, 0);
        stat(&folder, data)
    });
    assert_eq!(parts["block_hash"], whole["block_hash"]);
}

#[test]
fn as_many_versions_stay_as_are_to_be_kept() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-versions");
    let from = era1(&data);
    let keep = |versions: &str| {
        let arguments =
            ["sync", "--from", &from, "--data", "d", "--until", "400", "--keep", versions, "--json", "-q"];
        assert_eq!(code(&folder.braid(&arguments)), 0);
        stat(&folder, "d")["versions"].as_u64()
    };
    // Versions on which later blocks were executed went last, and with nothing to import none went.
    assert_eq!(keep("3"), Some(3));
    assert_eq!(keep("2"), Some(2));
    assert_eq!(keep("300"), Some(2));
}

#[test]
fn a_genesis_file_of_another_chain_leaves_the_folder_empty() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-genesis");
    let archive = data.join("ethereum/rpc/execution-apis-tests.tar.zst");
    assert_eq!(unpack(&archive, &folder.0, &["tests/genesis.json", "tests/chain.rlp"]).len(), 2);
    let from = era1(&data);
    let wrong =
        ["sync", "--from", &from, "--genesis", "genesis.json", "--data", "d", "--until", "3", "--json", "-q"];
    let refused = folder.braid(&wrong);
    assert_eq!((code(&refused), &json(&refused)["error"]["kind"]), (1, &"invalid".into()), "{refused:?}");
    let right = folder.braid(&["sync", "--from", &from, "--data", "d", "--until", "3", "--json", "-q"]);
    assert_eq!((code(&right), &json(&right)["latest"]), (0, &3.into()), "{right:?}");
}

#[test]
fn what_a_folder_has_is_neither_cut_short_nor_begun_anew() {
    let Some(data) = data() else { return };
    let (folder, from) = (Folder::new("sync-keep"), era1(&data));
    let sync = |more: &[&str]| {
        let done = folder.braid(&[&["sync", "--from", &from, "--data", "d", "--json", "-q"], more].concat());
        (code(&done), json(&done))
    };
    assert_eq!(sync(&["--until", "160", "--keep", "150"]).0, 0);
    assert_eq!(sync(&["--until", "165"]).0, 0);
    assert_eq!(stat(&folder, "d")["versions"], 150);
    fs::remove_file(folder.0.join("d/state")).unwrap();
    let (code, document) = sync(&["--until", "170"]);
    assert_eq!((code, &document["error"]["kind"]), (1, &"no_state".into()), "{document}");
}

#[test]
fn who_reads_does_not_keep_a_writer_away() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-beside");
    let from = era1(&data);
    let sync = |until: &str| {
        let done = folder.braid(&["sync", "--from", &from, "--data", "d", "--until", until, "--json", "-q"]);
        assert_eq!(code(&done), 0, "{done:?}");
    };
    sync("50");
    let looking = std::sync::atomic::AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while looking.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(code(&folder.braid(&["db", "stat", "--data", "d", "--json"])), 0);
            }
        });
        for until in 51..71 {
            sync(&until.to_string());
        }
        looking.store(false, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn blockchain_tests_are_imported() {
    let Some(data) = data() else { return };
    let folder = Folder::new("sync-json");
    let archive = data.join("ethereum/tests/tests_blockchain.tar.zst");
    let found = unpack(
        &archive,
        &folder.0,
        &[
            "ValidBlocks/bcMultiChainTest/ChainAtoChainB_difficultyB.json",
            "bcMultiChainTest/ChainAtoChainB.json",
            "bcStateTests/BLOCKHASH_Bounds.json",
            "bcWalletTest/wallet2outOf3txs.json",
        ],
    );
    assert!(!found.is_empty(), "no blockchain test in the archive");
    let mut imported = 0;
    for file in found {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let test: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let tests = test.as_object().unwrap();
        if tests.len() > 1 {
            let many = folder.braid(&["sync", "--from", &name, "--data", "none", "--json", "-q"]);
            assert_eq!((code(&many), &json(&many)["error"]["kind"]), (1, &"ambiguous".into()), "{many:?}");
            let many = folder.braid(&["run", &name, "--profile", "lean", "--json", "-q"]);
            let error = &json(&many)["results"][0]["error"];
            assert_eq!((code(&many), &error["kind"]), (1, &"ambiguous".into()), "{many:?}");
        }
        let (case, only) = tests.iter().next().unwrap();
        folder.write("one.json", serde_json::json!({ case: only }).to_string().as_bytes());
        let one = folder.braid(&["run", "one.json", "--profile", "lean", "--json", "-q"]);
        let first = format!("one.json#{case}/1");
        assert_eq!((code(&one), &json(&one)["results"][0]["input"]), (0, &first.into()), "{one:?}");
        for (at, (case, test)) in tests.iter().enumerate().take(4) {
            let (from, to) = (format!("{name}#{case}"), format!("d{imported}-{at}"));
            let done = folder.braid(&["sync", "--from", &from, "--data", &to, "--json", "-q"]);
            assert_eq!(code(&done), 0, "{from}: {done:?}");
            let stat = stat(&folder, &to);
            assert_eq!(stat["block_hash"], test["lastblockhash"], "{from}");
            imported += 1;
        }
    }
    println!("{imported} chains");
}

#[test]
fn what_is_no_chain_or_no_folder_is_told() {
    let folder = Folder::new("sync-bad");
    folder.write("some.era1", b"e2\0\0");
    folder.write("genesis.json", b"{");
    folder.write("x/chain.rlp", b"\xc0");
    for (arguments, kind) in [
        (&["sync", "--from", "nowhere", "--data", "d", "--json"][..], "io"),
        (&["sync", "--from", "some.era1", "--data", "d", "--json"], "invalid"),
        (&["sync", "--from", "x", "--data", "d", "--json"], "io"),
        (&["sync", "--from", "x", "--genesis", "genesis.json", "--data", "d", "--json"], "json"),
        (&["db", "stat", "--data", "d", "--json"], "no_folder"),
        (&["db", "verify", "--data", "d", "--json"], "no_folder"),
    ] {
        let output = folder.braid(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}: {output:?}");
        assert_eq!(json(&output)["error"]["kind"], kind, "{arguments:?}: {output:?}");
        assert!(err(&output).contains("error:"), "{arguments:?}");
        // What goes to stdout is a result, and without the chain there is none.
        let plain = folder.braid(&arguments[..arguments.len() - 1]);
        assert_eq!((code(&plain), out(&plain)), (1, ""), "{arguments:?}: {plain:?}");
    }
    for usage in [
        &["sync"][..],
        &["db"],
        &["db", "prune", "--data", "d"],
        &["sync", "--from", "x", "--data", "d", "--profile", "nobody"],
        &["run", "x", "--profile", "lean", "--commit"],
    ] {
        assert_eq!(code(&folder.braid(usage)), 2, "{usage:?}");
    }
    assert!(!folder.0.join("d").exists(), "a folder was made for nothing");
}

#[test]
fn blocks_run_on_a_folder() {
    let folder = Folder::new("run-store");
    let run = |extra: &[&str]| {
        let all = [
            &["run", "erc20?txs=60&holders=8&seed=3", "--profile", "braid", "-j", "2", "--json", "-q"],
            extra,
        ]
        .concat();
        folder.braid(&all)
    };
    let none = run(&["--store", "d"]);
    assert_eq!(
        (code(&none), &json(&none)["results"][0]["error"]["kind"]),
        (1, &"no_folder".into()),
        "{none:?}"
    );
    let first = run(&["--store", "d", "--commit"]);
    assert_eq!(code(&first), 0, "{first:?}");
    let committed = stat(&folder, "d");
    assert_eq!(committed["versions"], 2);
    // Again on the version before it, beside nobody; and not a second time after it.
    assert_eq!(code(&run(&["--store", "d"])), 0);
    let overlapped = run(&["--store", "d", "--overlap", "64"]);
    assert_eq!(json(&overlapped)["results"][0]["gas_used"], json(&first)["results"][0]["gas_used"]);
    assert_eq!(code(&run(&["--overlap", "64"])), 2);
    assert_eq!(stat(&folder, "d"), committed);
    let twice = run(&["--store", "d", "--commit"]);
    assert_eq!(
        (code(&twice), &json(&twice)["results"][0]["error"]["kind"]),
        (1, &"order".into()),
        "{twice:?}"
    );
    let verified = folder.braid(&["db", "verify", "--data", "d"]);
    assert_eq!(code(&verified), 0, "{verified:?}");
}
