//! What can be seen of an executor that follows, through each of the trait's doors: the state that is handed out
//! with a result, the hook on the state, the database between transactions, indices of access lists.
//!
//! `BRAID_SEED` repeats a block; `BRAID_LONG=1` looks at many.

#[path = "../../profiles/tests/common/mod.rs"]
mod common;
mod door;

use alloy_consensus::TxEnvelope;
use alloy_evm::{
    Evm,
    block::{BlockExecutor, TxResult},
};
use alloy_primitives::{Address, B256, U256};
use braid_testkit::Rng;
use common::seed_to_repeat;
use door::{Factory, Forks, Given, database, parallel, serial, valid};
use parking_lot::Mutex;
use revm::{
    context::{TxEnv, result::HaltReason},
    database::{BundleState, State, states::bundle_state::BundleRetention},
    state::{Account, EvmState},
};
use std::{collections::BTreeMap, sync::Arc};

fn seeds(few: u64, many: u64) -> std::ops::Range<u64> {
    let count = if std::env::var_os("BRAID_LONG").is_some() { many } else { few };
    seed_to_repeat().map_or(0..count, |seed| seed..seed + 1)
}

/// What a state changes in an account.
#[derive(Clone, Debug, Default, PartialEq)]
struct Change {
    /// As `info`, before.
    before: Option<(U256, u64, B256)>,
    /// Balance, nonce and code, unless it destroyed itself.
    info: Option<(U256, u64, B256)>,
    created: bool,
    /// Before and after.
    slots: BTreeMap<U256, (U256, U256)>,
}

type Changes = BTreeMap<Address, Change>;

/// What a state changes. What it only loads or touches is left out.
fn changes(state: &EvmState) -> Changes {
    let change = |account: &Account| {
        let (info, gone) = (&account.info, account.is_selfdestructed());
        let slots = account.storage.iter().filter(|(_, slot)| slot.is_changed() && !gone);
        let before = account.original_info();
        Change {
            before: (!gone).then_some((before.balance, before.nonce, before.code_hash)),
            info: (!gone).then_some((info.balance, info.nonce, info.code_hash)),
            created: account.is_created(),
            slots: slots.map(|(key, slot)| (*key, (slot.original_value, slot.present_value))).collect(),
        }
    };
    let all = state.iter().filter(|(_, account)| account.is_touched());
    let all = all.map(|(address, account)| (address, account, change(account)));
    let kept = all.filter(|(_, account, change)| {
        let same = account.info == account.original_info() && !account.is_selfdestructed();
        !same || change.created || !change.slots.is_empty()
    });
    kept.map(|(address, _, change)| (*address, change)).collect()
}

/// One change after the other. Accounts that end as they began are left out.
fn folded(all: &[Changes]) -> Changes {
    let mut sum = Changes::new();
    for (address, change) in all.iter().flatten() {
        let known = sum.entry(*address).or_insert(Change { before: change.before, ..Change::default() });
        if change.created || change.info.is_none() {
            *known = Change::default();
        }
        known.info = change.info;
        known.created |= change.created;
        for (key, (before, after)) in &change.slots {
            known.slots.entry(*key).or_insert((*before, *after)).1 = *after;
        }
        known.slots.retain(|_, (before, after)| before != after);
    }
    sum.retain(|_, change| change.created || change.before != change.info || !change.slots.is_empty());
    sum
}

/// States handed out with results, states that the hook was told of, the change of the block and how it ended.
type Seen = (Vec<Changes>, Vec<Changes>, (BundleState, Result<(), String>));

fn hooked<F: Factory>(factory: &F, given: &Given) -> Seen {
    let mut db = database(given);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = told.clone();
    db.set_state_hook(Some(Box::new(move |state: EvmState| hook.lock().push(changes(&state)))));
    let mut executor = factory.executor(given, &mut db);
    executor.apply_pre_execution_changes().unwrap();
    let mut handed_out = Vec::new();
    for (env, tx) in &given.txs {
        let see = |one: &F::TxExecutionResult| handed_out.push(changes(&one.result().state));
        executor.execute_transaction_with_result_closure((env.clone(), tx), see).unwrap();
    }
    let finished = executor.finish().map(|_| ()).map_err(door::told);
    let mut told = std::mem::take(&mut *told.lock());
    told.retain(|changes| !changes.is_empty());
    (handed_out, told, (door::bundle(db), finished))
}

#[test]
fn states_that_are_handed_out_or_told_to_a_hook() {
    let mut all = 0;
    for seed in seeds(150, 3_000) {
        let given = valid(seed);
        let spec = Forks(given.env.cfg_env.spec);
        let (expected, expected_hook, expected_bundle) = hooked(&serial(spec), &given);
        for deferred in [false, true] {
            let factory = parallel(spec, 1 + (seed % 4) as u16);
            factory.speculate(given.deferred(deferred).ahead()).unwrap();
            let (handed_out, hook, bundle) = hooked(&factory, &given);
            let what = format!("deferred: {deferred}; repeat with BRAID_SEED={seed}");
            assert_eq!(handed_out, expected, "{what}");
            assert_eq!(bundle, expected_bundle, "{what}");
            if deferred {
                assert_eq!(folded(&hook), folded(&expected_hook), "{what}");
            } else {
                assert_eq!(hook, expected_hook, "{what}");
            }
            assert_eq!(factory.counts().used, given.txs.len() as u64, "{what}");
        }
        all += expected.iter().map(Changes::len).sum::<usize>();
    }
    assert!(seed_to_repeat().is_some() || all > 1_000, "{all} changes");
}

/// What a database has noted so far. Accounts that were touched and not changed are noted or not.
fn noted<D>(db: &State<D>) -> BundleState {
    let mut bundle = BundleState::default();
    let transitions = db.transition_state.clone().unwrap();
    bundle.apply_transitions_and_create_reverts(transitions, BundleRetention::Reverts);
    bundle.reverts.sort();
    bundle
}

/// Executes the transaction at `at`.
fn step<X>(executor: &mut X, given: &Given, at: usize)
where
    X: BlockExecutor<Transaction = TxEnvelope, Evm: Evm<Tx = TxEnv, HaltReason = HaltReason>>,
{
    let (env, tx) = &given.txs[at];
    executor.execute_transaction((env.clone(), tx)).unwrap();
}

#[test]
fn the_database_between_transactions() {
    for seed in seeds(150, 3_000) {
        let given = valid(seed);
        let what = format!("repeat with BRAID_SEED={seed}");
        let spec = Forks(given.env.cfg_env.spec);
        let (serial, factory) = (serial(spec), parallel(spec, 1 + (seed % 4) as u16));
        factory.speculate(given.ahead()).unwrap();
        let mut executor = factory.executor(&given, database(&given));
        let mut other = serial.executor(&given, database(&given));
        executor.apply_pre_execution_changes().unwrap();
        other.apply_pre_execution_changes().unwrap();
        let look = Rng::new(seed).below(given.txs.len() as u64) as usize;
        for at in 0..given.txs.len() {
            step(&mut executor, &given, at);
            step(&mut other, &given, at);
            assert_eq!(executor.receipts(), other.receipts(), "{what}");
            if at == look {
                // From here on it is serial.
                let _ = executor.evm_mut();
                assert!(!executor.is_following());
            }
            if !given.deferred || at >= look {
                assert_eq!(noted(executor.evm().db()), noted(other.evm().db()), "after {at}; {what}");
            }
        }
        assert_eq!(factory.counts().used, look as u64 + 1, "{what}");
    }
}

#[test]
fn transactions_with_an_index_are_committed_one_by_one() {
    for seed in seeds(50, 1_000) {
        let given = valid(seed).deferred(true);
        let what = format!("repeat with BRAID_SEED={seed}");
        let spec = Forks(given.env.cfg_env.spec);
        let (serial, factory) = (serial(spec), parallel(spec, 2));
        factory.speculate(given.ahead()).unwrap();
        let mut executor = factory.executor(&given, database(&given));
        let mut other = serial.executor(&given, database(&given));
        executor.apply_pre_execution_changes().unwrap();
        other.apply_pre_execution_changes().unwrap();
        // The first half without an index.
        let half = given.txs.len() / 2;
        for (at, (env, tx)) in given.txs.iter().enumerate() {
            step(&mut other, &given, at);
            if at < half {
                step(&mut executor, &given, at);
                continue;
            }
            executor.execute_transaction_with_index((env.clone(), tx), at).unwrap();
            let (db, other_db) = (executor.evm().db(), other.evm().db());
            assert_eq!(db.bal_state.bal_index.get(), at as u64 + 1, "{what}");
            assert_eq!(noted(db), noted(other_db), "after {at}; {what}");
        }
        drop(executor);
        assert_eq!(factory.counts().used, given.txs.len() as u64, "{what}");
    }
}
