//! `braid t8n`: a state, an environment and transactions in; the state after and the result out.

use crate::{
    Exit, Session,
    args::{MAX_THREADS, resolve_threads},
    progress::Ui,
    world::World,
};
use braid_evm::TraceOptions;
use braid_profiles::find;
use braid_t8n::{Destination, Outputs, Rules, Source, Sources, T8nError, Tracing, transition};
use clap::Args;
use std::{io, path::PathBuf};

/// From this verbosity on, what go-ethereum calls information is told.
const INFORMATION: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes, as of `evm t8n`:
  0    done
  2    the block cannot be executed, or the command line is wrong
  3    unusable rules or environment
  4    the hash of an earlier block is needed and not given
  10   an input is not the JSON that it should be
  11   a file cannot be read or written
  12   the transactions are not an RLP list
  130  interrupted";

#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct T8nArgs {
    /// The state before: a file, or `stdin`.
    #[arg(long = "input.alloc", value_name = "FILE", default_value = "alloc.json")]
    input_alloc: Source,
    /// The environment: a file, or `stdin`.
    #[arg(long = "input.env", value_name = "FILE", default_value = "env.json")]
    input_env: Source,
    /// The transactions: a file, of RLP if its name ends in `.rlp`, or `stdin`.
    #[arg(long = "input.txs", value_name = "FILE", default_value = "txs.json")]
    input_txs: Source,
    /// Folder of the output files; made if it is not there.
    #[arg(long = "output.basedir", value_name = "FOLDER", default_value = "")]
    output_basedir: String,
    /// Where the state after goes: a file, `stdout`, `stderr`, or nothing.
    #[arg(long = "output.alloc", value_name = "FILE", default_value = "alloc.json")]
    output_alloc: Destination,
    /// Where the result goes: a file, `stdout`, `stderr`, or nothing.
    #[arg(long = "output.result", value_name = "FILE", default_value = "result.json")]
    output_result: Destination,
    /// Where the RLP of the included transactions goes: a file, `stdout`, `stderr`, or nothing.
    #[arg(long = "output.body", value_name = "FILE", default_value = "")]
    output_body: Destination,
    /// Name of the rules.
    #[arg(long = "state.fork", value_name = "FORK", default_value = "GrayGlacier")]
    fork: String,
    /// Chain id.
    #[arg(long = "state.chainid", value_name = "ID", default_value_t = 1)]
    chain_id: u64,
    /// Reward of the block in wei; -1: none, and the beneficiary is not touched.
    #[arg(
        long = "state.reward",
        value_name = "WEI",
        default_value_t = 0,
        allow_negative_numbers = true,
        value_parser = reward
    )]
    reward: i64,
    #[command(flatten)]
    trace: TraceArgs,
    /// Where the counts of instructions go: a file in the folder of outputs.
    #[arg(long = "opcode.count", value_name = "FILE", default_value = "")]
    opcode_count: String,
    /// How much to tell on stderr: 3 and more tell of files and rejected transactions.
    #[arg(long, value_name = "LEVEL", default_value_t = INFORMATION)]
    verbosity: u8,
    /// The profile, see `braid profiles`.
    #[arg(long, value_name = "NAME", default_value = "aptos")]
    profile: String,
    /// Threads, at most 256; 0: one per physical core.
    #[arg(long, short = 'j', value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_THREADS)))]
    threads: u16,
}

#[derive(Args, Debug)]
struct TraceArgs {
    /// Write a trace of each included transaction, `trace-INDEX-HASH.jsonl` (EIP-3155).
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    trace: bool,
    /// All of memory in traces.
    #[arg(long = "trace.memory", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    memory: bool,
    /// No memory in traces, which is the default.
    #[arg(long = "trace.nomemory", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_name = "BOOL", conflicts_with = "memory")]
    no_memory: bool,
    /// No stack in traces.
    #[arg(long = "trace.nostack", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    no_stack: bool,
    /// What calls return in traces.
    #[arg(long = "trace.returndata", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    return_data: bool,
    /// No return data in traces, which is the default.
    #[arg(long = "trace.noreturndata", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", value_name = "BOOL", conflicts_with = "return_data")]
    no_return_data: bool,
    /// Not supported.
    #[arg(long = "trace.callframes", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL", hide = true)]
    call_frames: bool,
    /// Not supported.
    #[arg(long = "trace.tracer", value_name = "NAME", hide = true)]
    tracer: Option<String>,
    /// Not supported.
    #[arg(long = "trace.jsonconfig", value_name = "JSON", hide = true)]
    json_config: Option<String>,
}

impl TraceArgs {
    fn steps(&self) -> Result<Option<TraceOptions>, T8nError> {
        if self.call_frames || self.tracer.is_some() || self.json_config.is_some() {
            let reason = "of trace.tracer, trace.jsonconfig and trace.callframes none is supported";
            return Err(T8nError::Config(reason.into()));
        }
        let (memory, return_data) =
            (self.memory || !self.no_memory, self.return_data || !self.no_return_data);
        let options = TraceOptions { stack: !self.no_stack, memory, return_data, ..TraceOptions::default() };
        Ok(self.trace.then_some(options))
    }
}

/// A number, in decimal or in hexadecimal after `0x`, as Go's flags take it.
fn reward(text: &str) -> Result<i64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok().filter(|reward| *reward >= -1).ok_or_else(|| "must be -1 or more, and fit 63 bits".to_owned())
}

/// Carries the command out.
pub(crate) fn t8n(args: &T8nArgs, world: &World<'_>, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    match carry_out(args, world, session, ui) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            ui.line(format_args!("ERROR({}): {error}", error.code()));
            Exit::Tool(error.code())
        }
    }
}

fn carry_out(
    args: &T8nArgs,
    world: &World<'_>,
    session: &Session<'_>,
    ui: &mut Ui<'_>,
) -> Result<(), T8nError> {
    let profile = find(world.profiles, &args.profile).map_err(|error| T8nError::Config(error.to_string()))?;
    let outputs = Outputs {
        basedir: PathBuf::from(&args.output_basedir),
        alloc: args.output_alloc.clone(),
        result: args.output_result.clone(),
        body: args.output_body.clone(),
        opcodes: args.opcode_count.clone(),
    };
    let tracing = Tracing { steps: args.trace.steps()?, opcodes: !args.opcode_count.is_empty() };
    outputs.prepare()?;
    let sources =
        Sources { alloc: args.input_alloc.clone(), env: args.input_env.clone(), txs: args.input_txs.clone() };
    let inputs = sources.read(&mut io::stdin().lock())?;
    let rules =
        Rules { fork: args.fork.clone(), chain_id: args.chain_id, reward: u64::try_from(args.reward).ok() };
    let threads = resolve_threads(args.threads);
    let seats = if profile.parallel { threads } else { 1 };
    let mut engine = (profile.build)(seats).map_err(|error| T8nError::Config(error.to_string()))?;
    let done = transition(inputs, &rules, tracing, engine.as_mut(), threads, &session.control())?;
    let rejected = done.result.rejected.clone();
    let (streams, files) = outputs.write(done)?;
    if args.verbosity >= INFORMATION && !ui.quiet {
        for rejected in rejected {
            ui.line(format_args!("rejected tx index={} error={:?}", rejected.index, rejected.error));
        }
        for file in files {
            ui.line(format_args!("wrote {}", file.display()));
        }
    }
    if !streams.stdout.is_empty() {
        ui.result(&streams.stdout);
    }
    if !streams.stderr.is_empty() {
        ui.line(streams.stderr.trim_end());
    }
    Ok(())
}
