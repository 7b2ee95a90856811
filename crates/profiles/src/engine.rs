//! What a profile is, and how its engine is driven.

use crate::HintSource;
use alloy_primitives::Bytes;
use braid_core::{Control, Hint, StoreError};
use braid_evm::{
    AccessRecord, BlockAccessList, BlockInput, EvmKey, ExecutedBlock, Feed, TraceOptions, first_position,
    hints::Learned,
};
use braid_report::{Conflicts, Model, Recorder, model::HintTime};
use braid_sched::Accuracy;
use braid_work::PreState;
use std::sync::Arc;

/// How much of the system it is named after a profile really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Its idea, over our substrate.
    Model,
    /// Its mechanism, part by part, checked against its description or source.
    Faithful,
    /// It passes the system's own conformance tests.
    Conformant,
}

/// One entry of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Name on the command line.
    pub name: &'static str,
    /// What the survey of parallel chains that Braid started from says the system does; empty where it does not
    /// name it.
    pub article: &'static str,
    /// What the system really runs, as far as its source and documents show.
    pub real: &'static str,
    /// What Braid runs under this name.
    pub about: &'static str,
    /// What of the system is not there.
    pub limits: &'static str,
    /// See [`Fidelity`].
    pub fidelity: Fidelity,
    /// Scheduler, by its standard name.
    pub scheduler: &'static str,
    /// Whether it uses more than one thread.
    pub parallel: bool,
    /// Builds an engine with this many threads.
    pub build: fn(threads: usize) -> Result<Box<dyn Engine>, ProfileError>,
}

/// Why a profile cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No such profile.
    #[error("unknown profile `{name}` (there are: {known})")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A thread count out of range.
    #[error("{threads} threads: must be between 1 and 256")]
    Threads {
        /// What was asked for.
        threads: usize,
    },
}

/// Why a block was not executed to its end: the same in every engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// A transaction that may not be in the block; the lowest such.
    #[error("transaction {tx} is invalid: {reason}")]
    Invalid {
        /// Its index.
        tx: usize,
        /// Kind, as a stable word (`nonce_too_low`, `insufficient_funds`, `block_gas_limit`, ...).
        kind: &'static str,
        /// In words.
        reason: String,
    },
    /// A system call of the block failed.
    #[error("system call {name} failed: {reason}")]
    SystemCall {
        /// Which.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The state lacks something; `tx` is `None` outside of transactions.
    #[error("state cannot answer: {error}")]
    Store {
        /// The transaction that asked.
        tx: Option<usize>,
        /// What failed.
        error: StoreError,
    },
    /// The machine panicked. Always a defect.
    #[error("transaction {tx} panicked: {message}")]
    Panicked {
        /// Its index.
        tx: usize,
        /// The panic's message.
        message: String,
    },
    /// Cancelled, with the first transaction that was not final.
    #[error("cancelled before transaction {tx}")]
    Cancelled {
        /// Its index.
        tx: usize,
    },
    /// Out of time, with the first transaction that was not final.
    #[error("deadline passed before transaction {tx}")]
    Deadline {
        /// Its index.
        tx: usize,
    },
}

impl ExecError {
    /// Whether two engines that give up so refuse a block for the same reason: wording is free. Never true of
    /// what is no refusal.
    pub fn same_refusal(&self, other: &ExecError) -> bool {
        use ExecError as E;
        match (self, other) {
            (E::Invalid { tx, kind, .. }, E::Invalid { tx: other, kind: other_kind, .. }) => {
                (tx, kind) == (other, other_kind)
            }
            (E::SystemCall { name, .. }, E::SystemCall { name: other, .. }) => name == other,
            (E::Store { tx, .. }, E::Store { tx: other, .. }) => tx == other,
            _ => false,
        }
    }
}

/// A block executed by one engine, in that engine's own form: what the timed region ends with. Owns
/// per-transaction results in order and one merged difference; dropping it is timed too. It may be handed
/// to another thread: a service executes on one and answers on another.
pub trait Executed: Send {
    /// The common form, for comparison, reduced to what really changed from `pre`. Not timed.
    ///
    /// # Panics
    /// If `pre` cannot be read, which a state in memory always can.
    fn into_block(self: Box<Self>, pre: &PreState) -> ExecutedBlock;

    /// As [`Self::into_block`], for a state that is not in memory.
    ///
    /// # Errors
    /// If `pre` cannot be read.
    fn try_into_block(self: Box<Self>, pre: &PreState) -> Result<ExecutedBlock, StoreError> {
        Ok(self.into_block(pre))
    }
}

/// A block executed with traces: one for each transaction, of one JSON object a line (EIP-3155).
pub type Traced = (Box<dyn Executed>, Vec<Vec<u8>>);

/// A block executed with its access list recorded.
pub type Recorded = (Box<dyn Executed>, BlockAccessList);

/// A block executed with a record of what its access list tells.
pub type WithRecord = (Box<dyn Executed>, AccessRecord);

/// An engine ready to run blocks: threads started, arenas possibly warm.
pub trait Engine: Send {
    /// Executes one block on `pre`. This call is the timed region.
    ///
    /// # Errors
    /// As serial sees it: the error of the lowest transaction that fails.
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError>;

    /// As [`Self::execute`], with the writes of transactions told to `feed` as they become final. An engine that
    /// has no such order tells nothing.
    ///
    /// # Errors
    /// As [`Self::execute`].
    fn execute_fed(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        _feed: &mut Feed<'_>,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        self.execute(input, pre, control)
    }

    /// As [`Self::execute`], with a trace of every transaction, in block order; `None` if this engine
    /// cannot trace. A traced block has the results of an untraced one, but not its cost.
    fn execute_traced(
        &mut self,
        _input: &BlockInput,
        _pre: &PreState,
        _options: TraceOptions,
        _control: &Control<'_>,
    ) -> Option<Result<Traced, ExecError>> {
        None
    }

    /// As [`Self::execute`], with a record of which the access list of the block (EIP-7928) can be made;
    /// `None` if this engine makes none. This call is the timed region of recording.
    fn record(
        &mut self,
        _input: &BlockInput,
        _pre: &PreState,
        _control: &Control<'_>,
    ) -> Option<Result<WithRecord, ExecError>> {
        None
    }

    /// The access list of a recorded block as RLP, made by this engine's threads; `pre` is the state before
    /// the block. With [`Self::record`], the timed region of recording and encoding.
    fn encode(&mut self, record: &AccessRecord, pre: &PreState) -> Result<Bytes, StoreError> {
        record.rlp(pre)
    }

    /// Calls `work` once with each number below `count`, on the threads of this engine, and returns when all calls have
    /// returned: for what follows the execution of a block, such as its root. They are awake then.
    fn split(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(work);
    }

    /// As [`Self::execute`], with the access list of the block (EIP-7928); `None` if this engine records
    /// none.
    fn execute_recorded(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Option<Result<Recorded, ExecError>> {
        Some(self.record(input, pre, control)?.and_then(|(executed, record)| {
            let list = record.list(pre).map_err(|error| ExecError::Store { tx: None, error })?;
            Ok((executed, list))
        }))
    }

    /// As [`Self::execute`], with every event of the schedule told to `recorder`; `None` if this engine has no
    /// schedule to tell of. It has the results of an execution that nobody watches, and nearly its cost.
    fn execute_watched(
        &mut self,
        _input: &BlockInput,
        _pre: &PreState,
        _recorder: &Recorder<EvmKey>,
        _control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        None
    }

    /// As [`Self::execute_watched`], with the writes of transactions told to `feed` as [`Self::execute_fed`] does.
    fn execute_watched_fed(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        _feed: &mut Feed<'_>,
        recorder: &Recorder<EvmKey>,
        control: &Control<'_>,
    ) -> Option<Result<Box<dyn Executed>, ExecError>> {
        self.execute_watched(input, pre, recorder, control)
    }

    /// Hands over what comes with a block besides its transactions, before it is executed and off the
    /// clock: its access list (EIP-7928) as RLP, or `None` if it came with none. It is for this block only,
    /// and an engine that has no use for it ignores it.
    fn prepare(&mut self, _input: &BlockInput, _pre: &PreState, _access_list: Option<&Bytes>) {}

    /// Hands over what was learned of calls in other blocks. Of no use to an engine that does not run from learned
    /// hints.
    fn teach(&mut self, _learned: &Arc<Learned>) {}

    /// Where its hints come from; `None` if it runs without.
    fn hint_source(&self) -> Option<HintSource> {
        None
    }

    /// Where its hints come from, by name, and who gets them while the block waits; `None` if it runs without.
    fn hints_from(&self) -> Option<(&'static str, HintTime)> {
        self.hint_source().map(|source| (source.name(), source.by()))
    }

    /// What its hints say about each scheduled transaction of a block, off the clock: what it runs that block from.
    /// `None` if it runs without.
    fn told(&mut self, _input: &BlockInput, _pre: &PreState) -> Option<Vec<Hint<EvmKey>>> {
        None
    }

    /// How many positions of its schedule come before the first transaction of a block.
    fn before(&self, input: &BlockInput) -> u32 {
        first_position(input)
    }

    /// What the positions of its schedule have to do with one another, off the clock, if they are not the transactions of
    /// the block and what surrounds them; `None` where they are, and for blocks that cannot be executed.
    fn conflicts(&mut self, _input: &BlockInput, _pre: &PreState) -> Option<Conflicts> {
        None
    }

    /// What its transactions wait for, for virtual times; `None` if it has no schedule to tell of.
    fn model(&self) -> Option<Model> {
        None
    }

    /// How good its hints about a block are, off the clock; `None` if it runs without.
    fn accuracy(&mut self, _input: &BlockInput, _pre: &PreState) -> Option<Accuracy> {
        None
    }

    /// An engine whose result this one's has to equal, if that is not Ethereum's: one with the same rules, which
    /// does one thing after the other. `None` for engines that execute Ethereum.
    fn oracle(&self) -> Option<Box<dyn Engine>> {
        None
    }

    /// The share of a block's transactions that end in another way than under Ethereum's rules: success, logs, or
    /// what they change. Off the clock; `None` for engines that execute Ethereum, and for blocks that cannot be
    /// executed.
    fn differs_from_evm(&mut self, _input: &BlockInput, _pre: &PreState) -> Option<f64> {
        None
    }

    /// Forgets everything learned from blocks; warm arenas and analysed code may stay.
    fn reset(&mut self) {}

    /// Keeps at most about `bytes` bytes of analysed code from here on, and forgets what there is of it. For
    /// whoever has many engines. Nothing to do for an engine that keeps none.
    fn bound_code(&mut self, _bytes: usize) {}

    /// Perturbs the schedules of the blocks to come: the same seed delays the same workers at the same
    /// points. For tests, so it does nothing in builds without debug assertions, nor in engines that have
    /// one schedule only.
    fn shuffle(&mut self, _seed: u64) {}
}
