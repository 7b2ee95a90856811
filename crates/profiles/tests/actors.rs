//! `megaeth-actors` on real blocks: whatever the schedule, the same as one message after the other; no ether lost;
//! an end; and how many transactions end differently under Ethereum's rules.
//!
//! Blocks are read from `BRAID_DATA`, or `../shared/data` beside the repository; without them these tests say so and
//! skip. A part of them is drawn by a seed, which a failure prints and `BRAID_SEED` sets; `BRAID_LONG=1` takes all.

use alloy_primitives::{Address, U256};
use braid_actors::{ActorBlock, Limits, deliver, differing, evm_outcomes, mail, messages_before};
use braid_core::{Control, Scheduler};
use braid_evm::{AccountState, EvmKey, EvmShared, EvmValue, execute_block};
use braid_profiles::{
    Names, OWN_RULES, PROFILES,
    bench::Given,
    find_any, limit, profile,
    schedule::{ScheduleError, model, record},
};
use braid_sched::{BlockStm, Graph, Occ, Policy, Pool, Serial};
use braid_testkit::{Rng, data};
use braid_work::{Case, PreState, load};
use std::sync::Arc;

fn by<S: Scheduler>(scheduler: &S, case: &Case) -> ActorBlock {
    let (pre, control) = (case.state().unwrap(), Control::default());
    let done = deliver(scheduler, &case.input, Limits::default(), true, pre.as_ref(), &(), &control);
    done.unwrap_or_else(|error| panic!("{}: {}: {error}", case.name, scheduler.name()))
}

fn account(pre: &PreState, address: Address) -> AccountState {
    match pre.store.get(&EvmKey::Account(address)) {
        Some(EvmValue::Account(account)) => *account,
        _ => AccountState::default(),
    }
}

/// No ether is lost or made, and nobody waits for an answer.
fn conserves(case: &Case, block: &ActorBlock) {
    let pre = case.state().unwrap();
    assert_eq!(block.waiting, 0, "{}: frames are left", case.name);
    let (mut before, mut after) = (block.issued, block.burnt);
    for (key, value) in &block.changes {
        if let EvmKey::Account(address) = key {
            before += account(pre, *address).balance;
            if let Some(EvmValue::Account(account)) = value {
                after += account.balance;
            }
        }
    }
    assert_eq!(before, after, "{}: ether", case.name);
}

fn same(case: &Case, seed: u64, serial: &ActorBlock, other: &ActorBlock, what: &str) {
    let all = |block: &ActorBlock| (block.rounds, block.messages, block.burnt, block.gas_used);
    let equal = serial.ends == other.ends
        && serial.changes == other.changes
        && serial.effects == other.effects
        && serial.partial == other.partial
        && all(serial) == all(other);
    assert!(equal, "{}: {what} differs; repeat with BRAID_SEED={seed}", case.name);
}

/// Delivers a case under all schedules. Returns how many transactions end differently in Ethereum.
fn check(case: &Case, seed: u64, pools: &[(u16, Arc<Pool>)]) -> usize {
    let serial = by(&Serial::new(), case);
    conserves(case, &serial);
    for (threads, pool) in pools {
        let what = |name: &str| format!("{name} on {threads} threads");
        same(case, seed, &serial, &by(&BlockStm::new(pool.clone()).chaos(seed), case), &what("block_stm"));
        same(case, seed, &serial, &by(&Occ::new(pool.clone()).chaos(seed), case), &what("occ"));
        let graph = Graph::new(pool.clone(), Policy::Fifo).chaos(seed);
        same(case, seed, &serial, &by(&graph, case), &what("graph"));
    }
    let evm = evm_outcomes(&EvmShared::default(), &case.input, case.state().unwrap().as_ref()).unwrap();
    let differing = differing(&serial, &evm);
    assert!(differing.len() <= case.input.txs.len());
    eprintln!(
        "{}: {:?}, {} txs, {} rounds, {} messages, {} end differently in Ethereum ({:.0}%)",
        case.name,
        case.input.spec,
        evm.len(),
        serial.rounds,
        serial.messages,
        differing.len(),
        100.0 * differing.len() as f64 / evm.len().max(1) as f64
    );
    differing.len()
}

#[test]
fn real_blocks() {
    let Some(data) = data() else { return };
    let seed = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    let all = std::env::var_os("BRAID_LONG").is_some();
    let pools: Vec<_> =
        [1, 2, 8].into_iter().map(|threads| (threads, Arc::new(Pool::new(threads)))).collect();
    let (mut blocks, mut txs, mut differing) = (0, 0, 0);
    for folder in ["ethereum/mainnet", "ethereum/holesky"] {
        for source in load(&data.join(folder)).unwrap() {
            // Recovering senders takes longest.
            if !all && rng.below(6) != 0 {
                continue;
            }
            let case = source.load().unwrap_or_else(|error| panic!("{error}"));
            if case.pre.is_none() {
                continue;
            }
            differing += check(&case, seed, &pools);
            (blocks, txs) = (blocks + 1, txs + case.input.txs.len());
        }
    }
    eprintln!("{blocks} blocks: {differing} of {txs} transactions end differently in Ethereum");
    assert!(blocks > 0, "no block in {}", data.display());
}

#[test]
fn only_who_names_it_gets_it() {
    assert!(profile("megaeth-actors").is_err());
    let found = find_any(PROFILES, OWN_RULES, "megaeth-actors").unwrap();
    assert_eq!(found.name, "megaeth-actors");
    assert!(PROFILES.iter().all(|profile| (profile.build)(1).unwrap().oracle().is_none()));
    assert!(OWN_RULES.iter().all(|profile| (profile.build)(1).unwrap().oracle().is_some()));
    let unknown = find_any(PROFILES, OWN_RULES, "nobody").unwrap_err().to_string();
    assert!(unknown.contains("lean") && unknown.contains("megaeth-actors"), "{unknown}");
}

#[test]
fn the_profile_equals_its_oracle_and_tells_how_far_it_is_from_ethereum() {
    let workload: braid_work::Workload = "erc20?txs=200".parse().unwrap();
    let case = workload.source().load().unwrap();
    let (input, pre) = (&case.input, case.state().unwrap());
    let found = find_any(PROFILES, OWN_RULES, "megaeth-actors").unwrap();
    for threads in [1, 2, 8] {
        let mut engine = (found.build)(threads).unwrap();
        let mut oracle = engine.oracle().unwrap();
        let run = |engine: &mut Box<dyn braid_profiles::Engine>| {
            let done = engine.execute(input, pre, &Control::default()).unwrap();
            let mut block = done.into_block(pre);
            block.stats = Default::default();
            block
        };
        let expected = run(&mut oracle);
        for seed in 1..4 {
            engine.shuffle(seed);
            assert_eq!(run(&mut engine), expected, "{threads} threads, seed {seed}");
        }
        assert!(expected.results.iter().any(|result| result.gas_used > 21_000));
        let share = engine.differs_from_evm(input, pre).unwrap();
        assert!((0.0..=1.0).contains(&share));
        let nothing = expected.results.iter().all(|result| result.gas_used == 0);
        assert!(!nothing && U256::from(expected.gas_used) > U256::ZERO);
    }
}

/// Every message is in the schedule, once; those to one receiver stand in line, and rounds follow one another. Times
/// that cannot be are noticed.
#[test]
fn a_schedule_of_messages() {
    let workload: braid_work::Workload = "swaps?txs=40&pools=3&traders=12".parse().unwrap();
    let case = workload.source().load().unwrap();
    let (input, pre) = (&case.input, case.state().unwrap());
    let given = Given { input, pre, access_list: None };
    let found = find_any(PROFILES, OWN_RULES, "megaeth-actors").unwrap();
    let control = Control::default();
    let all = mail(input, Limits::default(), pre.as_ref(), &control).unwrap();
    let before = i64::from(messages_before(input));
    let footprints = limit::trace(input, pre).unwrap();
    let mut waits = 0;
    for threads in [1, 2, 4] {
        let mut engine = (found.build)(threads).unwrap();
        for seed in 1..4 {
            let who = format!("{threads} threads, seed {seed}");
            engine.shuffle(seed);
            let seat = (found, threads);
            let done = record(engine.as_mut(), seat, "swaps", given, &Names::default(), &control);
            let mut trace = done.unwrap().unwrap();
            trace.check().unwrap();
            assert_eq!((trace.txs, trace.lost), (40, 0), "{who}");
            let numbers: Vec<i64> = trace.commits.iter().map(|commit| commit.tx).collect();
            assert_eq!(numbers, Vec::from_iter(-before..all.len() as i64 - before), "{who}");
            let message = |tx: i64| &all[usize::try_from(tx + before).unwrap()];
            let first = trace.tasks.iter().filter(|task| task.incarnation == 0);
            for task in first.clone() {
                for other in first.clone().filter(|other| other.tx > task.tx) {
                    let (mine, its) = (message(task.tx), message(other.tx));
                    if mine.to == its.to || mine.round < its.round {
                        let (one, two) = (task.tx, other.tx);
                        assert!(task.end_ns <= other.start_ns, "{who}: {one} and {two} overlap");
                    }
                }
            }
            waits += trace.waits.len();
            model(engine.as_mut(), &mut trace, given, &footprints).unwrap();
            let times = trace.model.clone().unwrap();
            assert_eq!(times.on(1).unwrap().time_ns, times.work_ns, "{who}");
            assert!(times.span_ns <= times.on(32).unwrap().time_ns && times.span_ns < times.work_ns, "{who}");
            assert!(times.floor_ns > 0 && times.floor_ns <= trace.elapsed_ns, "{who}");
            trace.elapsed_ns = times.floor_ns - 1;
            let error = model(engine.as_mut(), &mut trace, given, &footprints).unwrap_err();
            assert!(matches!(error, ScheduleError::Impossible(_)), "{who}: {error}");
        }
    }
    assert!(waits > 0, "three pools and four threads: some messages had to wait");
}

/// A transaction alone in its block has nobody between its steps. So it ends as in Ethereum, unless a frame fails
/// that has waited before: the steps before that stay.
#[test]
fn alone_most_transactions_end_as_in_ethereum() {
    let Some(data) = data() else { return };
    let seed = std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    let all = std::env::var_os("BRAID_LONG").is_some();
    let shared = EvmShared::default();
    let (mut txs, mut differing_alone) = (0, 0);
    for source in load(&data.join("ethereum/mainnet")).unwrap() {
        if !all && rng.below(8) != 0 {
            continue;
        }
        let case = source.load().unwrap_or_else(|error| panic!("{error}"));
        let Some(pre) = &case.pre else { continue };
        let (mut state, mut input) = (PreState::clone(pre), case.input.clone());
        input.rites = braid_evm::Rites::default();
        let mut differ = Vec::new();
        for (index, tx) in case.input.txs.iter().enumerate() {
            input.txs = vec![tx.clone()];
            let evm = evm_outcomes(&shared, &input, &state).unwrap();
            let done =
                deliver(&Serial::new(), &input, Limits::default(), true, &state, &(), &Control::default());
            let done = done.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            if !differing(&done, &evm).is_empty() {
                assert!(done.partial[0], "{}: transaction {index} differs for no reason", case.name);
                differ.push(index);
            }
            let executed = execute_block(&Serial::new(), &shared, &input, &state, &(), &Control::default());
            let executed = executed.unwrap().into_block(&state).unwrap();
            state.apply(&executed).unwrap();
        }
        (txs, differing_alone) = (txs + case.input.txs.len(), differing_alone + differ.len());
        eprintln!("{}: {} of {} differ alone: {differ:?}", case.name, differ.len(), case.input.txs.len());
    }
    eprintln!("{differing_alone} of {txs} transactions end differently in Ethereum even if they are alone");
    assert!(txs > 0);
}
