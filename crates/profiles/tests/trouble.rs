//! What goes wrong outside the rules of a block: states that fail or panic, cancellation, deadlines. Every
//! schedule names the transaction, and stays usable.

mod common;

use alloy_primitives::Address;
use braid_core::{Cause, Control, Scheduler, State, StoreError};
use braid_evm::{
    BlockFailure, BlockOutput, EvmError, EvmKey, EvmShared, EvmValue, ExecutedBlock, Place, execute_block,
};
use braid_profiles::{ExecError, PROFILES, ProfileError, THREADS_MAX};
use braid_sched::{BlockStm, Occ, Pool, Serial, Waits};
use braid_work::PreState;
use common::{Asm, ETHER, THREADS, Tapped, World, account, engine, op};
use revm::primitives::hardfork::SpecId;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How a state goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spring {
    Fail,
    Panic,
}

/// A state that goes wrong at one key.
fn trap(pre: &PreState, key: EvmKey, spring: Spring) -> impl State<EvmKey, EvmValue> {
    let tap = move |asked: &EvmKey| match spring {
        _ if *asked != key => Ok(()),
        Spring::Fail => Err(StoreError::Failed("the disk is gone".to_owned())),
        Spring::Panic => panic!("sprung"),
    };
    Tapped { pre, tap }
}

/// Runs the same test under every schedule.
macro_rules! each {
    ($scheduler:ident => $body:block) => {{
        {
            let $scheduler = Serial::new();
            $body
        }
        for threads in [1, 2, 8] {
            let pool = Arc::new(Pool::new(threads));
            for seed in 0..4 {
                {
                    let $scheduler = Occ::new(pool.clone()).chaos(seed);
                    $body
                }
                {
                    let $scheduler = BlockStm::new(pool.clone()).chaos(seed);
                    $body
                }
                {
                    let $scheduler = BlockStm::new(pool.clone()).waits(Waits::Resume).chaos(seed);
                    $body
                }
            }
        }
    }};
}

fn execute<C: Scheduler, S: State<EvmKey, EvmValue>>(
    scheduler: &C,
    world: &World,
    state: &S,
) -> Result<BlockOutput, BlockFailure> {
    execute_block(scheduler, &EvmShared::default(), &world.input, state, &(), &Control::default())
}

/// Senders 1.. each call a contract of their own, number 100.., that counts its calls.
fn counters(count: u64) -> World {
    let mut world = World::new(SpecId::OSAKA);
    let code = Asm::default().push(0).op(&[op::SLOAD]).push(1).op(&[op::ADD]).sstore(0).stop();
    for n in 0..count {
        world.fund(account(1 + n), ETHER);
        world.contract(account(100 + n), code.clone(), 0);
        world.call(account(1 + n), 0, account(100 + n), 1);
    }
    world
}

fn slot(address: Address) -> EvmKey {
    EvmKey::Slot { address, generation: 0, slot: Default::default() }
}

/// The common form, without what was counted.
fn form(output: BlockOutput, pre: &PreState) -> ExecutedBlock {
    let mut block = output.into_block(pre).expect("a state in memory");
    block.stats = Default::default();
    block
}

fn cause_of(spring: Spring) -> Cause<EvmError> {
    match spring {
        Spring::Fail => Cause::Store(StoreError::Failed("the disk is gone".to_owned())),
        Spring::Panic => Cause::Panicked("sprung".to_owned()),
    }
}

#[test]
fn a_state_that_goes_wrong_is_an_error_of_the_transaction_that_asked() {
    let world = counters(30);
    let expected = world.run("lean", 1).expect("a valid block");
    for spring in [Spring::Fail, Spring::Panic] {
        // What an execution reads: a slot, the sender, the callee.
        for key in [slot(account(117)), EvmKey::Account(account(18)), EvmKey::Account(account(117))] {
            let trap = trap(&world.pre, key, spring);
            each!(scheduler => {
                let failure = execute(&scheduler, &world, &trap).expect_err("a trap");
                let cause = cause_of(spring);
                let at = format!("{} {spring:?} {key:?}", scheduler.name());
                assert_eq!(failure, BlockFailure { place: Place::Tx(17), cause }, "{at}");
                let done = execute(&scheduler, &world, &world.pre).expect("usable afterwards");
                assert_eq!(form(done, &world.pre), expected, "{at}");
            });
        }
    }
}

#[test]
fn a_state_that_goes_wrong_under_a_blind_credit_is_an_error_of_the_transaction_that_credits() {
    // Nobody reads the beneficiary: its account is needed when the first fee is folded.
    let world = counters(10);
    let key = EvmKey::Account(world.input.env.beneficiary);
    for spring in [Spring::Fail, Spring::Panic] {
        let trap = trap(&world.pre, key, spring);
        each!(scheduler => {
            let failure = execute(&scheduler, &world, &trap).expect_err("a trap");
            let cause = cause_of(spring);
            assert_eq!(failure, BlockFailure { place: Place::Tx(0), cause }, "{}", scheduler.name());
            execute(&scheduler, &world, &world.pre).expect("usable afterwards");
        });
    }
}

#[test]
fn an_invalid_transaction_before_the_trap_is_the_error() {
    let mut world = counters(30);
    world.input.txs[16].nonce = 3;
    for spring in [Spring::Fail, Spring::Panic] {
        let trap = trap(&world.pre, slot(account(117)), spring);
        each!(scheduler => {
            let failure = execute(&scheduler, &world, &trap).expect_err("a bad nonce");
            let kind = match &failure.cause {
                Cause::Invalid(error) => error.kind(),
                other => panic!("{other:?}"),
            };
            assert_eq!((failure.place, kind), (Place::Tx(16), "nonce_too_high"), "{}", scheduler.name());
        });
    }
}

#[test]
fn a_deadline_in_the_past_stops_before_the_first_transaction() {
    let world = counters(30);
    for profile in PROFILES.iter().filter(|profile| profile.name != "lean") {
        for threads in THREADS {
            let mut engine = engine(profile.name, threads);
            let late = Control { deadline: Some(Instant::now()), ..Control::default() };
            let failed = engine.execute(&world.input, &world.pre, &late).err();
            assert_eq!(failed, Some(ExecError::Deadline { tx: 0 }), "{} {threads}", profile.name);
            assert_eq!(world.run_on(&mut engine), world.run("lean", 1), "{} {threads}", profile.name);
        }
    }
}

/// A block that takes seconds: every transaction loops over its slot until its gas is used up.
fn slow() -> World {
    let mut world = counters(0);
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

#[test]
fn cancellation_and_deadlines_stop_a_block_on_its_way() {
    let (world, small) = (slow(), counters(20));
    for profile in PROFILES.iter().filter(|profile| profile.name != "lean") {
        for threads in if profile.parallel { &[1, 2, 8][..] } else { &[1] } {
            let at = format!("{} with {threads} threads", profile.name);
            let mut engine = engine(profile.name, *threads);
            let cancel = AtomicBool::new(false);
            let control = Control { cancel: Some(&cancel), ..Control::default() };
            let failed = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(30));
                    // Relaxed: the flag carries no data.
                    cancel.store(true, Ordering::Relaxed);
                });
                engine.execute(&world.input, &world.pre, &control).err()
            });
            let Some(ExecError::Cancelled { tx }) = failed else { panic!("{at}: {failed:?}") };
            assert!(tx < world.input.txs.len(), "{at}: {tx}");

            let soon = Instant::now() + Duration::from_millis(30);
            let control = Control { deadline: Some(soon), ..Control::default() };
            let failed = engine.execute(&world.input, &world.pre, &control).err();
            assert!(matches!(failed, Some(ExecError::Deadline { .. })), "{at}: {failed:?}");
            assert_eq!(small.run_on(&mut engine), small.run("lean", 1), "{at}");
        }
    }
}

#[test]
fn a_number_of_threads_out_of_range_is_an_error_of_every_profile() {
    for profile in PROFILES {
        for threads in [0, THREADS_MAX + 1, usize::MAX] {
            let failed = (profile.build)(threads).err();
            assert_eq!(failed, Some(ProfileError::Threads { threads }), "{}", profile.name);
        }
        assert!((profile.build)(1).is_ok());
    }
}
