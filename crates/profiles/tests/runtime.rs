//! Inside a tokio runtime: engines executed on its threads, beside it and inside one another, many at
//! once, cancelled, dropped. Nothing waits forever, nothing panics, and every result is that of `lean`.

mod common;

use braid_core::{Cause, Control, Reader, Scheduler, State, StoreError};
use braid_evm::{
    BlockOutput, EvmKey, EvmShared, EvmValue, ExecOptions, ExecutedBlock, execute_block, execute_block_with,
};
use braid_profiles::{ExecError, PROFILES};
use braid_sched::{BlockStm, Occ, Pool, Serial};
use braid_work::PreState;
use common::{Asm, ETHER, Tapped, World, account, engine, op};
use revm::primitives::hardfork::SpecId;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Handle, Runtime};

/// How long a test may stand still before that counts as waiting forever.
const STALL: Duration = Duration::from_secs(120);

/// Runs `body` on a thread of its own, and fails if it does not end.
fn within<T: Send + 'static>(what: &str, body: impl FnOnce() -> T + Send + 'static) -> T {
    let (told, ended) = mpsc::channel();
    std::thread::spawn(move || told.send(catch_unwind(AssertUnwindSafe(body))));
    match ended.recv_timeout(STALL) {
        Ok(done) => done.unwrap_or_else(|panic| resume_unwind(panic)),
        Err(_) => panic!("{what}: no end after {STALL:?}"),
    }
}

/// The two kinds of runtime.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flavor {
    Current,
    Multi,
}

const FLAVORS: [Flavor; 2] = [Flavor::Current, Flavor::Multi];

impl Flavor {
    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Flavor::Current => Builder::new_current_thread(),
            Flavor::Multi => Builder::new_multi_thread(),
        };
        builder.worker_threads(2).enable_time().build().expect("a runtime")
    }

    /// Runs the future that `body` makes as a task of a runtime of this kind.
    fn run<F: Future<Output: Send> + Send + 'static>(self, body: F) -> F::Output {
        within(&format!("{self:?}"), move || {
            let runtime = self.runtime();
            runtime.block_on(async { tokio::spawn(body).await.expect("a task that ends") })
        })
    }
}

/// `count` transactions of as many senders, which all add one to the same slot, and to one of their own.
fn counters(count: u64) -> World {
    let mut world = World::new(SpecId::OSAKA);
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0);
    let code = code.op(&[op::CALLER, op::CALLER, op::SSTORE]).stop();
    world.contract(account(100), code, 0);
    for n in 0..count {
        world.fund(account(1000 + n), ETHER);
        world.call(account(1000 + n), 0, account(100), 1);
    }
    world
}

/// A block of seconds: every transaction loops over its slot until its gas is used up.
fn slow() -> World {
    let mut world = World::new(SpecId::OSAKA);
    // JUMPDEST, PUSH1 0, SLOAD, POP, PUSH1 0, JUMP
    let code = vec![0x5b, 0x60, 0, op::SLOAD, op::POP, 0x60, 0, 0x56];
    world.contract(account(100), code, 0);
    world.input.env.gas_limit = u64::MAX;
    for n in 0..2000 {
        world.fund(account(1000 + n), ETHER);
        let index = world.call(account(1000 + n), 0, account(100), 0);
        world.input.txs[index].gas_limit = 16_000_000;
    }
    world
}

fn execute<C: Scheduler, S: State<EvmKey, EvmValue>>(
    scheduler: &C,
    shared: &EvmShared,
    world: &World,
    state: &S,
) -> BlockOutput {
    let done = execute_block(scheduler, shared, &world.input, state, &(), &Control::default());
    done.unwrap_or_else(|failure| panic!("{}: {failure}", scheduler.name()))
}

/// The common form, without what was counted.
fn form(output: BlockOutput, pre: &PreState) -> ExecutedBlock {
    let mut block = output.into_block(pre).expect("a state in memory");
    block.stats = Default::default();
    block
}

/// A world shared by tasks, and what `lean` makes of it.
fn known(world: World) -> Arc<(World, ExecutedBlock)> {
    let expected = world.run("lean", 1).expect("a valid block");
    Arc::new((world, expected))
}

#[test]
fn every_profile_runs_on_any_thread_of_a_runtime() {
    let known = known(counters(40));
    for flavor in FLAVORS {
        for profile in PROFILES {
            for threads in if profile.parallel { &[1, 2, 4][..] } else { &[1] } {
                let known = known.clone();
                flavor.run(async move {
                    let at = format!("{} with {threads} threads, {flavor:?}", profile.name);
                    let (world, expected) = (&known.0, &known.1);
                    let mut engine = engine(profile.name, *threads);
                    assert_eq!(world.run_on(&mut engine).as_ref(), Ok(expected), "{at}: in a task");
                    if flavor == Flavor::Multi {
                        let done = tokio::task::block_in_place(|| world.run_on(&mut engine));
                        assert_eq!(done.as_ref(), Ok(expected), "{at}: in place");
                    }
                    // The engine goes to another thread; its result comes back, and is read here.
                    let moved = known.clone();
                    let (executed, engine) = tokio::task::spawn_blocking(move || {
                        let control = Control::default();
                        (engine.execute(&moved.0.input, &moved.0.pre, &control), engine)
                    })
                    .await
                    .expect("no panic");
                    let mut block = executed.expect("a valid block").into_block(&world.pre);
                    block.stats = Default::default();
                    assert_eq!(block, *expected, "{at}: beside the runtime");
                    // Its threads end here, on a thread of the runtime.
                    drop(engine);
                });
            }
        }
    }
}

/// Many executions at once: `each` does one of them.
fn at_once(flavor: Flavor, blocking: bool, each: impl Fn(usize) + Send + Sync + 'static) {
    let each = Arc::new(each);
    flavor.run(async move {
        let tasks: Vec<_> = (0..24)
            .map(|n| {
                let each = each.clone();
                match blocking {
                    true => tokio::task::spawn_blocking(move || each(n)),
                    false => tokio::spawn(async move { each(n) }),
                }
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}

#[test]
fn many_tasks_share_one_pool_or_one_scheduler_or_nothing() {
    let known = known(counters(30));
    for flavor in FLAVORS {
        for blocking in [false, true] {
            let pool = Arc::new(Pool::new(3));
            let shared = Arc::new(EvmShared::default());
            let (occ, stm) = (Occ::new(pool.clone()), BlockStm::new(pool.clone()));
            let known = known.clone();
            at_once(flavor, blocking, move |n| {
                let (world, expected) = (&known.0, &known.1);
                let output = match n % 6 {
                    0 => execute(&occ, &shared, world, &world.pre),
                    1 => execute(&stm, &shared, world, &world.pre),
                    2 => execute(&Occ::new(pool.clone()), &shared, world, &world.pre),
                    3 => execute(&BlockStm::new(pool.clone()), &EvmShared::default(), world, &world.pre),
                    4 => execute(&Serial::new(), &shared, world, &world.pre),
                    _ => execute(&BlockStm::new(Arc::new(Pool::new(2))), &shared, world, &world.pre),
                };
                assert_eq!(form(output, &world.pre), *expected, "{flavor:?}, task {n}");
            });
        }
    }
}

/// A state whose reads of the shared slot come from executing another block on another state.
fn derived<'a>(
    outer: &'a World,
    inner: impl Fn() -> ExecutedBlock + Sync + 'a,
    expected: &'a ExecutedBlock,
    runs: &'a AtomicUsize,
) -> impl State<EvmKey, EvmValue> + 'a {
    let key = EvmKey::Slot { address: account(100), generation: 0, slot: Default::default() };
    Tapped {
        pre: &outer.pre,
        tap: move |asked: &EvmKey| -> Result<(), StoreError> {
            if *asked == key {
                assert_eq!(inner(), *expected, "the inner block");
                // Relaxed: a count, read after the block.
                runs.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        },
    }
}

#[test]
fn a_state_may_execute_a_block_on_the_pool_it_is_read_from() {
    let known = known(counters(20));
    for flavor in FLAVORS {
        for threads in [1, 2, 4] {
            let pool = Arc::new(Pool::new(threads));
            let known = known.clone();
            flavor.run(async move {
                let (world, expected) = (&known.0, &known.1);
                let shared = EvmShared::default();
                let (occ, stm) = (Occ::new(pool.clone()), BlockStm::new(pool.clone()));
                let runs = AtomicUsize::new(0);
                // Inside each other, and the same scheduler inside itself.
                let by_occ = || form(execute(&occ, &shared, world, &world.pre), &world.pre);
                let by_stm = || form(execute(&stm, &shared, world, &world.pre), &world.pre);
                let over_occ = derived(world, by_occ, expected, &runs);
                let over_stm = derived(world, by_stm, expected, &runs);
                for done in [
                    execute(&occ, &shared, world, &over_occ),
                    execute(&occ, &shared, world, &over_stm),
                    execute(&stm, &shared, world, &over_occ),
                    execute(&stm, &shared, world, &over_stm),
                ] {
                    assert_eq!(form(done, &world.pre), *expected, "{flavor:?}, {threads} threads");
                }
                assert!(runs.load(Ordering::Relaxed) >= 4, "the inner blocks were executed");
            });
        }
    }
}

#[test]
fn pools_may_be_used_inside_one_another_in_any_order() {
    let known = known(counters(12));
    for flavor in FLAVORS {
        let pools = [Arc::new(Pool::new(2)), Arc::new(Pool::new(3)), Arc::new(Pool::new(2))];
        let known = known.clone();
        at_once(flavor, true, move |n| {
            let (world, expected) = (&known.0, &known.1);
            // Every task goes through the pools in another order: a circle, if any of them waited inside.
            let pool = |step: usize| pools[(n + step * (1 + n % 2)) % 3].clone();
            let (shared, runs) = (EvmShared::default(), AtomicUsize::new(0));
            let (outer, middle, inner) = (BlockStm::new(pool(0)), Occ::new(pool(1)), BlockStm::new(pool(2)));
            let innermost = || form(execute(&inner, &shared, world, &world.pre), &world.pre);
            let below = derived(world, innermost, expected, &runs);
            let middle = || form(execute(&middle, &shared, world, &below), &world.pre);
            let state = derived(world, middle, expected, &runs);
            assert_eq!(form(execute(&outer, &shared, world, &state), &world.pre), *expected, "task {n}");
        });
    }
}

/// A database that answers in futures, read by blocking on a handle of the runtime.
struct AsyncDb<'a> {
    pre: &'a PreState,
    handle: Handle,
}

impl State<EvmKey, EvmValue> for AsyncDb<'_> {
    type Reader<'b>
        = &'b Self
    where
        Self: 'b;

    fn reader(&self) -> Result<&Self, StoreError> {
        Ok(self)
    }
}

impl Reader<EvmKey, EvmValue> for &AsyncDb<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        let value = self.pre.store.get(key).cloned();
        Ok(self.handle.block_on(async move {
            tokio::task::yield_now().await;
            value
        }))
    }
}

#[test]
fn a_state_may_wait_for_futures_of_the_runtime() {
    let known = known(counters(20));
    let world = known.clone();
    let done = Flavor::Multi.run(async move {
        let handle = Handle::current();
        tokio::task::spawn_blocking(move || {
            let db = AsyncDb { pre: &world.0.pre, handle };
            let stm = BlockStm::new(Arc::new(Pool::new(4)));
            form(execute(&stm, &EvmShared::default(), &world.0, &db), &world.0.pre)
        })
        .await
        .expect("no panic")
    });
    assert_eq!(done, known.1);
}

#[test]
fn results_arrive_in_order_while_later_transactions_still_run() {
    let known = known(counters(60));
    for threads in [1, 2, 4] {
        let known = known.clone();
        Flavor::Multi.run(async move {
            let (told, mut results) = tokio::sync::mpsc::unbounded_channel();
            let worker = known.clone();
            let task = tokio::task::spawn_blocking(move || {
                let scheduler = BlockStm::new(Arc::new(Pool::new(threads)));
                let (world, shared, control) = (&worker.0, EvmShared::default(), Control::default());
                let mut deliver = |index: usize, result: &braid_evm::TxResult| {
                    told.send((index, result.clone())).expect("the receiver lives as long as the block");
                };
                let options = ExecOptions { deliver: Some(&mut deliver), ..ExecOptions::default() };
                execute_block_with(options, &scheduler, &shared, &world.input, &world.pre, &(), &control)
            });
            let mut arrived = Vec::new();
            while let Some((index, result)) = results.recv().await {
                assert_eq!(index, arrived.len(), "in order");
                arrived.push(result);
            }
            let output = task.await.expect("no panic").expect("a valid block");
            assert_eq!(arrived, known.1.results, "{threads} threads");
            assert_eq!(output.results, known.1.results, "{threads} threads");
        });
    }
}

#[test]
fn a_consumer_that_panics_leaves_pool_and_scheduler_usable() {
    let known = known(counters(30));
    for threads in [1, 2, 4] {
        let known = known.clone();
        Flavor::Multi.run(async move {
            let (world, expected) = (&known.0, &known.1);
            let stm = BlockStm::new(Arc::new(Pool::new(threads)));
            let shared = EvmShared::default();
            let mut deliver = |index: usize, _: &braid_evm::TxResult| assert_ne!(index, 11, "enough");
            let failed = catch_unwind(AssertUnwindSafe(|| {
                let control = Control::default();
                let options = ExecOptions { deliver: Some(&mut deliver), ..ExecOptions::default() };
                execute_block_with(options, &stm, &shared, &world.input, &world.pre, &(), &control)
            }));
            let panic = failed.expect_err("the consumer's panic");
            let message = panic.downcast_ref::<String>().expect("a message");
            assert!(message.contains("enough"), "{message}");
            assert_eq!(form(execute(&stm, &shared, world, &world.pre), &world.pre), *expected);
        });
    }
}

#[test]
fn a_task_cancels_and_times_out_blocks_on_their_way() {
    let (world, small) = (Arc::new(slow()), known(counters(20)));
    for flavor in FLAVORS {
        for (profile, threads) in [("serial", 1), ("monad", 3), ("aptos", 3)] {
            let (world, small) = (world.clone(), small.clone());
            flavor.run(async move {
                let at = format!("{profile}, {flavor:?}");
                let mut engine = engine(profile, threads);
                let cancel = Arc::new(AtomicBool::new(false));
                let flag = cancel.clone();
                let block = world.clone();
                let task = tokio::task::spawn_blocking(move || {
                    let control = Control { cancel: Some(&flag), ..Control::default() };
                    (engine.execute(&block.input, &block.pre, &control).err(), engine)
                });
                // The caller gives up waiting, and says so.
                let abandoned = tokio::time::timeout(Duration::from_millis(30), async {
                    std::future::pending::<()>().await;
                });
                assert!(abandoned.await.is_err());
                // Relaxed: the flag carries no data.
                cancel.store(true, Ordering::Relaxed);
                let (failed, mut engine) = task.await.expect("no panic");
                assert!(matches!(failed, Some(ExecError::Cancelled { .. })), "{at}: {failed:?}");

                let soon =
                    Control { deadline: Some(Instant::now() + Duration::from_millis(30)), cancel: None };
                let failed = engine.execute(&world.input, &world.pre, &soon).err();
                assert!(matches!(failed, Some(ExecError::Deadline { .. })), "{at}: {failed:?}");
                assert_eq!(small.0.run_on(&mut engine).as_ref(), Ok(&small.1), "{at}: usable afterwards");
            });
        }
    }
}

#[test]
fn a_runtime_ends_while_a_block_runs() {
    let world = Arc::new(slow());
    for flavor in FLAVORS {
        let cancel = Arc::new(AtomicBool::new(false));
        let (flag, world) = (cancel.clone(), world.clone());
        let failed = within("shutdown", move || {
            let runtime = flavor.runtime();
            let (told, ended) = mpsc::channel();
            runtime.spawn_blocking(move || {
                let mut engine = engine("aptos", 3);
                let control = Control { cancel: Some(&flag), ..Control::default() };
                let failed = engine.execute(&world.input, &world.pre, &control).err();
                drop(engine);
                told.send(failed).expect("the test waits for it");
            });
            std::thread::sleep(Duration::from_millis(20));
            runtime.shutdown_background();
            // Relaxed: the flag carries no data.
            cancel.store(true, Ordering::Relaxed);
            ended.recv().expect("the block ends without its runtime")
        });
        assert!(matches!(failed, Some(ExecError::Cancelled { .. })), "{failed:?}");
    }
}

#[test]
fn pools_come_and_go_inside_a_runtime() {
    let known = known(counters(8));
    for flavor in FLAVORS {
        let known = known.clone();
        at_once(flavor, false, move |n| {
            let (world, expected) = (&known.0, &known.1);
            for round in 0..4u16 {
                let pool = Arc::new(Pool::new(1 + (n as u16 + round) % 4));
                let occ = Occ::new(pool.clone());
                // The scheduler keeps the pool alive; who drops it last ends its threads.
                drop(pool);
                let done = form(execute(&occ, &EvmShared::default(), world, &world.pre), &world.pre);
                assert_eq!(done, *expected, "task {n}, round {round}");
            }
        });
    }
}

#[test]
fn an_inner_failure_is_the_outer_transaction_s() {
    let known = known(counters(10));
    let mut broken = known.0.clone();
    broken.input.txs[4].nonce = 9;
    let (world, pool) = (known.0.clone(), Arc::new(Pool::new(3)));
    let failure = within("inner failure", move || {
        let stm = BlockStm::new(pool);
        let shared = EvmShared::default();
        let key = EvmKey::Account(account(1007));
        let tap = |asked: &EvmKey| {
            if *asked != key {
                return Ok(());
            }
            let inner = execute_block(&stm, &shared, &broken.input, &broken.pre, &(), &Control::default());
            let failure = inner.expect_err("a bad nonce");
            Err(StoreError::Failed(failure.to_string()))
        };
        let state = Tapped { pre: &world.pre, tap };
        execute_block(&stm, &shared, &world.input, &state, &(), &Control::default()).expect_err("refused")
    });
    assert_eq!(failure.place, braid_evm::Place::Tx(7));
    let Cause::Store(StoreError::Failed(reason)) = &failure.cause else { panic!("{failure}") };
    assert!(reason.starts_with("transaction 4: invalid: nonce"), "{reason}");
}
