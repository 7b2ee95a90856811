//! How reth, or whoever executes blocks through alloy-evm's traits, executes them in parallel: one factory in
//! the place of another, and one call that announces the block.
//!
//! `cargo run -p braid-alloy --example reth` executes a generated block both ways and compares.
//!
//! `cargo run --release -p braid-alloy --example reth -- PATH...` executes real blocks of mainnet, and times
//! them: plain revm (`lean`), alloy-evm's executor, and the parallel one, in interleaved rounds. `THREADS`
//! (2) and `ROUNDS` (21) are taken from the environment.
#![allow(unreachable_pub, reason = "a test runs this file as a module")]

use alloy_consensus::{
    ReceiptEnvelope, Signed, TxEip4844Variant, TxEnvelope, TxLegacy, transaction::Recovered,
};
use alloy_evm::{
    EthEvmFactory, Evm, EvmEnv, EvmFactory,
    block::{BlockExecutionError, BlockExecutionResult, BlockExecutor, BlockExecutorFactory},
    eth::{
        EthBlockExecutionCtx, EthBlockExecutorFactory, receipt_builder::AlloyReceiptBuilder, spec::EthSpec,
    },
};
use alloy_primitives::{B256, Signature, U256};
use braid_alloy::{BlockAhead, ParallelExecutorFactory};
use braid_core::Control;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_profiles::{
    Engine, ExecError, Executed,
    bench::{Rounds, measure},
    profile,
    stats::{geometric_mean, median, paired_speedup},
};
use braid_work::{Case, PreState};
use revm::{
    context::{CfgEnv, TxEnv, result::HaltReason},
    database::{BundleState, State, WrapDatabaseRef, states::bundle_state::BundleRetention},
    primitives::hardfork::SpecId,
};
use std::{path::Path, process::ExitCode, sync::Arc};

type Error = Box<dyn std::error::Error>;
/// The factory that executes ahead.
pub type Parallel = ParallelExecutorFactory<AlloyReceiptBuilder, EthSpec>;
type Db = State<WrapDatabaseRef<Arc<PreState>>>;

/// A block as a node has it before it is executed.
pub struct NodeBlock {
    name: String,
    env: EvmEnv,
    parent_hash: B256,
    parent_beacon_root: Option<B256>,
    /// Decoded and recovered, with what the EVM takes of each.
    txs: Vec<(TxEnv, Recovered<TxEnvelope>)>,
    /// The parent's state. In reth, whatever opens a state provider at the parent's hash.
    parent_state: Arc<PreState>,
}

impl NodeBlock {
    /// How many transactions it has.
    pub fn size(&self) -> usize {
        self.txs.len()
    }

    fn ctx(&self) -> EthBlockExecutionCtx<'_> {
        EthBlockExecutionCtx {
            parent_hash: self.parent_hash,
            parent_beacon_block_root: self.parent_beacon_root,
            ommers: &[],
            withdrawals: None,
            extra_data: Default::default(),
            tx_count_hint: Some(self.txs.len()),
            slot_number: None,
        }
    }

    /// What is announced, as soon as the payload is there.
    fn ahead(&self) -> BlockAhead<Arc<PreState>> {
        let txs = self.txs.iter().map(|(env, _)| env.clone()).collect();
        BlockAhead::new(
            self.env.clone(),
            self.parent_hash,
            self.parent_beacon_root,
            txs,
            self.parent_state.clone(),
        )
    }
}

type Done = (BlockExecutionResult<ReceiptEnvelope>, Db);

/// What a node does with a block. Nothing in here knows which factory it is.
fn execute<F>(factory: &F, block: &NodeBlock) -> Result<Done, BlockExecutionError>
where
    F: for<'a> BlockExecutorFactory<
            EvmFactory = EthEvmFactory,
            ExecutionCtx<'a> = EthBlockExecutionCtx<'a>,
            Transaction = TxEnvelope,
            Receipt = ReceiptEnvelope,
        >,
{
    let database = WrapDatabaseRef(block.parent_state.clone());
    let mut db = State::builder().with_database(database).with_bundle_update().build();
    let evm = factory.evm_factory().create_evm(&mut db, block.env.clone());
    let executor = factory.create_executor(evm, block.ctx());
    let result = each(executor, &block.txs)?;
    Ok((result, db))
}

fn each<X>(
    mut executor: X,
    txs: &[(TxEnv, Recovered<TxEnvelope>)],
) -> Result<BlockExecutionResult<X::Receipt>, BlockExecutionError>
where
    X: BlockExecutor<Transaction = TxEnvelope, Evm: Evm<Tx = TxEnv, HaltReason = HaltReason>>,
{
    executor.apply_pre_execution_changes()?;
    for (env, tx) in txs {
        executor.execute_transaction((env.clone(), tx))?;
    }
    executor.apply_post_execution_changes()
}

/// What the block changes, in the form in which reth stores it.
fn bundle(mut db: Db) -> BundleState {
    db.merge_transitions(BundleRetention::Reverts);
    let mut bundle = db.take_bundle();
    bundle.reverts.sort();
    bundle
}

fn serial() -> EthBlockExecutorFactory<AlloyReceiptBuilder, EthSpec> {
    EthBlockExecutorFactory::new(AlloyReceiptBuilder::default(), EthSpec::mainnet(), EthEvmFactory::default())
}

/// The factory, for mainnet.
pub fn parallel(threads: u16) -> Parallel {
    ParallelExecutorFactory::new(AlloyReceiptBuilder::default(), EthSpec::mainnet(), threads)
}

/// Executes a block both ways and compares all that comes out. Says how many transactions were taken from
/// what was executed ahead.
pub fn compare(factory: &Parallel, block: &NodeBlock) -> Result<u64, Error> {
    let before = factory.counts().used;
    factory.speculate(block.ahead())?;
    let (result, db) = execute(factory, block)?;
    let (expected, expected_db) = execute(&serial(), block)?;
    if result != expected || bundle(db) != bundle(expected_db) {
        return Err(format!("{}: not what alloy-evm's own executor gives", block.name).into());
    }
    Ok(factory.counts().used - before)
}

/// A generated block, put at a place of mainnet's history whose rules it can live with.
pub fn generated(workload: &str) -> Result<NodeBlock, Error> {
    let case = workload.parse::<braid_work::Workload>()?.generate()?;
    let mut block = node_block(&case, |tx| {
        let legacy = TxLegacy { gas_limit: tx.gas_limit, ..TxLegacy::default() };
        Signed::new_unchecked(legacy, Signature::test_signature(), B256::with_last_byte(1)).into()
    })?;
    block.env.cfg_env = CfgEnv::new_with_spec(SpecId::CANCUN).with_chain_id(1);
    block.env.block_env.number = U256::from(20_200_000);
    block.env.block_env.timestamp = U256::from(1_720_000_000);
    block.parent_beacon_root = Some(B256::repeat_byte(4));
    Ok(block)
}

/// A real block, if it comes with signatures, and of a fork that is executed ahead.
fn real(case: &Case) -> Option<NodeBlock> {
    let (header, raw) = (case.header.as_ref()?, case.raw.as_ref()?);
    let mut signed = raw.txs.iter();
    let mut block = node_block(case, |_| {
        let tx = signed.next().expect("one for each").clone();
        tx.map_eip4844(TxEip4844Variant::TxEip4844)
    })
    .ok()?;
    block.parent_hash = header.parent_hash;
    block.parent_beacon_root = header.parent_beacon_block_root;
    let (from, to) = (SpecId::SPURIOUS_DRAGON, SpecId::AMSTERDAM);
    (case.input.spec.is_enabled_in(from) && !case.input.spec.is_enabled_in(to)).then_some(block)
}

fn node_block(case: &Case, mut envelope: impl FnMut(&TxEnv) -> TxEnvelope) -> Result<NodeBlock, Error> {
    let input = &case.input;
    let mut pair = |tx: &TxEnv| (tx.clone(), Recovered::new_unchecked(envelope(tx), tx.caller));
    Ok(NodeBlock {
        name: case.name.clone(),
        env: EvmEnv::new(CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id), input.env.clone()),
        parent_hash: B256::repeat_byte(3),
        parent_beacon_root: None,
        txs: input.txs.iter().map(&mut pair).collect(),
        parent_state: case.state()?.clone(),
    })
}

/// Tells a factory of a block.
type Announce<F> = fn(&F, BlockAhead<Arc<PreState>>);

/// What is put into interleaved rounds: an execution of this block through a factory.
struct Through<'a, F> {
    block: &'a NodeBlock,
    factory: &'a F,
    /// Made off the clock: the transactions of a payload are decoded before they are executed, either way.
    ahead: Option<BlockAhead<Arc<PreState>>>,
    /// How it is announced, if at all.
    announce: Option<Announce<F>>,
}

struct Nothing(#[allow(dead_code, reason = "dropped on the clock")] Done);

impl Executed for Nothing {
    fn into_block(self: Box<Self>, _: &PreState) -> ExecutedBlock {
        ExecutedBlock::default()
    }
}

impl<F> Engine for Through<'_, F>
where
    F: for<'a> BlockExecutorFactory<
            EvmFactory = EthEvmFactory,
            ExecutionCtx<'a> = EthBlockExecutionCtx<'a>,
            Transaction = TxEnvelope,
            Receipt = ReceiptEnvelope,
        > + Sync,
{
    fn execute(
        &mut self,
        _: &BlockInput,
        _: &PreState,
        _: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        if let (Some(ahead), Some(announce)) = (self.ahead.take(), self.announce) {
            announce(self.factory, ahead);
        }
        let done = execute(self.factory, self.block);
        let reason = |error: BlockExecutionError| error.to_string();
        let done = done.map_err(|error| ExecError::SystemCall { name: "block", reason: reason(error) })?;
        Ok(Box::new(Nothing(done)))
    }

    fn reset(&mut self) {
        self.ahead = self.announce.map(|_| self.block.ahead());
    }
}

fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn timed(paths: &[String]) -> Result<(), Error> {
    let (threads, rounds) = (number("THREADS", 2), number("ROUNDS", 21));
    let (plain, factory) = (serial(), parallel(threads));
    println!("times as fast as lean, {threads} threads ahead, {rounds} rounds");
    println!(
        "{:>9} {:>6} {:>9} {:>8} {:>9} {:>7} {:>15}",
        "block", "Mgas", "lean us", "again", "alloy-evm", "braid", "95%"
    );
    let (mut all, mut noise) = (Vec::new(), Vec::new());
    for path in paths {
        for source in braid_work::load(Path::new(path))? {
            let case = source.load()?;
            let Some(block) = real(&case) else { continue };
            compare(&factory, &block)?;
            let mut lean = (profile("lean")?.build)(1)?;
            let mut alloy = Through { block: &block, factory: &plain, ahead: None, announce: None };
            let announce = |factory: &Parallel, ahead| factory.speculate(ahead).unwrap_or_default();
            let announce = Some(announce as Announce<Parallel>);
            let mut braid = Through { block: &block, factory: &factory, ahead: None, announce };
            let mut engines: [&mut dyn Engine; 3] = [&mut *lean, &mut alloy, &mut braid];
            let done = measure(
                &mut engines,
                0,
                &case.input,
                &block.parent_state,
                Rounds::Exactly(rounds),
                &Control::default(),
                &mut |_| (),
            );
            let done = done.map_err(|(engine, error)| format!("{}: {engine}: {error}", block.name))?;
            let lean = done.reference.elapsed();
            let ratio = |other: Vec<f64>| paired_speedup(&lean, &other, 1).ok_or("no samples");
            let (again, alloy) = (ratio(done.again.elapsed())?, ratio(done.contestants[1].elapsed())?);
            let braid = ratio(done.contestants[2].elapsed())?;
            println!(
                "{:>9} {:>6.1} {:>9.0} {:>8.3} {:>9.3} {:>7.3} {:>7.3} {:>7.3}",
                block.name,
                case.header.as_ref().map_or(0.0, |header| header.gas_used as f64 / 1e6),
                median(&lean).unwrap_or_default() / 1e3,
                again.value,
                alloy.value,
                braid.value,
                braid.low,
                braid.high,
            );
            if case.header.as_ref().is_some_and(|header| header.gas_used >= 4_000_000) {
                all.push(braid.value);
                noise.push(again.value);
            }
        }
    }
    let counts = factory.counts();
    let share = counts.used as f64 / (counts.used + counts.discarded + counts.serial).max(1) as f64;
    println!(
        "{} blocks of at least 4 Mgas: {:.3} in the geometric mean (lean against itself: {:.3}); {:.1} % of \
         the transactions of all blocks were taken from what was executed ahead",
        all.len(),
        geometric_mean(&all).unwrap_or_default(),
        geometric_mean(&noise).unwrap_or_default(),
        share * 100.0,
    );
    Ok(())
}

fn run(paths: &[String]) -> Result<(), Error> {
    if !paths.is_empty() {
        return timed(paths);
    }
    let block = generated("erc20?txs=2000")?;
    let used = compare(&parallel(number("THREADS", 2)), &block)?;
    println!("{}: {} transactions, {used} of them executed ahead; all the same", block.name, block.txs.len());
    Ok(())
}

fn main() -> ExitCode {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    match run(&paths) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
