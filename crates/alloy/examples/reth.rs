//! How reth, or whoever executes blocks through alloy-evm's traits, executes them in parallel: one factory in
//! the place of another, and one call that announces the block.
//!
//! `cargo run -p braid-alloy --example reth` executes a generated block both ways and compares.
//!
//! `cargo run --release -p braid-alloy --example reth -- PATH...` executes real blocks of mainnet, and times
//! them in interleaved rounds: plain revm (`lean`), alloy-evm's executor, and the parallel one, which commits
//! transaction by transaction (`1 by 1`) or keeps changes back and commits them merged (`deferred`). On the
//! clock is all from the announcement of the block to its receipts, requests and state (`State` with
//! transitions, not yet merged into a bundle), and the drop of all of it; `lean` has no receipts to make, and
//! its state is a `CacheDB`. What the EVM takes of each transaction is made off the clock. `THREADS` (2) and
//! `ROUNDS` (21) are taken from the environment.
#![allow(unreachable_pub, reason = "a test runs this file as a module")]

use alloy_consensus::{
    EthereumReceipt, Signed, TxEip4844Variant, TxEnvelope, TxLegacy, TxType, transaction::Recovered,
};
use alloy_evm::{
    EthEvmFactory, Evm, EvmEnv, EvmFactory,
    block::{BlockExecutionError, BlockExecutionResult, BlockExecutor, BlockExecutorFactory},
    eth::{
        EthBlockExecutionCtx, EthBlockExecutorFactory,
        receipt_builder::{ReceiptBuilder, ReceiptBuilderCtx},
        spec::EthSpec,
    },
};
use alloy_primitives::{B256, Signature, U256};
use braid_alloy::{BlockAhead, ParallelExecutorFactory};
use braid_core::Control;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_profiles::{
    Engine, ExecError, Executed,
    bench::{Rounds, Series, measure},
    profile,
    stats::{Estimate, geometric_mean, median, paired_speedup},
};
use braid_work::{Case, PreState};
use revm::{
    context::{CfgEnv, TxEnv, result::HaltReason},
    database::{BundleState, State, WrapDatabaseRef, states::bundle_state::BundleRetention},
    primitives::hardfork::SpecId,
};
use std::{path::Path, process::ExitCode, sync::Arc};

/// That of the `braid` program, as a node has its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error>;
/// The factory that executes ahead.
pub type Parallel = ParallelExecutorFactory<Receipts, EthSpec>;
type Db = State<WrapDatabaseRef<Arc<PreState>>>;

/// Makes receipts as reth does: their blooms are not its affair.
#[derive(Clone, Copy, Debug)]
pub struct Receipts;

impl ReceiptBuilder for Receipts {
    type Transaction = TxEnvelope;
    type Receipt = EthereumReceipt;

    fn build_receipt<E: Evm>(&self, ctx: ReceiptBuilderCtx<'_, TxType, E>) -> EthereumReceipt {
        EthereumReceipt {
            tx_type: ctx.tx_type,
            success: ctx.result.is_success(),
            cumulative_gas_used: ctx.cumulative_gas_used,
            logs: ctx.result.into_logs(),
        }
    }
}

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

    /// What the EVM takes of each transaction.
    fn envs(&self) -> Vec<TxEnv> {
        self.txs.iter().map(|(env, _)| env.clone()).collect()
    }

    /// What is announced, as soon as the payload is there.
    fn ahead(&self) -> BlockAhead<Arc<PreState>> {
        let state = self.parent_state.clone();
        BlockAhead::new(self.env.clone(), self.parent_hash, self.parent_beacon_root, self.envs(), state)
    }
}

type Done = (BlockExecutionResult<EthereumReceipt>, Db);

/// What a node does with a block. Nothing in here knows which factory it is.
fn execute<F>(factory: &F, block: &NodeBlock, envs: Vec<TxEnv>) -> Result<Done, BlockExecutionError>
where
    F: for<'a> BlockExecutorFactory<
            EvmFactory = EthEvmFactory,
            ExecutionCtx<'a> = EthBlockExecutionCtx<'a>,
            Transaction = TxEnvelope,
            Receipt = EthereumReceipt,
        >,
{
    let database = WrapDatabaseRef(block.parent_state.clone());
    let mut db = State::builder().with_database(database).with_bundle_update().build();
    let evm = factory.evm_factory().create_evm(&mut db, block.env.clone());
    let executor = factory.create_executor(evm, block.ctx());
    let result = each(executor, envs.into_iter().zip(block.txs.iter().map(|(_, tx)| tx)))?;
    Ok((result, db))
}

fn each<'t, X>(
    mut executor: X,
    txs: impl Iterator<Item = (TxEnv, &'t Recovered<TxEnvelope>)>,
) -> Result<BlockExecutionResult<X::Receipt>, BlockExecutionError>
where
    X: BlockExecutor<Transaction = TxEnvelope, Evm: Evm<Tx = TxEnv, HaltReason = HaltReason>>,
{
    executor.apply_pre_execution_changes()?;
    for tx in txs {
        executor.execute_transaction(tx)?;
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

fn serial() -> EthBlockExecutorFactory<Receipts, EthSpec> {
    EthBlockExecutorFactory::new(Receipts, EthSpec::mainnet(), EthEvmFactory::default())
}

/// The factory, for mainnet.
pub fn parallel(threads: u16) -> Parallel {
    ParallelExecutorFactory::new(Receipts, EthSpec::mainnet(), threads)
}

/// Executes a block both ways, with its changes committed one by one and all together, and compares all that
/// comes out. Says how many transactions were taken from what was executed ahead: twice the block's, at best.
pub fn compare(factory: &Parallel, block: &NodeBlock) -> Result<u64, Error> {
    let before = factory.counts().used;
    let (expected, db) = execute(&serial(), block, block.envs())?;
    let expected_bundle = bundle(db);
    for ahead in [block.ahead(), block.ahead().with_deferred_commits()] {
        factory.speculate(ahead)?;
        let (result, db) = execute(factory, block, block.envs())?;
        if result != expected || bundle(db) != expected_bundle {
            return Err(format!("{}: not what alloy-evm's own executor gives", block.name).into());
        }
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
type Announce<'a> = &'a (dyn Fn(BlockAhead<Arc<PreState>>) + Sync);

/// What is put into interleaved rounds: an execution of this block through a factory.
struct Through<'a, F> {
    block: &'a NodeBlock,
    factory: &'a F,
    /// How it is announced, if at all.
    announce: Option<Announce<'a>>,
    /// Made off the clock: the transactions of a payload are decoded before they are executed, either way.
    envs: Vec<TxEnv>,
    ahead: Option<BlockAhead<Arc<PreState>>>,
}

impl<'a, F> Through<'a, F> {
    fn new(block: &'a NodeBlock, factory: &'a F, announce: Option<Announce<'a>>) -> Self {
        Through { block, factory, announce, envs: Vec::new(), ahead: None }
    }
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
            Receipt = EthereumReceipt,
        > + Sync,
{
    fn execute(
        &mut self,
        _: &BlockInput,
        _: &PreState,
        _: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        if let (Some(ahead), Some(announce)) = (self.ahead.take(), self.announce) {
            announce(ahead);
        }
        let done = execute(self.factory, self.block, std::mem::take(&mut self.envs));
        let reason = |error: BlockExecutionError| error.to_string();
        let done = done.map_err(|error| ExecError::SystemCall { name: "block", reason: reason(error) })?;
        Ok(Box::new(Nothing(done)))
    }

    fn reset(&mut self) {
        self.envs = self.block.envs();
        self.ahead = self.announce.map(|_| self.block.ahead());
    }
}

fn number<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Ratios of one block: `lean` against itself, alloy-evm's executor, the parallel one that commits
/// transaction by transaction, and the one that commits all together.
fn ratios(
    factory: &Parallel,
    case: &Case,
    block: &NodeBlock,
    rounds: usize,
) -> Result<(f64, [Estimate; 4]), Error> {
    let plain = serial();
    let one_by_one = |ahead| factory.speculate(ahead).unwrap_or_default();
    let together =
        |ahead: BlockAhead<_>| factory.speculate(ahead.with_deferred_commits()).unwrap_or_default();
    let mut lean = (profile("lean")?.build)(1)?;
    let mut alloy = Through::new(block, &plain, None);
    let mut one_by_one = Through::new(block, factory, Some(&one_by_one));
    let mut together = Through::new(block, factory, Some(&together));
    let mut engines: [&mut dyn Engine; 4] = [&mut *lean, &mut alloy, &mut one_by_one, &mut together];
    let rounds = Rounds::Exactly(rounds);
    let (pre, control) = (&block.parent_state, Control::default());
    let done = measure(&mut engines, 0, &case.input, pre, rounds, &control, &mut |_| ());
    let done = done.map_err(|(engine, error)| format!("{}: {engine}: {error}", block.name))?;
    let lean = done.reference.elapsed();
    let ratio = |other: &Series| paired_speedup(&lean, &other.elapsed(), 1).ok_or("no samples");
    let [_, alloy, one_by_one, together] = &done.contestants[..] else { return Err("no samples".into()) };
    let ratios = [ratio(&done.again)?, ratio(alloy)?, ratio(one_by_one)?, ratio(together)?];
    Ok((median(&lean).unwrap_or_default(), ratios))
}

fn timed(paths: &[String]) -> Result<(), Error> {
    let (threads, rounds) = (number("THREADS", 2), number("ROUNDS", 21));
    let factory = parallel(threads);
    println!("times as fast as lean, {threads} threads ahead, {rounds} rounds");
    println!(
        "{:>9} {:>6} {:>9} {:>8} {:>9} {:>9} {:>9} {:>15}",
        "block", "Mgas", "lean us", "again", "alloy-evm", "1 by 1", "deferred", "95%"
    );
    let mut all: [Vec<f64>; 4] = Default::default();
    for path in paths {
        for source in braid_work::load(Path::new(path))? {
            let case = source.load()?;
            let Some(block) = real(&case) else { continue };
            compare(&factory, &block)?;
            let (lean, ratios) = ratios(&factory, &case, &block, rounds)?;
            let [again, alloy, one_by_one, together] = &ratios;
            let gas = case.header.as_ref().map_or(0, |header| header.gas_used);
            println!(
                "{:>9} {:>6.1} {:>9.0} {:>8.3} {:>9.3} {:>9.3} {:>9.3} {:>7.3} {:>7.3}",
                block.name,
                gas as f64 / 1e6,
                lean / 1e3,
                again.value,
                alloy.value,
                one_by_one.value,
                together.value,
                together.low,
                together.high,
            );
            if gas >= 4_000_000 {
                all.iter_mut().zip(&ratios).for_each(|(all, ratio)| all.push(ratio.value));
            }
        }
    }
    let [again, alloy, one_by_one, together] =
        all.each_ref().map(|all| geometric_mean(all).unwrap_or_default());
    println!(
        "{} blocks of at least 4 Mgas, geometric mean: alloy-evm {alloy:.3}, one by one {one_by_one:.3}, \
         deferred {together:.3} (lean against itself: {again:.3})",
        all[0].len(),
    );
    let counts = factory.counts();
    let share = counts.used as f64 / (counts.used + counts.discarded + counts.serial).max(1) as f64;
    println!(
        "{:.1} % of the transactions of all blocks were taken from what was executed ahead",
        share * 100.0
    );
    Ok(())
}

fn run(paths: &[String]) -> Result<(), Error> {
    if !paths.is_empty() {
        return timed(paths);
    }
    let block = generated("erc20?txs=2000")?;
    let used = compare(&parallel(number("THREADS", 2)), &block)?;
    println!("{}: twice {} transactions, {used} executed ahead; all the same", block.name, block.txs.len());
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
