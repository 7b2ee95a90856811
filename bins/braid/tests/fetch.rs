//! `braid fetch` as a process: its words, its exit codes, and that the other commands run what it writes.
#![allow(dead_code, reason = "the modules are those of the tests of braid-fetch")]

#[path = "../../../crates/fetch/tests/fetch/chain.rs"]
mod chain;
#[path = "../../../crates/fetch/tests/fetch/node.rs"]
mod node;
#[path = "../../../crates/fetch/tests/fetch/server.rs"]
mod server;

use serde_json::Value;
use server::{Fault, Server};
use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// A temporary folder, removed when dropped.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only uniqueness within the process matters.
        let unique =
            format!("braid-cli-fetch-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Temp(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn braid(arguments: &[&str], cache: &Temp) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_braid"));
    command.args(arguments).env_remove("BRAID_RPC_URL").env("XDG_CACHE_HOME", &cache.0).stdin(Stdio::null());
    command
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_fetched_runs() {
    let (node, temp) = (chain::node(), Temp::new());
    let server = Server::new(move |method, params| node.answer(method, params), |_, _| None);
    let out = temp.0.join("blocks");
    let out = out.to_str().expect("a path");
    let range = format!("{}..{}", chain::FIRST, chain::FIRST + chain::BLOCKS);
    let fetch = || {
        let mut command = braid(&["fetch", &range, "-o", out, "--json"], &temp);
        command.env("BRAID_RPC_URL", server.url()).output().expect("it runs")
    };
    for (status, other) in [("fetched", "skipped"), ("skipped", "fetched")] {
        let output = fetch();
        assert_eq!(code(&output), Some(0), "{}", err(&output));
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        assert_eq!((&document["schema"], &document["command"]), (&1.into(), &"fetch".into()));
        assert_eq!((&document[status], &document[other]), (&chain::BLOCKS.into(), &0.into()));
        for block in document["blocks"].as_array().expect("blocks") {
            assert_eq!(block["status"], status);
            assert_eq!(block["checks"]["state_root"], true);
        }
    }
    for profile in ["serial", "monad", "aptos"] {
        let arguments = ["run", out, "--profile", profile, "--threads", "2", "--check", "serial", "--json"];
        let output = braid(&arguments, &temp).output().expect("it runs");
        assert_eq!(code(&output), Some(0), "{profile}: {}", err(&output));
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        let results = document["results"].as_array().expect("results");
        assert_eq!(results.len() as u64, chain::BLOCKS);
        for result in results {
            assert_eq!((&result["status"], &result["checks"]["state_root"]), (&"ok".into(), &true.into()));
        }
    }
}

#[test]
fn wrong_command_lines() {
    let temp = Temp::new();
    for (arguments, reason) in [
        (vec!["fetch"], "RANGE"),
        (vec!["fetch", "5"], "BRAID_RPC_URL"),
        (vec!["fetch", "five", "--rpc-url", "http://localhost"], "neither a block number"),
        (vec!["fetch", "0", "--rpc-url", "http://localhost"], "genesis"),
        (vec!["fetch", "5", "--rpc-url", "localhost"], "http://"),
        (vec!["fetch", "5", "--rpc-url", "http://localhost", "--header", "x"], "Name: value"),
        (vec!["fetch", "5", "--rpc-url", "http://localhost", "--rate", "0"], "calls a second"),
        (
            vec!["fetch", "5", "--rpc-url", "http://localhost", "--method", "magic"],
            "auto, witness or prestate",
        ),
    ] {
        let output = braid(&arguments, &temp).current_dir(&temp.0).output().expect("it runs");
        assert_eq!(code(&output), Some(2), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(reason), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn failures_are_said_and_keys_are_not() {
    let temp = Temp::new();
    let server = Server::new(|_, _| Err((-32000, "no".into())), |_, _| Some(Fault::Status(401, None)));
    let url = format!("{}/v3/s3cret", server.url());
    let out = temp.0.join("blocks");
    let out = out.to_str().expect("a path");
    let output =
        braid(&["fetch", "-10..latest", "-o", out, "--rpc-url", &url], &temp).output().expect("it runs");
    assert_eq!(code(&output), Some(1), "{}", err(&output));
    assert!(err(&output).contains("401") && !err(&output).contains("s3cret"), "{}", err(&output));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_at_once_and_leaves_no_partial_case() {
    let (node, temp) = (chain::node(), Temp::new());
    let slow = Duration::from_secs(60);
    let server = Server::new(
        move |method, params| node.answer(method, params),
        move |method, _| (method == "debug_executionWitness").then_some(Fault::Slow(slow)),
    );
    let out = temp.0.join("blocks");
    let arguments =
        ["fetch", &chain::FIRST.to_string(), "-o", out.to_str().expect("a path"), "--rpc-url", &server.url()];
    let begin = Instant::now();
    let mut child =
        braid(&arguments, &temp).stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it runs");
    while server.calls("debug_executionWitness").is_empty() && begin.elapsed() < slow {
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(begin.elapsed() < slow, "it was waited for");
    let left = std::fs::read_dir(&out).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    assert_eq!(left.collect::<Vec<_>>(), [".fetch.lock"]);
}
