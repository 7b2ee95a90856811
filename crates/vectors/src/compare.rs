//! Whether engines made the same of a block.

use crate::Ran;
use braid_evm::ExecutedBlock;
use std::fmt::Debug;

/// Longest description of one side of a difference, in bytes.
const MAX_SHOWN: usize = 300;

/// The first difference of two results of a block, if there is one: everything but the counters, and of
/// errors everything but the wording.
pub fn difference(one: &Ran, other: &Ran) -> Option<String> {
    match (one, other) {
        (Ok(one), Ok(other)) => block_difference(one, other),
        (Err(one), Err(other)) if one.same_refusal(other) => None,
        (one, other) => Some(format!("{}, other: {}", told(one), told(other))),
    }
}

/// What came of a block, in short.
fn told(ran: &Ran) -> String {
    match ran {
        Ok(_) => "executed".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn block_difference(one: &ExecutedBlock, other: &ExecutedBlock) -> Option<String> {
    let shown = |what: String, one: &dyn Debug, other: &dyn Debug| {
        Some(format!("{what}: {}, other: {}", cut(one), cut(other)))
    };
    if one.results.len() != other.results.len() {
        return shown("number of results".to_owned(), &one.results.len(), &other.results.len());
    }
    let mut results = one.results.iter().zip(&other.results).enumerate();
    if let Some((tx, (one, other))) = results.find(|(_, (one, other))| one != other) {
        return shown(format!("transaction {tx}"), one, other);
    }
    for address in one.diff.keys().chain(other.diff.keys()) {
        let (one, other) = (one.diff.get(address), other.diff.get(address));
        if one != other {
            return shown(format!("account {address}"), &one, &other);
        }
    }
    for hash in one.codes.keys().chain(other.codes.keys()) {
        let (one, other) = (one.codes.get(hash), other.codes.get(hash));
        if one != other {
            return shown(format!("code {hash}"), &one, &other);
        }
    }
    if one.gas_used != other.gas_used {
        return shown("gas of the block".to_owned(), &one.gas_used, &other.gas_used);
    }
    if one.requests != other.requests {
        return shown("requests".to_owned(), &one.requests, &other.requests);
    }
    None
}

fn cut(value: &dyn Debug) -> String {
    let mut text = format!("{value:?}");
    if text.len() > MAX_SHOWN {
        text.truncate(text.floor_char_boundary(MAX_SHOWN));
        text.push_str("...");
    }
    text
}

/// Results that are the same, by the seats that have them; seats in order, the first group that of the
/// first seat.
pub fn groups(results: &[Ran]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (seat, ran) in results.iter().enumerate() {
        match groups.iter_mut().find(|group| difference(ran, &results[group[0]]).is_none()) {
            Some(group) => group.push(seat),
            None => groups.push(vec![seat]),
        }
    }
    groups
}
