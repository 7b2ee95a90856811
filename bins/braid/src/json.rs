//! The documents that `--json` prints. Public: fields are added, never renamed or removed, within one
//! [`SCHEMA`].

use alloy_primitives::B256;
use braid_report::{DiskTimes, RootTimes};
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of every document.
pub(crate) const SCHEMA: u32 = 1;

/// What `run --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct RunDocument {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) results: Vec<RunResult>,
}

/// How a block fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Executed, and everything that was checked held.
    Ok,
    /// The block is invalid, or what it records is not what comes out, in the serial engine too.
    Invalid,
    /// The input could not be loaded, or lacks something that execution needs.
    Unreadable,
    /// The result is not that of the serial engine.
    Diverged,
}

/// One block of `run`. What is not known, because the block did not get so far, is null.
#[derive(Debug, Serialize)]
pub(crate) struct RunResult {
    pub(crate) input: String,
    pub(crate) block: Option<u64>,
    pub(crate) profile: String,
    pub(crate) threads: usize,
    pub(crate) txs: Option<usize>,
    pub(crate) gas_used: Option<u64>,
    pub(crate) elapsed_ns: Option<u64>,
    pub(crate) executions: Option<u64>,
    pub(crate) retries: Option<u64>,
    pub(crate) fallbacks: Option<u64>,
    /// Hash of the block's access list (EIP-7928), if it was asked for.
    pub(crate) access_list_hash: Option<B256>,
    /// Bytes of that list as RLP.
    pub(crate) access_list_bytes: Option<usize>,
    /// With `--root`, or of a block that was committed to a store; null otherwise, or if there is nothing to compute
    /// it from.
    pub(crate) root: Option<RootTimes>,
    /// Of a block that was committed to a store.
    pub(crate) disk: Option<DiskTimes>,
    pub(crate) status: Status,
    pub(crate) error: Option<Problem>,
    /// Whether the result is that of the engine's own oracle; null for profiles that are held against Ethereum.
    pub(crate) oracle_equal: Option<bool>,
    /// Share of the transactions that end in another way under Ethereum's rules; null for profiles that execute
    /// Ethereum.
    pub(crate) differs_from_evm: Option<f64>,
    /// By name; null where the input does not allow the check, and for profiles with rules of their own.
    pub(crate) checks: BTreeMap<&'static str, Option<bool>>,
}

/// What `run --stream --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct StreamDocument {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) streams: Vec<StreamResult>,
}

/// One chain of `run --stream`. What is not known, because the chain was not begun, is null.
#[derive(Debug, Serialize)]
pub(crate) struct StreamResult {
    pub(crate) input: String,
    pub(crate) profile: String,
    pub(crate) threads: usize,
    /// Threads that recovered senders.
    pub(crate) recoverers: Option<usize>,
    /// Whether the engine kept what it learned from block to block.
    pub(crate) learning: Option<bool>,
    /// Most blocks that wait between two stages.
    pub(crate) depth: usize,
    /// Blocks that passed all stages.
    pub(crate) blocks: Option<usize>,
    pub(crate) txs: Option<usize>,
    pub(crate) gas_used: Option<u64>,
    /// Of the whole chain, everything overlapped.
    pub(crate) elapsed_ns: Option<u64>,
    /// For which the stages were at work; their sum may exceed the whole.
    pub(crate) recover_ns: Option<u64>,
    pub(crate) execute_ns: Option<u64>,
    pub(crate) hash_ns: Option<u64>,
    pub(crate) status: Status,
    pub(crate) error: Option<Problem>,
}

/// Why a block did not fare well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// A stable word.
    pub(crate) kind: String,
    /// The file at fault, or what the block was loaded from; null for a workload.
    pub(crate) file: Option<String>,
    /// The item at fault: a transaction, a check, a place in the file.
    pub(crate) item: Option<String>,
    /// In words.
    pub(crate) message: String,
}

impl Problem {
    /// The same problem, found in `file` if it does not know a closer one.
    pub(crate) fn within(self, file: Option<String>) -> Problem {
        Problem { file: self.file.or(file), ..self }
    }

    /// The problem of an input in a sentence that names the input once.
    pub(crate) fn of(&self, input: &str) -> String {
        if self.message.contains(input) { self.message.clone() } else { format!("{input}: {}", self.message) }
    }
}

/// What `compare --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct CompareDocument {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) reference: String,
    pub(crate) rows: Vec<CompareRow>,
}

/// One block under one profile and number of threads.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CompareRow {
    pub(crate) input: String,
    pub(crate) block: u64,
    pub(crate) gas_used: u64,
    pub(crate) txs: usize,
    pub(crate) profile: String,
    pub(crate) threads: usize,
    /// Samples.
    pub(crate) runs: usize,
    /// Of one execution of the block.
    pub(crate) median_ns: u64,
    pub(crate) reference_median_ns: u64,
    /// Median of the paired ratios reference time / time.
    pub(crate) speedup: f64,
    /// 95% interval of `speedup`.
    pub(crate) ci95: [f64; 2],
    /// Half the width of that interval for the reference against itself.
    pub(crate) noise_floor: f64,
    /// Median processor time of one execution, all threads.
    pub(crate) cpu_ns: u64,
    /// Median of the paired ratios processor time / the reference's; null where the platform does not tell.
    pub(crate) cpu_ratio: Option<f64>,
    /// Most heap in use above the start, of building the engine and executing the block once.
    pub(crate) peak_bytes: u64,
    /// `peak_bytes` with the block and the state before it, over the same of the reference.
    pub(crate) memory_ratio: f64,
    /// Counted in one execution off the clock, as are the next two.
    pub(crate) executions: u64,
    pub(crate) retries: u64,
    pub(crate) fallbacks: u64,
    /// What it knew of the transactions before; null if it runs without.
    pub(crate) hints: Option<HintCosts>,
    /// Best speed-up that the dependencies of the block allow on so many threads; null if untraceable.
    pub(crate) limit: Option<f64>,
    /// `median_ns` and what follows and precedes execution: see `braid compare --help`.
    pub(crate) end_to_end_ns: u64,
    /// With `--root`: median time from the beginning of the block to its state root, and the median over rounds of the
    /// share that this is above execution alone; null without, or if there is nothing to compute the root from.
    pub(crate) rooted_ns: Option<u64>,
    /// See `rooted_ns`.
    pub(crate) root_adds: Option<f64>,
    /// Whether the result is that of the engine's own oracle; null for profiles that are held against Ethereum.
    pub(crate) oracle_equal: Option<bool>,
    /// Share of the transactions that end in another way under Ethereum's rules; null for profiles that execute
    /// Ethereum.
    pub(crate) differs_from_evm: Option<f64>,
    /// Computed, not measured, from one schedule of this very row; null without `--trace`, or if it has no schedule.
    #[serde(rename = "virtual")]
    pub(crate) on_workers: Option<VirtualTimes>,
}

/// Times on workers that nobody has, by the profile's own model of conflicts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VirtualTimes {
    /// All executions of the schedule, each once, one by one.
    pub(crate) one_by_one_ns: u64,
    /// That, and getting hints.
    pub(crate) work_ns: u64,
    /// The heaviest chain of what waits for one another under this model.
    pub(crate) span_ns: u64,
    pub(crate) on: Vec<VirtualTime>,
}

/// On so many workers.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct VirtualTime {
    pub(crate) workers: usize,
    pub(crate) ns: u64,
    /// `one_by_one_ns / ns`.
    pub(crate) speedup: f64,
    pub(crate) executions: u64,
}

/// Hints of one block: where they came from, what they cost, how good they were.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct HintCosts {
    pub(crate) source: &'static str,
    /// To get them: part of the time of the block. Zero if they were got off the clock.
    pub(crate) ns: u64,
    /// Share of the locations named that were touched; null if none was named.
    pub(crate) precision: Option<f64>,
    /// Share of the locations touched that were named; null if none was touched.
    pub(crate) recall: Option<f64>,
}

/// What `profiles --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct ProfilesDocument {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) profiles: Vec<ProfileEntry>,
}

/// The document of `braid workloads`.
#[derive(Debug, Serialize)]
pub(crate) struct WorkloadsDocument {
    pub(crate) schema: u32,
    pub(crate) command: &'static str,
    pub(crate) workloads: Vec<WorkloadEntry>,
}

/// One workload.
#[derive(Debug, Serialize)]
pub(crate) struct WorkloadEntry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) parameters: Vec<ParameterEntry>,
}

/// One parameter of a workload.
#[derive(Debug, Serialize)]
pub(crate) struct ParameterEntry {
    pub(crate) name: &'static str,
    /// As it is written; null if it depends on others or must be given.
    pub(crate) default: Option<String>,
    /// What it may be, for people.
    pub(crate) possible: String,
    pub(crate) about: &'static str,
}

/// One profile.
#[derive(Debug, Serialize)]
pub(crate) struct ProfileEntry {
    pub(crate) name: &'static str,
    pub(crate) scheduler: &'static str,
    pub(crate) fidelity: &'static str,
    pub(crate) parallel: bool,
    /// What the article says the system does; empty where it does not name it.
    pub(crate) article: &'static str,
    /// What the system really runs.
    pub(crate) real: &'static str,
    /// What Braid runs.
    pub(crate) about: &'static str,
    /// What of the system is not there.
    pub(crate) limits: &'static str,
}
