//! How a client or a rollup embeds Braid: its own database below, its own blocks above, its own runtime
//! around. docs/EMBEDDING.md tells the same in words.
//!
//! `cargo run --package braid-profiles --example embed`
#![allow(unreachable_pub, reason = "a test runs this file as a module")]

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use braid_core::{Cause, Control, Reader, Scheduler, State, StoreError};
use braid_evm::{
    AccountState, BlockFailure, BlockInput, EvmKey, EvmShared, EvmValue, ExecOptions, ExecutedBlock, Place,
    TxResult, execute_block, execute_block_with,
};
use braid_sched::{BlockStm, Pool, Serial};
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

type Error = Box<dyn std::error::Error + Send + Sync>;

// ---------------------------------------------------------------------------------------------------
// The client's database: bytes to bytes, with snapshots.

/// A toy key-value store. A snapshot is immutable, as a block needs it.
#[derive(Default)]
struct Kv {
    latest: Mutex<Snapshot>,
}

/// The table at one point in time.
#[derive(Clone, Default)]
struct Snapshot(Arc<BTreeMap<Vec<u8>, Vec<u8>>>);

/// `'a' address` is an account: nonce (8 bytes), balance, code hash (32 each).
fn account_key(address: Address) -> Vec<u8> {
    [b"a", address.as_slice()].concat()
}

/// `'s' address slot` is a slot that is not zero.
fn slot_key(address: Address, slot: U256) -> Vec<u8> {
    [b"s", address.as_slice(), &slot.to_be_bytes::<32>()].concat()
}

/// `'c' hash` is code.
fn code_key(hash: B256) -> Vec<u8> {
    [b"c", hash.as_slice()].concat()
}

fn account_row(nonce: u64, balance: U256, code_hash: B256) -> Vec<u8> {
    [&nonce.to_be_bytes()[..], &balance.to_be_bytes::<32>(), code_hash.as_slice()].concat()
}

impl Kv {
    fn snapshot(&self) -> Snapshot {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes what a block has changed. Slots of accounts that were created or destroyed go first.
    fn commit(&self, block: &ExecutedBlock) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Arc::make_mut(&mut latest.0);
        for (address, diff) in &block.diff {
            if diff.wiped {
                let slots = slot_key(*address, U256::ZERO)..=slot_key(*address, U256::MAX);
                let gone: Vec<Vec<u8>> = table.range(slots).map(|(key, _)| key.clone()).collect();
                gone.iter().for_each(|key| drop(table.remove(key)));
            }
            match diff.account {
                Some(now) => {
                    let row = account_row(now.nonce, now.balance, now.code_hash);
                    drop(table.insert(account_key(*address), row));
                }
                None => drop(table.remove(&account_key(*address))),
            }
            for (slot, value) in &diff.storage {
                let key = slot_key(*address, *slot);
                match value.is_zero() {
                    true => drop(table.remove(&key)),
                    false => drop(table.insert(key, value.to_be_bytes::<32>().to_vec())),
                }
            }
        }
        for (hash, code) in &block.codes {
            table.insert(code_key(*hash), code.to_vec());
        }
    }
}

// ---------------------------------------------------------------------------------------------------
// The bridge: `State` opens a `Reader` for each worker, and a reader translates locations.

impl State<EvmKey, EvmValue> for Snapshot {
    type Reader<'a> = Rows<'a>;

    /// A database with cursors or transactions opens one here.
    fn reader(&self) -> Result<Rows<'_>, StoreError> {
        Ok(Rows { table: &self.0 })
    }
}

struct Rows<'a> {
    table: &'a BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Rows<'_> {
    fn account(&self, address: Address) -> Result<Option<AccountState>, StoreError> {
        let Some(row) = self.table.get(&account_key(address)) else { return Ok(None) };
        // What the database gives is checked: a broken row is an error of the transaction that asked.
        let row: &[u8; 72] = row.as_slice().try_into().map_err(|_| {
            StoreError::Failed(format!("the row of account {address} has {} bytes", row.len()))
        })?;
        let (nonce, rest) = row.split_at(8);
        let (balance, code_hash) = rest.split_at(32);
        let slots = slot_key(address, U256::ZERO)..=slot_key(address, U256::MAX);
        Ok(Some(AccountState {
            exists: true,
            nonce: u64::from_be_bytes(nonce.try_into().unwrap_or_default()),
            balance: U256::from_be_slice(balance),
            code_hash: B256::from_slice(code_hash),
            generation: 0,
            has_storage: self.table.range(slots).next().is_some(),
        }))
    }
}

impl Reader<EvmKey, EvmValue> for Rows<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        Ok(match key {
            EvmKey::Account(address) => self.account(*address)?.map(EvmValue::Account),
            // The database knows storage as it was before the block: generation 0.
            EvmKey::Slot { generation: 1.., .. } => None,
            EvmKey::Slot { address, slot, .. } => {
                let row = self.table.get(&slot_key(*address, *slot));
                row.map(|row| EvmValue::Slot(U256::from_be_slice(row)))
            }
            EvmKey::Code(hash) => {
                let row = self.table.get(&code_key(*hash));
                row.map(|row| EvmValue::Code(Bytecode::new_raw(Bytes::copy_from_slice(row))))
            }
        })
    }
}

// ---------------------------------------------------------------------------------------------------
// The client's own blocks.

/// A transaction as this client has it, its sender recovered.
#[derive(Clone)]
struct Transaction {
    from: Address,
    nonce: u64,
    to: Address,
    wei: u64,
    data: Bytes,
}

/// A block as this client has it.
#[derive(Clone)]
struct Block {
    number: u64,
    timestamp: u64,
    proposer: Address,
    transactions: Vec<Transaction>,
}

const CHAIN_ID: u64 = 4242;
const GAS_LIMIT: u64 = 30_000_000;

/// From the client's types to Braid's. revm's `TxEnv` and `BlockEnv` are the common language.
fn input_of(block: &Block) -> BlockInput {
    let tx = |tx: &Transaction| TxEnv {
        caller: tx.from,
        nonce: tx.nonce,
        kind: TxKind::Call(tx.to),
        value: U256::from(tx.wei),
        data: tx.data.clone(),
        gas_limit: 100_000,
        gas_price: 1,
        chain_id: Some(CHAIN_ID),
        ..TxEnv::default()
    };
    let env = BlockEnv {
        number: U256::from(block.number),
        timestamp: U256::from(block.timestamp),
        beneficiary: block.proposer,
        gas_limit: GAS_LIMIT,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    // What else a block has is set by field: `block_hashes`, `max_blob_gas`, `rites` (system calls,
    // withdrawals, rewards), `rules`.
    BlockInput::new(CHAIN_ID, SpecId::SHANGHAI, env, block.transactions.iter().map(tx).collect())
}

// ---------------------------------------------------------------------------------------------------
// The node: what is made once and serves all blocks.

struct Node {
    db: Kv,
    /// Threads are started once. Everything that runs blocks may share them; blocks take turns.
    scheduler: BlockStm,
    /// Analysed code and the memory of workers, from block to block.
    shared: EvmShared,
}

impl Node {
    fn new(threads: u16) -> Self {
        let pool = Arc::new(Pool::new(threads));
        Node { db: Kv::default(), scheduler: BlockStm::new(pool), shared: EvmShared::default() }
    }

    /// Executes a block and commits it. `deliver` gets each result in order, while later ones still run.
    fn execute(
        &self,
        block: &Block,
        control: &Control<'_>,
        deliver: &mut (dyn FnMut(usize, &TxResult) + Send),
    ) -> Result<ExecutedBlock, Error> {
        let (input, state) = (input_of(block), self.db.snapshot());
        let options = ExecOptions { deliver: Some(deliver), ..ExecOptions::default() };
        let output =
            execute_block_with(options, &self.scheduler, &self.shared, &input, &state, &(), control)?;
        let executed = output.into_block(&state)?;
        self.db.commit(&executed);
        Ok(executed)
    }

    /// The same block by any scheduler, uncommitted: to compare, to simulate.
    fn dry_run<C: Scheduler>(&self, scheduler: &C, block: &Block) -> Result<ExecutedBlock, BlockFailure> {
        let (input, state) = (input_of(block), self.db.snapshot());
        let output = execute_block(scheduler, &self.shared, &input, &state, &(), &Control::default())?;
        let failed = |error| BlockFailure { place: Place::After, cause: Cause::Store(error) };
        output.into_block(&state).map_err(failed)
    }
}

// ---------------------------------------------------------------------------------------------------

/// A contract that counts its calls in slot 0.
const COUNTER: [u8; 10] = [0x60, 0x00, 0x54, 0x60, 0x01, 0x01, 0x60, 0x00, 0x55, 0x00];

fn user(n: u64) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn counter() -> Address {
    Address::repeat_byte(0xcc)
}

/// A genesis: rows as the client writes them.
fn genesis(db: &Kv) {
    let mut table = BTreeMap::new();
    for n in 0..64 {
        table.insert(account_key(user(n)), account_row(0, U256::from(1_000_000_000), KECCAK256_EMPTY));
    }
    let hash = keccak256(COUNTER);
    table.insert(account_key(counter()), account_row(1, U256::ZERO, hash));
    table.insert(code_key(hash), COUNTER.to_vec());
    *db.latest.lock().unwrap_or_else(PoisonError::into_inner) = Snapshot(Arc::new(table));
}

fn block(number: u64) -> Block {
    let transaction = |n: u64| Transaction {
        from: user(n),
        nonce: number - 1,
        to: if n.is_multiple_of(4) { counter() } else { user((n * 7 + number) % 64) },
        wei: n,
        data: Bytes::new(),
    };
    let transactions = (0..64).map(transaction).collect();
    Block { number, timestamp: 1_000 + number * 2, proposer: user(999), transactions }
}

/// Executes blocks as an asynchronous service does: off the runtime's own threads, with a deadline and a
/// way to cancel, the results flowing to the runtime as they become final.
async fn serve(node: Arc<Node>, number: u64) -> Result<ExecutedBlock, Error> {
    let cancel = Arc::new(AtomicBool::new(false));
    let (told, mut results) = tokio::sync::mpsc::unbounded_channel();
    let flag = cancel.clone();
    let execution = tokio::task::spawn_blocking(move || {
        let deadline = Some(Instant::now() + Duration::from_secs(10));
        let control = Control { cancel: Some(&flag), deadline };
        let mut deliver = |index: usize, result: &TxResult| {
            // Nobody listens any more: the block goes on, its results are in its output too.
            let _ = told.send((index, result.gas_used));
        };
        node.execute(&block(number), &control, &mut deliver)
    });
    let (mut cumulative, mut arrived) = (0, 0);
    while let Some((index, gas)) = results.recv().await {
        assert_eq!(index, arrived, "in block order");
        (cumulative, arrived) = (cumulative + gas, arrived + 1);
    }
    let executed = execution.await??;
    println!("block {number}: {arrived} results, {cumulative} gas, {} accounts changed", executed.diff.len());
    Ok(executed)
}

/// The node's life: three blocks, one that is invalid, one that is cancelled.
///
/// # Errors
/// What went wrong, which in an example is nothing.
pub fn main() -> Result<(), Error> {
    // 0.5 to 1 times the physical cores that block execution may have.
    let node = Arc::new(Node::new(4));
    genesis(&node.db);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    for number in 1..=3 {
        let serial = node.dry_run(&Serial::new(), &block(number))?;
        let executed = runtime.block_on(serve(node.clone(), number))?;
        assert_eq!((&executed.results, &executed.diff), (&serial.results, &serial.diff));
    }

    // An invalid block names the transaction that serial would name, and commits nothing.
    let mut bad = block(4);
    bad.transactions[40].nonce += 1;
    let failure = node.dry_run(&node.scheduler, &bad).expect_err("a nonce too high");
    assert_eq!(failure.place, Place::Tx(40));
    println!("block 4: {failure}");

    // A cancelled block is an error like any other; the node goes on.
    let cancel = AtomicBool::new(true);
    let control = Control { cancel: Some(&cancel), deadline: None };
    let failed = node.execute(&block(4), &control, &mut |_, _| {}).expect_err("cancelled");
    println!("block 4: {failed}");
    // Relaxed: the flag carries no data.
    cancel.store(false, Ordering::Relaxed);
    node.execute(&block(4), &control, &mut |_, _| {})?;
    let calls = node.db.snapshot().reader()?.get(&slot_zero())?;
    assert_eq!(calls, Some(EvmValue::Slot(U256::from(4 * 16))));
    println!("block 4: executed at last; the counter was called {} times", 4 * 16);
    Ok(())
}

fn slot_zero() -> EvmKey {
    EvmKey::Slot { address: counter(), generation: 0, slot: U256::ZERO }
}
