//! Data folders that are in use for something else, damaged, or cannot be written; and results that cannot.

mod common;

use braid_testkit::data;
use common::{Folder, code, err, json, out};
use serde_json::Value;
use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

fn era1(data: &Path) -> String {
    data.join("ethereum/era1/mainnet-00000-5ec1ffb8.era1").display().to_string()
}

fn stat(folder: &Folder, data: &str) -> Value {
    json(&folder.braid(&["db", "stat", "--data", data, "--json"]))["result"].clone()
}

/// The kind of the error of a document.
fn kind(document: &Value) -> &str {
    document["error"]["kind"].as_str().unwrap_or_else(|| panic!("{document}"))
}

#[test]
fn a_folder_that_follows_a_chain_takes_no_block_without_a_header() {
    let Some(data) = data() else { return };
    let (folder, from) = (Folder::new("folder-chain"), era1(&data));
    let block = data.join("ethereum/mainnet/1").display().to_string();
    let sync = |until: &str| folder.braid(&["sync", "--from", &from, "--data", "d", "--until", until, "-q"]);
    assert_eq!(code(&sync("0")), 0);
    let before = stat(&folder, "d");
    let run = ["run", &block, "--store", "d", "--commit", "--profile", "lean", "--json", "-q"];
    let refused = folder.braid(&run);
    let result = &json(&refused)["results"][0];
    assert_eq!((code(&refused), kind(result)), (1, "has_blocks"), "{refused:?}");
    assert_eq!((&result["status"], &result["elapsed_ns"]), (&"unreadable".into(), &Value::Null), "{result}");
    assert_eq!(stat(&folder, "d"), before);
    // To look at, the block runs; and the chain goes on.
    let read: Vec<&str> = run.iter().copied().filter(|argument| *argument != "--commit").collect();
    assert_eq!(code(&folder.braid(&read)), 0);
    assert_eq!(code(&sync("3")), 0);
    assert_eq!(code(&folder.braid(&["db", "verify", "--data", "d"])), 0);
}

#[test]
fn a_damaged_folder_is_no_fault_of_the_chain() {
    let Some(data) = data() else { return };
    let (folder, from) = (Folder::new("folder-damaged"), era1(&data));
    let sync = |until: &str| {
        folder.braid(&["sync", "--from", &from, "--data", "d", "--until", until, "--json", "-q"])
    };
    assert_eq!(code(&sync("50")), 0);
    let path = folder.0.join("d/state");
    let mut bytes = fs::read(&path).unwrap();
    let len = bytes.len();
    for byte in bytes[len / 2..].iter_mut().step_by(512) {
        *byte ^= 1;
    }
    fs::write(&path, bytes).unwrap();
    let done = sync("60");
    let document = json(&done);
    let (error, item) = (&document["error"], document["error"]["item"].as_str().unwrap());
    assert_eq!((code(&done), &document["status"]), (1, &"unreadable".into()), "{document}");
    assert_eq!((&error["file"], item.starts_with("block ")), (&"d".into(), true), "{document}");
    assert!(err(&done).contains("error: d: block "), "{done:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let folder = Folder::new("folder-stdout");
    let run = "run erc20?txs=20 --profile lean --store d --commit -q";
    let lines =
        ["--help", "profiles", "workloads --json", run, "db stat --data d", "db verify --data d --json"];
    for line in lines {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
        let command = command.current_dir(&folder.0).env("XDG_CACHE_HOME", folder.0.join("cache"));
        let output = command
            .args(line.split(' '))
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output();
        let output = output.unwrap();
        assert_eq!(code(&output), 1, "{line}: {output:?}");
        assert_eq!(
            err(&output).matches("error: the result could not be written").count(),
            1,
            "{line}: {output:?}"
        );
    }
}

#[test]
fn what_is_asked_of_a_folder_and_what_it_answers_is_told() {
    let folder = Folder::new("folder-told");
    let run = ["run", "erc20?txs=20", "--profile", "lean", "--store", "d", "--commit", "-q"];
    assert_eq!(code(&folder.braid(&run)), 0);
    let (address, stat) = (format!("0x{:040}", 1), stat(&folder, "d"));
    let proof =
        |more: &[&str]| folder.braid(&[&["db", "proof", "--data", "d", &address, "--json"], more].concat());
    let proved = json(&proof(&["0x0", "0", "17"]))["result"].clone();
    assert_eq!(
        (&proved["version"], &proved["stateRoot"]),
        (&stat["latest"], &stat["state_root"]),
        "{proved}"
    );
    assert_eq!(proved["blockHash"], Value::Null, "{proved}");
    for slot in ["", "0x", "0x_", "1_0", "0b1", "g"] {
        assert_eq!(code(&proof(&[slot])), 2, "{slot}");
    }
    let neither = folder.braid(&["db", "prune", "--data", "d"]);
    assert_eq!(code(&neither), 2);
    assert!(err(&neither).contains("--keep") && err(&neither).contains("--bodies-before"), "{neither:?}");
    // Which versions there are is told where another is asked for.
    let (oldest, latest) = (stat["oldest"].as_u64().unwrap(), stat["latest"].as_u64().unwrap());
    let (beyond, said) = ((latest + 9).to_string(), format!("those from {oldest} to {latest} are"));
    for line in [
        &["db", "proof", "--data", "d", &address, "--block", &beyond, "--json"][..],
        &["db", "snapshot", "--data", "d", "--out", "file", "--version", &beyond, "--json"],
        &["db", "rollback", "--data", "d", "--to", &beyond, "--json"],
    ] {
        let output = folder.braid(line);
        assert_eq!((code(&output), kind(&json(&output))), (1, "no_version"), "{output:?}");
        assert!(err(&output).contains(&said), "{output:?}");
    }
    assert!(out(&folder.braid(&["db", "proof", "--data", "d", &address])).contains("stateRoot"));
}

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

#[test]
fn who_may_only_read_a_folder_reads_it() {
    let folder = Folder::new("folder-read");
    let run = ["run", "erc20?txs=20", "--profile", "lean", "--store", "d", "--commit", "-q"];
    assert_eq!(code(&folder.braid(&run)), 0);
    let root = fs::metadata(&folder.0).unwrap().uid() == 0;
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(folder.0.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    drop(fs::create_dir(folder.0.join("d/leases")));
    mode("", 0o777);
    ["d/state", "d/lock", "d/archive.redb"].iter().for_each(|file| mode(file, 0o444));
    ["d/leases", "d"].iter().for_each(|folder| mode(folder, 0o555));
    // Nobody is kept from reading, or the program itself cannot be run by that user.
    let program = folder.0.join("braid");
    fs::copy(env!("CARGO_BIN_EXE_braid"), &program).unwrap();
    let run = |line: &str| {
        let mut command = Command::new(&program);
        command.current_dir(&folder.0).args(line.split(' '));
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().unwrap()
    };
    let address = format!("0x{:040}", 1);
    for line in
        ["stat --data d", "verify --data d", "snapshot --data d --out file", "rollback --data d --to 0"]
    {
        let (output, reads) = (run(&format!("db {line} --json")), !line.starts_with("rollback"));
        assert_eq!(code(&output), i32::from(!reads), "{line}: {output:?}");
        assert!(reads || err(&output).contains("ermission denied"), "{line}: {output:?}");
    }
    let proof = run(&format!("db proof --data d {address} 0 --json"));
    assert_eq!(code(&proof), 0, "{proof:?}");
    ["d/leases", "d"].iter().for_each(|folder| mode(folder, 0o755));
}
