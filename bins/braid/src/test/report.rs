//! The documents that `test --json` and `--jsonl` print. Public, as are those of [`crate::json`].

use crate::json::SCHEMA;
use braid_vectors::{
    Class, Done, Outcome, Totals, Verdict,
    packed::{Packed, PackedBlock},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most failures that a document lists.
const MAX_FAILURES: usize = 10_000;

/// What `test --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct TestDocument {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) seed: u64,
    /// Cases; so are the next two.
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Blocks executed, over all engines.
    pub(crate) executions: u64,
    /// One for each seat on which a case failed; at most [`MAX_FAILURES`].
    pub(crate) failures: Vec<FailureEntry>,
    /// By class; a class without cases is left out.
    pub(crate) reported: BTreeMap<&'static str, ReportedEntry>,
    /// Files and archives that could not be read.
    pub(crate) unreadable: Vec<String>,
    pub(crate) archives: Vec<ArchiveEntry>,
    /// Blocks packed out of state tests.
    #[serde(serialize_with = "packed_entry")]
    pub(crate) packed: Packed,
}

/// Counts of packed blocks.
#[derive(Serialize)]
struct PackedEntry {
    blocks: u64,
    transactions: u64,
    /// Transactions that need an earlier one of their block.
    dependent: u64,
    /// Blocks with a transaction that must be refused.
    refused: u64,
    /// Blocks on which an engine was not as the yardstick.
    failed: u64,
}

fn packed_entry<S: serde::Serializer>(packed: &Packed, serializer: S) -> Result<S::Ok, S::Error> {
    let Packed { blocks, transactions, dependent, refused, failed } = *packed;
    PackedEntry { blocks, transactions, dependent, refused, failed }.serialize(serializer)
}

/// One seat on which a case was not as demanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailureEntry {
    pub(crate) file: String,
    pub(crate) case: String,
    /// Empty if the case failed before any engine ran.
    pub(crate) profile: &'static str,
    pub(crate) threads: usize,
    pub(crate) reason: String,
}

/// Cases of which the demands are counted, not made.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ReportedEntry {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// The first of those that failed, and why.
    pub(crate) first_cause: Option<String>,
}

/// What came of one archive.
#[derive(Debug, Serialize)]
pub(crate) struct ArchiveEntry {
    pub(crate) path: String,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) executions: u64,
    pub(crate) elapsed_ms: u64,
}

/// One line of `test --jsonl`.
#[derive(Debug, Serialize)]
pub(crate) struct CaseEntry<'a> {
    pub(crate) file: &'a str,
    pub(crate) case: &'a str,
    /// `passed`, `failed`, `skipped`.
    pub(crate) outcome: &'static str,
    /// Why it was skipped.
    pub(crate) skipped: Option<&'static str>,
    pub(crate) failures: Vec<FailureEntry>,
}

impl<'a> CaseEntry<'a> {
    /// The line of a case.
    pub(crate) fn new(done: &'a Done) -> Self {
        let (outcome, skipped) = match done.verdict.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed => ("failed", None),
            Outcome::Skipped(reason) => ("skipped", Some(reason)),
        };
        CaseEntry { file: &done.file, case: &done.name, outcome, skipped, failures: failures(done) }
    }
}

/// The seats on which a case failed.
pub(crate) fn failures(done: &Done) -> Vec<FailureEntry> {
    let entry = |failure: &braid_vectors::Failure| FailureEntry {
        file: done.file.to_string(),
        case: done.name.clone(),
        profile: failure.profile,
        threads: failure.threads,
        reason: failure.reason.clone(),
    };
    done.verdict.failures.iter().map(entry).collect()
}

impl TestDocument {
    /// The document of a run that has not begun.
    pub(crate) fn new(seed: u64) -> Self {
        TestDocument {
            schema: SCHEMA,
            command: "test",
            seed,
            passed: 0,
            failed: 0,
            skipped: 0,
            executions: 0,
            failures: Vec::new(),
            reported: BTreeMap::new(),
            unreadable: Vec::new(),
            archives: Vec::new(),
            packed: Packed::default(),
        }
    }

    /// Lists the failures of a packed block.
    pub(crate) fn add_packed(&mut self, block: &PackedBlock, verdict: &Verdict) {
        let room = MAX_FAILURES - self.failures.len();
        let entry = |failure: &braid_vectors::Failure| FailureEntry {
            file: block.files.iter().map(|file| &**file).collect::<Vec<&str>>().join(", "),
            case: block.name(),
            profile: failure.profile,
            threads: failure.threads,
            reason: failure.reason.clone(),
        };
        self.failures.extend(verdict.failures.iter().map(entry).take(room));
    }

    /// Takes in what came of a case.
    pub(crate) fn add(&mut self, done: &Done) {
        let room = MAX_FAILURES - self.failures.len();
        self.failures.extend(failures(done).into_iter().take(room));
        for (class, failed) in &done.verdict.reported {
            let entry = self.reported.entry(class.name()).or_default();
            match failed {
                None => entry.passed += 1,
                Some(reason) => {
                    entry.failed += 1;
                    let cause = || format!("{}::{}: {reason}", done.file, done.name);
                    entry.first_cause.get_or_insert_with(cause);
                }
            }
            // The yardstick is in a report only where it fails.
            debug_assert!(failed.is_some() || *class != Class::Lean);
        }
    }

    /// Takes in what came of an archive.
    pub(crate) fn finish(&mut self, path: String, totals: Totals, elapsed_ms: u64) {
        let Totals { passed, failed, skipped, executions } = totals;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
        self.executions += executions;
        self.archives.push(ArchiveEntry { path, passed, failed, skipped, executions, elapsed_ms });
    }
}
