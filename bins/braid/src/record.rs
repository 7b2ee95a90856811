//! Records of runs: what was asked, where it ran, what came out. The format is described in
//! `docs/RECORD.md`.

use crate::{json::SCHEMA, progress::Ui, schedules::Schedules};
use braid_report::{Analysis, Trace};
use serde::Serialize;
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// A record. `D` is the document that `--json` prints for the same command.
#[derive(Serialize)]
pub(crate) struct Record<'a, D> {
    schema: u32,
    kind: &'static str,
    /// Version of the program.
    version: &'static str,
    /// Seconds since 1970.
    finished_unix: u64,
    /// The command line after the program's name.
    arguments: &'a [String],
    /// Seed of what is drawn at random.
    seed: u64,
    machine: Machine,
    document: D,
    /// Every sample of a comparison, in the order of its rows.
    samples: Vec<Samples>,
    /// What the dependencies of the blocks allow; empty unless schedules were asked for.
    analyses: Vec<Analysis>,
    /// Schedules; empty unless they were asked for.
    traces: Vec<Trace>,
}

/// Where it ran.
#[derive(Serialize)]
struct Machine {
    os: &'static str,
    arch: &'static str,
    /// As the system names the processor, if it does.
    cpu: Option<String>,
    physical_cores: usize,
    usable_cores: usize,
}

/// The samples of one row of a comparison, by round.
#[derive(Clone, Serialize)]
pub(crate) struct Samples {
    pub(crate) input: String,
    pub(crate) profile: String,
    pub(crate) threads: usize,
    /// Executions in each sample, at least.
    pub(crate) loops: u32,
    /// Wall-clock nanoseconds of one execution.
    pub(crate) elapsed_ns: Vec<f64>,
    /// Processor nanoseconds of one execution.
    pub(crate) cpu_ns: Vec<f64>,
    /// Of the reference in the same round.
    pub(crate) reference_ns: Vec<f64>,
}

impl<'a, D: Serialize> Record<'a, D> {
    /// Makes one.
    pub(crate) fn new(arguments: &'a [String], seed: u64, document: D, samples: Vec<Samples>) -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Record {
            schema: SCHEMA,
            kind: "braid-run-record",
            version: env!("CARGO_PKG_VERSION"),
            finished_unix: time,
            arguments,
            seed,
            machine: Machine {
                os: std::env::consts::OS,
                arch: std::env::consts::ARCH,
                cpu: cpu_name(),
                physical_cores: num_cpus::get_physical(),
                usable_cores: std::thread::available_parallelism().map_or(1, usize::from),
            },
            document,
            samples,
            analyses: Vec::new(),
            traces: Vec::new(),
        }
    }

    /// The same record with schedules.
    pub(crate) fn with(self, schedules: Schedules) -> Self {
        let (analyses, traces) = schedules.into_parts();
        Record { analyses, traces, ..self }
    }

    /// Writes it where the user asked for it, and as the latest into the cache. Says whether the first
    /// succeeded; that the cache cannot be written is only a warning.
    pub(crate) fn keep(&self, path: Option<&Path>, cache: Option<&Path>, ui: &mut Ui<'_>) -> bool {
        // Schedules have a line for each number when written for people.
        let to_text = if self.traces.is_empty() { serde_json::to_vec_pretty } else { serde_json::to_vec };
        let text = match to_text(self) {
            Ok(text) => text,
            Err(error) => {
                ui.error(format_args!("record: {error}"));
                return false;
            }
        };
        if let Some(cache) = cache {
            let place = cache.join("last.json");
            let written = fs::create_dir_all(cache).and_then(|()| replace(&place, &text));
            if let Err(error) = written {
                ui.warn(format_args!("{}: {error}", place.display()));
            }
        }
        let Some(path) = path else { return true };
        match replace(path, &text) {
            Ok(()) => true,
            Err(error) => {
                ui.error(format_args!("{}: {error}", path.display()));
                false
            }
        }
    }
}

/// Writes a file whole or not at all: under another name first.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // What is not a plain file (a pipe, a device) cannot be put in place by renaming.
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return fs::write(path, content);
    }
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = fs::write(&part, content).and_then(|()| fs::rename(&part, path));
    written.inspect_err(|_| drop(fs::remove_file(&part)))
}

/// The folder of the cache: `$XDG_CACHE_HOME/braid`, else `~/.cache/braid`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("braid"))
}

fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
