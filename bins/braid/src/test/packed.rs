//! `braid test`: packed blocks, of the archives that hold state tests.

use super::{Course, MAX_TOLD};
use crate::{Exit, args::TestArgs, diverge::quote, progress::Ui};
use braid_vectors::{
    Plan, Seats, Take,
    packed::{PackedBlock, run_archive},
};
use std::path::Path;

/// How many packed blocks to make of an archive: those of all its cases with `--full`, unless the command
/// line says; `None` for none.
pub(crate) fn wanted(args: &TestArgs) -> Option<Take> {
    match args.packed {
        Some(0) => None,
        Some(blocks) => Some(Take::Sample(blocks as usize)),
        None => args.full.then_some(Take::All),
    }
}

impl Course<'_> {
    /// Packs and runs the blocks of one archive, `plan` being that of its cases.
    pub(super) fn packed(
        &mut self,
        path: &Path,
        take: Take,
        plan: &Plan<'_>,
        seats: &mut Seats,
        ui: &mut Ui<'_>,
    ) {
        let plan = Plan { take, ..*plan };
        let mut run = 0u64;
        let done = run_archive(path, &plan, seats, &mut |block, verdict| {
            run += 1;
            ui.detail(|| format!("{run} packed blocks"));
            self.document.add_packed(block, verdict);
            if let Some(first) = verdict.failures.first() {
                self.tell_packed(path, take, block, &first.reason, verdict.diverged, ui);
            }
        });
        match done {
            Ok(counts) => self.document.packed.add(&counts),
            Err(error) => self.unreadable(error.to_string(), ui),
        }
    }

    fn tell_packed(
        &mut self,
        path: &Path,
        take: Take,
        block: &PackedBlock,
        reason: &str,
        diverged: bool,
        ui: &mut Ui<'_>,
    ) {
        self.exit = self.exit.and(if diverged { Exit::Diverged } else { Exit::Tests });
        self.told += 1;
        if self.told > MAX_TOLD {
            return;
        }
        let files: Vec<&str> = block.files.iter().map(|file| &**file).collect();
        ui.error(format_args!("{reason} (made of {})", files.join(", ")));
        let (path, seed) = (quote(&path.to_string_lossy()), block.seed);
        // The blocks before it are the same only if they are made of the same files.
        let how = match take {
            Take::All => "--full".to_owned(),
            Take::Sample(blocks) => format!("--packed {blocks}"),
        };
        ui.hint(format_args!("braid test {path} {how} --seed {seed}"));
    }
}
