//! From inputs to a transition.

use crate::{
    InputTx, Inputs, LogEntry, ReceiptEntry, Rejected, ResultDocument, Rules, T8nError, Tracing,
    include::{execute, fatal, select},
    prepare::Prepared,
    reject,
    result::BLOCK_HASH,
    trace::count,
    world::World,
};
use alloy_consensus::{ReceiptEnvelope, Transaction, TxReceipt, Typed2718};
use alloy_eips::eip4895;
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U64, U256, keccak256};
use braid_core::{Control, Stats};
use braid_evm::{BlockInput, ExecutedBlock, Rites, Status};
use braid_profiles::{Engine, ExecError};
use braid_rules::{Fork, body, input::tx_env, outcome};
use braid_work::{Alloc, SignedTx};
use revm::context::TxEnv;
use std::collections::BTreeMap;

/// What came of a transition.
#[derive(Clone, Debug)]
pub struct Transition {
    /// State after.
    pub alloc: Alloc,
    /// The result document.
    pub result: ResultDocument,
    /// RLP of the included transactions, as a block's body lists them.
    pub body: Bytes,
    /// Traces of the included transactions, if asked for: file name, and one JSON object a line.
    pub traces: Vec<(String, Vec<u8>)>,
    /// How often each instruction ran in the included transactions, if asked for.
    pub opcodes: Option<BTreeMap<String, u64>>,
    /// What the block cost the engine.
    pub stats: Stats,
}

/// A transaction that may be included.
struct Candidate {
    /// Place in the input.
    index: usize,
    tx: SignedTx,
    env: TxEnv,
}

/// Runs the transition: the block of those transactions of `inputs` that are valid where they stand, by
/// `engine`. Signatures are made and recovered by up to `threads` threads.
///
/// # Errors
/// If the rules or the environment are not usable, a transaction cannot be signed, or the block cannot be
/// executed.
pub fn transition(
    inputs: Inputs,
    rules: &Rules,
    tracing: Tracing,
    engine: &mut dyn Engine,
    threads: usize,
    control: &Control<'_>,
) -> Result<Transition, T8nError> {
    let Inputs { alloc, env, txs } = inputs;
    let prepared = Prepared::new(&env, rules)?;
    let (mut candidates, mut rejected) = sort(txs.0, &prepared, rules.chain_id, threads)?;
    let mut world = World::new(alloc, &prepared.block.block_hashes)?;
    let mut block = prepared.block.clone();
    block.txs = candidates.iter().map(|candidate| candidate.env.clone()).collect();
    let done = match execute(engine, &block, &world, control) {
        Ok(done) => done,
        Err(ExecError::Invalid { tx, .. }) if tx < candidates.len() => {
            let alloc = world.alloc.clone();
            let selection = select(engine, &prepared.block, &block.txs, alloc, control)?;
            let place = |(at, error): (usize, String)| Rejected { index: candidates[at].index, error };
            rejected.extend(selection.rejected.into_iter().map(place));
            let mut included = selection.included.into_iter().peekable();
            let mut at = 0..;
            candidates.retain(|_| included.next_if_eq(&at.next().unwrap_or_default()).is_some());
            block.txs = candidates.iter().map(|candidate| candidate.env.clone()).collect();
            execute(engine, &block, &world, control).map_err(fatal)?
        }
        Err(error) => return Err(fatal(error)),
    };
    rejected.sort_by_key(|one| one.index);
    let roots = match prepared.fork < Fork::Byzantium {
        true => roots_between(engine, &block, &world, control)?,
        false => Vec::new(),
    };
    let traced = tracing.run(engine, &block, &world, &done, control)?;
    world.fold(&done)?;
    if roots.len() > done.results.len() && roots.last() != Some(&world.root()) {
        return Err(T8nError::Evm("the transactions one by one end in another state".into()));
    }
    let withdrawals = env.withdrawals.as_ref().map(|list| {
        let one = |one: &crate::Withdrawal| eip4895::Withdrawal {
            index: one.index,
            validator_index: one.validator_index,
            address: one.address,
            amount: one.amount,
        };
        outcome::withdrawals_root(&list.iter().map(one).collect::<Vec<_>>())
    });
    let txs: Vec<SignedTx> = candidates.iter().map(|candidate| candidate.tx.clone()).collect();
    let result = document(&prepared, &candidates, &done, &roots, rejected, withdrawals, &mut world);
    let mut body = Vec::new();
    alloy_rlp::encode_list(&txs, &mut body);
    let opcodes =
        tracing.opcodes.then(|| traced.iter().fold(BTreeMap::new(), |counts, trace| count(counts, trace)));
    let name = |(at, tx): (usize, &SignedTx)| format!("trace-{at}-{}.jsonl", tx.tx_hash());
    let names = txs.iter().enumerate().map(name).filter(|_| tracing.steps.is_some());
    let traces = names.zip(traced).collect();
    Ok(Transition { alloc: world.alloc, result, body: body.into(), traces, opcodes, stats: done.stats })
}

/// Signs, recovers senders, and sorts out what no state could make valid.
fn sort(
    txs: Vec<InputTx>,
    prepared: &Prepared,
    chain_id: u64,
    threads: usize,
) -> Result<(Vec<Candidate>, Vec<Rejected>), T8nError> {
    let one = |(index, tx): &(usize, InputTx)| -> Result<Result<(SignedTx, Address), String>, T8nError> {
        let tx = match tx {
            InputTx::Signed(tx) => (**tx).clone(),
            InputTx::Unsigned(unsigned) => unsigned
                .sign(chain_id)
                .map_err(|reason| T8nError::json("txs", format!("[{index}]"), reason))?,
            InputTx::Rejected(reason) => return Ok(Err(reason.clone())),
        };
        if tx.is_eip4844() && prepared.excess_blob_gas.is_none() && prepared.fork >= Fork::Cancun {
            return Ok(Err(reject::NO_BLOB_PRICE.to_owned()));
        }
        // EIP-155 begins with Spurious Dragon; before, its `v` is no signature's.
        let early = prepared.fork < Fork::SpuriousDragon && tx.is_legacy() && tx.chain_id().is_some();
        match body::sender(prepared.fork, *index, &tx) {
            Ok(sender) if !early => Ok(Ok((tx, sender))),
            _ => Ok(Err(reject::INVALID_SIGNATURE.to_owned())),
        }
    };
    let txs: Vec<(usize, InputTx)> = txs.into_iter().enumerate().collect();
    let chunk = txs.len().div_ceil(threads.max(1)).max(1);
    let sorted = std::thread::scope(|scope| {
        let all = |txs: &[(usize, InputTx)]| txs.iter().map(one).collect::<Vec<_>>();
        let mut chunks = txs.chunks(chunk);
        let first = chunks.next().unwrap_or_default();
        let others: Vec<_> = chunks.map(|txs| scope.spawn(move || all(txs))).collect();
        let mut sorted = all(first);
        for other in others {
            match other.join() {
                Ok(more) => sorted.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sorted
    });
    let (mut candidates, mut rejected) = (Vec::new(), Vec::new());
    for (index, sorted) in sorted.into_iter().enumerate() {
        match sorted? {
            Ok((tx, sender)) => candidates.push(Candidate { index, env: tx_env(&tx, sender), tx }),
            Err(error) => rejected.push(Rejected { index, error }),
        }
    }
    Ok((candidates, rejected))
}

/// State roots after each transaction, which receipts before Byzantium hold, and after the block. The
/// block runs once more for them, each transaction as a block of its own.
fn roots_between(
    engine: &mut dyn Engine,
    block: &BlockInput,
    world: &World,
    control: &Control<'_>,
) -> Result<Vec<B256>, T8nError> {
    let mut world = world.clone();
    let mut roots = Vec::with_capacity(block.txs.len() + 1);
    let mut one = BlockInput { txs: Vec::new(), ..block.clone() };
    one.rites.after = None;
    for tx in &block.txs {
        one.txs = vec![tx.clone()];
        let done = execute(engine, &one, &world, control).map_err(fatal)?;
        world.fold(&done)?;
        roots.push(world.root());
        one.rites = Rites::default();
    }
    one.txs.clear();
    one.rites.after = block.rites.after.clone();
    let done = execute(engine, &one, &world, control).map_err(fatal)?;
    world.fold(&done)?;
    roots.push(world.root());
    Ok(roots)
}

fn document(
    prepared: &Prepared,
    candidates: &[Candidate],
    done: &ExecutedBlock,
    roots: &[B256],
    rejected: Vec<Rejected>,
    withdrawals_root: Option<B256>,
    world: &mut World,
) -> ResultDocument {
    let landed = outcome::landed(candidates.iter().map(|one| one.tx.ty()), done);
    let envelopes = match prepared.fork < Fork::Byzantium {
        true => outcome::early_receipts(landed, roots.iter().copied()),
        false => outcome::receipts(landed),
    };
    let txs: Vec<&SignedTx> = candidates.iter().map(|one| &one.tx).collect();
    let logs: Vec<&Log> = done.results.iter().flat_map(|result| &result.logs).collect();
    let mut logs_rlp = Vec::new();
    alloy_rlp::encode_list::<&Log, Log>(&logs, &mut logs_rlp);
    let blob_gas: u64 = candidates.iter().filter_map(|one| one.tx.blob_gas_used()).sum();
    let requests = (prepared.fork >= Fork::Prague).then(|| done.requests.clone());
    ResultDocument {
        state_root: world.root(),
        tx_root: outcome::encoded_root(&txs),
        receipts_root: outcome::receipts_root(&envelopes),
        logs_hash: keccak256(&logs_rlp),
        logs_bloom: outcome::logs_bloom(&envelopes),
        receipts: entries(prepared, candidates, done, &envelopes, roots),
        rejected,
        current_difficulty: prepared.difficulty,
        gas_used: U64::from(done.gas_used),
        current_base_fee: prepared.base_fee.map(U64::from),
        withdrawals_root,
        current_excess_blob_gas: prepared.excess_blob_gas.map(U64::from),
        blob_gas_used: prepared.excess_blob_gas.map(|_| U64::from(blob_gas)),
        requests_hash: requests.as_deref().map(outcome::requests_hash),
        requests,
    }
}

fn entries(
    prepared: &Prepared,
    candidates: &[Candidate],
    done: &ExecutedBlock,
    envelopes: &[ReceiptEnvelope],
    roots: &[B256],
) -> Vec<ReceiptEntry> {
    let env = &prepared.block.env;
    let (block_number, block_timestamp) = (env.number.saturating_to(), env.timestamp.saturating_to());
    let mut log_index = 0u64;
    let mut entries = Vec::with_capacity(candidates.len());
    for (at, (one, result)) in candidates.iter().zip(&done.results).enumerate() {
        let (transaction_index, transaction_hash) = (U64::from(at), *one.tx.tx_hash());
        let entry = |log: &Log| {
            log_index += 1;
            LogEntry {
                address: log.address,
                topics: log.topics().to_vec(),
                data: log.data.data.clone(),
                block_number,
                transaction_hash,
                transaction_index,
                block_hash: BLOCK_HASH,
                block_timestamp,
                log_index: U64::from(log_index - 1),
                removed: false,
            }
        };
        let contract_address = match one.env.kind {
            TxKind::Create => one.env.caller.create(one.env.nonce),
            TxKind::Call(_) => Address::ZERO,
        };
        let blob_gas = one.tx.blob_gas_used();
        entries.push(ReceiptEntry {
            ty: U64::from(one.tx.ty()),
            root: roots.get(at).map_or_else(Bytes::new, |root| root.0.into()),
            status: U64::from(u8::from(result.status == Status::Success)),
            cumulative_gas_used: U64::from(envelopes[at].cumulative_gas_used()),
            logs_bloom: envelopes[at].bloom(),
            logs: result.logs.iter().map(entry).collect(),
            transaction_hash,
            contract_address,
            gas_used: U64::from(result.gas_used),
            effective_gas_price: None,
            blob_gas_used: U64::from(blob_gas.unwrap_or_default()),
            blob_gas_price: blob_gas.and(prepared.blob_price).map(U256::from),
            block_hash: BLOCK_HASH,
            block_number,
            transaction_index,
        });
    }
    entries
}
