//! `braid run --store`: blocks on the state of a data folder.
//!
//! A block is executed on the version of the block before it, whatever state its input has; with `--commit` it then
//! becomes the latest version. An empty folder begins with the state of the first input.

use crate::{
    json::Problem,
    rooted::{nanos, processors},
    sync::{folder_problem, options},
    world::{Case, Checked},
};
use alloy_primitives::Bytes;
use braid_db::{AheadStats, BegunVersion, DataFolder, DataReader, DbError, Finished};
use braid_evm::{BlockInput, ExecutedBlock};
use braid_report::{DiskTimes, RootTimes};
use braid_store::disk::{Begun, DiskOptions};
use braid_work::PreState;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a version stays for a run that reads beside a writer.
const LEASE: Duration = Duration::from_secs(600);
/// Versions that are kept.
const KEEP: usize = 128;

/// A data folder that blocks are executed on.
pub(crate) struct OnStore<'a> {
    path: &'a Path,
    folder: Opened,
    /// Reads that each thread may have under way.
    overlap: u16,
}

enum Opened {
    Reader(Box<DataReader>),
    Writer(Box<DataFolder>),
}

impl<'a> OnStore<'a> {
    /// Opens the folder at `path`, to write if results are to be committed. Those have no headers, so that a folder
    /// that follows a chain takes none.
    pub(crate) fn open(path: &'a Path, commit: bool, overlap: u16, threads: usize) -> Result<Self, Problem> {
        let folder = match commit {
            true => DataFolder::open_or_create(path, options(threads, KEEP))
                .and_then(|folder| folder.takes_bare().map(|()| Opened::Writer(Box::new(folder)))),
            false => {
                DataReader::open(path, DiskOptions::default()).map(|reader| Opened::Reader(Box::new(reader)))
            }
        };
        let folder = folder.map_err(|error| folder_problem(path, &error))?;
        Ok(OnStore { path, folder, overlap })
    }

    /// A case on the version before its block.
    pub(crate) fn place(&mut self, case: Box<dyn Case>) -> Result<Box<dyn Case>, Problem> {
        let problem = |error: DbError| folder_problem(self.path, &error);
        let number = number(case.input());
        let before = number.checked_sub(1).ok_or_else(|| problem(DbError::Order { number, latest: 0 }))?;
        let state = match &mut self.folder {
            Opened::Reader(reader) => reader.state(Some(before), LEASE),
            Opened::Writer(folder) => {
                if folder.latest().is_none() {
                    folder.begin_bare(before, case.pre()).map_err(problem)?;
                }
                folder.state(before)
            }
        };
        let mut pre = PreState::over(Arc::new(state.map_err(problem)?.overlapping(self.overlap)));
        pre.block_hashes.clone_from(&case.pre().block_hashes);
        Ok(Box::new(Placed { case, pre }))
    }

    /// Begins the version after the next block, if results are to be committed and a processor is left to work on it
    /// while `threads` execute. Where they fill all, it costs more than it saves.
    pub(crate) fn begin(&self, threads: usize) -> Option<Begun> {
        match &self.folder {
            // What cannot be read is told when the version is prepared.
            Opened::Writer(folder) if threads < processors() => folder.begin_version().ok(),
            _ => None,
        }
    }

    /// Makes what a block did, which took `elapsed`, the latest version, if results are to be committed, and says
    /// what that took.
    pub(crate) fn commit(
        &mut self,
        input: &BlockInput,
        done: &ExecutedBlock,
        elapsed: Duration,
        begun: Option<BegunVersion>,
    ) -> Result<Option<(RootTimes, DiskTimes)>, Problem> {
        let Opened::Writer(folder) = &mut self.folder else { return Ok(None) };
        let finished = Finished { number: number(input), block: None, done: done.clone() };
        let committed = commit(folder, &finished, elapsed, begun);
        committed.map(Some).map_err(|error| folder_problem(self.path, &error))
    }
}

fn commit(
    folder: &mut DataFolder,
    finished: &Finished,
    elapsed: Duration,
    begun: Option<BegunVersion>,
) -> Result<(RootTimes, DiskTimes), DbError> {
    let latest = folder.latest().map_or(0, |(latest, _)| latest);
    if finished.number != latest + 1 {
        return Err(DbError::Order { number: finished.number, latest });
    }
    let (prepared, stats) = match begun {
        Some(begun) => folder.prepare_begun(finished, begun)?,
        None => {
            let start = Instant::now();
            let prepared = folder.prepare(finished)?;
            (prepared, AheadStats { after: start.elapsed(), ..AheadStats::default() })
        }
    };
    let start = Instant::now();
    folder.record(std::slice::from_ref(finished))?;
    let archive_ns = nanos(start.elapsed());
    let start = Instant::now();
    let committed = folder.commit_prepared(prepared)?;
    let (all, sync) = (start.elapsed(), folder.store().last_times().sync);
    let root = RootTimes {
        from: "store".to_owned(),
        rooted_ns: nanos(elapsed + stats.after),
        ahead_ns: nanos(stats.ahead),
        after_ns: nanos(stats.after),
        locations: stats.locations,
    };
    let write_ns = nanos(all.saturating_sub(sync));
    Ok((root, DiskTimes { archive_ns, write_ns, sync_ns: nanos(sync), bytes: committed.bytes }))
}

fn number(input: &BlockInput) -> u64 {
    u64::try_from(input.env.number).unwrap_or(u64::MAX)
}

struct Placed {
    case: Box<dyn Case>,
    pre: PreState,
}

impl Case for Placed {
    fn input(&self) -> &BlockInput {
        self.case.input()
    }

    fn pre(&self) -> &PreState {
        &self.pre
    }

    fn access_list(&self) -> Option<&Bytes> {
        self.case.access_list()
    }

    fn verify(&self, done: &ExecutedBlock) -> Vec<Checked> {
        self.case.verify(done)
    }

    fn recover_senders(&self, threads: usize) {
        self.case.recover_senders(threads);
    }
}
