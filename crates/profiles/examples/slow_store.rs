//! What suspended executions gain on a store on disk whose cold pages are slow, on a block of transfers without
//! conflicts: `cargo run --release -p braid-profiles --example slow_store [transactions] [microseconds]
//! [reads at a time]`.
//!
//! The store holds 100,000 accounts on a medium below which every page read takes so long, by deadlines on a
//! monotonic clock, and remembers a few pages and no accounts. Each run opens it anew. Serial walks the same tries
//! and waits for each page. There are no hints, but in the last line, where the machine says whom a transaction
//! names. Of each engine the best of three runs counts; their results are compared.

use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_core::{Control, Hint, Scheduler, StoreError};
use braid_evm::{
    AccountState, BlockInput, EvmKey, EvmShared, EvmValue, ExecOptions, ExecutedBlock, execute_block_with,
};
use braid_sched::{BlockStm, Occ, Pool, Serial, Waits};
use braid_store::{
    disk::{Batch, DiskError, DiskOptions, DiskStore, ViewReader},
    io::{DelayedMedium, FaultMedium, Faults, Medium},
};
use revm::{
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::{
    env,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

const ACCOUNTS: u64 = 100_000;

fn address(of: u64) -> Address {
    Address::from_word(keccak256(of.to_le_bytes()))
}

fn options() -> DiskOptions {
    DiskOptions { page_cache_bytes: 1 << 20, flat_entries: 0, workers: 1, ..DiskOptions::default() }
}

/// What stands at a location.
fn read(reader: &mut ViewReader<'_>, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
    let failed = |error: DiskError| StoreError::Failed(error.to_string());
    Ok(match key {
        EvmKey::Account(address) => reader.account(address).map_err(failed)?.map(|account| {
            EvmValue::Account(AccountState {
                exists: true,
                balance: account.balance,
                nonce: account.nonce,
                code_hash: account.code_hash,
                generation: 0,
                has_storage: account.storage_root != EMPTY_ROOT_HASH,
            })
        }),
        EvmKey::Slot { generation: 1.., .. } => None,
        EvmKey::Slot { address, slot, .. } => {
            let value = reader.slot(address, slot).map_err(failed)?;
            (!value.is_zero()).then_some(EvmValue::Slot(value))
        }
        EvmKey::Code(hash) => return Err(StoreError::Missing { what: "code", item: hash.to_string() }),
    })
}

/// Transfers between accounts of which each is in one of them only.
fn transfers(count: u64) -> BlockInput {
    let tx = |at: u64| TxEnv {
        caller: address(2 * at),
        kind: TxKind::Call(address(2 * at + 1)),
        value: U256::from(at + 1),
        gas_limit: 21_000,
        gas_price: 1,
        chain_id: Some(1),
        ..TxEnv::default()
    };
    let env = BlockEnv {
        beneficiary: address(ACCOUNTS + 1),
        gas_limit: 21_000 * count,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    BlockInput::new(1, SpecId::SHANGHAI, env, (0..count).map(tx).collect())
}

/// A store, a block, and how slow the one is for the other.
struct Bench {
    below: Arc<FaultMedium>,
    input: BlockInput,
    delay: Duration,
    overlap: u16,
    shared: EvmShared,
}

/// The best run of an engine: its time, pages it read, and the most executions that were suspended.
struct Best {
    time: Duration,
    pages: u64,
    most: u64,
}

impl Bench {
    fn store(&self, delay: Duration) -> Result<DiskStore, DiskError> {
        let below: Arc<dyn Medium> = self.below.clone();
        DiskStore::open_on(Arc::new(DelayedMedium::fixed(below, delay)), options())
    }

    /// Runs the block on `scheduler` three times, each on a store without memory.
    fn best<S: Scheduler>(
        &self,
        scheduler: &S,
        hints: Option<&[Hint<EvmKey>]>,
        expected: Option<&ExecutedBlock>,
    ) -> Result<(Best, ExecutedBlock), Box<dyn Error>> {
        let (mut best, mut result) = (None, None);
        for _ in 0..3 {
            let store = self.store(self.delay)?;
            let state = store.view(1)?.state(read).overlapping(self.overlap);
            let before = store.stat()?.page_reads;
            let options = ExecOptions { hints: hints.unwrap_or(&[]), ..ExecOptions::default() };
            let started = Instant::now();
            let output = execute_block_with(
                options,
                scheduler,
                &self.shared,
                &self.input,
                &state,
                &(),
                &Control::default(),
            )?;
            let time = started.elapsed();
            let (pages, most) = (store.stat()?.page_reads - before, output.stats.most_in_flight);
            if best.as_ref().is_none_or(|best: &Best| time < best.time) {
                best = Some(Best { time, pages, most });
            }
            let view = self.store(Duration::ZERO)?.view(1)?;
            let mut block = output.into_block(&view.state(read))?;
            block.stats = Default::default();
            if expected.is_some_and(|expected| *expected != block) {
                return Err("the result is not that of serial".into());
            }
            result = Some(block);
        }
        best.zip(result).ok_or_else(|| "no run".into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = env::args().skip(1).map(|number| number.parse::<u64>());
    let count = numbers.next().transpose()?.unwrap_or(1000).min(ACCOUNTS / 2);
    let delay = Duration::from_micros(numbers.next().transpose()?.unwrap_or(50));
    let overlap = u16::try_from(numbers.next().transpose()?.unwrap_or(127))?;
    let below = Arc::new(FaultMedium::new(1, Faults::default()));
    let mut batch = Batch::default();
    for of in 0..ACCOUNTS {
        let account = TrieAccount { balance: U256::from(1_000_000_000u64), ..TrieAccount::default() };
        batch.change(address(of), Some(account), false, []);
    }
    DiskStore::create_on(below.clone(), options())?.apply(1, &batch)?;
    let bench = Bench { below, input: transfers(count), delay, overlap, shared: EvmShared::default() };
    let none = vec![Hint::none(); count as usize];
    let (serial, expected) = bench.best(&Serial::new(), Some(&none), None)?;
    println!(
        "{count} transfers without conflicts, {delay:?} for each cold page, {overlap} reads of a worker at a time"
    );
    println!("serial                        {:>10.2?}             {} pages", serial.time, serial.pages);
    let show = |name: &str, best: &Best| {
        let times = serial.time.as_secs_f64() / best.time.as_secs_f64();
        let Best { time, pages, most } = best;
        println!("{name:<29} {time:>10.2?} {times:>7.2}x    {pages} pages, most in flight {most}");
    };
    for threads in [1, 2] {
        let pool = Arc::new(Pool::new(threads));
        let (occ, _) = bench.best(&Occ::new(pool.clone()), Some(&none), Some(&expected))?;
        show(&format!("occ, {threads} workers"), &occ);
        let stm = BlockStm::new(pool).waits(Waits::Resume);
        let (best, _) = bench.best(&stm, Some(&none), Some(&expected))?;
        show(&format!("block_stm, {threads} workers"), &best);
        let (best, _) = bench.best(&stm, None, Some(&expected))?;
        show(&format!("block_stm, {threads} workers, hints"), &best);
    }
    Ok(())
}
