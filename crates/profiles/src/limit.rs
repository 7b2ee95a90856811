//! How fast a block can be at best: the heaviest chain of transactions that need one another.
//!
//! A serial run of plain revm under an inspector says what each transaction reads and writes; nothing of
//! that is shared with the schedulers. Edges lead from a transaction to the earlier ones it needs:
//!
//! 1. *Slots and code.* To the last transaction that changed a slot it loaded (SSTORE loads, for its
//!    gas), or the code of an account it touched. Destroying or creating an account changes its code.
//! 2. *Nonces.* Between two transactions of one sender in a row, under [`Nonces::Chained`]. Also to
//!    the last one that changed a nonce it used otherwise: that of a contract that creates, that of
//!    the signer of an EIP-7702 authorization.
//! 3. *Balances*, only where BALANCE, SELFBALANCE or SELFDESTRUCT observes one: to every transaction
//!    that changed it. Payments commute, so those that only pay do not need one another. That enough
//!    money is there to spend is not an edge.
//!
//! Times of transactions under Braid's own serial engine weigh the nodes; *work* is their sum, *span* the heaviest chain, and no
//! schedule on `threads` threads that keeps to the edges is faster than `min(threads, work / span)`
//! (Brent, "The Parallel Evaluation of General Arithmetic Expressions", 1974).

use crate::{
    ExecError,
    lean::forks::{is_constantinople, meter_as_in_constantinople},
    names::Names,
    ours::exec_error,
};
use alloy_primitives::{Address, Bytes, Log, U256, address};
use braid_core::{Control, StoreError};
use braid_evm::{BlockInput, EvmShared, execute_block, first_position};
use braid_report::{Recorder, graph::span};
use braid_sched::Serial;
use braid_work::PreState;
use revm::{
    Context, Database, DatabaseCommit, ExecuteEvm, InspectEvm, Inspector, MainBuilder, MainContext,
    SystemCallEvm,
    bytecode::opcode,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    database::{CacheDB, WrapDatabaseRef},
    interpreter::{
        Interpreter, InterpreterTypes,
        interpreter_types::{InputsTr, Jumps, MemoryTr, StackTr},
    },
    primitives::hardfork::SpecId,
    state::EvmState,
};
use std::collections::{BTreeMap, BTreeSet};

/// Whether transactions of one sender wait for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonces {
    /// Each needs the one before it.
    #[default]
    Chained,
    /// The nonce that a transaction names is taken to be the right one, so it needs nobody for it.
    Predicted,
}

/// A location that holds edges together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A storage slot.
    Slot(Address, U256),
    /// The code of an account, and that it lives.
    Code(Address),
    /// A nonce, where it is used other than by its sender.
    Nonce(Address),
}

/// What one transaction touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Who sent it.
    pub sender: Address,
    /// Places whose content it depends on.
    pub reads: BTreeSet<Place>,
    /// Places whose content it changed.
    pub writes: BTreeSet<Place>,
    /// Accounts whose balance it observed.
    pub observed: BTreeSet<Address>,
    /// Accounts whose balance it changed.
    pub paid: BTreeSet<Address>,
}

/// Why a block cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// A transaction is refused, or fails.
    #[error("transaction {tx} cannot be traced: {reason}")]
    Transaction {
        /// Its index.
        tx: usize,
        /// Why.
        reason: String,
    },
    /// The state lacks something outside of transactions.
    #[error("state cannot answer: {0}")]
    Store(#[from] StoreError),
    /// What surrounds the transactions fails.
    #[error("{0}")]
    Block(ExecError),
}

impl From<ExecError> for LimitError {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Invalid { tx, reason, .. } => LimitError::Transaction { tx, reason },
            ExecError::Store { tx: None, error } => LimitError::Store(error),
            ExecError::Store { tx: Some(tx), .. } | ExecError::Panicked { tx, .. } => {
                LimitError::Transaction { tx, reason: error.to_string() }
            }
            other => LimitError::Block(other),
        }
    }
}

/// For each transaction the earlier ones it needs, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// By transaction.
    pub on: Vec<Vec<u32>>,
}

/// What draws an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// Rule 1, and rule 2 for nonces that are used otherwise.
    Place(Place),
    /// Rule 2: transactions of one sender in a row.
    Sender(Address),
    /// Rule 3.
    Balance(Address),
}

/// For each transaction the earlier ones it needs, ascending, each with all that draws the edge (rules 1 to 3).
pub fn edges(block: &[Footprint], nonces: Nonces) -> Vec<BTreeSet<(u32, Link)>> {
    let mut last_sent = BTreeMap::<Address, u32>::new();
    let mut last_write = BTreeMap::<Place, u32>::new();
    // Who changed a balance since somebody who changed it, too, observed it: all before are then
    // needed through that one.
    let mut payers = BTreeMap::<Address, Vec<u32>>::new();
    let mut on = Vec::with_capacity(block.len());
    for (index, tx) in (0u32..).zip(block) {
        let mut needed = BTreeSet::new();
        let before = last_sent.insert(tx.sender, index);
        let before = before.filter(|_| nonces == Nonces::Chained);
        needed.extend(before.map(|before| (before, Link::Sender(tx.sender))));
        needed
            .extend(tx.reads.iter().filter_map(|place| Some((*last_write.get(place)?, Link::Place(*place)))));
        for address in &tx.observed {
            let payers = payers.get(address).into_iter().flatten();
            needed.extend(payers.map(|payer| (*payer, Link::Balance(*address))));
        }
        last_write.extend(tx.writes.iter().map(|place| (*place, index)));
        for address in &tx.paid {
            let list = payers.entry(*address).or_default();
            if tx.observed.contains(address) {
                list.clear();
            }
            list.push(index);
        }
        on.push(needed);
    }
    on
}

impl Dependencies {
    /// Draws the edges of a block (rules 1 to 3).
    pub fn new(block: &[Footprint], nonces: Nonces) -> Self {
        let once = |needed: BTreeSet<(u32, Link)>| {
            let mut on: Vec<u32> = needed.into_iter().map(|(on, _)| on).collect();
            on.dedup();
            on
        };
        Dependencies { on: edges(block, nonces).into_iter().map(once).collect() }
    }

    /// The heaviest chain under these weights, one per transaction; missing ones count nothing.
    pub fn span(&self, weights: &[u64]) -> u64 {
        span(self.on.iter().map(|needed| needed.iter().copied()), weights)
    }

    /// `min(threads, work / span)`; 1 for a block without work.
    pub fn limit(&self, threads: usize, weights: &[u64]) -> f64 {
        let work: u64 = weights.iter().take(self.on.len()).fold(0, |sum, one| sum.saturating_add(*one));
        match self.span(weights) {
            0 => 1.0,
            span => (threads as f64).min(work as f64 / span as f64),
        }
    }
}

type Db<'a> = CacheDB<WrapDatabaseRef<&'a PreState>>;
type Ctx<'a> = Context<BlockEnv, TxEnv, CfgEnv, Db<'a>, Journal<Db<'a>>, ()>;

/// What each transaction of the block touches.
///
/// # Errors
/// [`LimitError`] if the block does not run to its end.
pub fn trace(input: &BlockInput, pre: &PreState) -> Result<Vec<Footprint>, LimitError> {
    observe(input, pre).map(|(block, _)| block)
}

/// As [`trace`], with what locations are called.
///
/// # Errors
/// As [`trace`].
pub fn observe(input: &BlockInput, pre: &PreState) -> Result<(Vec<Footprint>, Names), LimitError> {
    let mut evm = context(input, pre).build_mainnet_with_inspector(Observer::default());
    if is_constantinople(input) {
        meter_as_in_constantinople(&mut evm);
    }
    before(&mut evm, input)?;
    let mut block = Vec::with_capacity(input.txs.len());
    for (tx, env) in input.txs.iter().enumerate() {
        let fail = |reason: String| LimitError::Transaction { tx, reason };
        let done = evm.inspect_one_tx(env.clone());
        done.map_err(|error| fail(error.to_string()))?;
        let state = evm.finalize();
        let observed = std::mem::take(&mut evm.inspector.observed);
        let mut footprint = Footprint { sender: env.caller, observed, ..Footprint::default() };
        let db = &mut evm.ctx.journaled_state.database;
        collect(&mut footprint, &state, db).map_err(|error| fail(error.to_string()))?;
        db.commit(state);
        block.push(footprint);
    }
    Ok((block, evm.inspector.names))
}

/// Time of each transaction in nanoseconds: the median of `passes` runs of Braid's own serial engine, each
/// from the start of the execution to the commit.
///
/// # Errors
/// [`LimitError`] if the block does not run to its end.
pub fn weigh(input: &BlockInput, pre: &PreState, passes: usize) -> Result<Vec<u64>, LimitError> {
    let (serial, shared) = (Serial::new(), EvmShared::default());
    let mut times = vec![Vec::with_capacity(passes); input.txs.len()];
    for _ in 0..passes.max(1) {
        // Three events a transaction, and some for what surrounds them.
        let watch = Recorder::with_limit(1, 4 * input.txs.len() + 64);
        execute_block(&serial, &shared, input, pre, &watch, &Control::default())
            .map_err(|failure| LimitError::from(exec_error(failure, input.txs.len())))?;
        // What the block does before its first transaction is one of the schedule, too.
        let laps = watch.into_laps().into_iter().skip(first_position(input) as usize);
        for (times, lap) in times.iter_mut().zip(laps) {
            times.push(lap);
        }
    }
    let median = |mut times: Vec<u64>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(0).max(1)
    };
    Ok(times.into_iter().map(median).collect())
}

fn context<'a>(input: &BlockInput, pre: &'a PreState) -> Ctx<'a> {
    let mut cfg = CfgEnv::new_with_spec(input.spec);
    cfg.chain_id = input.chain_id;
    Context::mainnet().with_db(CacheDB::new(WrapDatabaseRef(pre))).with_cfg(cfg).with_block(input.env.clone())
}

/// EIP-4788 and EIP-2935.
const BEACON_ROOTS: Address = address!("000F3df6D732807Ef1319fB7B8bB8522d0Beac02");
const HISTORY: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");

/// What happens before the first transaction, as far as one could see it.
fn before<'a, E>(evm: &mut E, input: &BlockInput) -> Result<(), LimitError>
where
    E: Machine<'a>,
{
    let store = |error: String| LimitError::Store(StoreError::Failed(error));
    if let Some((drained, refund)) = &input.rites.dao_drain {
        let db = evm.db();
        let mut sum = U256::ZERO;
        for account in drained {
            let account = db.load_account(*account).map_err(|error| store(error.to_string()))?;
            sum = sum.saturating_add(std::mem::take(&mut account.info.balance));
        }
        let refund = db.load_account(*refund).map_err(|error| store(error.to_string()))?;
        refund.info.balance = refund.info.balance.saturating_add(sum);
    }
    let roots = input.rites.parent_beacon_root.filter(|_| input.spec.is_enabled_in(SpecId::CANCUN));
    let parent = input.rites.parent_hash.filter(|_| input.spec.is_enabled_in(SpecId::PRAGUE));
    for (contract, word) in [(BEACON_ROOTS, roots), (HISTORY, parent)] {
        let Some(word) = word else { continue };
        let account = evm.db().basic(contract).map_err(|error| store(error.to_string()))?;
        if account.is_some_and(|account| !account.is_empty_code_hash()) {
            evm.system(contract, word.0.into()).map_err(store)?;
        }
    }
    Ok(())
}

/// The two ways to run a block here, with and without an inspector.
trait Machine<'a> {
    fn db(&mut self) -> &mut Db<'a>;
    fn system(&mut self, contract: Address, data: Bytes) -> Result<(), String>;
}

impl<'a, I> Machine<'a> for revm::MainnetEvm<Ctx<'a>, I> {
    fn db(&mut self) -> &mut Db<'a> {
        &mut self.ctx.journaled_state.database
    }

    fn system(&mut self, contract: Address, data: Bytes) -> Result<(), String> {
        self.system_call_one(contract, data).map_err(|error| error.to_string())?;
        let state = self.finalize();
        self.db().commit(state);
        Ok(())
    }
}

/// Writes down what a transaction left in revm's journal. `db` is still as before it.
fn collect(footprint: &mut Footprint, state: &EvmState, db: &mut Db<'_>) -> Result<(), DbFailure> {
    for (&address, account) in state {
        let was = db.basic(address)?.unwrap_or_default();
        let destroyed = account.is_selfdestructed();
        footprint.reads.insert(Place::Code(address));
        if destroyed || account.is_created() || account.info.code_hash != was.code_hash {
            footprint.writes.insert(Place::Code(address));
        }
        if account.info.nonce != was.nonce {
            footprint.writes.insert(Place::Nonce(address));
            if address != footprint.sender {
                footprint.reads.insert(Place::Nonce(address));
            }
        }
        if destroyed || account.info.balance != was.balance {
            footprint.paid.insert(address);
        }
        for (slot, value) in &account.storage {
            footprint.reads.insert(Place::Slot(address, *slot));
            if value.is_changed() {
                footprint.writes.insert(Place::Slot(address, *slot));
            }
        }
    }
    Ok(())
}

type DbFailure = <PreState as revm::DatabaseRef>::Error;

/// Notes whose balance is observed, and what locations are called.
#[derive(Default)]
struct Observer {
    observed: BTreeSet<Address>,
    names: Names,
}

impl<C, T: InterpreterTypes> Inspector<C, T> for Observer {
    fn step(&mut self, interpreter: &mut Interpreter<T>, _: &mut C) {
        match interpreter.bytecode.opcode() {
            opcode::BALANCE => {
                if let Some(word) = interpreter.stack.data().last() {
                    self.observed.insert(Address::from_word((*word).into()));
                }
            }
            opcode::SELFBALANCE | opcode::SELFDESTRUCT => {
                self.observed.insert(interpreter.input.target_address());
            }
            opcode::KECCAK256 => {
                if let [.., size, offset] = interpreter.stack.data()
                    && *size == U256::from(64)
                    && let Ok(offset) = usize::try_from(*offset)
                    && let Some(end) = offset.checked_add(64)
                    && end <= interpreter.memory.size()
                {
                    self.names.hashes(&interpreter.memory.slice(offset..end));
                }
            }
            _ => {}
        }
    }

    fn log(&mut self, _: &mut C, log: Log) {
        self.names.logs(log.address, log.data.topics());
    }
}
