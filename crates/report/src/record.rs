//! The record of a run, as far as a report needs it. The format is described in `docs/RECORD.md`; fields that are
//! not here are passed over.

use crate::{Analysis, DiskTimes, RootTimes, Trace, analysis::AnalysisError, trace::TraceError};
use serde::{Deserialize, Serialize};

/// Version of the record that is read here.
pub const RECORD_SCHEMA: u32 = 1;

/// `kind` of a record.
pub const RECORD_KIND: &str = "braid-run-record";

/// Largest record that is read, in bytes.
pub const RECORD_BYTES_MAX: u64 = 1 << 30;

/// A record.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_SCHEMA`].
    pub schema: u32,
    /// [`RECORD_KIND`].
    pub kind: String,
    /// Version of the program that wrote it.
    #[serde(default)]
    pub version: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub finished_unix: u64,
    /// The command line after the program's name.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Seed of what was drawn at random.
    #[serde(default)]
    pub seed: u64,
    /// Where it ran.
    #[serde(default)]
    pub machine: Machine,
    /// What came out.
    #[serde(default)]
    pub document: Document,
    /// What the dependencies of the blocks allow, one a block, if that was asked for.
    #[serde(default)]
    pub analyses: Vec<Analysis>,
    /// Schedules, if they were asked for.
    #[serde(default)]
    pub traces: Vec<Trace>,
}

/// Where a run was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system.
    #[serde(default)]
    pub os: String,
    /// Architecture.
    #[serde(default)]
    pub arch: String,
    /// The processor, as the system names it.
    #[serde(default)]
    pub cpu: Option<String>,
    /// Cores.
    #[serde(default)]
    pub physical_cores: usize,
    /// Processors that the program could use.
    #[serde(default)]
    pub usable_cores: usize,
}

/// The document of a run or a comparison.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Document {
    /// `run` or `compare`; anything else has nothing to draw but schedules.
    #[serde(default)]
    pub command: String,
    /// Of a comparison: whom the others are compared with.
    #[serde(default)]
    pub reference: Option<String>,
    /// Of a comparison.
    #[serde(default)]
    pub rows: Vec<Row>,
    /// Of a run.
    #[serde(default)]
    pub results: Vec<RunRow>,
}

/// One block under one profile and number of threads, timed against the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The block.
    pub input: String,
    /// Its transactions.
    #[serde(default)]
    pub txs: usize,
    /// Its gas.
    #[serde(default)]
    pub gas_used: u64,
    /// The profile.
    pub profile: String,
    /// Its threads.
    pub threads: usize,
    /// Samples.
    #[serde(default)]
    pub runs: usize,
    /// Time of one execution.
    #[serde(default)]
    pub median_ns: u64,
    /// The reference's.
    #[serde(default)]
    pub reference_median_ns: u64,
    /// How many times as fast as the reference.
    pub speedup: f64,
    /// 95% interval of `speedup`.
    pub ci95: [f64; 2],
    /// What the set-up reports for two equal engines.
    #[serde(default)]
    pub noise_floor: f64,
    /// Executions of transactions.
    #[serde(default)]
    pub executions: u64,
    /// Executions thrown away.
    #[serde(default)]
    pub retries: u64,
    /// What the dependencies of the block allow on so many threads.
    #[serde(default)]
    pub limit: Option<f64>,
    /// What it knew of the transactions before; none if it runs without.
    #[serde(default)]
    pub hints: Option<Hints>,
    /// Time of one execution with the state root, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooted_ns: Option<u64>,
    /// The share of the time of execution alone that the root adds to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_adds: Option<f64>,
}

/// Hints of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hints {
    /// Where they came from.
    pub source: String,
    /// Time to get them, part of the time of the block; 0 if they were got off the clock.
    #[serde(default)]
    pub ns: u64,
    /// Share of the locations named that were touched.
    #[serde(default)]
    pub precision: Option<f64>,
    /// Share of the locations touched that were named.
    #[serde(default)]
    pub recall: Option<f64>,
}

impl Row {
    /// Whether it ran from what the block itself does, which nobody knows in time: never a headline.
    pub fn is_foretold(&self) -> bool {
        self.hints.as_ref().is_some_and(|hints| hints.source == "oracle")
    }
}

/// One block executed once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The block.
    pub input: String,
    /// The profile.
    pub profile: String,
    /// Its threads.
    pub threads: usize,
    /// Transactions.
    #[serde(default)]
    pub txs: Option<usize>,
    /// Gas.
    #[serde(default)]
    pub gas_used: Option<u64>,
    /// Time of the execution, cold.
    #[serde(default)]
    pub elapsed_ns: Option<u64>,
    /// Executions of transactions.
    #[serde(default)]
    pub executions: Option<u64>,
    /// Executions thrown away.
    #[serde(default)]
    pub retries: Option<u64>,
    /// `ok`, or what is wrong with it.
    #[serde(default)]
    pub status: String,
    /// The state root, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<RootTimes>,
    /// The disk, if the block was committed to a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskTimes>,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not JSON, or a field has another type.
    #[error("not a record of a run: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error("kind is `{0}`, not `{RECORD_KIND}`")]
    Kind(String),
    /// A version that this program does not know.
    #[error("schema {0}: this program reads schema {RECORD_SCHEMA}")]
    Schema(u32),
    /// A schedule contradicts itself.
    #[error("schedule {index}: {error}")]
    Trace {
        /// Its place in the record.
        index: usize,
        /// What is wrong.
        error: TraceError,
    },
    /// An analysis contradicts itself.
    #[error("analysis {index}: {error}")]
    Analysis {
        /// Its place in the record.
        index: usize,
        /// What is wrong.
        error: AnalysisError,
    },
}

impl RunRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`] if it is none, or one that contradicts itself.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let record: RunRecord = serde_json::from_slice(text)?;
        if record.kind != RECORD_KIND {
            return Err(RecordError::Kind(record.kind));
        }
        if record.schema != RECORD_SCHEMA {
            return Err(RecordError::Schema(record.schema));
        }
        for (index, trace) in record.traces.iter().enumerate() {
            trace.check().map_err(|error| RecordError::Trace { index, error })?;
        }
        for (index, analysis) in record.analyses.iter().enumerate() {
            analysis.check().map_err(|error| RecordError::Analysis { index, error })?;
        }
        Ok(record)
    }

    /// The analysis of a block.
    pub fn analysis(&self, input: &str) -> Option<&Analysis> {
        self.analyses.iter().find(|analysis| analysis.input == input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_refused() {
        let parsed = |text: &str| RunRecord::parse(text.as_bytes()).map_err(|error| error.to_string());
        assert!(parsed("").is_err());
        assert_eq!(parsed(r#"{"schema":1,"kind":"x"}"#).unwrap_err(), "kind is `x`, not `braid-run-record`");
        let good = r#"{"schema":1,"kind":"braid-run-record","new":[1],"document":{"command":"run"}}"#;
        assert_eq!(parsed(good).unwrap().document.command, "run");
        let later = good.replace(":1,", ":2,");
        assert_eq!(parsed(&later).unwrap_err(), "schema 2: this program reads schema 1");
        let task = r#"{"tx":0,"incarnation":0,"worker":0,"lane":0,"start_ns":5,"end_ns":1,"fate":"open"}"#;
        let trace = format!(
            r#"{{"version":1,"input":"","profile":"","scheduler":"","threads":1,"txs":1,"elapsed_ns":1,
            "lost":0,"keys":[],"tasks":[{task}],"waits":[],"aborts":[],"commits":[]}}"#
        );
        let broken = good.replace("\"new\":[1]", &format!("\"traces\":[{trace}]"));
        assert_eq!(
            parsed(&broken).unwrap_err(),
            "schedule 0: task 0 of the schedule trace: ends before it starts"
        );
    }
}
