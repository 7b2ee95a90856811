//! Texts: workloads, networks, states in JSON.

use braid_fetch::{Endpoint, MAX_BLOCKS, Range};
use braid_rules::ChainSpec;
use braid_work::{Alloc, Workload};
use std::path::Path;

/// Most transactions of a workload that is generated as well.
const MAX_TXS: u64 = 50;

/// Most accounts and slots of one: what has many takes long.
const MAX_LOCATIONS: u64 = 12_000;

/// The text of a workload: `erc20?txs=10&holders=5`.
pub(crate) fn workload(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(workload) = text.parse::<Workload>() else { return };
    let again = workload.to_string();
    assert_eq!(again.parse::<Workload>().as_ref(), Ok(&workload), "{text} is written as {again}");
    let txs = workload.get("txs").unwrap_or(u64::MAX);
    if txs <= MAX_TXS && workload.locations() <= MAX_LOCATIONS {
        let case = workload.generate().unwrap_or_else(|error| panic!("{again} is accepted, but {error}"));
        assert!(case.pre.is_some(), "{again} has a state");
    }
}

/// The name of a network, as vectors write it.
pub(crate) fn network(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    let Ok(chain) = ChainSpec::of_network(name, 1) else { return };
    let mut last = None;
    for time in [0, 1, 14_999, 15_000, u64::MAX] {
        let fork = chain.fork_at(time, time, alloy_primitives::U256::from(time));
        assert!(last.is_none_or(|last| last <= fork), "{name}: {fork:?} at {time} after {last:?}");
        last = Some(fork);
    }
}

/// A whole state, in JSON.
pub(crate) fn alloc(data: &[u8]) {
    let Ok(alloc) = serde_json::from_slice::<Alloc>(data) else { return };
    let text = serde_json::to_string(&alloc).unwrap_or_else(|error| panic!("a state is written: {error}"));
    let again: Alloc = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let (Ok(state), Ok(same)) = (alloc.pre_state(Path::new("one")), again.pre_state(Path::new("two"))) else {
        assert_eq!(alloc.pre_state(Path::new("x")).is_err(), again.pre_state(Path::new("x")).is_err());
        return;
    };
    assert_eq!(state.state_root(), same.state_root(), "what is left out when writing is not there: {text}");
}

/// Which blocks to fetch: `5..8,latest`.
pub(crate) fn range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(range) = text.parse::<Range>() else { return };
    for latest in [0, 1, 1_000, u64::MAX] {
        let Ok(numbers) = range.numbers(latest) else { continue };
        assert!(!numbers.is_empty() && numbers.len() as u64 <= MAX_BLOCKS, "{text}: {}", numbers.len());
        assert!(!numbers.contains(&0), "{text}: the genesis executes nothing");
        if !range.needs_latest() {
            assert_eq!(
                range.numbers(latest / 2).as_ref(),
                Ok(&numbers),
                "{text} does not depend on the newest"
            );
        }
    }
}

/// Where a node is, and a header that it gets.
pub(crate) fn endpoint(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (url, header) = text.split_once('\n').unwrap_or((text, ""));
    let headers: Vec<String> = header.lines().map(str::to_owned).collect();
    match Endpoint::new(url, &headers) {
        Ok(endpoint) => assert!(!endpoint.host().contains(['\n', '\r', '@']), "{text}: {}", endpoint.host()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
