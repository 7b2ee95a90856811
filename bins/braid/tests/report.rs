//! `run --trace`, `compare --trace`, and what is made of their records: `explain`, `report`.

mod common;

use common::{Folder, code, err, json, out};
use serde_json::Value;
use std::fs;

const SWAPS: &str = "swaps?txs=60&pools=2&traders=20";

/// A folder with the record of a run under `braid`, schedules included.
fn traced(name: &str) -> Folder {
    let folder = Folder::new(name);
    let run = ["run", SWAPS, "--profile", "braid", "-j", "2", "--trace", "--record", "run.json"];
    let output = folder.braid(&run);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(err(&output).contains("braid report last"), "{output:?}");
    folder
}

fn read(folder: &Folder, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.0.join(name)).unwrap()).unwrap()
}

#[test]
fn a_run_keeps_its_schedule_only_if_asked() {
    let folder = traced("kept");
    let record = read(&folder, "run.json");
    assert_eq!(
        (record["traces"].as_array().unwrap().len(), record["analyses"].as_array().unwrap().len()),
        (1, 1)
    );
    let trace = &record["traces"][0];
    assert_eq!(
        (&trace["version"], &trace["profile"], &trace["txs"]),
        (&1.into(), &"braid".into(), &60.into())
    );
    assert!(trace["tasks"].as_array().unwrap().len() >= 60);
    assert_eq!(trace["input"], record["document"]["results"][0]["input"]);
    assert_eq!(trace["input"], record["analyses"][0]["input"]);

    let output = folder.braid(&["run", SWAPS, "--profile", "lean", "--record", "plain.json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let plain = read(&folder, "plain.json");
    assert_eq!((&plain["traces"], &plain["analyses"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    // Lean has no schedule, but its block has dependencies.
    let output = folder.braid(&["run", SWAPS, "--profile", "lean", "--trace", "--record", "lean.json"]);
    assert_eq!(code(&output), 0, "{output:?}");
    let lean = read(&folder, "lean.json");
    assert_eq!(
        (lean["traces"].as_array().unwrap().len(), lean["analyses"].as_array().unwrap().len()),
        (0, 1)
    );
}

#[test]
fn a_transaction_is_explained_from_the_latest_record_and_from_a_path() {
    let folder = traced("explain");
    let output = folder.braid(&["explain", "last", "--tx", "59", "--json"]);
    let document = json(&output);
    assert_eq!((code(&output), err(&output)), (0, ""));
    assert_eq!((&document["schema"], &document["command"]), (&1.into(), &"explain".into()));
    let one = &document["explanations"][0];
    assert_eq!((&one["tx"], &one["profile"], &one["threads"]), (&59.into(), &"braid".into(), &2.into()));
    assert!(one["serial_ns"].as_u64().unwrap() > 0);
    let needs = one["needs"].as_array().unwrap();
    assert!(needs.iter().any(|need| need["name"].as_str().unwrap_or("").starts_with("token balance of 0x")));
    let text = folder.braid(&["explain", "run.json", "--tx", "59", "--profile", "braid"]);
    assert_eq!(code(&text), 0);
    assert!(out(&text).contains("transaction 59 ran "), "{text:?}");
    for (arguments, expected, said) in [
        (&["explain", "run.json", "--tx", "60"][..], 4, "has transaction 60: the largest block has 60"),
        (&["explain", "run.json", "--tx", "1", "--profile", "monad"], 4, "no schedule of profile `monad`"),
        (&["explain", "nowhere.json", "--tx", "1"], 1, "nowhere.json: "),
        (&["explain", "run.json"], 2, "--tx"),
    ] {
        let output = folder.braid(arguments);
        assert_eq!((code(&output), out(&output)), (expected, ""), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_comparison_is_reported_in_every_form() {
    let folder = Folder::new("forms");
    let compare = ["compare", "serial", "braid", "bal", "--on", SWAPS, "-j", "2", "--runs", "2", "--trace"];
    let output = folder.braid(&compare);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).contains("VIRTUAL, NOT MEASURED"), "{}", out(&output));
    let output = folder.braid(&["report", "last", "-o", "report.html"]);
    assert_eq!((code(&output), out(&output)), (0, ""), "{output:?}");
    let page = fs::read_to_string(folder.0.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let shown: Value = serde_json::from_str(data).unwrap();

    let output = folder.braid(&["report", "last", "--format", "json"]);
    let document = json(&output);
    assert_eq!((&document["schema"], &document["command"]), (&1.into(), &"report".into()));
    assert_eq!((&document["verdict"], &document["blocks"]), (&shown["verdict"], &shown["blocks"]));
    assert_eq!(document["rows"].as_array().unwrap().len(), 4);
    assert_eq!(document["blocks"][0]["traces"].as_array().unwrap().len(), 3);
    assert!(document["verdict"].as_str().unwrap().contains("as fast as lean"));

    for trace in document["blocks"][0]["traces"].as_array().unwrap() {
        let model = &trace["model"];
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{model}"));
        assert!(number(&model["floor_ns"]) <= number(&trace["elapsed_ns"]), "{model}");
        let on = model["virtual"].as_array().unwrap();
        assert_eq!(on.iter().map(|one| number(&one["workers"])).collect::<Vec<_>>(), [1, 2, 8, 16, 32]);
        assert!(on.iter().all(|one| number(&one["time_ns"]) >= number(&model["span_ns"])), "{model}");
    }
    let output = folder.braid(&["report", "last", "--format", "md"]);
    assert!(out(&output).contains("Virtual, not measured: by each profile's own model"), "{}", out(&output));
    assert!(
        out(&output).starts_with("# Braid report\n")
            && out(&output).contains("Schedule of bal with 2 threads")
    );
    let output = folder.braid(&["report", "last", "--format", "perfetto"]);
    let events = json(&output)["traceEvents"].as_array().unwrap().len();
    assert!(events > 3 * 60, "{events} events");
}

#[test]
fn what_is_no_record_or_has_no_schedule_is_told() {
    let folder = Folder::new("none");
    let output = folder.braid(&["run", SWAPS, "--profile", "serial", "--record", "plain.json"]);
    assert_eq!(code(&output), 0);
    folder.write("text.json", b"{");
    folder.write("other.json", b"{\"schema\":1,\"kind\":\"braid-divergence\"}");
    for (arguments, expected, said) in [
        (&["explain", "plain.json", "--tx", "0"][..], 4, "without --trace"),
        (&["report", "plain.json", "--format", "perfetto"], 4, "without --trace"),
        (&["report", "text.json"], 1, "text.json: not a record of a run"),
        (&["report", "other.json"], 1, "other.json: kind is `braid-divergence`"),
        (&["report", "plain.json", "--format", "pdf"], 2, "pdf"),
        (&["report", "plain.json", "-o", "no/such/folder/x.html"], 1, "no/such/folder/x.html"),
        (&["run", "x", "--profile", "serial", "--stream", "--trace"], 2, "--trace"),
    ] {
        let output = folder.braid(arguments);
        assert_eq!((code(&output), out(&output)), (expected, ""), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {output:?}");
    }
    // Without schedules there are still numbers.
    let output = folder.braid(&["report", "plain.json", "--format", "md"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("1 of 1 block ok") && out(&output).contains("## Executed"), "{output:?}");
}
