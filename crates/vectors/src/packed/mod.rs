//! Packed blocks: blocks of many transactions, built out of state tests.
//!
//! Official cases hold one or two transactions, so they say little about parallelism. Here the transactions
//! of many cases go into one block: all choices of one test, and tests under the same rules, several times
//! each, in shuffled order, with shared senders and shared targets. What must come of such a block no vector
//! says; every engine must do with it what plain revm does.
//!
//! What a block is made of follows from the seed, its number, and the cases before it, so the same cases
//! in the same order give the same blocks.

mod archive;
mod build;
mod pool;

pub use archive::run_archive;
pub use pool::{Packer, blocks};

use crate::{Failure, Outcome, Ran, Seats, VectorError, Verdict, compare::difference};
use braid_core::Control;
use braid_evm::BlockInput;
use braid_profiles::{
    ExecError,
    limit::{Dependencies, Nonces, trace},
};
use braid_work::PreState;
use std::{collections::BTreeSet, sync::Arc};

/// A block made out of state tests.
#[derive(Debug)]
pub struct PackedBlock {
    /// The seed of all.
    pub seed: u64,
    /// Counts the blocks of this seed.
    pub number: u64,
    /// Files of the cases that it is made of.
    pub files: BTreeSet<Arc<str>>,
    /// The block.
    pub input: BlockInput,
    /// The state before it.
    pub pre: PreState,
    /// What plain revm makes of it: its result, or the error of the first transaction that it refuses.
    pub expected: Ran,
}

impl PackedBlock {
    /// Name in messages: what repeats it.
    pub fn name(&self) -> String {
        format!("packed block {} of seed {}", self.number, self.seed)
    }

    /// How many of its transactions need an earlier one: they load a slot that it changed, touch code that it
    /// changed, observe a balance that it changed (fees that nobody looks at do not count), or use a nonce that
    /// it changed other than by sending. That one sender's transactions follow one another does not count.
    ///
    /// # Errors
    /// If plain revm cannot be traced on it.
    pub fn dependent(&self) -> Result<u64, VectorError> {
        let mut input = self.input.clone();
        if let Err(ExecError::Invalid { tx, .. }) = self.expected {
            input.txs.truncate(tx);
        }
        let traced = trace(&input, &self.pre)
            .map_err(|error| VectorError::invalid(&self.name(), "trace", error.to_string()))?;
        let needs = Dependencies::new(&traced, Nonces::Predicted);
        Ok(needs.on.iter().filter(|needed| !needed.is_empty()).count() as u64)
    }
}

/// Counts of packed blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Blocks that ran.
    pub blocks: u64,
    /// Their transactions, up to one that must be refused.
    pub transactions: u64,
    /// Transactions that need an earlier one (see [`PackedBlock::dependent`]).
    pub dependent: u64,
    /// Blocks with a transaction that must be refused.
    pub refused: u64,
    /// Blocks on which an engine was not as plain revm.
    pub failed: u64,
}

impl Packed {
    /// Counts one block more.
    pub fn count(&mut self, block: &PackedBlock, dependent: u64, verdict: &Verdict) {
        self.blocks += 1;
        // Those after a refused one are run for nothing.
        let ran = match &block.expected {
            Err(ExecError::Invalid { tx, .. }) => *tx,
            _ => block.input.txs.len(),
        };
        self.transactions += ran as u64;
        self.dependent += dependent;
        self.refused += u64::from(block.expected.is_err());
        self.failed += u64::from(verdict.outcome == Outcome::Failed);
    }

    /// Adds counts of other blocks.
    pub fn add(&mut self, other: &Packed) {
        self.blocks += other.blocks;
        self.transactions += other.transactions;
        self.dependent += other.dependent;
        self.refused += other.refused;
        self.failed += other.failed;
    }

    /// How many of one hundred transactions need an earlier one.
    pub fn dependent_percent(&self) -> f64 {
        if self.transactions == 0 { 0.0 } else { self.dependent as f64 * 100.0 / self.transactions as f64 }
    }
}

/// Runs a block on all seats, its number shuffling their schedules where the build can, and holds each
/// against plain revm. Also tells how many of its transactions need an earlier one.
pub fn run(block: &PackedBlock, seats: &mut Seats, control: &Control<'_>) -> (Verdict, u64) {
    seats.shuffle(block.seed.wrapping_add(block.number));
    let results = seats.execute(&block.input, &block.pre, control);
    let mut verdict = Verdict { executions: results.len() as u64, ..Verdict::checked(Ok(())) };
    let parallel: Vec<bool> = seats.parallel().collect();
    for (seat, (profile, threads)) in seats.names().enumerate() {
        let Some(differs) = difference(&results[seat], &block.expected) else { continue };
        let reason = format!("{}: not what lean does: {differs}", block.name());
        verdict.failures.push(Failure { profile, threads, reason });
        verdict.diverged |= parallel[seat];
    }
    let dependent = block.dependent().unwrap_or_else(|error| {
        verdict.failures.push(Failure { profile: "", threads: 0, reason: error.to_string() });
        0
    });
    if !verdict.failures.is_empty() {
        verdict.outcome = Outcome::Failed;
    }
    (verdict, dependent)
}
