//! The program as a shell sees it: exit codes, what goes to which stream, files it leaves.

mod common;

use braid_testkit::data;
use common::{Folder, code, err, json, out};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn usage_errors_are_two_on_stderr() {
    let folder = Folder::new("usage");
    for arguments in [
        &["run"][..],
        &["walk"],
        &["run", "x", "--profile", "nobody"],
        &["run", "x", "--profile", "lean", "-j", "257"],
        &["run", "nosuch?txs=1", "--profile", "lean"],
        &["compare", "--threads", "x"],
        &["profiles", "nobody", "--json"],
    ] {
        let output = folder.braid(arguments);
        assert_eq!((code(&output), out(&output)), (2, ""), "{arguments:?}: {output:?}");
        assert!(!err(&output).is_empty(), "{arguments:?}");
    }
    let help = folder.braid(&["--help"]);
    assert_eq!((code(&help), err(&help)), (0, ""));
    assert!(out(&help).contains("Exit codes"));
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_text_is_two() {
    use std::os::unix::ffi::OsStrExt;
    let output = Command::new(env!("CARGO_BIN_EXE_braid"))
        .args([std::ffi::OsStr::from_bytes(b"\xff\xfe")])
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
}

#[test]
fn profiles_as_text_and_json() {
    let folder = Folder::new("profiles");
    let output = folder.braid(&["profiles", "--json"]);
    let document = json(&output);
    assert_eq!((code(&output), err(&output)), (0, ""));
    assert_eq!((&document["schema"], &document["command"]), (&1.into(), &"profiles".into()));
    let lean = document["profiles"].as_array().unwrap().iter().find(|one| one["name"] == "lean").unwrap();
    assert_eq!(
        keys(lean),
        ["about", "article", "fidelity", "limits", "name", "parallel", "real", "scheduler"]
    );
    let text = folder.braid(&["profiles", "lean"]);
    assert!(out(&text).starts_with("lean\n"), "{text:?}");
}

#[test]
fn workloads_as_text_and_json() {
    let folder = Folder::new("workloads");
    let output = folder.braid(&["workloads", "--json"]);
    let document = json(&output);
    assert_eq!((code(&output), err(&output)), (0, ""));
    assert_eq!((&document["schema"], &document["command"]), (&1.into(), &"workloads".into()));
    let workloads = document["workloads"].as_array().unwrap();
    assert_eq!(workloads.len(), 8);
    for workload in workloads {
        assert_eq!(keys(workload), ["about", "name", "parameters"]);
        // What is listed is what is taken: each with all its defaults.
        let name = workload["name"].as_str().unwrap();
        let mut parts = vec![if name == "hostile" { "txs=9&kind=hot".to_owned() } else { "txs=9".into() }];
        for parameter in workload["parameters"].as_array().unwrap() {
            assert_eq!(keys(parameter), ["about", "default", "name", "possible"]);
            let default = parameter["default"].as_str().filter(|_| parameter["name"] != "txs");
            parts.extend(default.map(|value| format!("{}={value}", parameter["name"].as_str().unwrap())));
        }
        let text = format!("{name}?{}", parts.join("&"));
        let output = folder.braid(&["run", &text, "--profile", "serial"]);
        assert_eq!(code(&output), 0, "{text}: {}", err(&output));
    }
    let text = folder.braid(&["workloads", "swaps"]);
    assert!(out(&text).contains("swaps") && out(&text).contains("pools"), "{text:?}");
    assert!(!out(&text).contains("hostile"), "{text:?}");
    let output = folder.braid(&["workloads", "uniswap"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("orderbook"), "{output:?}");
}

#[test]
fn workloads_are_compared_by_their_text() {
    let folder = Folder::new("workloads-compared");
    let on = ["swaps?txs=20&traders=9", "mainnet?txs=20", "orderbook?txs=20"];
    let mut arguments = vec!["compare", "serial", "--json", "--runs", "1", "--threads", "1", "--on"];
    arguments.extend(on);
    let output = folder.braid(&arguments);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let document = json(&output).to_string();
    assert!(on.iter().all(|text| document.contains(text.split('&').next().unwrap())), "{document}");
}

#[test]
fn broken_inputs_are_one_each_with_its_file() {
    let folder = Folder::new("broken");
    folder.write("garbage.json", b"\0\xff not json");
    folder.write("cut.json.zst", &[0x28, 0xb5, 0x2f, 0xfd, 0x04]);
    folder.write("list.json", b"[{}]");
    folder.write("deep.json", "[".repeat(100_000).as_bytes());
    folder.write("case/block.json.zst", b"");
    folder.write("empty.json", b"");
    let inputs = ["garbage.json", "cut.json.zst", "list.json", "deep.json", "case", "empty.json", "absent"];
    let mut arguments = vec!["run", "--profile", "lean", "--json"];
    arguments.extend(inputs);
    let output = folder.braid(&arguments);
    assert_eq!(code(&output), 1, "{output:?}");
    let results = json(&output)["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), inputs.len());
    for (result, input) in results.iter().zip(inputs) {
        assert_eq!(result["status"], "unreadable", "{result}");
        assert!(result["input"].as_str().unwrap().contains(input), "{result}");
        assert!(result["error"]["file"].as_str().unwrap().contains(input), "{result}");
        assert!(!result["error"]["kind"].as_str().unwrap().is_empty(), "{result}");
        assert!(result["gas_used"].is_null() && result["elapsed_ns"].is_null(), "{result}");
    }
    let compared = folder.braid(&["compare", "--on", "garbage.json", "--runs", "1"]);
    assert_eq!(code(&compared), 1, "{compared:?}");
}

#[test]
fn an_empty_folder_selects_nothing() {
    let folder = Folder::new("empty");
    fs::create_dir_all(folder.0.join("nothing")).unwrap();
    assert_eq!(code(&folder.braid(&["run", "nothing", "--profile", "lean"])), 4);
    assert_eq!(code(&folder.braid(&["compare", "--on", "nothing"])), 4);
}

const RUN_KEYS: [&str; 19] = [
    "access_list_bytes",
    "access_list_hash",
    "block",
    "checks",
    "differs_from_evm",
    "disk",
    "elapsed_ns",
    "error",
    "executions",
    "fallbacks",
    "gas_used",
    "input",
    "oracle_equal",
    "profile",
    "retries",
    "root",
    "status",
    "threads",
    "txs",
];

const COMPARE_KEYS: [&str; 27] = [
    "block",
    "ci95",
    "cpu_ns",
    "cpu_ratio",
    "differs_from_evm",
    "end_to_end_ns",
    "executions",
    "fallbacks",
    "gas_used",
    "hints",
    "input",
    "limit",
    "median_ns",
    "memory_ratio",
    "noise_floor",
    "oracle_equal",
    "peak_bytes",
    "profile",
    "reference_median_ns",
    "retries",
    "root_adds",
    "rooted_ns",
    "runs",
    "speedup",
    "threads",
    "txs",
    "virtual",
];

#[test]
fn a_real_block_runs_and_compares() {
    let Some(data) = data() else { return };
    let folder = Folder::new("real");
    let block = data.join("ethereum/mainnet/19426587");
    let block = block.to_str().unwrap();
    let output = folder.braid(&["run", block, "--profile", "lean", "--json", "--record", "record.json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let document = json(&output);
    let result = &document["results"][0];
    assert_eq!(keys(result), RUN_KEYS);
    assert_eq!((&result["status"], &result["gas_used"]), (&"ok".into(), &2_633_933.into()));
    assert_eq!(result["checks"]["header_hash"], true);
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let record = read(&folder.0.join("record.json"));
    assert_eq!(record["document"], document);
    assert_eq!(record, read(&folder.0.join("cache/braid/last.json")));
    let output = folder.braid(&["compare", "lean", "--on", block, "--runs", "2", "--json", "-q"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let row = json(&output)["rows"][0].clone();
    assert_eq!(keys(&row), COMPARE_KEYS);
    assert_eq!((&row["input"], &row["runs"]), (&block.into(), &2.into()));
}

#[test]
fn a_chain_file_names_its_blocks() {
    let Some(data) = data() else { return };
    let folder = Folder::new("chain");
    let chain = data.join("ethereum/chain/mainnet-15000001-15000031.json.zst");
    let one = format!("{}#15000003", chain.display());
    let output = folder.braid(&["run", &one, "--profile", "lean", "--json"]);
    let result = json(&output)["results"][0].clone();
    assert_eq!(code(&output), 1);
    assert_eq!((&result["input"], &result["error"]["kind"]), (&one.as_str().into(), &"no_state".into()));
    let none = format!("{}#7", chain.display());
    let output = folder.braid(&["run", &none, "--profile", "lean", "--json"]);
    assert_eq!(json(&output)["results"][0]["error"]["kind"], "not_found");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let folder = Folder::new("pipe");
    let mut child = Command::new(env!("CARGO_BIN_EXE_braid"))
        .args(["profiles"])
        .current_dir(&folder.0)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_with_130() {
    let Some(data) = data() else { return };
    let folder = Folder::new("interrupt");
    let mut child = Command::new(env!("CARGO_BIN_EXE_braid"))
        .args(["compare", "--for", "120s", "--on"])
        .arg(data.join("ethereum/mainnet/19426587"))
        .current_dir(&folder.0)
        .env("XDG_CACHE_HOME", folder.0.join("cache"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The handler stands before the first line on stderr does.
    let mut line = String::new();
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
    assert!(line.starts_with("[1/1]"), "{line}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), out(&output)), (130, ""));
}
