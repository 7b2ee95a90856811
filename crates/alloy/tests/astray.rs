//! Callers who depart from what was announced get what alloy-evm's own executor gives, from the first
//! departure on: wrong order, other transactions, results that are not committed, databases that are changed,
//! other environments, databases that fail, executors that are dropped.
//!
//! `BRAID_SEED` repeats a script; `BRAID_LONG=1` plays many.

#[path = "../../profiles/tests/common/mod.rs"]
mod common;
mod door;

use alloy_consensus::TxEnvelope;
use alloy_evm::{
    EthEvmFactory, Evm, EvmFactory,
    block::{BlockExecutor, BlockExecutorFactory, TxResult},
};
use alloy_primitives::{Address, B256, U256};
use braid_alloy::{BlockAhead, Refused, Snapshot};
use braid_core::StoreError;
use braid_testkit::Rng;
use braid_work::PreState;
use common::{account, seed_to_repeat};
use door::{
    Call, Factory, Forks, Given, InOrder, Script, assert_same, execute, parallel, plain, play, told, valid,
};
use revm::{
    Database, DatabaseCommit, DatabaseRef, Inspector,
    bytecode::Bytecode,
    context::{ContextTr, TxEnv, result::HaltReason},
    database_interface::ErasedError,
    interpreter::Interpreter,
    primitives::hardfork::SpecId,
    state::{Account, AccountInfo, EvmState},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

fn spec(given: &Given) -> SpecId {
    given.env.cfg_env.spec
}

fn seeds(few: u64, many: u64) -> std::ops::Range<u64> {
    let count = if std::env::var_os("BRAID_LONG").is_some() { many } else { few };
    seed_to_repeat().map_or(0..count, |seed| seed..seed + 1)
}

/// Makes one departure after another, as drawn from the seed.
struct Astray(u64);

impl Script for Astray {
    fn play<X>(&self, executor: &mut X, given: &Given, calls: &mut Vec<Call>) -> bool
    where
        X: BlockExecutor<
                Transaction = TxEnvelope,
                Evm: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
            >,
    {
        let mut random = Rng::new(self.0);
        let all = given.txs.len();
        for _ in 0..u64::from(!random.chance(5)) + u64::from(random.chance(5)) {
            calls.push(Call::Before(executor.apply_pre_execution_changes().map_err(told)));
        }
        let (departures, mut at) = (1 + random.below(3), 0);
        let places: Vec<u64> = (0..departures).map(|_| random.below(all as u64)).collect();
        while at < all {
            if !places.contains(&(at as u64)) {
                calls.push(execute(executor, given, at));
                at += 1;
                continue;
            }
            match random.below(8) {
                // Another one first, or this one twice.
                0 => calls.push(execute(executor, given, random.below(all as u64) as usize)),
                // Left out.
                1 => at += 1,
                // Executed, looked at, not committed; then perhaps left out.
                2 | 3 => {
                    let (env, tx) = &given.txs[at];
                    let done = executor.execute_transaction_without_commit((env.clone(), tx));
                    let result = done.map(|done| done.result().result.clone()).map_err(told);
                    calls.push(Call::Dry(at, result));
                    at += random.below(2) as usize;
                }
                // Somebody gets rich meanwhile.
                4 => {
                    let balance = U256::from(random.below(1_000_000_000));
                    let info = AccountInfo { balance, ..AccountInfo::default() };
                    let mut rich = Account::from(info);
                    rich.mark_touch();
                    executor.evm_mut().db_mut().commit(EvmState::from_iter([(account(7_000), rich)]));
                }
                5 => return false,
                // Somebody looks.
                6 => {
                    let sender = given.txs[random.below(all as u64) as usize].0.caller;
                    let seen = executor.evm_mut().db_mut().basic(sender).ok().flatten();
                    calls.push(Call::Seen(seen.map(|info| (info.balance, info.nonce))));
                }
                // Changed a little: its limit of gas, as the EVM sees it.
                _ => {
                    let (env, tx) = &given.txs[at];
                    let env = TxEnv { gas_limit: env.gas_limit + 1, ..env.clone() };
                    let done = executor.execute_transaction_with_result_closure((env, tx), |_| ());
                    calls.push(Call::Before(done.map(|_| ()).map_err(told)));
                    at += 1;
                }
            }
            at += random.below(2) as usize;
        }
        true
    }
}

#[test]
fn departures() {
    let (mut used, mut serial) = (0, 0);
    for seed in seeds(300, 10_000) {
        let given = valid(seed);
        let threads = 1 + (seed % 4) as u16;
        let factory = parallel(Forks(spec(&given)), threads);
        factory.speculate(given.ahead()).unwrap();
        let expected = plain(Forks(spec(&given)), &given, &Astray(seed));
        let what = format!("{:?} at {threads} threads; repeat with BRAID_SEED={seed}", spec(&given));
        assert_same(&play(&factory, &given, &Astray(seed)), &expected, &what);
        used += factory.counts().used;
        serial += factory.counts().serial;
    }
    assert!(seed_to_repeat().is_some() || (used > 500 && serial > 500), "used {used}, serial {serial}");
}

/// The first so many transactions.
struct FirstFew(usize);

impl Script for FirstFew {
    fn play<X>(&self, executor: &mut X, given: &Given, calls: &mut Vec<Call>) -> bool
    where
        X: BlockExecutor<
                Transaction = TxEnvelope,
                Evm: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
            >,
    {
        calls.push(Call::Before(executor.apply_pre_execution_changes().map_err(told)));
        calls.extend((0..self.0.min(given.txs.len())).map(|at| execute(executor, given, at)));
        false
    }
}

#[test]
fn dropped_midway() {
    // One factory for all: what is dropped must not disturb what comes after it.
    for seed in seeds(200, 5_000) {
        let mut random = Rng::new(seed);
        let first = valid(seed);
        let factory = parallel(Forks(spec(&first)), 1 + (seed % 4) as u16);
        for round in 0..4 {
            let given = Given { parent_hash: B256::with_last_byte(round), ..first.clone() };
            let script = FirstFew(random.below(1 + given.txs.len() as u64) as usize);
            factory.speculate(given.ahead()).unwrap();
            let what = format!("round {round}; repeat with BRAID_SEED={seed}");
            let expected = plain(Forks(spec(&given)), &given, &script);
            assert_same(&play(&factory, &given, &script), &expected, &what);
        }
        factory.speculate(first.ahead()).unwrap();
        let expected = plain(Forks(spec(&first)), &first, &InOrder);
        let before = factory.counts();
        let what = format!("in order; repeat with BRAID_SEED={seed}");
        assert_same(&play(&factory, &first, &InOrder), &expected, &what);
        assert_eq!(factory.counts().used - before.used, first.txs.len() as u64, "{what}");
    }
}

#[test]
fn other_blocks_are_not_followed() {
    let given = valid(1);
    let spec = spec(&given);
    let mut others = vec![Given { parent_hash: B256::repeat_byte(9), ..given.clone() }];
    others.push(given.clone());
    others[1].env.block_env.timestamp += U256::ONE;
    others.push(given.clone());
    others[2].env.block_env.beneficiary = Address::repeat_byte(9);
    others.push(given.clone());
    others[3].env.cfg_env.chain_id = 2;
    for (n, other) in others.into_iter().enumerate() {
        let factory = parallel(Forks(spec), 2);
        factory.speculate(given.ahead()).unwrap();
        let expected = plain(Forks(spec), &other, &InOrder);
        assert_same(&play(&factory, &other, &InOrder), &expected, &format!("difference {n}"));
        assert_eq!(factory.counts().used, 0, "difference {n}");
    }
    // Chains that call system contracts at other times than the fork of the configuration does.
    let given = (2..).map(valid).find(|given| self::spec(given) == SpecId::PRAGUE).unwrap();
    let factory = parallel(Forks(SpecId::SHANGHAI), 2);
    factory.speculate(given.ahead()).unwrap();
    let expected = plain(Forks(SpecId::SHANGHAI), &given, &InOrder);
    assert_same(&play(&factory, &given, &InOrder), &expected, "another chain");
    assert_eq!(factory.counts().used, 0);
}

/// Sets up the EVM before the block begins.
struct Setup;

impl Script for Setup {
    fn play<X>(&self, executor: &mut X, given: &Given, calls: &mut Vec<Call>) -> bool
    where
        X: BlockExecutor<
                Transaction = TxEnvelope,
                Evm: Evm<Tx = TxEnv, HaltReason = HaltReason, DB: DatabaseCommit>,
            >,
    {
        let _ = executor.evm_mut();
        InOrder.play(executor, given, calls)
    }
}

#[test]
fn an_evm_that_is_set_up_is_followed_if_that_was_agreed() {
    let given = valid(3);
    let expected = plain(Forks(spec(&given)), &given, &Setup);
    for (agreed, used) in [(false, 0), (true, given.txs.len() as u64)] {
        let factory = parallel(Forks(spec(&given)), 2);
        let ahead = if agreed { given.ahead().with_setup() } else { given.ahead() };
        factory.speculate(ahead).unwrap();
        assert_same(&play(&factory, &given, &Setup), &expected, "set up");
        assert_eq!(factory.counts().used, used);
    }
}

/// A state that fails, or panics, at some read.
struct Failing {
    pre: Arc<PreState>,
    left: AtomicU64,
    panics: bool,
}

impl Failing {
    fn tap(&self) -> Result<(), ErasedError> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(left.is_ok() || !self.panics, "a database that panics");
        left.map(|_| ()).map_err(|_| ErasedError::new(StoreError::Failed("disk".to_owned())))
    }
}

impl DatabaseRef for Failing {
    type Error = ErasedError;
    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ErasedError> {
        self.tap()?;
        self.pre.basic_ref(address).map_err(ErasedError::new)
    }
    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, ErasedError> {
        self.tap()?;
        self.pre.code_by_hash_ref(hash).map_err(ErasedError::new)
    }
    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ErasedError> {
        self.tap()?;
        self.pre.storage_ref(address, slot).map_err(ErasedError::new)
    }
    fn block_hash_ref(&self, number: u64) -> Result<B256, ErasedError> {
        self.tap()?;
        self.pre.block_hash_ref(number).map_err(ErasedError::new)
    }
}

#[test]
fn snapshots_that_fail_or_panic_only_end_the_speculation() {
    let mut used = 0;
    for seed in seeds(100, 2_000) {
        let given = valid(seed);
        let expected = plain(Forks(spec(&given)), &given, &InOrder);
        let factory = parallel(Forks(spec(&given)), 1 + (seed % 4) as u16);
        let (left, panics) = (AtomicU64::new(Rng::new(seed).below(400)), seed % 2 == 0);
        let state = Arc::new(Failing { pre: given.pre.clone(), left, panics });
        let txs = given.txs.iter().map(|(env, _)| env.clone()).collect();
        let ahead = BlockAhead::new(given.env.clone(), given.parent_hash, given.beacon_root, txs, state);
        factory.speculate(if given.deferred { ahead.with_deferred_commits() } else { ahead }).unwrap();
        let what = format!("repeat with BRAID_SEED={seed}");
        assert_same(&play(&factory, &given, &InOrder), &expected, &what);
        used += factory.counts().used;
        // The thread goes on.
        let next = Given { parent_hash: B256::repeat_byte(8), ..given.clone() };
        factory.speculate(next.ahead()).unwrap();
        let before = factory.counts().used;
        let expected = plain(Forks(spec(&next)), &next, &InOrder);
        assert_same(&play(&factory, &next, &InOrder), &expected, &what);
        assert_eq!(factory.counts().used - before, next.txs.len() as u64, "{what}");
    }
    assert!(seed_to_repeat().is_some() || used > 100, "{used}");
}

#[test]
fn what_is_not_supported_is_refused_and_executed_serially() {
    let given = valid(1);
    let factory = parallel(Forks(spec(&given)), 2);
    let refused = |change: &dyn Fn(&mut Given)| {
        let mut given = given.clone();
        change(&mut given);
        factory.speculate(given.ahead()).unwrap_err()
    };
    for spec in [SpecId::HOMESTEAD, SpecId::AMSTERDAM] {
        assert_eq!(
            refused(&|given| given.env.cfg_env.set_spec_and_mainnet_gas_params(spec)),
            Refused::Fork(spec)
        );
    }
    assert_eq!(refused(&|given| given.env.cfg_env.disable_nonce_check = true), Refused::Configuration);
    assert_eq!(
        refused(&|given| given.env.cfg_env.limit_contract_code_size = Some(1)),
        Refused::Configuration
    );
    assert_eq!(refused(&|given| given.env.block_env.number = U256::ZERO), Refused::Genesis);
    let expected = plain(Forks(spec(&given)), &given, &InOrder);
    assert_same(&play(&factory, &given, &InOrder), &expected, "not announced");
    assert_eq!(factory.counts(), Default::default());
}

#[test]
fn the_oldest_of_many_announced_blocks_is_given_up() {
    let given = valid(5);
    let factory = parallel(Forks(spec(&given)), 2);
    let nth = |n: u8| Given { parent_hash: B256::with_last_byte(n), ..given.clone() };
    for n in 0..20 {
        factory.speculate(nth(n).ahead()).unwrap();
    }
    let all = given.txs.len() as u64;
    for (n, used) in [(0, 0), (11, 0), (12, all), (19, all), (15, all), (15, 0)] {
        let before = factory.counts().used;
        let given = nth(n);
        let expected = plain(Forks(spec(&given)), &given, &InOrder);
        assert_same(&play(&factory, &given, &InOrder), &expected, &format!("block {n}"));
        assert_eq!(factory.counts().used - before, used, "block {n}");
    }
    factory.forget();
    let given = nth(13);
    play(&factory, &given, &InOrder);
    assert_eq!(factory.counts().used, 3 * all);
}

/// Readers are opened for each thread; one that cannot be opened ends the speculation.
struct Closed;

impl Snapshot for Closed {
    type Reader<'a> = Arc<PreState>;
    fn reader(&self) -> Result<Arc<PreState>, StoreError> {
        Err(StoreError::Failed("closed".to_owned()))
    }
}

#[test]
fn a_snapshot_without_readers() {
    let given = valid(6);
    let factory = parallel(Forks(spec(&given)), 2);
    let txs = given.txs.iter().map(|(env, _)| env.clone()).collect();
    let ahead = BlockAhead::new(given.env.clone(), given.parent_hash, given.beacon_root, txs, Closed);
    factory.speculate(ahead).unwrap();
    let expected = plain(Forks(spec(&given)), &given, &InOrder);
    assert_same(&play(&factory, &given, &InOrder), &expected, "closed");
    assert_eq!(factory.counts().serial, given.txs.len() as u64);
}

/// Sees every step.
#[derive(Default)]
struct Steps(u64);

impl<C: ContextTr> Inspector<C> for Steps {
    fn step(&mut self, _: &mut Interpreter, _: &mut C) {
        self.0 += 1;
    }
}

#[test]
fn inspectors_see_the_execution() {
    let given = valid(7);
    let factory = parallel(Forks(spec(&given)), 2);
    factory.speculate(given.ahead()).unwrap();
    let mut db = door::database(&given);
    let evm = EthEvmFactory::default();
    let evm = evm.create_evm_with_inspector(&mut db, given.env.clone(), Steps::default());
    let mut executor = factory.create_executor(evm, given.ctx());
    assert!(!executor.is_following());
    InOrder.play(&mut executor, &given, &mut Vec::new());
    let (evm, _) = executor.finish().unwrap();
    assert!(evm.inspector().0 > 0);
    assert_eq!(factory.counts().used, 0);
}

#[test]
fn a_result_of_another_executor_is_not_ones_own() {
    let given = valid(8);
    let other = Given { parent_hash: B256::repeat_byte(8), ..given.clone() };
    let factory = parallel(Forks(spec(&given)), 2);
    let mut results = Vec::new();
    let mut executors = Vec::new();
    for given in [&given, &other] {
        factory.speculate(given.ahead()).unwrap();
        let mut executor = factory.executor(given, door::database(given));
        executor.apply_pre_execution_changes().unwrap();
        let (env, tx) = &given.txs[0];
        let result = executor.execute_transaction_without_commit((env.clone(), tx)).unwrap();
        assert!(result.is_speculated() && executor.is_following());
        results.push(result);
        executors.push(executor);
    }
    results.swap(0, 1);
    for (executor, result) in executors.iter_mut().zip(results) {
        executor.commit_transaction(result);
        assert!(!executor.is_following());
    }
}
