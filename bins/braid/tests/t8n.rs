//! `braid t8n` as what drives `evm t8n` sees it: files and streams, exit codes, what is left behind.

mod common;

use common::{Folder, code, err, json, out};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

const KEY: &str = "0x45a915e4d060149eb4365960e6a7a45f334393093061116b197e3240065ff2d8";
const SENDER: &str = "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b";
const COINBASE: &str = "0x00000000000000000000000000000000000000cb";
const RECEIVER: &str = "0x00000000000000000000000000000000000000ee";
/// Stores the hash of block 3.
const HASHER: &str = "0x00000000000000000000000000000000000000bb";

fn alloc() -> Value {
    json!({
        SENDER: { "balance": "0x5ffd4878be161d74", "nonce": "0xac" },
        HASHER: { "balance": "0x0", "code": "0x600340600055" },
    })
}

fn env() -> Value {
    json!({
        "currentCoinbase": COINBASE, "currentDifficulty": "0x20000", "currentGasLimit": "0x750a163df65e8a",
        "currentNumber": "5", "currentTimestamp": "1000",
    })
}

fn transfer(nonce: u64) -> Value {
    json!({
        "nonce": nonce, "gas": "0x5208", "gasPrice": "0x2", "value": "0x1", "to": RECEIVER, "input": "0x",
        "v": "0x0", "r": "0x0", "s": "0x0", "secretKey": KEY,
    })
}

fn call(nonce: u64, to: &str) -> Value {
    let mut tx = transfer(nonce);
    (tx["to"], tx["gas"], tx["value"]) = (json!(to), json!("0x186a0"), json!("0x0"));
    tx
}

fn folder(name: &str, alloc: &Value, env: &Value, txs: &Value) -> Folder {
    let folder = Folder::new(&format!("t8n-{name}"));
    for (name, value) in [("alloc.json", alloc), ("env.json", env), ("txs.json", txs)] {
        folder.write(name, value.to_string().as_bytes());
    }
    folder
}

fn t8n(folder: &Folder, arguments: &[&str]) -> Output {
    folder.braid(&[&["t8n", "--output.basedir=out"], arguments].concat())
}

fn read(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.0.join("out").join(name)).unwrap()).unwrap()
}

/// Names of the files in the folder of outputs.
fn left(folder: &Folder) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.0.join("out")) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_in_files_out() {
    let folder = folder("files", &alloc(), &env(), &json!([transfer(0xac), transfer(0xac), transfer(0xad)]));
    let output = t8n(&folder, &["--state.fork=Istanbul", "--output.body=body.rlp", "-j", "2"]);
    assert_eq!((code(&output), out(&output)), (0, ""), "{output:?}");
    assert!(err(&output).contains("rejected tx index=1"), "{}", err(&output));
    assert_eq!(left(&folder), ["alloc.json", "body.rlp", "result.json"]);
    let (post, result) = (read(&folder, "alloc.json"), read(&folder, "result.json"));
    // Two transfers of 1 wei, 21000 gas each at 2 wei.
    let balance = 0x5ffd_4878_be16_1d74_u64 - 2 * (1 + 2 * 21_000);
    let mut expected = alloc();
    expected[SENDER] = json!({ "balance": format!("{balance:#x}"), "nonce": "0xae" });
    expected[COINBASE] = json!({ "balance": format!("{:#x}", 4 * 21_000) });
    expected[RECEIVER] = json!({ "balance": "0x2" });
    assert_eq!(post, expected);
    assert_eq!(result["rejected"].as_array().unwrap().len(), 1);
    assert_eq!(result["rejected"][0]["index"], 1);
    let error = result["rejected"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("nonce too low: "), "{error}");
    assert_eq!((&result["gasUsed"], &result["currentDifficulty"]), (&json!("0xa410"), &json!("0x20000")));
    assert_eq!(result["requests"], Value::Null);
    assert!(result.get("currentBaseFee").is_none() && result.get("withdrawalsRoot").is_none());
    // Keccak-256 of the RLP of no logs.
    assert_eq!(result["logsHash"], "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
    let receipts = result["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 2);
    let second = &receipts[1];
    for (field, value) in [
        ("root", json!("0x")),
        ("status", json!("0x1")),
        ("cumulativeGasUsed", json!("0xa410")),
        ("gasUsed", json!("0x5208")),
        ("transactionIndex", json!("0x1")),
        ("blockNumber", json!("0x5")),
        ("logs", json!([])),
        ("effectiveGasPrice", Value::Null),
    ] {
        assert_eq!(second[field], value, "{field}");
    }
    assert!(second.get("type").is_none());

    // The body as the next input: the same block, and nothing is rejected.
    fs::copy(folder.0.join("out/body.rlp"), folder.0.join("txs.rlp")).unwrap();
    let again = t8n(
        &folder,
        &[
            "--state.fork=Istanbul",
            "--input.txs=txs.rlp",
            "--output.result=stdout",
            "--output.alloc=",
            "--profile=serial",
        ],
    );
    let mut without = result.clone();
    without.as_object_mut().unwrap().remove("rejected");
    assert_eq!(json(&again), json!({ "result": without }));
}

fn piped(folder: &Folder, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
    command.current_dir(&folder.0).arg("t8n").args(arguments);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    // A child that ends early closes the pipe; its output tells why.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

const STREAMS: [&str; 6] = [
    "--input.alloc=stdin",
    "--input.env=stdin",
    "--input.txs=stdin",
    "--output.alloc=stdout",
    "--output.result=stdout",
    "--output.body=stdout",
];

#[test]
fn streams_in_streams_out_and_on_to_the_next_block() {
    let folder = Folder::new("t8n-streams");
    let input = json!({ "alloc": alloc(), "env": env(), "txs": [transfer(0xac)] });
    let arguments = [&STREAMS[..], &["--state.fork", "Byzantium", "--state.reward", "-1"]].concat();
    let first = piped(&folder, &arguments, input.to_string().as_bytes());
    assert_eq!((code(&first), err(&first)), (0, ""), "{first:?}");
    let first = json(&first);
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["alloc", "body", "result"]);
    assert_eq!(first["alloc"][SENDER]["nonce"], "0xad");
    // Signed transactions as RLP, on the state that the first left: used up.
    let input = json!({ "alloc": first["alloc"], "env": env(), "txsRlp": first["body"] });
    let second = json(&piped(&folder, &arguments, input.to_string().as_bytes()));
    assert_eq!(second["alloc"], first["alloc"]);
    assert_eq!(second["result"]["stateRoot"], first["result"]["stateRoot"]);
    assert_eq!((&second["body"], &second["result"]["gasUsed"]), (&json!("0xc0"), &json!("0x0")));
    assert_eq!(second["result"]["rejected"][0]["index"], 0);
    assert_eq!(left(&folder), Vec::<String>::new());
    let to_stderr =
        [&STREAMS[..3], &["--output.alloc=stderr", "--output.result=", "--state.fork=Byzantium"]].concat();
    let third = piped(&folder, &to_stderr, input.to_string().as_bytes());
    let document = &err(&third)[err(&third).find('{').unwrap()..];
    let alloc: Value = serde_json::from_str(document).unwrap();
    assert_eq!((out(&third), &alloc["alloc"]), ("", &first["alloc"]));
}

#[test]
fn rewards_touch_pay_and_can_be_off() {
    let ommers = json!([{ "delta": 1, "address": RECEIVER }, { "delta": 2, "address": RECEIVER }]);
    let mut rewarded = env();
    rewarded["ommers"] = ommers;
    let folder = folder("rewards", &json!({}), &rewarded, &json!([]));
    let post = |fork: &str, reward: &str| {
        let output = t8n(
            &folder,
            &["--state.fork", fork, "--state.reward", reward, "--output.alloc=stdout", "--output.result="],
        );
        json(&output)["alloc"].clone()
    };
    // 0x80 + 2/32 of it; (7 + 6)/8 of it.
    let paid = json!({ COINBASE: { "balance": "0x88" }, RECEIVER: { "balance": "0xd0" } });
    assert_eq!(post("Byzantium", "0x80"), paid);
    assert_eq!(post("Frontier", "128"), paid);
    assert_eq!(post("Byzantium", "-1"), json!({}));
    assert_eq!(post("Byzantium", "0"), json!({}));
    // Before EIP-161 whoever is touched exists.
    assert_eq!(
        post("Homestead", "0"),
        json!({ COINBASE: { "balance": "0x0" }, RECEIVER: { "balance": "0x0" } })
    );
    assert_eq!(post("Homestead", "-1"), json!({}));
}

#[test]
fn receipts_before_byzantium_hold_roots() {
    let folder = folder("roots", &alloc(), &env(), &json!([transfer(0xac), transfer(0xad)]));
    let output = t8n(&folder, &["--state.fork=Homestead", "--state.reward=-1"]);
    assert_eq!(code(&output), 0, "{output:?}");
    // Signed for a chain (EIP-155), which no one knew then.
    assert_eq!(read(&folder, "result.json")["rejected"].as_array().unwrap().len(), 2);
    let mut txs = json!([transfer(0xac), transfer(0xad)]);
    for tx in txs.as_array_mut().unwrap() {
        tx["protected"] = json!(false);
    }
    folder.write("txs.json", txs.to_string().as_bytes());
    let output = t8n(&folder, &["--state.fork=Homestead", "--state.reward=-1"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let result = read(&folder, "result.json");
    let roots: Vec<&str> =
        result["receipts"].as_array().unwrap().iter().map(|one| one["root"].as_str().unwrap()).collect();
    assert_eq!((roots.len(), roots[1]), (2, result["stateRoot"].as_str().unwrap()));
    assert_ne!(roots[0], roots[1]);
    assert_eq!(roots[0].len(), 66);
}

#[test]
fn every_failure_has_its_code_and_leaves_nothing() {
    let berlin = ["--state.fork=Berlin"];
    let (alloc, env, txs) = (alloc(), env(), json!([transfer(0xac)]));
    let unlisted = json!([call(0xac, HASHER)]);
    let mut merged = env.clone();
    merged.as_object_mut().unwrap().remove("currentDifficulty");
    let mut no_limit = env.clone();
    no_limit.as_object_mut().unwrap().remove("currentGasLimit");
    let mut far_ommer = env.clone();
    far_ommer["ommers"] = json!([{ "delta": 9, "address": RECEIVER }]);
    let mut no_gas = transfer(0xac);
    no_gas.as_object_mut().unwrap().remove("gas");
    let mut no_key = transfer(0xac);
    no_key["secretKey"] = json!(format!("0x{}", "0".repeat(64)));
    for (what, env, txs, arguments, expected) in [
        ("unknown fork", &env, &txs, &["--state.fork=Nowhere"][..], 3),
        ("extra EIP", &env, &txs, &["--state.fork=Frontier+1344"], 3),
        ("unknown profile", &env, &txs, &["--profile=nobody"], 3),
        ("no randomness", &merged, &txs, &["--state.fork=Paris"], 3),
        ("no base fee", &env, &txs, &["--state.fork=London"], 3),
        ("difficulty after the Merge", &env, &txs, &["--state.fork=Shanghai"], 3),
        ("no difficulty", &merged, &txs, &berlin, 3),
        ("ommer too far", &far_ommer, &txs, &berlin, 3),
        ("no gas limit", &no_limit, &txs, &berlin, 10),
        ("txs no list", &env, &json!({}), &berlin, 10),
        ("tx without gas", &env, &json!([no_gas]), &berlin, 10),
        ("key that is none", &env, &json!([no_key]), &berlin, 10),
        ("no such file", &env, &txs, &["--input.txs=none.json"], 11),
        ("output into nowhere", &env, &txs, &["--state.fork=Berlin", "--output.result=no/where.json"], 11),
        ("rlp that is no list", &env, &json!("0x01"), &["--input.txs=txs.rlp", "--state.fork=Berlin"], 12),
        ("rlp that is no hex", &env, &json!("0x0g"), &["--input.txs=txs.rlp"], 10),
        ("flag that is none", &env, &txs, &["--state.forks=Berlin"], 2),
        ("unlisted block hash", &env, &unlisted, &berlin, 4),
    ] {
        let folder = folder("failures", &alloc, env, txs);
        folder.write("txs.rlp", txs.to_string().as_bytes());
        let output = t8n(&folder, arguments);
        assert_eq!((code(&output), out(&output)), (expected, ""), "{what}: {output:?}");
        if expected != 2 {
            assert!(err(&output).starts_with(&format!("ERROR({expected}): ")), "{what}: {}", err(&output));
        }
        assert_eq!(left(&folder), Vec::<String>::new(), "{what}");
    }
    let folder = folder("pipes", &alloc, &env, &txs);
    for input in ["", "{", "[]", "{\"alloc\":{\"0x12\":{}}}", "{\"alloc\":null}"] {
        assert_eq!(code(&piped(&folder, &STREAMS, input.as_bytes())), 10, "{input}");
    }
}

#[test]
fn a_listed_block_hash_is_read() {
    let hash = format!("0x{}", "3".repeat(64));
    let mut listed = env();
    listed["blockHashes"] = json!({ "0x3": hash });
    let folder = folder("hashes", &alloc(), &listed, &json!([call(0xac, HASHER)]));
    for profile in ["lean", "serial", "aptos"] {
        let output = t8n(&folder, &["--state.fork=Berlin", "--profile", profile]);
        assert_eq!(code(&output), 0, "{profile}: {output:?}");
        let slot = format!("0x{}", "0".repeat(64));
        assert_eq!(read(&folder, "alloc.json")[HASHER]["storage"], json!({ slot: hash }), "{profile}");
    }
}

#[test]
fn traces_and_counts_are_those_of_what_is_included() {
    let mut listed = env();
    listed["blockHashes"] = json!({ "3": format!("0x{}", "3".repeat(64)) });
    let txs = json!([transfer(0xac), transfer(0xac), call(0xad, HASHER), call(0xae, HASHER)]);
    let folder = folder("traces", &alloc(), &listed, &txs);
    let mut runs = Vec::new();
    for arguments in [["--profile=serial", "-j1"], ["--profile=aptos", "-j3"]] {
        let output = t8n(
            &folder,
            &[&arguments[..], &["--state.fork=Berlin", "--trace", "--opcode.count=counts.json"]].concat(),
        );
        assert_eq!(code(&output), 0, "{output:?}");
        let receipts = read(&folder, "result.json")["receipts"].clone();
        let trace = |(at, receipt): (usize, &Value)| {
            let name = format!("trace-{at}-{}.jsonl", receipt["transactionHash"].as_str().unwrap());
            fs::read_to_string(folder.0.join("out").join(name)).unwrap()
        };
        let traces: Vec<String> = receipts.as_array().unwrap().iter().enumerate().map(trace).collect();
        assert_eq!(left(&folder).len(), 3 + traces.len());
        // PUSH1 3, BLOCKHASH, PUSH1 0, SSTORE, STOP, twice.
        let counts = json!({ "BLOCKHASH": 2, "PUSH1": 4, "SSTORE": 2, "STOP": 2 });
        assert_eq!(read(&folder, "counts.json"), counts);
        runs.push(traces);
        fs::remove_dir_all(folder.0.join("out")).unwrap();
    }
    assert_eq!(runs[0], runs[1]);
    let lines = |at: usize| runs[0][at].lines().map(|line| serde_json::from_str(line).unwrap());
    assert_eq!(lines(0).collect::<Vec<Value>>(), [json!({ "output": "", "gasUsed": "0x0" })]);
    let steps: Vec<Value> = lines(1).collect();
    let step = |at: usize, field: &str| steps[at][field].clone();
    assert_eq!(steps.len(), 6);
    assert_eq!(
        (step(1, "opName"), step(1, "op"), step(1, "pc")),
        (json!("BLOCKHASH"), json!(0x40), json!(2))
    );
    assert_eq!(
        (step(1, "stack"), step(1, "gasCost"), step(1, "depth")),
        (json!(["0x3"]), json!("0x14"), json!(1))
    );
    // A slot that was zero: 20000, and 2100 because it is cold.
    assert_eq!((step(3, "opName"), step(3, "gasCost")), (json!("SSTORE"), json!("0x5654")));
    let (failing, expected): (&[&[&str]], _) =
        (&[&["--profile=lean"], &["--trace.tracer=callTracer"], &["--trace.callframes"]], 3);
    for arguments in failing {
        let output = t8n(&folder, &[arguments, &["--state.fork=Berlin", "--trace"][..]].concat());
        assert_eq!(code(&output), expected, "{arguments:?}: {output:?}");
        assert_eq!(left(&folder), Vec::<String>::new());
    }
}
