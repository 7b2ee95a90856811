//! `braid test` on made-up vectors and engines.

use super::{Folder, Ran, braid, braid_with};
use serde_json::Value;
use std::fs;

/// A state test of one transfer that demands this root.
fn vector(name: &str, root: &str) -> String {
    format!(
        r#""{name}": {{
            "env": {{"currentCoinbase": "0x2adc25665018aa1fe0e6bc666dac8fc2697ff9ba",
                "currentGasLimit": "0x989680", "currentNumber": "0x01", "currentTimestamp": "0x03e8",
                "currentDifficulty": "0x020000"}},
            "pre": {{"0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b":
                {{"balance": "0x0de0b6b3a7640000", "nonce": "0x00", "code": "0x", "storage": {{}}}}}},
            "transaction": {{"data": ["0x"], "gasLimit": ["0x5208"], "value": ["0x01"], "nonce": "0x00",
                "gasPrice": "0x0a", "to": "0x1000000000000000000000000000000000000000",
                "sender": "0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"}},
            "post": {{"Istanbul": [{{"hash": "{root}",
                "logs": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
                "indexes": {{"data": 0, "gas": 0, "value": 0}}}}]}}}}"#
    )
}

/// A folder with `good.json` (two vectors) and `bad.json` (one that demands another root).
fn vectors() -> (Folder, String) {
    let folder = Folder::new();
    let path = folder.0.display().to_string();
    let write = |file: &str, text: String| fs::write(folder.0.join(file), text).unwrap();
    let zero = format!("0x{}", "0".repeat(64));
    write("bad.json", format!("{{{}}}", vector("wrong", &zero)));
    // Plain revm says what the root is.
    let ran = braid(&format!("test {path}/bad.json --profile lean --json"));
    let reason = ran.json()["failures"][0]["reason"].as_str().unwrap().to_owned();
    let root = reason.split("computed ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    write("good.json", format!("{{{}, {}}}", vector("one", &root), vector("two", &root)));
    (folder, path)
}

fn counts(ran: &Ran) -> (u64, u64, u64) {
    let count = |name: &str| ran.json()[name].as_u64().unwrap();
    (count("passed"), count("failed"), count("skipped"))
}

#[test]
fn what_passes_is_zero_and_what_fails_is_a_hundred() {
    let (_folder, path) = vectors();
    let good = braid(&format!("test {path}/good.json --profile good --threads 1,2 --seed 3 --json"));
    assert_eq!((good.exit.code(), counts(&good)), (0, (2, 0, 0)), "{}", good.err);
    let document = good.json();
    assert_eq!(
        (&document["schema"], &document["command"], &document["seed"]),
        (&1.into(), &"test".into(), &3.into())
    );
    assert_eq!(document["executions"], 2 * 3, "the yardstick takes part");
    let bad = braid(&format!("test {path} --profile good --threads 2 --full --json"));
    assert_eq!((bad.exit.code(), counts(&bad)), (100, (2, 1, 0)), "{}", bad.err);
    let failure = &bad.json()["failures"][0];
    assert_eq!((&failure["profile"], &failure["threads"]), (&"good".into(), &2.into()));
    assert_eq!(failure["case"], "wrong/Istanbul/d0g0v0");
    assert!(failure["file"].as_str().unwrap().ends_with("bad.json"));
    assert!(failure["reason"].as_str().unwrap().contains("state root"));
    assert_eq!(bad.json()["reported"]["lean"]["failed"], 1);
    // A serial engine that is wrong is a failure, but none of parallelism.
    assert_eq!(braid(&format!("test {path}/good.json --profile wrong_serial")).exit.code(), 100);
}

#[test]
fn a_parallel_profile_that_differs_is_three_and_says_how_to_repeat_it() {
    let (_folder, path) = vectors();
    for profile in ["wrong_gas", "wrong_account", "refuses", "panics"] {
        let ran = braid(&format!("test {path} --profile {profile} --threads 2 --seed 9"));
        assert_eq!(ran.exit.code(), 3, "{profile}: {}", ran.err);
        for part in ["DIVERGED", "one/Istanbul/d0g0v0", "--seed 9", "--filter", "seed 9"] {
            assert!(ran.err.contains(part), "{profile}: no {part} in {}", ran.err);
        }
    }
}

#[test]
fn lines_are_cases_and_then_the_document() {
    let (_folder, path) = vectors();
    let ran = braid(&format!("test {path} --profile good --jsonl"));
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<&str> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["failed", "passed", "passed"]);
    assert_eq!((lines.len(), &lines[3]["command"], &lines[3]["failed"]), (4, &"test".into(), &1.into()));
    let filtered = braid(&format!("test {path} --profile good --json --filter two/"));
    assert_eq!((filtered.exit.code(), counts(&filtered)), (0, (1, 0, 0)));
    let sampled = braid(&format!("test {path} --profile good --json --sample 1"));
    assert_eq!(sampled.json()["archives"][0]["executions"], 4);
}

#[test]
fn wrong_lines_and_inputs() {
    let (folder, path) = vectors();
    fs::write(folder.0.join("broken.json"), "{").unwrap();
    for (line, code) in [
        (format!("test {path}/good.json --profile good --filter nothing"), 4),
        (format!("test {path}/good.json --profile good --filter ("), 2),
        (format!("test {path}/good.json --profile nobody"), 2),
        (format!("test {path}/good.json --threads 257"), 2),
        (format!("test {path}/good.json --json --jsonl"), 2),
        ("test".to_owned(), 2),
        (format!("test {path}/absent.json --profile good"), 1),
        (format!("test {path}/broken.json --profile good"), 1),
        (format!("test {path}/good.json {path}/broken.json --profile good --full"), 1),
    ] {
        let ran = braid(&line);
        assert_eq!(ran.exit.code(), code, "{line}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{line}");
    }
    let ran = braid_with(&format!("test {path}/good.json --profile good"), true, None);
    assert_eq!(ran.exit.code(), 130);
    let text = braid(&format!("test {path}/good.json --profile good --threads 1 --seed 1")).out;
    assert!(text.contains("2 cases: 2 passed, 0 failed, 0 skipped") && text.contains("seed 1"), "{text}");
}
