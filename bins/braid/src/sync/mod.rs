//! `braid sync`: import a chain into a data folder.

mod pipeline;
pub(crate) mod source;
#[cfg(test)]
pub(crate) mod tests;

use crate::{
    Exit, Session,
    args::resolve_threads,
    engines,
    json::{Problem, SCHEMA, Status},
    pipeline::Failure,
    progress::Ui,
    world::World,
};
use alloy_primitives::B256;
use braid_db::{DataFolder, DataReader, DbError};
use braid_profiles::find;
use braid_store::disk::DiskOptions;
use braid_work::{Chain, PreState, chain::Import};
use clap::Args;
use pipeline::{Imported, import};
use serde::Serialize;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Versions that are kept, unless it is said otherwise.
const KEEP: usize = 128;

#[derive(Args, Debug)]
pub(crate) struct SyncArgs {
    /// The chain: an era1 file or a folder of them, a file of blocks in their consensus encoding or a folder with such
    /// a `chain.rlp`, each with its genesis file beside it; or a JSON file of blockchain tests, of which `FILE#NAME`
    /// is one.
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) from: String,
    /// The data folder. Made if it is not there; otherwise the import goes on where it ended.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The genesis file, if it does not stand beside the blocks.
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,
    /// Ends after this block.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) until: Option<u64>,
    /// The profile, see `braid profiles`.
    #[arg(long, value_name = "NAME", default_value = "braid")]
    pub(crate) profile: String,
    /// Threads, at most 256; 0: one per physical core.
    #[arg(long, short = 'j', value_name = "N", default_value_t = 0, value_parser = crate::args::threads())]
    pub(crate) threads: u16,
    /// Versions of the state to keep: the latest and those before it. Without this, as many as the folder has, and at
    /// least 128.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) keep: Option<u32>,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `sync --json` prints.
#[derive(Debug, Serialize)]
struct SyncDocument {
    schema: u32,
    command: &'static str,
    data: String,
    input: String,
    profile: String,
    threads: usize,
    /// The first block that was imported; null if none was.
    from: Option<u64>,
    /// The latest block of the folder, and the root of the state after it.
    latest: Option<u64>,
    root: Option<B256>,
    blocks: u64,
    txs: u64,
    gas_used: u64,
    elapsed_ns: u64,
    /// For which the stages were at work; they overlap.
    recover_ns: u64,
    execute_ns: u64,
    root_ns: u64,
    archive_ns: u64,
    commit_ns: u64,
    status: Status,
    error: Option<Problem>,
}

/// An error of a data folder, in the form in which it is reported.
pub(crate) fn folder_problem(file: &std::path::Path, error: &DbError) -> Problem {
    let (file, message) = (file.display().to_string(), error.to_string());
    let message = if names(&message, &file) { message } else { format!("{file}: {message}") };
    Problem { kind: error.kind().to_owned(), file: Some(file), item: None, message }
}

/// Whether a message names a file, or one in that folder: more than having its letters in a word.
pub(crate) fn names(message: &str, file: &str) -> bool {
    let word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    message.match_indices(file).any(|(at, _)| {
        let (before, after) = (&message[..at], &message[at + file.len()..]);
        !before.ends_with(|letter| word(letter) || matches!(letter, '.' | '/')) && !after.starts_with(word)
    })
}

/// How a folder is opened by a command that runs on so many threads.
pub(crate) fn options(threads: usize, keep: usize) -> DiskOptions {
    DiskOptions { keep, workers: threads.clamp(1, 16), ..DiskOptions::default() }
}

/// Carries the command out.
pub(crate) fn sync(args: &SyncArgs, world: &World<'_>, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let profile = match find(world.profiles, &args.profile) {
        Ok(profile) => profile,
        Err(error) => {
            ui.error(error);
            ui.hint("braid profiles");
            return Exit::Usage;
        }
    };
    let threads = if profile.parallel { resolve_threads(args.threads) } else { 1 };
    let mut engine = match engines::build(profile, threads) {
        Ok(engine) => engine,
        Err(error) => {
            ui.error(error);
            return Exit::Failure;
        }
    };
    let start = Instant::now();
    let mut run =
        Run { args, ui, session, began: false, from: None, latest: None, imported: Imported::default() };
    let problem = run.carry_out(engine.as_mut(), threads).err();
    let Run { began, from, latest, imported, ui, .. } = run;
    ui.finish();
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let interrupted = imported.failed.as_ref().is_some_and(|failure| failure.interrupted);
    let status = match &imported.failed {
        _ if problem.is_none() => Status::Ok,
        Some(failure) if !failure.interrupted && !failure.local => Status::Invalid,
        _ => Status::Unreadable,
    };
    let document = SyncDocument {
        schema: SCHEMA,
        command: "sync",
        data: args.data.display().to_string(),
        input: args.from.clone(),
        profile: profile.name.to_owned(),
        threads,
        from,
        latest: latest.map(|(latest, _)| latest),
        root: latest.map(|(_, root)| root),
        blocks: imported.blocks,
        txs: imported.txs,
        gas_used: imported.gas_used,
        elapsed_ns: nanos(start.elapsed()),
        recover_ns: nanos(imported.recover),
        execute_ns: nanos(imported.execute),
        root_ns: nanos(imported.root),
        archive_ns: nanos(imported.archive),
        commit_ns: nanos(imported.commit),
        status,
        error: problem,
    };
    if args.json && !interrupted {
        ui.result(&crate::to_json(&document));
    } else if !args.json && began {
        ui.result(&text(&document));
    }
    let Some(problem) = &document.error else { return Exit::Ok };
    ui.error(&problem.message);
    if interrupted {
        ui.hint("the same command goes on where this one ended");
    }
    if interrupted { Exit::Interrupted } else { Exit::Failure }
}

struct Run<'a, 'b> {
    args: &'a SyncArgs,
    ui: &'a mut Ui<'b>,
    session: &'a Session<'a>,
    /// Whether there is a chain and a folder for it. Without, there is nothing to sum up.
    began: bool,
    from: Option<u64>,
    latest: Option<(u64, B256)>,
    imported: Imported,
}

impl Run<'_, '_> {
    fn carry_out(&mut self, engine: &mut dyn braid_profiles::Engine, threads: usize) -> Result<(), Problem> {
        let (args, data) = (self.args, self.args.data.as_path());
        let source = source::open(&args.from, args.genesis.as_deref())?;
        let of_folder = |error: DbError| folder_problem(data, &error);
        let keep = match args.keep {
            Some(keep) => keep as usize,
            None if data.join("state").exists() => {
                let reader = DataReader::open(data, DiskOptions::default()).map_err(of_folder)?;
                reader.versions().map_err(of_folder)?.len().max(KEEP)
            }
            None => KEEP,
        };
        let options = options(threads, keep);
        let mut folder = DataFolder::open_or_create(data, options).map_err(of_folder)?;
        let done = self.import(&mut folder, &source, engine);
        self.latest = folder.latest();
        // While blocks were executed on versions, these stayed; and there may have been nothing to import. Who was
        // refused from the beginning may want to roll back.
        if done.is_ok() || self.imported.blocks > 0 {
            let pruned = folder.prune(Some(keep), None).map_err(of_folder);
            return done.and(pruned.map(drop));
        }
        done
    }

    fn import(
        &mut self,
        folder: &mut DataFolder,
        source: &Import,
        engine: &mut dyn braid_profiles::Engine,
    ) -> Result<(), Problem> {
        let data = self.args.data.as_path();
        let folder_name = data.display().to_string();
        let of_folder = |error: DbError| folder_problem(data, &error);
        if folder.latest().is_none() {
            // Before a genesis state is there that others would be held against.
            source.follows_genesis().map_err(|error| crate::inputs::problem(&error))?;
            if let Some(first) = source.first().filter(|first| *first > 1) {
                return Err(gap(source, format!("begins with block {first}; {folder_name} is empty")));
            }
        }
        folder.begin(&source.genesis).map_err(of_folder)?;
        self.began = true;
        let (latest, _) = folder.latest().ok_or_else(|| of_folder(DbError::Empty))?;
        same_chain(folder, source, latest)?;
        let last = self.args.until.unwrap_or(u64::MAX).min(source.last());
        self.ui.start(last.saturating_sub(latest) as usize);
        for part in source.parts_from(latest + 1) {
            let (first, mut blocks) = part.map_err(|error| crate::inputs::problem(&error))?;
            blocks.truncate(last.saturating_add(1).saturating_sub(first).try_into().unwrap_or(usize::MAX));
            let Some((before, _)) = folder.latest() else { break };
            if blocks.is_empty() {
                break;
            }
            if first != before + 1 {
                return Err(gap(source, format!("begins with block {first}; the folder ends with {before}")));
            }
            self.from.get_or_insert(first);
            let follower = folder.follower(source.genesis.chain.clone()).map_err(of_folder)?;
            let none = Arc::new(PreState::default());
            let chain = Chain::of_blocks(source.name.clone(), none, blocks, follower);
            let ui = &mut *self.ui;
            let progress =
                &mut |number: u64| ui.count((number - latest) as usize, || format!("block {number}"));
            let part = import(folder, &chain, engine, self.session.cancel, progress);
            self.imported.add(part);
            if let Some(failure) = &self.imported.failed {
                return Err(problem_of(failure, if failure.local { &folder_name } else { &source.name }));
            }
        }
        Ok(())
    }
}

/// Blocks are missing before those of `source`.
fn gap(source: &Import, message: String) -> Problem {
    let (file, message) = (Some(source.name.clone()), format!("{}: {message}", source.name));
    Problem { kind: "gap".to_owned(), file, item: None, message }
}

/// Looks whether the last block that both have is the same.
fn same_chain(folder: &DataFolder, source: &Import, latest: u64) -> Result<(), Problem> {
    let number = latest.min(source.last());
    let given = source.header(number).map_err(|error| crate::inputs::problem(&error))?;
    let stored = match folder.header(number) {
        Ok(stored) => stored,
        // Of what was before a snapshot.
        Err(DbError::NotKept { .. }) => None,
        Err(error) => return Err(folder_problem(folder.path(), &error)),
    };
    let Some((given, stored)) = given.zip(stored) else { return Ok(()) };
    let (given, stored) = (given.hash_slow(), stored.hash_slow());
    if given == stored {
        return Ok(());
    }
    let message = format!(
        "{}: block {number} is {given}, that of {} is {stored}",
        source.name,
        folder.path().display()
    );
    let (file, item) = (Some(source.name.clone()), Some(format!("block {number}")));
    Err(Problem { kind: "other_chain".to_owned(), file, item, message })
}

/// A failure of the chain or the folder of this name.
fn problem_of(failure: &Failure, name: &str) -> Problem {
    let message = match failure.interrupted {
        true => "interrupted".to_owned(),
        false => format!("{name}: block {}: {}", failure.block, failure.message),
    };
    let item = Some(format!("block {}", failure.block));
    Problem { kind: failure.kind.clone(), file: Some(name.to_owned()), item, message }
}

impl Imported {
    fn add(&mut self, part: Imported) {
        self.blocks += part.blocks;
        self.txs += part.txs;
        self.gas_used = self.gas_used.saturating_add(part.gas_used);
        self.recover += part.recover;
        self.execute += part.execute;
        self.root += part.root;
        self.archive += part.archive;
        self.commit += part.commit;
        self.failed = part.failed;
    }
}

fn text(document: &SyncDocument) -> String {
    let seconds = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64();
    let latest = match (document.latest, document.root) {
        (Some(latest), Some(root)) => format!("{}: block {latest}, state root {root}\n", document.data),
        _ => format!("{}: empty\n", document.data),
    };
    let rate = document.blocks as f64 / seconds(document.elapsed_ns).max(1e-9);
    format!(
        "{latest}{} blocks, {} transactions, {:.1} Mgas in {:.2} s ({rate:.0} blocks/s); at work: recovering {:.2} s, \
         executing {:.2} s, roots {:.2} s, archive {:.2} s, commits {:.2} s\n",
        document.blocks,
        document.txs,
        document.gas_used as f64 / 1e6,
        seconds(document.elapsed_ns),
        seconds(document.recover_ns),
        seconds(document.execute_ns),
        seconds(document.root_ns),
        seconds(document.archive_ns),
        seconds(document.commit_ns),
    )
}
