//! Packed blocks out of an archive.

use super::{Packed, PackedBlock, Packer, run};
use crate::{Case, CaseKind, Plan, Seats, Take, VectorError, Verdict, archive, load, skips::skipped};
use alloy_primitives::keccak256;
use braid_core::Control;
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// Longest time for one block on all engines together.
const DEADLINE: Duration = Duration::from_secs(600);
/// So many files without a state test, and an archive is one of other tests.
const OTHERS: u64 = 40;
/// Most cases of one file in a sample.
const MOST_OF_A_FILE: usize = 40;

/// Packs the state tests of `archive` into blocks, as many as `plan` says (of all cases, or about so many blocks
/// of files that its seed chooses), and runs them on `seats`. Calls `each` with what comes of each. An archive
/// without state tests gives none.
///
/// # Errors
/// If the archive cannot be read, or plain revm cannot be had.
pub fn run_archive(
    archive: &Path,
    plan: &Plan<'_>,
    seats: &mut Seats,
    each: &mut dyn FnMut(&PackedBlock, &Verdict),
) -> Result<Packed, VectorError> {
    let name = archive.display().to_string();
    let packer = Packer::new(plan.seed);
    let packer = packer.map_err(|error| VectorError::invalid(&name, "plain revm", error.to_string()))?;
    let most = match plan.take {
        Take::All => u64::MAX,
        Take::Sample(most) => most as u64,
    };
    let chosen = chosen(archive, plan)?;
    let mut work = Work { packer, seats, plan, each, counts: Packed::default(), most };
    let (mut others, mut any) = (0, false);
    let mut wanted = |path: &str| chosen.as_ref().is_none_or(|chosen| chosen.contains(path));
    archive::visit(archive, &mut wanted, &mut |member| {
        let label: Arc<str> = archive::label(archive, &member.path).into();
        // What cannot be loaded is told where its cases are run.
        let mut cases = load(&label, &member.bytes).unwrap_or_default();
        cases.retain(|case| work.packs(case));
        if chosen.is_some() {
            cases.truncate(MOST_OF_A_FILE);
        }
        any |= !cases.is_empty();
        others += u64::from(cases.is_empty());
        if !any && others >= OTHERS {
            return ControlFlow::Break(());
        }
        cases.iter().try_for_each(|case| work.take(case))
    })?;
    work.end();
    Ok(work.counts)
}

/// The files of a sample; `None` for all. A block takes about a case, and a file has one at least.
fn chosen(archive: &Path, plan: &Plan<'_>) -> Result<Option<BTreeSet<String>>, VectorError> {
    let Take::Sample(most) = plan.take else { return Ok(None) };
    let rank = |path: &str| keccak256([&plan.seed.to_be_bytes(), path.as_bytes()].concat());
    let mut files: Vec<_> = archive::list(archive)?.into_iter().map(|path| (rank(&path), path)).collect();
    files.sort();
    Ok(Some(files.into_iter().take(most).map(|(_, path)| path).collect()))
}

struct Work<'a, 'p> {
    packer: Packer,
    seats: &'a mut Seats,
    plan: &'a Plan<'p>,
    each: &'a mut dyn FnMut(&PackedBlock, &Verdict),
    counts: Packed,
    most: u64,
}

impl Work<'_, '_> {
    fn packs(&self, case: &Case) -> bool {
        let chosen = self.plan.filter.is_none_or(|wanted| wanted(case));
        matches!(case.kind, CaseKind::State(_)) && chosen && skipped(case).is_none()
    }

    fn stopped(&self) -> bool {
        // Relaxed: the flag carries no data; a late look only delays the stop.
        let cancelled = self.plan.cancel.is_some_and(|flag| flag.load(Ordering::Relaxed));
        cancelled || self.counts.blocks >= self.most
    }

    fn take(&mut self, case: &Case) -> ControlFlow<()> {
        let blocks = self.packer.push(case);
        self.run(blocks)
    }

    fn end(&mut self) {
        if !self.stopped() {
            let blocks = self.packer.finish();
            let _ = self.run(blocks);
        }
    }

    fn run(&mut self, blocks: Vec<PackedBlock>) -> ControlFlow<()> {
        for block in blocks {
            if self.stopped() {
                return ControlFlow::Break(());
            }
            let control = Control { cancel: self.plan.cancel, deadline: Some(Instant::now() + DEADLINE) };
            let (verdict, dependent) = run(&block, self.seats, &control);
            if self.stopped() {
                // What was stopped half-way is no verdict.
                return ControlFlow::Break(());
            }
            self.counts.count(&block, dependent, &verdict);
            (self.each)(&block, &verdict);
        }
        ControlFlow::Continue(())
    }
}
