//! Blocks for alloy-evm's executors, and what such an executor makes of them.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by test files, each of which uses its part"
)]

use alloy_consensus::{
    ReceiptEnvelope, Signed, TxEip4844Variant, TxEip7702, TxEnvelope, TxLegacy, transaction::Recovered,
};
use alloy_eips::eip4895::Withdrawals;
use alloy_evm::{
    EthEvmFactory, Evm, EvmEnv, EvmFactory,
    block::{BlockExecutionError, BlockExecutor, BlockExecutorFactory, GasOutput, StateDB, TxResult},
    eth::{
        EthBlockExecutionCtx, EthBlockExecutorFactory, receipt_builder::AlloyReceiptBuilder,
        spec::EthExecutorSpec,
    },
};
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, B256, Signature, U256, address};
use braid_alloy::{BlockAhead, ParallelExecutorFactory};
use braid_evm::BlockInput;
use braid_work::{Case, PreState};
use revm::{
    DatabaseCommit,
    context::{
        CfgEnv, TxEnv,
        result::{ExecutionResult, HaltReason},
    },
    database::{BundleState, State, WrapDatabaseRef, states::bundle_state::BundleRetention},
    inspector::NoOpInspector,
    primitives::hardfork::SpecId,
};
use std::{borrow::Cow, sync::Arc};

/// A chain that has had all forks up to this one from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Forks(pub SpecId);

impl EthereumHardforks for Forks {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        let since = match fork {
            EthereumHardfork::Frontier => SpecId::FRONTIER,
            EthereumHardfork::Homestead => SpecId::HOMESTEAD,
            // It drains accounts at its block, which no test is about.
            EthereumHardfork::Dao => return ForkCondition::Never,
            EthereumHardfork::Tangerine => SpecId::TANGERINE,
            EthereumHardfork::SpuriousDragon => SpecId::SPURIOUS_DRAGON,
            EthereumHardfork::Byzantium => SpecId::BYZANTIUM,
            EthereumHardfork::Constantinople | EthereumHardfork::Petersburg => SpecId::PETERSBURG,
            EthereumHardfork::Istanbul | EthereumHardfork::MuirGlacier => SpecId::ISTANBUL,
            EthereumHardfork::Berlin => SpecId::BERLIN,
            EthereumHardfork::London | EthereumHardfork::ArrowGlacier | EthereumHardfork::GrayGlacier => {
                SpecId::LONDON
            }
            EthereumHardfork::Paris => SpecId::MERGE,
            EthereumHardfork::Shanghai => SpecId::SHANGHAI,
            EthereumHardfork::Cancun => SpecId::CANCUN,
            EthereumHardfork::Prague => SpecId::PRAGUE,
            EthereumHardfork::Osaka => SpecId::OSAKA,
            _ => SpecId::AMSTERDAM,
        };
        match (self.0.is_enabled_in(since), since >= SpecId::SHANGHAI) {
            (false, _) => ForkCondition::Never,
            (true, true) => ForkCondition::Timestamp(0),
            (true, false) => ForkCondition::Block(0),
        }
    }
}

impl EthExecutorSpec for Forks {
    fn deposit_contract_address(&self) -> Option<Address> {
        Some(address!("0x00000000219ab540356cBB839Cbe05303d7705Fa"))
    }
}

/// What the EVM takes, and the transaction it is made of.
pub type Pair = (TxEnv, Recovered<TxEnvelope>);

/// All that an executor is given.
#[derive(Clone)]
pub struct Given {
    pub name: String,
    pub env: EvmEnv,
    pub pre: Arc<PreState>,
    pub txs: Vec<Pair>,
    pub parent_hash: B256,
    pub beacon_root: Option<B256>,
    pub withdrawals: Option<Withdrawals>,
    /// Whether it is announced with deferred commits.
    pub deferred: bool,
}

/// An envelope of this transaction's type and gas limit: all that an executor sees of it beside what the EVM
/// takes.
fn stand_in(tx: &TxEnv) -> TxEnvelope {
    let signature = Signature::test_signature();
    let (gas_limit, hash) = (tx.gas_limit, B256::with_last_byte(1));
    match tx.tx_type {
        4 => Signed::new_unchecked(TxEip7702 { gas_limit, ..TxEip7702::default() }, signature, hash).into(),
        _ => Signed::new_unchecked(TxLegacy { gas_limit, ..TxLegacy::default() }, signature, hash).into(),
    }
}

impl Given {
    /// A block without signatures.
    pub fn of_input(name: &str, input: &BlockInput, pre: PreState) -> Self {
        let cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
        let pair = |tx: &TxEnv| (tx.clone(), Recovered::new_unchecked(stand_in(tx), tx.caller));
        Given {
            name: name.to_owned(),
            env: EvmEnv::new(cfg, input.env.clone()),
            pre: Arc::new(pre),
            txs: input.txs.iter().map(pair).collect(),
            parent_hash: B256::repeat_byte(3),
            beacon_root: input.spec.is_enabled_in(SpecId::CANCUN).then_some(B256::repeat_byte(4)),
            withdrawals: None,
            deferred: false,
        }
    }

    /// Announced with deferred commits, or not.
    pub fn deferred(&self, deferred: bool) -> Self {
        Given { deferred, ..self.clone() }
    }

    /// A real block.
    pub fn of_case(case: &Case) -> Option<Self> {
        let (header, raw, pre) = (case.header.as_ref()?, case.raw.as_ref()?, case.pre.as_ref()?);
        let mut given = Self::of_input(&case.name, &case.input, PreState::default());
        let pair = |(env, tx): (&TxEnv, &braid_work::SignedTx)| {
            let tx: TxEnvelope = tx.clone().map_eip4844(TxEip4844Variant::TxEip4844);
            (env.clone(), Recovered::new_unchecked(tx, env.caller))
        };
        given.pre = pre.clone();
        given.txs = case.input.txs.iter().zip(&raw.txs).map(pair).collect();
        given.parent_hash = header.parent_hash;
        given.beacon_root = header.parent_beacon_block_root;
        given.withdrawals = case.expect.withdrawals.clone().map(Withdrawals::new);
        Some(given)
    }

    pub fn ctx(&self) -> EthBlockExecutionCtx<'_> {
        EthBlockExecutionCtx {
            parent_hash: self.parent_hash,
            parent_beacon_block_root: self.beacon_root,
            ommers: &[],
            withdrawals: self.withdrawals.as_ref().map(|all| Cow::Borrowed(&all.0[..])),
            extra_data: Default::default(),
            tx_count_hint: Some(self.txs.len()),
            slot_number: None,
        }
    }

    pub fn ahead(&self) -> BlockAhead<Arc<PreState>> {
        let txs = self.txs.iter().map(|(env, _)| env.clone()).collect();
        let ahead =
            BlockAhead::new(self.env.clone(), self.parent_hash, self.beacon_root, txs, self.pre.clone());
        if self.deferred { ahead.with_deferred_commits() } else { ahead }
    }
}

/// The database of the tests.
pub type Db = State<WrapDatabaseRef<Arc<PreState>>>;

pub fn database(given: &Given) -> Db {
    State::builder().with_database(WrapDatabaseRef(given.pre.clone())).with_bundle_update().build()
}

/// One line for each call of the executor, and what it left.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub calls: Vec<Call>,
    pub receipts: Vec<ReceiptEnvelope>,
    pub requests: Vec<alloy_primitives::Bytes>,
    pub gas: (u64, u64),
    pub bundle: BundleState,
}

#[derive(Debug, PartialEq)]
pub enum Call {
    Before(Result<(), String>),
    Tx(usize, Result<(GasOutput, ExecutionResult), String>),
    /// Executed by the call that shows no result.
    Plain(usize, Result<GasOutput, String>),
    /// What the database says of an account: balance and nonce.
    Seen(Option<(U256, u64)>),
    /// Executed and not committed.
    Dry(usize, Result<ExecutionResult, String>),
    Finish(Result<(), String>),
    /// The executor was dropped.
    Dropped,
}

pub fn told(error: BlockExecutionError) -> String {
    error.to_string()
}

/// Executes one transaction, all the way, by one of the trait's ways.
pub fn execute<X>(executor: &mut X, given: &Given, at: usize) -> Call
where
    X: BlockExecutor<Transaction = TxEnvelope, Evm: Evm<Tx = TxEnv, HaltReason = HaltReason>>,
{
    let (env, tx) = &given.txs[at];
    if at % 2 == 1 {
        return Call::Plain(at, executor.execute_transaction((env.clone(), tx)).map_err(told));
    }
    let mut result = None;
    let done = executor.execute_transaction_with_result_closure((env.clone(), tx), |one| {
        result = Some(one.result().result.clone());
    });
    let both = |gas| (gas, result.expect("a closure that is called"));
    Call::Tx(at, done.map(both).map_err(told))
}

impl Call {
    /// Whether it executed a transaction and committed it.
    pub fn executed(&self) -> bool {
        matches!(self, Call::Tx(_, Ok(_)) | Call::Plain(_, Ok(_)))
    }
}

/// What the callers of an executor do with it: calls in an order of their own, then (perhaps) `finish`.
pub trait Script {
    /// Makes its calls; whether to finish, rather than drop.
    fn play<X>(&self, executor: &mut X, given: &Given, calls: &mut Vec<Call>) -> bool
    where
        X: BlockExecutor<
                Transaction = TxEnvelope,
                Evm: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
            >;
}

/// All transactions in order, up to the first error.
pub struct InOrder;

impl Script for InOrder {
    fn play<X>(&self, executor: &mut X, given: &Given, calls: &mut Vec<Call>) -> bool
    where
        X: BlockExecutor<
                Transaction = TxEnvelope,
                Evm: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
            >,
    {
        calls.push(Call::Before(executor.apply_pre_execution_changes().map_err(told)));
        for at in 0..given.txs.len() {
            calls.push(execute(executor, given, at));
            if !calls.last().is_some_and(Call::executed) {
                return false;
            }
        }
        true
    }
}

/// What makes executors of the blocks of the tests.
pub trait Factory:
    for<'a> BlockExecutorFactory<
        EvmFactory = EthEvmFactory,
        ExecutionCtx<'a> = EthBlockExecutionCtx<'a>,
        Transaction = TxEnvelope,
        Receipt = ReceiptEnvelope,
    >
{
    /// The executor of the block, on `db`.
    fn executor<'a, DB: StateDB + 'a>(&'a self, given: &'a Given, db: DB) -> OneOf<'a, Self, DB> {
        let evm = self.evm_factory().create_evm(db, given.env.clone());
        self.create_executor(evm, given.ctx())
    }
}

impl<F> Factory for F where
    F: for<'a> BlockExecutorFactory<
            EvmFactory = EthEvmFactory,
            ExecutionCtx<'a> = EthBlockExecutionCtx<'a>,
            Transaction = TxEnvelope,
            Receipt = ReceiptEnvelope,
        >
{
}

/// An executor that a factory makes.
pub type OneOf<'a, F, DB> = <F as BlockExecutorFactory>::Executor<'a, DB, NoOpInspector>;

/// Plays a script on the executor that `factory` makes for the block.
pub fn play<F: Factory>(factory: &F, given: &Given, script: &impl Script) -> Outcome {
    let mut db = database(given);
    let mut executor = factory.executor(given, &mut db);
    let mut outcome = Outcome::default();
    if script.play(&mut executor, given, &mut outcome.calls) {
        let finished = executor.finish().map(|(_, result)| {
            outcome.receipts = result.receipts;
            outcome.requests = result.requests.take();
            outcome.gas = (result.gas_used, result.blob_gas_used);
        });
        outcome.calls.push(Call::Finish(finished.map_err(told)));
    } else {
        outcome.receipts = executor.receipts().to_vec();
        drop(executor);
        outcome.calls.push(Call::Dropped);
    }
    outcome.bundle = bundle(db);
    outcome
}

/// What a database tells of its block.
pub fn bundle(mut db: Db) -> BundleState {
    db.merge_transitions(BundleRetention::Reverts);
    let mut bundle = db.take_bundle();
    bundle.reverts.sort();
    bundle
}

/// What alloy-evm's own executor makes of it.
pub fn plain<S: EthExecutorSpec + 'static>(spec: S, given: &Given, script: &impl Script) -> Outcome {
    play(&serial(spec), given, script)
}

/// alloy-evm's own.
pub fn serial<S>(spec: S) -> EthBlockExecutorFactory<AlloyReceiptBuilder, S> {
    EthBlockExecutorFactory::new(AlloyReceiptBuilder::default(), spec, EthEvmFactory::default())
}

pub fn parallel<S>(spec: S, threads: u16) -> ParallelExecutorFactory<AlloyReceiptBuilder, S> {
    ParallelExecutorFactory::new(AlloyReceiptBuilder::default(), spec, threads)
}

/// A random valid block of a fork that is executed ahead, announced with deferred commits for every other four
/// seeds.
pub fn valid(seed: u64) -> Given {
    for attempt in 0.. {
        let world = crate::common::random::block(seed.wrapping_mul(1_000).wrapping_add(attempt));
        let spec = world.input.spec;
        if !spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) || spec.is_enabled_in(SpecId::AMSTERDAM) {
            continue;
        }
        let given = Given::of_input(&format!("block of {seed}"), &world.input, world.pre);
        let done = plain(Forks(spec), &given, &InOrder);
        if matches!(done.calls.last(), Some(Call::Finish(_))) {
            return given.deferred(seed % 8 >= 4);
        }
    }
    unreachable!("most blocks are valid")
}

/// Says where two outcomes part; the whole of them would fill the screen.
pub fn assert_same(got: &Outcome, expected: &Outcome, what: &str) {
    for (got, expected) in got.calls.iter().zip(&expected.calls) {
        assert_eq!(got, expected, "{what}");
    }
    assert_eq!(got.calls.len(), expected.calls.len(), "{what}");
    assert_eq!(got.receipts, expected.receipts, "{what}");
    assert_eq!((&got.requests, got.gas), (&expected.requests, expected.gas), "{what}");
    for (address, account) in &expected.bundle.state {
        assert_eq!(got.bundle.state.get(address), Some(account), "{what}: {address}");
    }
    assert_eq!(got.bundle, expected.bundle, "{what}");
}
