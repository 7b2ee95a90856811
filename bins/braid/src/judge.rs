//! Whether a result is right, and whose fault it is if not.

use crate::{
    engines::Ran,
    json::{Problem, Status},
    world::{Case, Checked},
};
use braid_core::StoreError;
use braid_evm::{AccountDiff, ExecutedBlock};
use braid_profiles::{ExecError, bench::BenchError};
use braid_work::PreState;
use std::collections::BTreeMap;

/// The judgement of one execution.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// In one word.
    pub(crate) status: Status,
    /// What is wrong, unless the status is `Ok`.
    pub(crate) error: Option<Problem>,
    /// The checks of the input against the result; empty if there is no result or nothing was asked.
    pub(crate) checks: BTreeMap<&'static str, Option<bool>>,
    /// Whether a parallel engine alone was wrong: the oracle satisfies what the input records, and the
    /// engine differs from it.
    pub(crate) alone: bool,
    /// Whether the result is that of the engine's own oracle, if it has one.
    pub(crate) oracle_equal: Option<bool>,
}

impl Verdict {
    /// A result that nobody asked to check.
    pub(crate) fn unchecked(done: &Ran) -> Self {
        let verdict = Verdict {
            status: Status::Ok,
            error: None,
            checks: BTreeMap::new(),
            alone: false,
            oracle_equal: None,
        };
        match done {
            Ok(_) => verdict,
            Err(error) => Verdict { status: status(error), error: Some(problem(error)), ..verdict },
        }
    }
}

/// Judges `done` by what the input records and, if there is one, by the oracle's result. `parallel`
/// says whether the engine that is judged is one that could be wrong for being parallel.
pub(crate) fn judge(case: &dyn Case, done: &Ran, oracle: Option<&Ran>, parallel: bool) -> Verdict {
    let mut verdict = Verdict::unchecked(done);
    let checked = done.as_ref().map(|(block, _)| case.verify(block)).unwrap_or_default();
    let failed = checked.iter().find(|check| check.held == Some(false));
    if let Some(check) = failed {
        verdict.status = Status::Invalid;
        verdict.error = Some(failed_check(check));
    }
    verdict.checks = checked.iter().map(|check| (check.name, check.held)).collect();
    // Only who runs a block by its list can tell that it is not its list.
    if case.access_list().is_some() && done.as_ref().is_err_and(is_of_list) {
        return verdict;
    }
    let Some(oracle) = oracle else { return verdict };
    let Some(difference) = difference(case, done, oracle) else { return verdict };
    // An engine that satisfies the input where the oracle does not is right, and the oracle wrong.
    let vindicated = done.is_ok() && failed.is_none() && checked.iter().any(|check| check.held.is_some());
    let oracle_holds = match oracle {
        Ok((block, _)) => !case.verify(block).iter().any(|check| check.held == Some(false)),
        Err(error) => refuses(error) && !vindicated,
    };
    verdict.alone = parallel && oracle_holds;
    verdict.status = Status::Diverged;
    verdict.error = Some(difference);
    verdict
}

/// Judges the result of an engine with rules of its own by that of its own oracle. What the input records was
/// made by other rules, so nothing is checked against it.
pub(crate) fn judge_own(case: &dyn Case, done: &Ran, oracle: &Ran) -> Verdict {
    let mut verdict = Verdict::unchecked(done);
    let checked = done.as_ref().map(|(block, _)| case.verify(block)).unwrap_or_default();
    verdict.checks = checked.iter().map(|check| (check.name, None)).collect();
    let difference = difference(case, done, oracle);
    verdict.oracle_equal = Some(difference.is_none());
    if difference.is_some() {
        (verdict.status, verdict.error, verdict.alone) = (Status::Diverged, difference, true);
    }
    verdict
}

/// Whether the access list is to blame that came with the block.
fn is_of_list(error: &BenchError) -> bool {
    matches!(error, BenchError::Exec(ExecError::Invalid { kind: "block_access_list", .. }))
}

/// What `check` found.
fn failed_check(check: &Checked) -> Problem {
    Problem {
        kind: "check_failed".to_owned(),
        file: None,
        item: Some(check.name.to_owned()),
        message: check.difference.clone().unwrap_or_else(|| format!("{} does not hold", check.name)),
    }
}

/// Whether this is an answer to the block (it is refused), and not a defect or an interruption.
fn refuses(error: &BenchError) -> bool {
    matches!(
        error,
        BenchError::Exec(ExecError::Invalid { .. } | ExecError::SystemCall { .. } | ExecError::Store { .. })
    )
}

/// Whether an execution ended because it was told to.
pub(crate) fn interrupted(error: &BenchError) -> bool {
    matches!(error, BenchError::Exec(ExecError::Cancelled { .. } | ExecError::Deadline { .. }))
}

fn status(error: &BenchError) -> Status {
    match error {
        BenchError::Exec(ExecError::Store { error: StoreError::Missing { .. }, .. }) => Status::Unreadable,
        _ => Status::Invalid,
    }
}

/// An error of an execution, in the form in which it is reported.
pub(crate) fn problem(error: &BenchError) -> Problem {
    let tx = |tx: &usize| Some(format!("transaction {tx}"));
    let (kind, item) = match error {
        BenchError::Exec(ExecError::Invalid { tx: index, kind, .. }) => (*kind, tx(index)),
        BenchError::Exec(ExecError::SystemCall { name, .. }) => ("system_call", Some((*name).to_owned())),
        BenchError::Exec(ExecError::Store { tx: index, .. }) => ("state", index.as_ref().and_then(tx)),
        BenchError::Exec(ExecError::Panicked { tx: index, .. }) => ("panicked", tx(index)),
        BenchError::Exec(ExecError::Cancelled { tx: index }) => ("cancelled", tx(index)),
        BenchError::Exec(ExecError::Deadline { tx: index }) => ("deadline", tx(index)),
        BenchError::Panicked(_) => ("panicked", None),
    };
    Problem { kind: kind.to_owned(), file: None, item, message: error.to_string() }
}

/// The first difference of two executions of a block, if there is one.
fn difference(case: &dyn Case, done: &Ran, oracle: &Ran) -> Option<Problem> {
    let (kind, item, message) = match (done, oracle) {
        (Ok((done, _)), Ok((oracle, _))) => {
            let (item, message) = block_difference(case.pre(), done, oracle)?;
            ("result", Some(item), message)
        }
        (Err(done), Err(oracle)) if same_refusal(done, oracle) => return None,
        (Err(done), Err(oracle)) => ("error", problem(done).item, format!("{done}; serial: {oracle}")),
        (Err(done), Ok(_)) => ("error", problem(done).item, format!("{done}; serial executes the block")),
        (Ok(_), Err(oracle)) => {
            ("error", problem(oracle).item, format!("the block is executed; serial: {oracle}"))
        }
    };
    Some(Problem { kind: format!("different_{kind}"), file: None, item, message })
}

/// Whether two engines refuse a block for the same reason.
fn same_refusal(one: &BenchError, other: &BenchError) -> bool {
    matches!((one, other), (BenchError::Exec(one), BenchError::Exec(other)) if one.same_refusal(other))
}

/// The first item in which two results of a block differ, and how. Counters are not part of a result.
fn block_difference(
    pre: &PreState,
    done: &ExecutedBlock,
    oracle: &ExecutedBlock,
) -> Option<(String, String)> {
    let told = |item: String, done: String, oracle: String| {
        Some((item.clone(), format!("{item}: {}; serial: {}", cut(&done), cut(&oracle))))
    };
    if done.results.len() != oracle.results.len() {
        let count = |block: &ExecutedBlock| format!("{} of them", block.results.len());
        return told("results".to_owned(), count(done), count(oracle));
    }
    for (tx, (one, other)) in done.results.iter().zip(&oracle.results).enumerate() {
        if one != other {
            return told(format!("transaction {tx}"), format!("{one:?}"), format!("{other:?}"));
        }
    }
    let (done, oracle) = (minimal(pre, done), minimal(pre, oracle));
    for address in done.diff.keys().chain(oracle.diff.keys()) {
        let (one, other) = (done.diff.get(address), oracle.diff.get(address));
        if one != other {
            let shown = |diff: Option<&AccountDiff>| {
                diff.map_or_else(|| "unchanged".to_owned(), |diff| format!("{diff:?}"))
            };
            return told(format!("account {address}"), shown(one), shown(other));
        }
    }
    for hash in done.codes.keys().chain(oracle.codes.keys()) {
        let (one, other) = (done.codes.get(hash), oracle.codes.get(hash));
        if one != other {
            return told(format!("code {hash}"), format!("{one:?}"), format!("{other:?}"));
        }
    }
    if done.requests != oracle.requests {
        let requests = |block: &ExecutedBlock| format!("{:?}", block.requests);
        return told("requests".to_owned(), requests(&done), requests(&oracle));
    }
    None
}

/// Longest description of one side of a difference, in bytes.
const MAX_SHOWN: usize = 600;

fn cut(text: &str) -> String {
    if text.len() <= MAX_SHOWN {
        return text.to_owned();
    }
    format!("{}... ({} bytes)", &text[..text.floor_char_boundary(MAX_SHOWN)], text.len())
}

/// The block with only those changes that change something. What an engine has to reduce already is
/// reduced again: that an engine forgot to is no divergence.
fn minimal(pre: &PreState, block: &ExecutedBlock) -> ExecutedBlock {
    let mut reduced = block.clone();
    match reduced.minimize(pre) {
        Ok(()) => reduced,
        Err(_) => block.clone(),
    }
}
