//! The report in its forms: the committed page is that of its sources, data stays data, numbers are where they belong.

use braid_report::{
    Analysis, DiskTimes, Graph, Key, Lane, Report, RootTimes, RunRecord, Span, Trace,
    analysis::{Access, Facts},
    graph::Edge,
    html, markdown,
    model::{ModelTimes, OnWorkers},
    perfetto,
    record::{Document, Hints, Row, RunRow},
    trace::{Abort, Commit, Fate, TRACE_VERSION, Task, Wait},
};
use sha2::{Digest, Sha256};
use std::{fmt::Write, fs, path::Path};

const EVIL: &str = "</script><script>alert(1)</script><!-- | `x`";

fn row(profile: &str, threads: usize, speedup: f64) -> Row {
    Row {
        input: EVIL.to_owned(),
        txs: 3,
        profile: profile.to_owned(),
        threads,
        runs: 9,
        median_ns: 1_000,
        speedup,
        ci95: [speedup - 0.1, speedup + 0.1],
        noise_floor: 0.02,
        limit: Some(1.8),
        ..Row::default()
    }
}

fn record() -> RunRecord {
    let task = |tx, incarnation, worker, start_ns, end_ns, fate| Task {
        tx,
        incarnation,
        worker,
        lane: 0,
        start_ns,
        end_ns,
        fate,
    };
    let keys = vec![Key::new("0x1[0x8]").named(Some(EVIL.to_owned()))];
    let trace = Trace {
        version: TRACE_VERSION,
        input: EVIL.to_owned(),
        profile: "braid".to_owned(),
        scheduler: "block_stm".to_owned(),
        threads: 2,
        txs: 3,
        elapsed_ns: 2_000,
        model: Some(ModelTimes {
            one_by_one_ns: 2_150,
            work_ns: 2_300,
            span_ns: 1_300,
            floor_ns: 1_445,
            on_workers: vec![
                OnWorkers { workers: 1, time_ns: 2_300, busy_ns: 2_300, executions: 3 },
                OnWorkers { workers: 8, time_ns: 1_300, busy_ns: 3_000, executions: 5 },
            ],
            ..ModelTimes::default()
        }),
        keys: keys.clone(),
        tasks: vec![
            task(0, 0, 0, 0, 900, Fate::Committed),
            task(1, 0, 1, 10, 600, Fate::Aborted),
            task(1, 1, 1, 1_000, 1_500, Fate::Committed),
            task(2, 0, 0, 1_000, 1_900, Fate::Committed),
        ],
        waits: vec![Wait { task: Some(2), tx: 1, key: 0, on: 0, at_ns: 1_100, until_ns: 1_200 }],
        aborts: vec![Abort {
            task: Some(1),
            tx: 1,
            key: 0,
            by: Some(0),
            worker: 0,
            at_ns: 900,
            cost_ns: 590,
        }],
        commits: (0..3).map(|tx| Commit { tx, worker: 0, at_ns: 1_950 }).collect(),
        lanes: vec![
            Span::new(Lane::Execution, "transactions", 0, 2_000),
            Span { busy_ns: Some(300), ..Span::new(Lane::Root, EVIL, 100, 1_900) },
            Span::new(Lane::Root, "after", 2_000, 700),
        ],
        ..Trace::default()
    };
    let needs = [vec![], vec![Edge { on: 0, key: 0 }], vec![]];
    let access = Access { reads: vec![0], writes: vec![0], private: 0 };
    let facts = Facts {
        input: EVIL.to_owned(),
        keys,
        access: vec![access.clone(), access, Access::default()],
        graph: Graph::new(needs, vec![800, 500, 850]).unwrap(),
    };
    let rooted = Row { rooted_ns: Some(1_123), root_adds: Some(0.123), ..row("braid", 2, 1.5) };
    let rows = vec![row("lean", 1, 1.0), row("serial", 1, 1.2), rooted];
    let reference = Some("lean".to_owned());
    let document = Document { command: "compare".to_owned(), reference, rows, results: Vec::new() };
    let (analyses, traces) = (vec![Analysis::new(facts).unwrap()], vec![trace]);
    RunRecord { schema: 1, seed: u64::MAX, document, analyses, traces, ..RunRecord::default() }
}

#[test]
fn the_committed_page_is_that_of_its_sources() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let entries = fs::read_dir(web.join("src")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| format!("src/{}", name.to_string_lossy())).collect();
    names.sort();
    names.extend(["build.mjs", "package-lock.json"].map(str::to_owned));
    let mut hash = Sha256::new();
    for name in &names {
        hash.update(format!("{name}\n"));
        hash.update(fs::read(web.join(name)).unwrap());
    }
    let digest = hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let page = fs::read_to_string(web.join("dist/report.html")).unwrap();
    assert!(
        page.contains(&format!("name=\"sources\" content=\"{digest}\"")),
        "the page is stale: run `npm ci && npm run build` in crates/report/web"
    );
    let notice = fs::read_to_string(web.join("dist/NOTICE")).unwrap();
    for work in ["uplot", "d3-force"] {
        assert!(notice.contains(&format!("\n{work} ")), "{work} is bundled and has to be named");
    }
}

#[test]
fn data_in_the_page_stays_data() {
    let report = Report::new(record());
    let page = html(&report);
    assert!(!page.contains(EVIL) && !page.contains("<script>alert"));
    let (before, after) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let (data, after) = after.split_once("</script>").unwrap();
    let parsed: serde_json::Value = serde_json::from_str(data).unwrap();
    assert!(
        data.replace("\\u003c", "<") == serde_json::to_string(&report).unwrap(),
        "the whole report, and no more"
    );
    assert_eq!(parsed["blocks"][0]["traces"][0]["keys"][0]["name"], EVIL);
    assert_eq!(parsed["run"]["seed"], u64::MAX.to_string());
    // Nothing is fetched: no address but namespaces, no source but the page itself.
    for part in [before, after] {
        assert!(!part.contains("src=\"http") && !part.contains("@import") && !part.contains("url(http"));
    }
}

#[test]
fn a_verdict_is_one_sentence() {
    let verdict = |record: RunRecord| Report::new(record).verdict;
    assert_eq!(
        verdict(record()),
        "braid with 2 threads is 1.50 times as fast as lean (95% interval 1.40 to 1.60), where the dependencies \
         between transactions allow 1.80."
    );
    let mut foretold = record();
    let hints = Hints { source: "oracle".to_owned(), ..Hints::default() };
    foretold.document.rows.push(Row { hints: Some(hints), ..row("megaeth-oracle", 2, 9.0) });
    assert_eq!(verdict(foretold), verdict(record()), "what knows the block before is no headline");
    let mut even = record();
    even.document.rows.retain(|row| row.profile != "serial");
    even.document.rows[1].speedup = 1.01;
    assert!(verdict(even).contains("is as fast as lean, as far as this measurement can tell"));
    let mut many = record();
    let more: Vec<Row> =
        many.document.rows.iter().map(|row| Row { input: "b".into(), ..row.clone() }).collect();
    many.document.rows.extend(more);
    assert!(verdict(many).starts_with("Over 2 blocks, braid with 2 threads is 1.50 times as fast"));
    let mut run = record();
    (run.document.reference, run.document.rows) = (None, Vec::new());
    let told = verdict(run);
    assert!(
        told.starts_with(
            "braid with 2 threads ran 3 transactions in 2.00 µs, and 1 execution came to nothing (20%"
        ),
        "{told}"
    );
    let ok = RunRow { status: "ok".to_owned(), ..RunRow::default() };
    let results = Document { results: vec![ok.clone(), ok], ..Document::default() };
    let plain = Report::new(RunRecord { document: results, ..RunRecord::default() });
    assert_eq!(plain.verdict, "2 of 2 blocks ok.");
    assert!(plain.notes[0].contains("without --trace"));
    assert_eq!(verdict(RunRecord::default()), "The record has nothing to compare.");
}

#[test]
fn what_is_virtual_says_so_and_what_is_impossible_is_told() {
    let report = Report::new(record());
    assert!(
        report.notes.iter().any(|note| note.starts_with("Virtual, not measured: ")),
        "{:?}",
        report.notes
    );
    let mut fast = record();
    fast.traces[0].elapsed_ns = 700;
    let report = Report::new(fast);
    let told = "Impossible: braid on 2 threads: 700 ns are below the 1445 ns that a worker's share of its executions \
                takes.";
    assert!(report.is_impossible() && report.notes.iter().any(|note| note == told), "{:?}", report.notes);
    assert!(!Report::new(record()).is_impossible());
    // Its own model is held against as well.
    let mut fast = record();
    fast.traces[0].model.as_mut().unwrap().on_workers[1].time_ns = 1_299;
    let report = Report::new(fast);
    let told = "Impossible: braid on 8 virtual workers: 1299 ns are below the 1300 ns that the span of its own model takes.";
    assert!(report.notes.iter().any(|note| note == told), "{:?}", report.notes);
}

#[test]
fn markdown_has_every_table_and_no_markup_from_outside() {
    let text = markdown(&Report::new(record()));
    for line in [
        "# Braid report",
        "## Measured",
        "### Schedule of braid with 2 threads",
        "Virtual, not measured: on workers",
        "Virtual, not measured: by each profile's own model",
        "| braid | 2 | - | 2.30 µs | 1.30 µs | - | 1.65 times | - | - | 2 |",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains(EVIL) && !text.contains("| `x`"));
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut lines = text.lines().filter(|line| line.starts_with('|')).peekable();
    let mut tables = 0;
    while let Some(head) = lines.next() {
        if lines.peek().is_some_and(|next| next.starts_with("|-")) {
            tables += 1;
            let rule = lines.next().unwrap();
            assert_eq!(columns(head), columns(rule), "{head}");
        }
    }
    assert_eq!(tables, 6);
}

#[test]
fn lanes_are_in_every_form() {
    let mut record = record();
    let root =
        RootTimes { from: "store".into(), rooted_ns: 3_000, ahead_ns: 300, after_ns: 700, locations: 5 };
    let disk = DiskTimes { archive_ns: 10_000, write_ns: 20_000, sync_ns: 30_000, bytes: 4_096 };
    let run = RunRow {
        input: EVIL.into(),
        profile: "braid".into(),
        elapsed_ns: Some(2_000),
        root: Some(root),
        disk: Some(disk),
        ..RunRow::default()
    };
    record.document.results = vec![run, RunRow::default()];
    let report = Report::new(record);
    let text = markdown(&report);
    for line in [
        "| braid | 2 | 1.00 µs | 1.12 µs | 12.3% |",
        "| braid | 0 | 2.00 µs | 300 ns | 700 ns | 3.00 µs | 10.0 µs | 20.0 µs | 30.0 µs |",
        "Lanes, at work: execution 2.00 µs, root 1.00 µs; 2.70 µs from beginning to end.",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    let lanes = json["blocks"][0]["traces"][0]["lanes"].as_array().unwrap();
    assert_eq!((lanes.len(), &lanes[1]["busy_ns"], &lanes[2]["end_ns"]), (3, &300.into(), &2_700.into()));
    assert_eq!(json["results"][0]["disk"]["sync_ns"], 30_000);
    assert_eq!(json["results"][1].get("root"), None, "fields come only with what they tell of");
    let page = html(&report);
    assert!(page.contains("\"lane\":\"root\"") && !page.contains(EVIL));
    let document = perfetto(&[report.blocks[0].traces[0].trace.clone()]);
    let slices = document["traceEvents"].as_array().unwrap().iter().filter(|event| event["cat"] == "lane");
    assert_eq!(slices.count(), 3);
    // Times of execution stay those of execution.
    assert_eq!(report.blocks[0].traces[0].trace.elapsed_ns, 2_000);
    let trace = |span: Span| Trace { version: TRACE_VERSION, lanes: vec![span], ..Trace::default() }.check();
    let span = Span::new(Lane::Disk, "sync", 5, 5);
    assert!(trace(span.clone()).is_ok());
    assert!(trace(Span { end_ns: 4, ..span.clone() }).is_err());
    assert!(trace(Span { busy_ns: Some(6), ..span.clone() }).is_err());
    let many = Trace { version: TRACE_VERSION, lanes: vec![span; 5_000], ..Trace::default() };
    assert!(many.check().is_err());
}

/// The record as `braid` writes it, with parts of the numbers in it changed: read with an error, or drawn in every form.
#[test]
fn damaged_records_are_refused_or_drawn() {
    let record = record();
    let (analyses, traces) = (&record.analyses, &record.traces);
    let text = serde_json::json!({
        "schema": 1, "kind": "braid-run-record", "analyses": analyses, "traces": traces,
        "document": { "command": "compare", "reference": "lean", "rows": record.document.rows },
    })
    .to_string();
    RunRecord::parse(text.as_bytes()).unwrap();
    let digits: Vec<usize> =
        text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()).map(|(at, _)| at).collect();
    let (mut refused, mut drawn) = (0, 0);
    for seed in 1..=3_000u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let mut damaged = text.clone();
        let at = digits[random(digits.len())];
        let with = ["0", "1", "7", "-3", "4294967295", "18446744073709551615", "1e300", "null"][random(8)];
        damaged.replace_range(at..=at, with);
        let Ok(read) = RunRecord::parse(damaged.as_bytes()) else {
            refused += 1;
            continue;
        };
        drawn += 1;
        let who = format!("seed {seed}: {with} at byte {at}");
        let drawn = std::panic::catch_unwind(|| {
            let _ =
                (braid_report::explain(&read, 0), braid_report::explain(&read, 1), perfetto(&read.traces));
            let report = Report::new(read);
            (html(&report).len(), markdown(&report).len())
        });
        assert!(drawn.is_ok(), "{who}");
    }
    assert!(refused > 300 && drawn > 300, "{refused} refused, {drawn} drawn");
}

#[test]
fn the_export_has_a_slice_for_each_execution() {
    let record = record();
    let document = perfetto(&record.traces);
    let events = document["traceEvents"].as_array().unwrap();
    let slices = events
        .iter()
        .filter(|event| event["ph"] == "X" && event["cat"] != "wait" && event["cat"] != "lane")
        .count();
    assert_eq!(slices, record.traces[0].tasks.len());
    assert_eq!(events.iter().filter(|event| event["ph"] == "s").count(), record.traces[0].aborts.len());
}
