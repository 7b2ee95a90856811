//! Times that cannot be: an engine that is faster than its own model, and a record that says so.

use super::{Exit, Folder, braid, braid_with};

#[test]
fn a_schedule_faster_than_its_own_model_fails_the_run() {
    let ran = braid("compare too_fast good --on good --threads 1 --runs 1 --trace");
    assert_eq!(ran.exit, Exit::Failure, "{}", ran.err);
    assert!(ran.err.contains("a time that cannot be: too_fast on 1 threads"), "{}", ran.err);
    assert!(ran.err.contains("that all of its executions, one by one, takes"), "{}", ran.err);
    let ran = braid("run good --profile too_fast --trace --json");
    assert_eq!(ran.exit, Exit::Failure, "{}", ran.err);
    let result = ran.json()["results"][0].clone();
    assert_eq!(
        (result["status"].as_str(), result["error"]["kind"].as_str()),
        (Some("invalid"), Some("impossible_time"))
    );
    // Nobody asked.
    assert_eq!(braid("compare too_fast --on good --threads 1 --runs 1").exit, Exit::Ok);
}

#[test]
fn a_record_of_what_cannot_be_fails_the_report() {
    let folder = Folder::new();
    let path = folder.0.join("record.json");
    let task = |tx: u32, start: u32, end: u32| {
        format!(
            r#"{{"tx":{tx},"incarnation":0,"worker":{tx},"lane":0,"start_ns":{start},"end_ns":{end},"fate":"committed"}}"#
        )
    };
    let record = |scheduler: &str, model: &str| {
        format!(
            r#"{{"schema":1,"kind":"braid-run-record","document":{{"command":"run"}},"traces":[{{"version":1,"input":"x",
            "profile":"p","scheduler":"{scheduler}","threads":2,"txs":2,"elapsed_ns":12,"lost":0,"keys":[],"waits":[],
            "aborts":[],"commits":[],"tasks":[{},{}]{model}}}]}}"#,
            task(0, 0, 10),
            task(1, 2, 12)
        )
    };
    let model = |floor: u32, time: u32| {
        format!(
            r#","model":{{"hint_ns":0,"hints_by":"none","one_by_one_ns":20,"work_ns":20,"span_ns":10,"floor_ns":{floor},"floor":"",
            "virtual":[{{"workers":8,"time_ns":{time},"busy_ns":20,"executions":2}}]}}"#
        )
    };
    for (text, exit) in [
        (record("block_stm", &model(12, 10)), Exit::Ok),
        (record("block_stm", &model(13, 10)), Exit::Failure),
        (record("block_stm", &model(12, 9)), Exit::Failure),
        (record("serial", ""), Exit::Failure),
    ] {
        std::fs::write(&path, &text).unwrap();
        let ran = braid_with(&format!("report {} --format md", path.display()), false, None);
        assert_eq!(ran.exit, exit, "{text}: {}", ran.err);
        assert_eq!(ran.out.contains("Impossible"), exit == Exit::Failure, "{}", ran.out);
    }
}
