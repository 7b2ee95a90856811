//! `braid`: run blocks in parallel, check the results, compare engines.
#![deny(unsafe_code)]

mod access_list;
mod args;
mod chain_inputs;
mod compare;
mod db;
mod diverge;
mod engines;
mod explain;
mod fetch;
mod finish;
mod inputs;
mod json;
mod judge;
// The global allocator, which cannot be had without.
#[allow(unsafe_code)]
mod memory;
mod on_store;
mod pipeline;
mod profiles;
mod progress;
mod receipts;
mod record;
mod render;
mod report;
mod rooted;
mod run;
mod schedules;
mod selection;
mod stream;
mod sync;
mod t8n;
mod test;
#[cfg(test)]
mod tests;
mod workloads;
mod world;

use args::{Cli, Color, Command};
use braid_core::Control;
use clap::Parser;
use progress::Ui;
use serde::Serialize;
use signal_hook::{consts::SIGINT, flag};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, IsTerminal},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};
use world::World;

/// The profile that is the yardstick and, being plain serial revm, the oracle.
pub(crate) const ORACLE: &str = "lean";

/// How the program ends. Ordered: of two, the later is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything held.
    Ok,
    /// Nothing was selected.
    Nothing,
    /// An input is invalid or unreadable, or a check failed.
    Failure,
    /// Test vectors failed.
    Tests,
    /// A parallel engine alone was wrong.
    Diverged,
    /// The command line is wrong.
    Usage,
    /// As the tool that a command stands in for ends, with its number.
    Tool(u8),
    /// Told to stop.
    Interrupted,
}

impl Exit {
    /// The graver one.
    pub(crate) fn and(self, other: Exit) -> Exit {
        self.max(other)
    }

    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Diverged => 3,
            Exit::Nothing => 4,
            Exit::Tool(code) => code,
            Exit::Tests => 100,
            Exit::Interrupted => 130,
        }
    }
}

/// What a command needs to know of the process it runs in.
pub(crate) struct Session<'a> {
    /// The command line after the program's name.
    pub(crate) arguments: &'a [String],
    /// Set to stop.
    pub(crate) cancel: &'a AtomicBool,
    /// Where the latest record is kept.
    pub(crate) cache: Option<PathBuf>,
}

impl Session<'_> {
    /// For engines.
    pub(crate) fn control(&self) -> Control<'_> {
        Control { cancel: Some(self.cancel), deadline: None }
    }
}

/// A document as `--json` prints it: on one line.
pub(crate) fn to_json(document: &impl Serialize) -> String {
    // The documents have string keys and no failing serializers, so this cannot fail.
    let text = serde_json::to_string(document);
    text.unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string()) + "\n"
}

/// A seed that differs from run to run: the keys of the standard library's hash maps are random.
pub(crate) fn random_seed() -> u64 {
    // Below 2^53, so that any reader of JSON keeps it exactly.
    RandomState::new().build_hasher().finish() >> 11
}

/// Parses the command line and carries it out. A result that could not be written is a failure.
pub(crate) fn command(
    arguments: &[String],
    world: &World<'_>,
    cancel: &AtomicBool,
    cache: Option<PathBuf>,
    ui: &mut Ui<'_>,
) -> Exit {
    let exit = dispatch(arguments, world, cancel, cache, ui);
    if ui.lost { exit.and(Exit::Failure) } else { exit }
}

fn dispatch(
    arguments: &[String],
    world: &World<'_>,
    cancel: &AtomicBool,
    cache: Option<PathBuf>,
    ui: &mut Ui<'_>,
) -> Exit {
    let cli = match Cli::try_parse_from(std::iter::once("braid").chain(arguments.iter().map(String::as_str)))
    {
        Ok(cli) => cli,
        Err(message) if message.use_stderr() => {
            ui.line(message.render().to_string().trim_end());
            return Exit::Usage;
        }
        Err(help) => {
            ui.result(&help.render().to_string());
            return Exit::Ok;
        }
    };
    ui.quiet = cli.quiet;
    (ui.color_out, ui.color_err) = match cli.color {
        Color::Always => (true, true),
        Color::Never => (false, false),
        Color::Auto => (ui.color_out, ui.color_err),
    };
    let session = Session { arguments, cancel, cache };
    match &cli.command {
        Command::Run(args) => run::run(args, world, &session, ui),
        Command::Compare(args) => compare::compare(args, world, &session, ui),
        Command::Fetch(args) => fetch::fetch(args, &session, ui),
        Command::Test(args) => test::test(args, world, &session, ui),
        Command::Profiles(args) => profiles::list(args, world, ui),
        Command::Workloads(args) => workloads::list(args, ui),
        Command::Explain(args) => explain::explain(args, &session, ui),
        Command::Report(args) => report::report(args, &session, ui),
        Command::Sync(args) => sync::sync(args, world, &session, ui),
        Command::Db(args) => db::db(args, &session, ui),
        Command::T8n(args) => t8n::t8n(args, world, &session, ui),
    }
}

/// Where the last panic was, for the report of one that nobody handled.
static PANICKED_AT: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    // Engines turn panics of a transaction into errors, and say so themselves; one that gets as far as
    // here is reported below. So the hook only notes the place.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
        *PANICKED_AT.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
    let cancel = Arc::new(AtomicBool::new(false));
    // The first interrupt asks; the second, which finds the flag set, ends the process.
    for registered in [
        flag::register_conditional_shutdown(SIGINT, Exit::Interrupted.code().into(), cancel.clone()),
        flag::register(SIGINT, cancel.clone()),
    ] {
        if let Err(error) = registered {
            eprintln!("warning: interrupts are not handled: {error}");
        }
    }
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let color = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
    let mut ui = Ui::new(&mut out, &mut err);
    ui.color_out = color && out_terminal;
    ui.color_err = color && err_terminal;
    ui.terminal = err_terminal;
    let arguments: Result<Vec<String>, _> =
        std::env::args_os().skip(1).map(|arg| arg.into_string()).collect();
    let Ok(arguments) = arguments else {
        ui.error("an argument is not valid UTF-8");
        return Exit::Usage.code().into();
    };
    let world = World {
        profiles: braid_profiles::PROFILES,
        own_rules: braid_profiles::OWN_RULES,
        inputs: &inputs::Library,
    };
    let done = catch_unwind(AssertUnwindSafe(|| {
        command(&arguments, &world, &cancel, record::cache_folder(), &mut ui)
    }));
    let exit = done.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = PANICKED_AT.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ui.error(format_args!("internal error{place}: {text}"));
        Exit::Failure
    });
    exit.code().into()
}
