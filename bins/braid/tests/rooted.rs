//! Roots inside the measured time, and the lanes of execution, root and disk: `--root`, `--store --commit`.

mod common;

use braid_testkit::data;
use common::{Folder, code, err, json, out};
use serde_json::Value;
use std::fs;

const SWAPS: &str = "swaps?txs=60&pools=2&traders=20";

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn record(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.0.join(name)).unwrap()).unwrap()
}

/// What the lanes of the first schedule are: name and work, start and end.
fn lanes(record: &Value) -> Vec<(String, u64, u64)> {
    let spans = record["traces"][0]["lanes"].as_array().unwrap_or_else(|| panic!("no lanes: {record}"));
    let one = |span: &Value| {
        let name = format!("{} {}", span["lane"].as_str().unwrap(), span["what"].as_str().unwrap());
        (name, number(&span["start_ns"]), number(&span["end_ns"]))
    };
    spans.iter().map(one).collect()
}

#[test]
fn a_workload_has_its_root_from_its_whole_state() {
    let folder = Folder::new("root-workload");
    for profile in ["braid", "lean", "monad"] {
        let run = [
            "run",
            SWAPS,
            "--profile",
            profile,
            "-j",
            "2",
            "--root",
            "--trace",
            "--json",
            "--record",
            "run.json",
        ];
        let output = folder.braid(&run);
        assert_eq!(code(&output), 0, "{output:?}");
        let result = &json(&output)["results"][0];
        let root = &result["root"];
        assert_eq!(
            (&root["from"], &root["ahead_ns"], &result["disk"]),
            (&"state".into(), &0.into(), &Value::Null)
        );
        let (elapsed, rooted) = (number(&result["elapsed_ns"]), number(&root["rooted_ns"]));
        assert!(rooted >= elapsed + number(&root["after_ns"]), "{result}");
        assert!(number(&root["after_ns"]) > 0, "{result}");
        if profile == "lean" {
            continue;
        }
        let record = record(&folder, "run.json");
        let elapsed = number(&record["traces"][0]["elapsed_ns"]);
        let lanes = lanes(&record);
        let names: Vec<&str> = lanes.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["execution block", "root after"]);
        assert_eq!((lanes[0].1, lanes[0].2), (0, elapsed));
        assert!(lanes[1].2 > lanes[1].1 && lanes[1].1 > 0, "{lanes:?}");
    }
    // In every form.
    let run = ["run", SWAPS, "--profile", "braid", "-j", "2", "--root", "--trace"];
    let output = folder.braid(&run);
    assert!(out(&output).contains("with root"), "{output:?}");
    let page = folder.braid(&["report", "last", "--format", "html"]);
    assert!(out(&page).contains("\"lane\":\"root\""), "{}", err(&page));
    let text = folder.braid(&["report", "last", "--format", "md"]);
    assert!(
        out(&text).contains("## Execution, root, disk") && out(&text).contains("Lanes, at work: execution ")
    );
    let export = json(&folder.braid(&["report", "last", "--format", "perfetto"]));
    let events = export["traceEvents"].as_array().unwrap();
    let tracks: Vec<&Value> = events.iter().filter(|event| event["name"] == "thread_name").collect();
    assert!(tracks.iter().any(|track| track["args"]["name"] == "root"), "{tracks:?}");
    assert_eq!(events.iter().filter(|event| event["cat"] == "lane").count(), 2);
    // Nothing of it without being asked.
    let plain =
        folder.braid(&["run", SWAPS, "--profile", "braid", "--json", "--trace", "--record", "run.json"]);
    assert_eq!(
        (&json(&plain)["results"][0]["root"], &record(&folder, "run.json")["traces"][0]["lanes"]),
        (&Value::Null, &Value::Null)
    );
}

/// All witness cases with `BRAID_LONG=1`, else every third.
#[test]
fn witness_cases_have_their_roots_begun_ahead() {
    let Some(data) = data() else { return };
    let mut cases: Vec<_> =
        fs::read_dir(data.join("ethereum/mainnet")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join("witness.json.zst").exists());
    cases.sort();
    let step = if std::env::var_os("BRAID_LONG").is_some_and(|long| long == "1") { 1 } else { 3 };
    let folder = Folder::new("root-witness");
    let mut arguments = vec!["run", "--profile", "braid", "-j", "2", "--root", "--json", "-q"];
    arguments.extend(cases.iter().step_by(step).map(|case| case.to_str().unwrap()));
    let output = folder.braid(&arguments);
    let document = json(&output);
    assert_eq!(code(&output), 0, "{output:?}");
    let mut rooted = 0;
    for result in document["results"].as_array().unwrap() {
        let root = &result["root"];
        assert_eq!(root.is_null(), result["checks"]["state_root"].is_null(), "{result}");
        if root.is_null() {
            continue;
        }
        assert_eq!(
            (&root["from"], &result["checks"]["state_root"]),
            (&"witness".into(), &true.into()),
            "{result}"
        );
        assert!(number(&root["rooted_ns"]) >= number(&result["elapsed_ns"]), "{result}");
        rooted += 1;
        // How much is done ahead depends on who else wants the processors.
        assert!(number(&root["after_ns"]) > 0 && root["locations"].is_u64(), "{result}");
    }
    assert!(rooted > 2, "{rooted} roots: {document}");
}

/// Blockchain tests come with a whole state, and each header has the root after its block.
#[test]
fn blockchain_tests_have_their_roots() {
    let Some(data) = data() else { return };
    let folder = Folder::new("root-tests");
    let archive = data.join("ethereum/tests/tests_blockchain.tar.zst");
    let mut decoder = zstd::Decoder::new(fs::File::open(archive).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut found = false;
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("bcWalletTest/wallet2outOf3txs.json") {
            entry.unpack(folder.0.join("wallet.json")).unwrap();
            found = true;
        }
    }
    assert!(found, "the test is in the archive");
    let tests: Value = serde_json::from_slice(&fs::read(folder.0.join("wallet.json")).unwrap()).unwrap();
    let (name, test) = tests.as_object().unwrap().iter().next().unwrap();
    let text = format!("wallet.json#{name}");
    let run = [
        "run",
        &text,
        "--profile",
        "braid",
        "-j",
        "2",
        "--root",
        "--trace",
        "--json",
        "--record",
        "run.json",
    ];
    let output = folder.braid(&run);
    assert_eq!(code(&output), 0, "{output:?}");
    let results = json(&output)["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), test["blocks"].as_array().unwrap().len(), "{output:?}");
    for (result, block) in results.iter().zip(1..) {
        assert_eq!((&result["status"], &result["block"]), (&"ok".into(), &block.into()), "{result}");
        assert_eq!(
            (&result["checks"]["state_root"], &result["root"]["from"]),
            (&true.into(), &"state".into())
        );
        assert!(number(&result["root"]["rooted_ns"]) > number(&result["elapsed_ns"]), "{result}");
    }
    let traces = record(&folder, "run.json")["traces"].as_array().unwrap().clone();
    assert!(
        traces.len() == results.len()
            && traces.iter().all(|trace| trace["lanes"].as_array().unwrap().len() == 2)
    );
    // The last one by itself, named as it was; and what is not there.
    let last = results.last().unwrap();
    let one = json(&folder.braid(&["run", last["input"].as_str().unwrap(), "--profile", "lean", "--json"]));
    assert_eq!(
        (&one["results"][0]["gas_used"], &one["results"][0]["status"]),
        (&last["gas_used"], &"ok".into())
    );
    // Rules of its own give other roots than the headers have.
    let own = ["run", &text, "--profile", "megaeth-actors", "-j", "1", "--root", "--json", "-q"];
    let own = folder.braid(&own);
    assert_eq!((code(&own), &json(&own)["results"][0]["root"]["from"]), (0, &"state".into()), "{own:?}");
    for wrong in [format!("{text}/77"), "wallet.json#nobody".to_owned()] {
        let output = folder.braid(&["run", &wrong, "--profile", "lean", "--json"]);
        assert_eq!(
            (code(&output), &json(&output)["results"][0]["error"]["kind"]),
            (1, &"not_found".into()),
            "{output:?}"
        );
    }
}

#[test]
fn what_a_root_adds_is_compared_apart() {
    let folder = Folder::new("root-compare");
    let compare = ["compare", "braid", "monad", "--on", SWAPS, "-j", "2", "--runs", "3", "--json", "-q"];
    let plain = folder.braid(&compare);
    assert_eq!(code(&plain), 0, "{plain:?}");
    assert!(
        json(&plain)["rows"]
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["rooted_ns"].is_null() && row["root_adds"].is_null())
    );
    let output = folder.braid(&[&compare[..], &["--root", "--trace"]].concat());
    assert_eq!(code(&output), 0, "{output:?}");
    let rows = json(&output)["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 3);
    for row in &rows {
        assert!(number(&row["rooted_ns"]) > 0 && row["root_adds"].as_f64().unwrap() > -1.0, "{row}");
    }
    let report = json(&folder.braid(&["report", "last", "--format", "json"]));
    assert!(report["rows"].as_array().unwrap().iter().all(|row| row["rooted_ns"].is_u64()), "{report}");
    let traces = report["blocks"][0]["traces"].as_array().unwrap();
    assert!(!traces.is_empty() && traces.iter().all(|trace| trace["lanes"].as_array().unwrap().len() == 2));
    // For people.
    let table = folder.braid(&["compare", "braid", "--on", SWAPS, "-j", "2", "--runs", "1", "--root"]);
    assert!(out(&table).contains("root adds"), "{table:?}");
}

#[test]
fn a_store_has_lanes_of_root_and_disk() {
    let folder = Folder::new("root-store");
    let run = [
        "run",
        SWAPS,
        "--profile",
        "braid",
        "-j",
        "2",
        "--store",
        "d",
        "--commit",
        "--trace",
        "--record",
        "run.json",
        "--json",
    ];
    let output = folder.braid(&run);
    assert_eq!(code(&output), 0, "{output:?}");
    let result = &json(&output)["results"][0];
    let (root, disk) = (&result["root"], &result["disk"]);
    assert_eq!(root["from"], "store");
    assert!(number(&root["rooted_ns"]) >= number(&result["elapsed_ns"]) + number(&root["after_ns"]));
    assert!(["archive_ns", "write_ns", "sync_ns"].iter().all(|part| number(&disk[*part]) > 0), "{disk}");
    assert!(number(&disk["bytes"]) >= 4096, "{disk}");
    let record = record(&folder, "run.json");
    let lanes = lanes(&record);
    let names: Vec<&str> = lanes.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["execution block", "root prepare", "disk archive", "disk write", "disk sync"]);
    assert!(lanes.windows(2).all(|two| two[0].2 == two[1].1), "one after another: {lanes:?}");
    assert_eq!(lanes[0].2, number(&record["traces"][0]["elapsed_ns"]));
    let text = folder.braid(&["report", "run.json", "--format", "md"]);
    assert!(out(&text).contains("disk "), "{text:?}");
}

#[test]
fn what_has_no_root_says_so() {
    let folder = Folder::new("root-none");
    for usage in [&["--stream"][..], &["--store", "d"]] {
        let output = folder
            .braid(&[&["run", "transfers?txs=4&blocks=2", "--profile", "lean", "--root"], usage].concat());
        assert_eq!(code(&output), 2, "{output:?}");
    }
    let Some(data) = data() else { return };
    let environment = fs::read_dir(data.join("ethereum/mainnet_env"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .min()
        .unwrap();
    let output =
        folder.braid(&["run", environment.to_str().unwrap(), "--profile", "braid", "--root", "--json"]);
    assert_eq!(json(&output)["results"][0]["root"], Value::Null, "{output:?}");
    assert!(err(&output).contains("no root"), "{output:?}");
    // A witness has what Ethereum's rules touch.
    let block = data.join("ethereum/mainnet/15050000").display().to_string();
    let own = folder.braid(&["run", &block, "--profile", "megaeth-actors", "-j", "1", "--root", "--json"]);
    let result = &json(&own)["results"][0];
    assert_eq!((code(&own), &result["status"], &result["root"]), (0, &"ok".into(), &Value::Null), "{own:?}");
    assert!(err(&own).contains("no root"), "{own:?}");
}
