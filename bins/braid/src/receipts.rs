//! Receipts before Byzantium: instead of a status they have the root of the state after their transaction (EIP-658
//! replaced it), which no execution of a whole block knows. So each transaction is executed again by itself, one after
//! another, and each state is hashed on the one before it.

use crate::pipeline::{Failure, Passing};
use alloy_primitives::B256;
use braid_core::{Control, StoreError};
use braid_db::{Layer, OverState};
use braid_evm::{BlockInput, EvmKey, EvmValue, ExecutedBlock, Rites};
use braid_profiles::{LeanEngine, bench::execute_once};
use braid_rules::{Block, Fork, RuleError, outcome};
use braid_store::Below;
use braid_work::{ChainBlock, PreState};
use std::sync::Arc;

/// A block whose receipts have roots of states. Those of later ones are checked with the rest of what a header says.
fn early(block: &ChainBlock) -> Option<&Block> {
    let (fork, consensus) = block.consensus.as_ref()?;
    (*fork < Fork::Byzantium).then_some(consensus)
}

/// What each transaction of a block of before Byzantium does, on what `before` makes of the state before the block and
/// those before it; nothing for a later block.
pub(crate) fn one_by_one(
    block: &ChainBlock,
    before: impl FnOnce() -> Passing<Arc<dyn Below<EvmKey, EvmValue>>>,
    control: &Control<'_>,
) -> Passing<Vec<ExecutedBlock>> {
    let (number, txs) = (block.number(), block.input.txs.len());
    if early(block).is_none() || txs == 0 {
        return Ok(Vec::new());
    }
    let failed = |error: StoreError| Failure::local(number, "state", error.to_string());
    let (mut state, mut all) = (OverState::new(before()?), Vec::with_capacity(txs));
    for at in 0..txs {
        let input = alone(&block.input, at);
        let mut pre = PreState::over(Arc::new(state.clone()));
        pre.block_hashes.clone_from(&input.block_hashes);
        let done = execute_once(&mut LeanEngine, &input, &pre, control);
        let (done, _) = done.map_err(|error| Failure::of_execution(number, &error))?;
        let layer = state.reader().and_then(|mut reader| Layer::new(&done, &mut *reader));
        state = state.with(Arc::new(layer.map_err(failed)?));
        all.push(done);
    }
    Ok(all)
}

/// Checks the root of the receipts of a block, if it is of before Byzantium, by the roots of the states after its
/// transactions.
pub(crate) fn check(
    block: &ChainBlock,
    done: &ExecutedBlock,
    roots: impl IntoIterator<Item = B256>,
) -> Passing<()> {
    let Some(consensus) = early(block) else { return Ok(()) };
    let receipts = outcome::early_receipts(outcome::landed(consensus.types(), done), roots);
    let (got, header) = (outcome::receipts_root(&receipts), consensus.header.receipts_root);
    if got == header {
        return Ok(());
    }
    let error = RuleError::ReceiptsRoot { got, header };
    Err(Failure::of(block.number(), error.kind(), error.to_string()))
}

/// One transaction as a block of its own: what comes before the first one goes with it, and nothing comes after.
fn alone(input: &BlockInput, at: usize) -> BlockInput {
    let rites = match at {
        0 => Rites { after: None, ..input.rites.clone() },
        _ => Rites::default(),
    };
    let txs = input.txs.get(at).cloned().into_iter().collect();
    let hashes = input.block_hashes.clone();
    let mut one = BlockInput::new(input.chain_id, input.spec, input.env.clone(), txs);
    (one.block_hashes, one.max_blob_gas, one.rites, one.rules) =
        (hashes, input.max_blob_gas, rites, input.rules);
    one
}
