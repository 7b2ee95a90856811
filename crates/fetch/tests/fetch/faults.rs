//! Endpoints that fail, for a while or for ever.

use crate::{
    NODE, Temp, all, assert_fetched,
    chain::{BLOCKS, FIRST},
    error_of, fetch, options, run, serve, serve_badly,
    server::Fault,
};
use braid_fetch::{FetchError, Method};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

#[test]
fn what_passes_is_waited_for() {
    for fault in [
        Fault::Status(429, Some(1)),
        Fault::Status(503, None),
        Fault::Status(502, None),
        Fault::Drop,
        Fault::BreakOff,
        Fault::HalfJson,
        Fault::Error(-32005, "daily request count exceeded"),
    ] {
        for method in ["eth_chainId", "eth_getBlockByNumber", "debug_executionWitness"] {
            let (bad, out) = (fault.clone(), Temp::new());
            let faults = move |asked: &str, nth: usize| (asked == method && nth == 0).then(|| bad.clone());
            let server = serve_badly(NODE.clone(), faults);
            let begin = Instant::now();
            let summary = fetch(&server, &out, &FIRST.to_string(), Method::Witness);
            assert_fetched(&summary, 1);
            assert_eq!(summary.retries, 1, "{fault:?} at {method}");
            if let Fault::Status(429, Some(seconds)) = fault {
                assert!(begin.elapsed() >= Duration::from_secs(seconds), "the server was not left alone");
            }
        }
    }
}

#[test]
fn what_does_not_pass_ends_the_work_after_so_many_tries() {
    for fault in [Fault::Status(500, None), Fault::Drop, Fault::HalfJson, Fault::Error(-32005, "limit")] {
        let (bad, out) = (fault.clone(), Temp::new());
        let server = serve_badly(NODE.clone(), move |asked, _| {
            (asked == "debug_traceBlockByNumber").then(|| bad.clone())
        });
        let mut with = options(&server, &out.0, Method::Prestate);
        with.retries = 1;
        let error = error_of(&run(&all(), &with));
        assert!(matches!(error, FetchError::Transport { tries: 2, .. }), "{fault:?}: {error}");
        assert_eq!(server.calls("debug_traceBlockByNumber").len(), 2);
        assert!(out.names().is_empty(), "{:?}", out.names());
    }
}

#[test]
fn what_is_refused_is_not_tried_again() {
    for status in [400, 401, 403, 404, 302] {
        let out = Temp::new();
        let server = serve_badly(NODE.clone(), move |_, _| Some(Fault::Status(status, None)));
        let error = error_of(&fetch(&server, &out, &all(), Method::Auto));
        assert_eq!(error, FetchError::Refused { method: "eth_chainId", status });
        assert_eq!(server.calls("").len(), 1);
    }
}

#[test]
fn nobody_there_is_said() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let mut with = options(&server, &out.0, Method::Auto);
    with.retries = 0;
    drop(server);
    let error = error_of(&run(&all(), &with));
    assert!(matches!(error, FetchError::Transport { .. }), "{error}");
    assert!(!error.to_string().contains("127.0.0.1"), "the endpoint is not repeated: {error}");
}

#[test]
fn a_node_without_batches_is_asked_one_by_one() {
    let out = Temp::new();
    let server = serve_badly(NODE.clone(), |asked, nth| {
        let batched = asked == "eth_getBlockByNumber" && nth == 0;
        batched.then_some(Fault::Error(-32600, "batches are not allowed"))
    });
    let summary = fetch(&server, &out, &all(), Method::Prestate);
    assert_fetched(&summary, BLOCKS as usize);
    assert_eq!(summary.retries, 0);
}

#[test]
fn answers_have_a_limit() {
    let (server, out) = (serve(NODE.clone()), Temp::new());
    let size = NODE.blocks[&FIRST].block.to_string().len() as u64;
    let mut with = options(&server, &out.0, Method::Prestate);
    with.max_bytes = size / 2;
    let error = error_of(&run(&FIRST.to_string(), &with));
    assert_eq!(error, FetchError::TooLarge { method: "eth_getBlockByNumber", limit: size / 2 });
    assert!(out.names().is_empty());
}

#[test]
fn a_slow_answer_is_given_up() {
    let out = Temp::new();
    let slow = Duration::from_secs(30);
    let server = serve_badly(NODE.clone(), move |asked, nth| {
        (asked == "debug_executionWitness" && nth == 0).then_some(Fault::Slow(slow))
    });
    let mut with = options(&server, &out.0, Method::Witness);
    with.timeout = Duration::from_secs(2);
    let begin = Instant::now();
    let summary = run(&FIRST.to_string(), &with);
    assert_fetched(&summary, 1);
    assert_eq!(summary.retries, 1);
    assert!(begin.elapsed() < slow, "it was waited for");
}

#[test]
fn an_interrupt_does_not_wait_for_the_server() {
    let out = Temp::new();
    let slow = Duration::from_secs(30);
    let server = serve_badly(NODE.clone(), move |asked, _| {
        (asked == "debug_executionWitness").then_some(Fault::Slow(slow))
    });
    let (cancel, begin) = (AtomicBool::new(false), Instant::now());
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.calls("debug_executionWitness").is_empty() && begin.elapsed() < slow {
                std::thread::sleep(Duration::from_millis(10));
            }
            cancel.store(true, Ordering::SeqCst);
        });
        let range = all().parse().expect("a range");
        braid_fetch::fetch(&range, &options(&server, &out.0, Method::Witness), &cancel, &mut ())
    });
    assert_eq!(summary.stopped, Some(FetchError::Cancelled));
    assert!(begin.elapsed() < slow, "it was waited for");
    assert!(out.names().is_empty(), "{:?}", out.names());
}
