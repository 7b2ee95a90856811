//! What a program that embeds Braid relies on and no signature shows: which types may be sent to, and
//! shared between, the threads of its runtime, and that every error is one.

use alloy_primitives::Bytes;
use braid_core::{BlockError, Cause, Changes, Control, Effects, Event, Halt, Stats, Stop, StoreError};
use braid_evm::{
    AccessRecord, BlockFailure, BlockInput, BlockOutput, CodeCache, EvmError, EvmKey, EvmShared, EvmTx,
    EvmValue, EvmVm, ExecutedBlock, Rites, TxResult,
};
use braid_profiles::{
    Engine, ExecError, Executed, LeanEngine, Profile, ProfileError,
    bench::{BenchError, Measurement},
    lean::{LeanBlock, LeanError},
    limit::{Dependencies, Footprint, LimitError},
};
use braid_rules::{ChainSpec, Fork, UnknownNetwork};
use braid_sched::{BlockStm, Occ, Pool, Serial, Waits, WorkerPanic};
use braid_store::{
    MemStore,
    trie::{PartialTrie, StateTrie, TrieError, TrieNodes},
};
use braid_work::{
    Alloc, Case, Chain, ChainBlock, DbError, HashedState, PreState, RawTxs, Source, WorkError, Workload,
    witness::WitnessError,
};
use std::error::Error;

const fn send<T: Send>() {}
const fn shared<T: Send + Sync>() {}
const fn owned<T: Send + Sync + 'static>() {}
const fn error<T: Error + Send + Sync + 'static>() {}

#[test]
fn what_a_block_is_made_of_goes_anywhere() {
    owned::<BlockInput>();
    owned::<Rites>();
    owned::<PreState>();
    owned::<Alloc>();
    owned::<MemStore<EvmKey, EvmValue>>();
    owned::<EvmKey>();
    owned::<EvmValue>();
    owned::<EvmTx>();
    owned::<Case>();
    owned::<Source>();
    owned::<Workload>();
    owned::<RawTxs>();
    owned::<ChainSpec>();
    owned::<Fork>();
    owned::<TrieNodes>();
    owned::<StateTrie>();
    owned::<Chain>();
    owned::<ChainBlock>();
    owned::<HashedState>();
    shared::<PartialTrie<'static>>();
    shared::<Control<'static>>();
    shared::<Event<'static, EvmKey>>();
}

#[test]
fn what_outlives_a_block_is_shared() {
    owned::<Pool>();
    owned::<Serial>();
    owned::<Occ>();
    owned::<BlockStm>();
    owned::<Waits>();
    owned::<EvmShared>();
    owned::<CodeCache>();
    owned::<Profile>();
    owned::<LeanEngine>();
    shared::<EvmVm<'static>>();
    // An engine serves one block at a time, so it is moved, not shared.
    send::<Box<dyn Engine>>();
}

#[test]
fn results_go_anywhere() {
    send::<Box<dyn Executed>>();
    owned::<BlockOutput>();
    owned::<ExecutedBlock>();
    owned::<TxResult>();
    owned::<AccessRecord>();
    owned::<Vec<Bytes>>();
    owned::<Stats>();
    owned::<LeanBlock>();
    owned::<Dependencies>();
    owned::<Footprint>();
    owned::<Measurement>();
    shared::<Changes<EvmVm<'static>>>();
    shared::<Effects<EvmVm<'static>>>();
}

#[test]
fn errors_are_errors() {
    error::<StoreError>();
    error::<Cause<EvmError>>();
    error::<BlockError<EvmError>>();
    error::<BlockFailure>();
    error::<EvmError>();
    error::<ExecError>();
    error::<ProfileError>();
    error::<BenchError>();
    error::<LeanError>();
    error::<LimitError>();
    error::<WorkError>();
    error::<DbError>();
    error::<TrieError>();
    error::<WitnessError>();
    error::<UnknownNetwork>();
    owned::<Halt>();
    owned::<Stop<EvmError>>();
    // The payload of a panic may not be shared.
    send::<WorkerPanic>();
}

#[test]
fn errors_say_where_and_why() {
    let failure = BlockFailure {
        place: braid_evm::Place::Tx(3),
        cause: Cause::Store(StoreError::Failed("no disk".into())),
    };
    assert_eq!(failure.to_string(), "transaction 3: the state cannot answer: store failure: no disk");
    let error = BlockError::<EvmError> { tx: 7, cause: Cause::Deadline };
    assert_eq!(error.to_string(), "transaction 7: the deadline has passed");
}
