//! Receipts before Byzantium: instead of a status they have the root of the state after their transaction (EIP-658
//! replaced it), which no execution of a whole block knows. So each transaction is executed again by itself, one after
//! another, and each state is hashed on the one before it.

use crate::pipeline::{Failure, Passing};
use alloy_consensus::{Eip658Value, Receipt, ReceiptEnvelope};
use alloy_primitives::B256;
use braid_core::Control;
use braid_db::{DataFolder, DbError, Finished, Layer};
use braid_evm::{BlockInput, ExecutedBlock, Rites};
use braid_profiles::{LeanEngine, bench::execute_once};
use braid_rules::{Fork, RuleError, outcome};
use braid_store::{Below, disk::Prepared};
use braid_work::{ChainBlock, PreState};
use std::sync::Arc;

/// Checks the root of the receipts of a block that comes next in the folder, if it is of before Byzantium: later ones
/// are checked with the rest of what a header says.
pub(super) fn check(folder: &DataFolder, block: &ChainBlock, done: &ExecutedBlock) -> Passing<()> {
    let Some((_, consensus)) = block.consensus.as_ref().filter(|(fork, _)| *fork < Fork::Byzantium) else {
        return Ok(());
    };
    let roots = roots(folder, block)?;
    let landed = outcome::landed(consensus.types(), done).into_iter().zip(roots);
    let receipts: Vec<ReceiptEnvelope> = landed
        .map(|(one, root)| {
            let status = Eip658Value::PostState(root);
            let (cumulative_gas_used, logs) = (one.cumulative_gas_used, one.logs);
            ReceiptEnvelope::Legacy(Receipt { status, cumulative_gas_used, logs }.with_bloom())
        })
        .collect();
    let (got, header) = (outcome::receipts_root(&receipts), consensus.header.receipts_root);
    if got == header {
        return Ok(());
    }
    let error = RuleError::ReceiptsRoot { got, header };
    Err(Failure::of(block.number(), error.kind(), error.to_string()))
}

/// The root of the state after each transaction.
fn roots(folder: &DataFolder, block: &ChainBlock) -> Passing<Vec<B256>> {
    let number = block.number();
    let failed = |error: DbError| Failure::of(number, error.kind(), error.to_string());
    let mut roots = Vec::with_capacity(block.input.txs.len());
    let mut state = folder.state(number.saturating_sub(1)).map_err(failed)?;
    let mut last: Option<Prepared> = None;
    for (version, at) in (number..).zip(0..block.input.txs.len()) {
        let input = alone(&block.input, at);
        let mut pre = PreState::over(Arc::new(state.clone()));
        pre.block_hashes.clone_from(&input.block_hashes);
        let done = execute_once(&mut LeanEngine, &input, &pre, &Control::default());
        let (done, _) = done.map_err(|error| Failure::of_execution(number, &error))?;
        let layer = state.reader().and_then(|mut reader| Layer::new(&done, &mut *reader));
        state = state.with(Arc::new(layer.map_err(|error| failed(error.into()))?));
        let batch = Finished { number: version, block: None, done }.batch();
        let prepared = match &last {
            None => folder.store().prepare(version, &batch),
            Some(last) => folder.store().prepare_on(last, version, &batch),
        };
        let prepared = prepared.map_err(|error| failed(error.into()))?;
        roots.push(prepared.root());
        last = Some(prepared);
    }
    Ok(roots)
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
