//! The command line.

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// Most threads of one engine.
pub(crate) const MAX_THREADS: u16 = 256;

const EXIT_CODES: &str = "\
Exit codes:
  0    everything held
  1    failure: an input is invalid or unreadable, or a check failed
  2    wrong command line
  3    a parallel engine alone was wrong: its result is not that of the serial one
  4    nothing selected
  100  test vectors failed
  130  interrupted";

/// Run the transactions of a block in parallel, with exactly the result of running them one by one.
#[derive(Debug, Parser)]
#[command(name = "braid", version, after_help = EXIT_CODES, subcommand_required = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// No progress and no hints on stderr, only errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to use colour. `auto` heeds NO_COLOR.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Execute blocks with one profile, and check the results.
    Run(RunArgs),
    /// Time profiles against a reference, paired and interleaved.
    Compare(CompareArgs),
    /// Write blocks of a node as cases, checked as they arrive.
    Fetch(crate::fetch::FetchArgs),
    /// Run official test vectors on every profile.
    Test(TestArgs),
    /// List the profiles.
    Profiles(ProfilesArgs),
    /// List the workloads that can be generated, with their parameters.
    Workloads(WorkloadsArgs),
    /// Say why a transaction waited or ran again.
    Explain(crate::explain::ExplainArgs),
    /// Draw a run or a comparison: as a page, as tables, for ui.perfetto.dev.
    Report(crate::report::ReportArgs),
    /// Import a chain into a data folder, or go on with it.
    Sync(crate::sync::SyncArgs),
    /// Look at a data folder, check it, prove from it, take back or let go of versions.
    Db(crate::db::DbArgs),
    /// Carry a state over one block, as `evm t8n` does.
    T8n(crate::t8n::T8nArgs),
}

/// What a result is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// What the input records (roots, hashes, gas, post-state) and the result of the serial `lean`.
    Serial,
    /// What the input records.
    Root,
    /// Nothing.
    None,
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// A case folder, a file of blocks, a folder of them, or a workload such as `transfers?txs=1000`
    /// (see `braid workloads`), or a blockchain test as `FILE.json#NAME`; `hostile` stands for one of each kind of hostile block.
    #[arg(required = true)]
    pub(crate) input: Vec<String>,
    /// The profile, see `braid profiles`.
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: String,
    /// Threads, at most 256; 0: one per physical core.
    #[arg(long, short = 'j', value_name = "N", default_value_t = 0, value_parser = threads())]
    pub(crate) threads: u16,
    /// What to hold the result against.
    #[arg(long, value_enum, default_value_t = Check::Serial, value_name = "WHAT")]
    pub(crate) check: Check,
    /// Execute chains, with recovery, execution and hashing of successive blocks overlapped. Inputs are then
    /// folders with `genesis.json` and `chain.rlp`, or workloads split into blocks, such as
    /// `erc20?txs=10000&blocks=20`. Times are of whole chains.
    #[arg(long)]
    pub(crate) stream: bool,
    /// With `--stream`: engines forget before each block what they learned from those before it.
    #[arg(long, requires = "stream")]
    pub(crate) forget: bool,
    /// Execute on the state of this data folder, on the version of the block before, instead of the input's own.
    #[arg(long, value_name = "DIR", conflicts_with = "stream")]
    pub(crate) store: Option<PathBuf>,
    /// With `--store`: reads of the folder that each thread may have under way, executions being suspended over them;
    /// for a state that is seldom in memory, under profiles that can suspend.
    #[arg(long, requires = "store", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) overlap: u16,
    /// With `--store`: make what a block did, if it is right, the folder's next version. A folder that is not there
    /// is made, and begins with the state of the first input. A folder that follows a chain is refused: its blocks are
    /// imported by `braid sync`.
    #[arg(long, requires = "store")]
    pub(crate) commit: bool,
    /// Compute the state root inside the measured time, begun while the block is executed: from the witness that
    /// comes with a block, or from the whole state before it. `elapsed_ns` stays execution alone.
    #[arg(long, conflicts_with_all = ["stream", "store"])]
    pub(crate) root: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    /// Record each block's access list (EIP-7928), in an execution of its own, and write it into this folder
    /// as RLP, under the name of the block.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) access_list: Option<PathBuf>,
    /// Record each block's schedule, in an execution of its own, and what its dependencies allow, for `braid
    /// explain` and `braid report`.
    #[arg(long, conflicts_with = "stream")]
    pub(crate) trace: bool,
    /// Write the record of this run here.
    #[arg(long, value_name = "PATH")]
    pub(crate) record: Option<PathBuf>,
    /// Shuffles the schedules, in builds with debug assertions, and names the files of diverging blocks;
    /// chosen at random if not given.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("length").args(["runs", "time"])))]
pub(crate) struct CompareArgs {
    /// Profiles to time; all if none is given. The reference always takes part.
    pub(crate) profile: Vec<String>,
    /// Inputs, as for `run`; a small built-in synthetic sample if none is given.
    #[arg(long = "on", value_name = "INPUT", num_args = 1..)]
    pub(crate) on: Vec<String>,
    /// Numbers of threads, comma separated, at most 256 each; 0: one per physical core.
    #[arg(long, short = 'j', value_name = "N,..", value_delimiter = ',', default_values_t = [1u16, 0], value_parser = threads())]
    pub(crate) threads: Vec<u16>,
    /// Print as well what the profiles cost: processor time and memory as multiples of the reference's, and
    /// executions per transaction.
    #[arg(long)]
    pub(crate) costs: bool,
    /// Time every profile with the state root as well, apart from the comparison: as for `run`, in at most 30 rounds
    /// of which each executes the block alone and with its root.
    #[arg(long)]
    pub(crate) root: bool,
    /// The profile that the others are compared with.
    #[arg(long, value_name = "NAME", default_value = crate::ORACLE)]
    pub(crate) reference: String,
    /// Rounds per block, 1 to 1000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) runs: Option<u16>,
    /// Time for all timing together, such as 30s, 500ms, 2m; each block gets five rounds at least.
    /// [default: 20s]
    #[arg(long = "for", id = "time", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    /// Record each profile's schedule of each block, in an execution of its own, and what the dependencies of the
    /// blocks allow, for `braid explain` and `braid report`.
    #[arg(long)]
    pub(crate) trace: bool,
    /// Write the record of this comparison, with every sample, here.
    #[arg(long, value_name = "PATH")]
    pub(crate) record: Option<PathBuf>,
    /// Names the files of diverging blocks and seeds the bootstrap of the intervals.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Archives (`.tar.zst`, `.tar`), folders or JSON files in the forms of ethereum/tests, legacytests
    /// and EEST.
    #[arg(required = true)]
    pub(crate) path: Vec<PathBuf>,
    /// A profile, or all of them. The yardstick `lean` always takes part.
    #[arg(long, value_name = "NAME|all", default_value = "all")]
    pub(crate) profile: String,
    /// Numbers of threads, comma separated, at most 256 each; 0: one per physical core.
    #[arg(long, short = 'j', value_name = "N,..", value_delimiter = ',', default_values_t = [1u16, 2, 8], value_parser = threads())]
    pub(crate) threads: Vec<u16>,
    /// Only cases whose `file::name` this regular expression matches.
    #[arg(long, value_name = "RE")]
    pub(crate) filter: Option<String>,
    /// All cases, not a sample.
    #[arg(long, conflicts_with = "sample")]
    pub(crate) full: bool,
    /// Cases to take of each archive.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sample: u32,
    /// Blocks to pack out of the state tests of each archive, many transactions each; with `--full` as many as
    /// all of them give, otherwise none, unless this says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) packed: Option<u32>,
    /// Decides which cases a sample has, and shuffles schedules in builds with debug assertions; chosen
    /// at random if not given.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "jsonl")]
    pub(crate) json: bool,
    /// Print one JSON document for each case, then the one that `--json` prints.
    #[arg(long)]
    pub(crate) jsonl: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ProfilesArgs {
    /// Only this one.
    pub(crate) name: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct WorkloadsArgs {
    /// Only this one.
    pub(crate) name: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn threads() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(0..=i64::from(MAX_THREADS))
}

/// Longest time that `--for` takes.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "must be a whole number and a unit, as in 30s")?;
    let time = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" | "" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => return Err(format!("unknown unit `{unit}` (there are: ms, s, m)")),
    };
    time.filter(|time| !time.is_zero() && *time <= MAX_TIME)
        .ok_or("must be more than 0, at most a day".into())
}

/// The number of threads that `asked` stands for: 0 is one per physical core, as far as this process
/// may use them.
pub(crate) fn resolve_threads(asked: u16) -> usize {
    if asked > 0 {
        return usize::from(asked);
    }
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().min(usable).clamp(1, usize::from(MAX_THREADS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in
            ["", "s", "0s", "1h", "-3s", "99999999999999999999s", "18446744073709551615m", "25000m", "1é"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zero_threads_are_the_cores() {
        assert_eq!(resolve_threads(3), 3);
        assert!((1..=usize::from(MAX_THREADS)).contains(&resolve_threads(0)));
    }
}
