//! Which transactions the block includes: those that are invalid where they stand are left out, the
//! others stay.
//!
//! Engines execute blocks, and a block with an invalid transaction is invalid. So the transactions run in
//! windows, each a block of its own: one that runs to its end is included whole, and the state goes on
//! from there; of one that fails, the transactions before the failing one run once more, to have their
//! state. Every transaction runs at most twice to its end, and a rejection costs the setup of at most one
//! window. Gas and blob gas are those of the whole block, so they are counted here. What is included is
//! then executed as the one block that it is.

use crate::{T8nError, reject, world::World};
use braid_core::{Control, StoreError};
use braid_evm::{BlockInput, ExecutedBlock, Rites};
use braid_profiles::{Engine, ExecError};
use braid_work::Alloc;
use revm::{context::TxEnv, context_interface::Transaction, primitives::hardfork::SpecId};

/// Transactions of the first window after a rejection.
const MIN_WINDOW: usize = 16;

/// Transactions of the largest window.
const MAX_WINDOW: usize = 4096;

/// Places in a list of transactions, of those that are included, and of those that are not, with why.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) included: Vec<usize>,
    pub(crate) rejected: Vec<(usize, String)>,
}

/// Executes `input` on `world`.
pub(crate) fn execute(
    engine: &mut dyn Engine,
    input: &BlockInput,
    world: &World,
    control: &Control<'_>,
) -> Result<ExecutedBlock, ExecError> {
    engine.reset();
    Ok(engine.execute(input, &world.pre, control)?.into_block(&world.pre))
}

/// What a failure other than of a transaction's validity means.
pub(crate) fn fatal(error: ExecError) -> T8nError {
    match error {
        ExecError::Cancelled { .. } | ExecError::Deadline { .. } => T8nError::Interrupted,
        ExecError::Store { error: StoreError::Missing { what: "block hash", item }, .. } => {
            T8nError::MissingBlockHash { number: item }
        }
        other => T8nError::Evm(other.to_string()),
    }
}

/// Finds out which of `txs` the block, which has none itself, includes after `alloc`.
pub(crate) fn select(
    engine: &mut dyn Engine,
    block: &BlockInput,
    txs: &[TxEnv],
    alloc: Alloc,
    control: &Control<'_>,
) -> Result<Selection, T8nError> {
    if block.spec.is_enabled_in(SpecId::AMSTERDAM) {
        return select_by_blocks(engine, block, txs, &World::new(alloc, &block.block_hashes)?, control);
    }
    let mut walk = Walk {
        engine,
        control,
        world: World::new(alloc, &block.block_hashes)?,
        block: block.clone(),
        gas_left: block.env.gas_limit,
        blob_gas_left: block.max_blob_gas,
        selection: Selection::default(),
    };
    walk.block.rites.after = None;
    let (mut at, mut window) = (0, MIN_WINDOW);
    while at < txs.len() {
        let end = txs.len().min(at + window);
        let before = walk.selection.rejected.len();
        at = walk.window(txs, at, end)?;
        window = match walk.selection.rejected.len() > before {
            true => MIN_WINDOW,
            false => MAX_WINDOW.min(window * 4),
        };
    }
    Ok(walk.selection)
}

/// As [`select`], after Osaka, where the gas that the block has left is not what its transactions were not
/// charged (EIP-7778, EIP-8037): leaves out the first invalid transaction and runs the block again, until
/// there is none.
fn select_by_blocks(
    engine: &mut dyn Engine,
    block: &BlockInput,
    txs: &[TxEnv],
    world: &World,
    control: &Control<'_>,
) -> Result<Selection, T8nError> {
    let mut selection = Selection { included: (0..txs.len()).collect(), rejected: Vec::new() };
    let mut block = BlockInput { txs: txs.to_vec(), ..block.clone() };
    loop {
        match execute(engine, &block, world, control) {
            Ok(_) => return Ok(selection),
            Err(ExecError::Invalid { tx, kind, reason }) if tx < block.txs.len() => {
                block.txs.remove(tx);
                let place = selection.included.remove(tx);
                selection.rejected.push((place, reject::say(kind, &reason)));
            }
            Err(error) => return Err(fatal(error)),
        }
    }
}

struct Walk<'a> {
    engine: &'a mut dyn Engine,
    control: &'a Control<'a>,
    world: World,
    /// What remains to be done before the next transaction is in its rites.
    block: BlockInput,
    gas_left: u64,
    blob_gas_left: Option<u64>,
    selection: Selection,
}

impl Walk<'_> {
    /// Goes from `at` as far as `end`, or behind the first rejected transaction; where it came to.
    fn window(&mut self, txs: &[TxEnv], at: usize, end: usize) -> Result<usize, T8nError> {
        match self.run(&txs[at..end])? {
            Ok(block) => self.take(txs, at, block, None),
            Err((offset, reason)) => {
                let rejected = Some((at + offset, reason));
                if offset == 0 {
                    return self.take(txs, at, ExecutedBlock::default(), rejected);
                }
                let block = self.run_valid(&txs[at..at + offset])?;
                self.take(txs, at, block, rejected)
            }
        }
    }

    /// Includes what `block`, the transactions from `at` on, executed, as far as gas and blob gas go;
    /// rejects what they do not go to, or else `rejected`, which is the next one. Where it came to.
    fn take(
        &mut self,
        txs: &[TxEnv],
        at: usize,
        block: ExecutedBlock,
        mut rejected: Option<(usize, String)>,
    ) -> Result<usize, T8nError> {
        let mut block = block;
        let (mut gas_left, mut blob_gas_left) = (self.gas_left, self.blob_gas_left);
        let mut over = None;
        for (index, result) in (at..).zip(&block.results) {
            if let Some(reason) = over_limit(&txs[index], gas_left, blob_gas_left) {
                over = Some((index, reason));
                break;
            }
            gas_left = gas_left.saturating_sub(result.gas_used);
            blob_gas_left = blob_gas_left.map(|left| left.saturating_sub(txs[index].total_blob_gas()));
        }
        if let Some((index, reason)) = over {
            block = match index > at {
                true => self.run_valid(&txs[at..index])?,
                false => ExecutedBlock::default(),
            };
            rejected = Some((index, reason));
        }
        let taken = block.results.len();
        if taken > 0 {
            self.world.fold(&block)?;
            self.block.rites = Rites::default();
            (self.gas_left, self.blob_gas_left) = (gas_left, blob_gas_left);
            self.selection.included.extend(at..at + taken);
        }
        match rejected {
            Some(rejected) => {
                let next = rejected.0 + 1;
                self.selection.rejected.push(rejected);
                Ok(next)
            }
            None => Ok(at + taken),
        }
    }

    /// Runs transactions after what is included so far; on the inside, place and reason of the first
    /// that is invalid.
    fn run(&mut self, txs: &[TxEnv]) -> Result<Result<ExecutedBlock, (usize, String)>, T8nError> {
        self.block.txs.clear();
        self.block.txs.extend_from_slice(txs);
        match execute(self.engine, &self.block, &self.world, self.control) {
            Ok(block) => Ok(Ok(block)),
            Err(ExecError::Invalid { tx, kind, reason }) if tx < txs.len() => {
                Ok(Err((tx, reject::say(kind, &reason))))
            }
            Err(error) => Err(fatal(error)),
        }
    }

    fn run_valid(&mut self, txs: &[TxEnv]) -> Result<ExecutedBlock, T8nError> {
        self.run(txs)?.map_err(|(offset, reason)| {
            T8nError::Evm(format!("transaction {offset} of a valid prefix is invalid: {reason}"))
        })
    }
}

fn over_limit(tx: &TxEnv, gas_left: u64, blob_gas_left: Option<u64>) -> Option<String> {
    if tx.gas_limit > gas_left {
        let words = format!("gas limit {} exceeds the {gas_left} left in the block", tx.gas_limit);
        return Some(reject::say("block_gas_limit", &words));
    }
    let blob_gas = tx.total_blob_gas();
    let left = blob_gas_left.filter(|left| blob_gas > *left)?;
    Some(reject::say(
        "block_blob_gas_limit",
        &format!("blob gas {blob_gas} exceeds the {left} left in the block"),
    ))
}
