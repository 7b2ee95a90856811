//! The EVM as a [`Vm`]: one transaction on one view.

use crate::{
    BlockInput, CodeCache, EvmError, EvmKey, EvmValue, StockOutput, SystemTx, TraceOptions, TxResult,
    ctx::{Ctx, Instructions},
    eip1283,
    handler::{Course, Fault, Machine},
    journal::{Arenas, Journal, JournalRules, Source, Writes},
    stock::{self, Setting},
    system,
};
use alloy_primitives::{B256, Bytes};
use braid_core::{Effects, Hint, Mode, Stop, Trust, View, Vm};
use parking_lot::Mutex;
use revm::{
    context::{BlockEnv, CfgEnv, FrameStack, LocalContext, TxEnv},
    handler::{EthFrame, EthPrecompiles, Handler},
    interpreter::{
        instructions::{GasTable, gas_table_spec},
        interpreter::EthInterpreter,
    },
    primitives::{TxKind, hardfork::SpecId},
};
use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

/// A transaction of a block, by reference: cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvmTx {
    /// Position in [`BlockInput::txs`].
    User(u32),
    /// Something that the protocol does.
    System(Arc<SystemTx>),
}

/// What a transaction gives to the caller of the block.
#[derive(Clone, Debug, PartialEq)]
pub enum EvmOutput {
    /// The result of a user's transaction.
    User(TxResult),
    /// The same from the second machine: see [`StockOutput`].
    Stock(Box<StockOutput>),
    /// Output of a system call; empty if it was skipped or, being optional, failed, and for what is no
    /// call.
    System(Bytes),
}

/// Rules that no fork selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvmRules {
    /// Creation fails where storage is left (EIP-7610), at any fork: the EIP is retroactive. Plain revm
    /// does not check this. On: the default.
    pub eip7610: bool,
    /// Net gas metering of SSTORE as in Constantinople (EIP-1283), which Petersburg took back: revm knows
    /// Petersburg only, so Constantinople is `SpecId::PETERSBURG` with this. Off: the default.
    ///
    /// Means nothing from Istanbul on, which meters like this at other prices.
    pub eip1283: bool,
    /// BLOCKHASH of a block whose hash is not listed fails as a state does that lacks something
    /// ([`StoreError::Missing`](braid_core::StoreError)), instead of being zero. Off: the default.
    pub listed_hashes_only: bool,
}

impl Default for EvmRules {
    fn default() -> Self {
        EvmRules { eip7610: true, eip1283: false, listed_hashes_only: false }
    }
}

/// What outlives a block: code, and the memory of workers.
#[derive(Debug)]
pub struct EvmShared {
    codes: CodeCache,
    #[expect(clippy::vec_box, reason = "a worker moves its box into every execution")]
    arenas: Mutex<Vec<Box<Arenas>>>,
}

/// Most idle arenas kept: more than there are threads in a common machine.
const IDLE_ARENAS: usize = 256;

/// Most idle frame stacks that a thread keeps.
const IDLE_STACKS: usize = 2;

impl EvmShared {
    /// Keeps at most about `code_bytes` bytes of analysed code.
    pub fn new(code_bytes: usize) -> Self {
        EvmShared { codes: CodeCache::new(code_bytes), arenas: Mutex::default() }
    }

    /// The code cache.
    pub fn codes(&self) -> &CodeCache {
        &self.codes
    }
}

impl Default for EvmShared {
    /// 256 MiB of code: some twenty thousand contracts of the largest size.
    fn default() -> Self {
        EvmShared::new(256 << 20)
    }
}

/// The EVM, set up for one block: two machines, one of which runs it.
///
/// Up to Osaka, and if nobody wants a trace, that is revm's interpreter on a journal of our own, which
/// observes no more than matters. Otherwise it is revm with its own journal, on whole records.
#[derive(Debug)]
pub struct EvmVm<'b> {
    cfg: CfgEnv,
    gas: GasTable,
    rules: JournalRules,
    eip1283: bool,
    /// Whether the second machine runs users' transactions.
    stock: bool,
    trace: Option<TraceOptions>,
    precompiles: EthPrecompiles,
    env: &'b BlockEnv,
    txs: &'b [TxEnv],
    block_hashes: &'b BTreeMap<u64, B256>,
    listed_hashes_only: bool,
    shared: &'b EvmShared,
}

impl<'b> EvmVm<'b> {
    /// Sets up for `input`. The block's gas and blob limits are for the caller to enforce, in order;
    /// [`CfgEnv::max_blobs_per_tx`] is, if [`Self::with_cfg`] sets it.
    pub fn new(shared: &'b EvmShared, input: &'b BlockInput) -> Self {
        let cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
        Self::with_cfg(shared, input, cfg, input.rules)
    }

    /// As [`Self::new`], with `cfg` instead of what `input` implies, and `rules` of no fork.
    pub fn with_cfg(shared: &'b EvmShared, input: &'b BlockInput, mut cfg: CfgEnv, rules: EvmRules) -> Self {
        let spec = cfg.spec;
        // Against what is left of the block's gas it is compared in order, elsewhere.
        cfg.disable_block_gas_limit = true;
        let eip1283 = rules.eip1283 && !spec.is_enabled_in(SpecId::ISTANBUL);
        if eip1283 {
            eip1283::reprice(&mut cfg.gas_params);
        }
        let listed_hashes_only = rules.listed_hashes_only;
        let precompiles = EthPrecompiles::new(spec);
        let rules = JournalRules { spec, eip7610: rules.eip7610, precompiles: precompiles.precompiles };
        EvmVm {
            gas: gas_table_spec(spec),
            rules,
            eip1283,
            stock: spec.is_enabled_in(SpecId::AMSTERDAM),
            trace: None,
            precompiles,
            env: &input.env,
            txs: &input.txs,
            block_hashes: &input.block_hashes,
            listed_hashes_only,
            shared,
            cfg,
        }
    }

    /// Traces users' transactions, each into its output.
    #[must_use]
    pub fn with_trace(mut self, options: TraceOptions) -> Self {
        self.trace = Some(options);
        self.stock = true;
        self
    }

    /// The user's transaction that `tx` refers to.
    pub fn user(&self, tx: &EvmTx) -> Option<&'b TxEnv> {
        match tx {
            EvmTx::User(index) => self.txs.get(*index as usize),
            EvmTx::System(_) => None,
        }
    }

    fn source<'a>(&'a self, view: &'a mut (dyn View<EvmKey, EvmValue> + 'a)) -> Source<'a> {
        Source {
            view,
            codes: &self.shared.codes,
            block_hashes: self.block_hashes,
            listed_hashes_only: self.listed_hashes_only,
        }
    }

    fn setting(&self) -> Setting<'_> {
        let (eip1283, eip7610) = (self.eip1283, self.rules.eip7610);
        Setting { cfg: &self.cfg, env: self.env, eip1283, eip7610, trace: self.trace }
    }

    /// Puts revm together, runs `work` in it, takes the worker's parts back, and reports what was
    /// observed and written.
    pub(crate) fn run<'a, T>(
        &'a self,
        worker: &mut EvmWorker,
        tx: &'a TxEnv,
        view: &'a mut (dyn View<EvmKey, EvmValue> + 'a),
        writes: &mut Writes,
        work: impl FnOnce(&mut Machine<'a>) -> Result<T, Fault>,
    ) -> Result<T, Stop<EvmError>> {
        let source = self.source(view);
        let journal = Journal::begin(source, worker.arenas.take().unwrap_or_default(), self.rules);
        let stacks = worker.stacks.take().unwrap_or_default();
        let mut evm = Machine {
            ctx: Ctx::new(self.env, tx, &self.cfg, journal, stacks.local),
            inspector: (),
            instruction: Instructions::new(&self.gas, self.eip1283),
            precompiles: self.precompiles.clone(),
            frame_stack: stacks.frames,
        };
        let result = work(&mut evm);
        let Machine { ctx, frame_stack, .. } = evm;
        let Ctx { mut journal, local, .. } = ctx;
        if result.is_ok() {
            journal.share_code();
            journal.write(writes);
        }
        if !matches!(result, Err(Fault::Stopped(_))) {
            journal.report();
        }
        worker.arenas = Some(journal.arenas);
        worker.stacks = Some(Stacks { frames: frame_stack, local });
        result.map_err(Into::into)
    }

    /// Runs a system transaction. Returns its output and its gas.
    pub(crate) fn run_system(
        &self,
        worker: &mut EvmWorker,
        system: &SystemTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        writes: &mut Writes,
    ) -> Result<(Bytes, u64), Stop<EvmError>> {
        match system {
            // Tracing does not concern system calls.
            SystemTx::Call { to, data, optional } if self.cfg.spec.is_enabled_in(SpecId::AMSTERDAM) => {
                let (setting, source) = (self.setting(), self.source(view));
                let result = stock::run_system(setting, *to, data, source, writes)?;
                Ok(system::ended(*to, *optional, result)?)
            }
            SystemTx::Call { to, data, .. } => {
                let tx = stock::system_call(self.cfg.spec, *to, data.clone());
                self.run(worker, &tx, view, writes, |evm| system.run(evm))
            }
            _ => self.run(worker, &TxEnv::default(), view, writes, |evm| system.run(evm)),
        }
    }
}

/// revm's reusable stacks. They hold an `Rc`, so they stay with their thread.
struct Stacks {
    frames: FrameStack<EthFrame<EthInterpreter>>,
    local: LocalContext,
}

impl Default for Stacks {
    fn default() -> Self {
        Stacks { frames: FrameStack::new(), local: LocalContext::default() }
    }
}

thread_local! {
    static IDLE: RefCell<Vec<Stacks>> = const { RefCell::new(Vec::new()) };
}

/// Scratch of one thread, back to its pools when dropped.
pub struct EvmWorker<'b> {
    arenas: Option<Box<Arenas>>,
    stacks: Option<Stacks>,
    shared: &'b EvmShared,
}

impl fmt::Debug for EvmWorker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EvmWorker").finish_non_exhaustive()
    }
}

impl Drop for EvmWorker<'_> {
    fn drop(&mut self) {
        if let Some(arenas) = self.arenas.take() {
            let mut pool = self.shared.arenas.lock();
            if pool.len() < IDLE_ARENAS {
                pool.push(arenas);
            }
        }
        if let Some(stacks) = self.stacks.take() {
            // The thread may be ending; then the stacks do too.
            let _ = IDLE.try_with(|idle| {
                let mut idle = idle.borrow_mut();
                if idle.len() < IDLE_STACKS {
                    idle.push(stacks);
                }
            });
        }
    }
}

impl<'b> Vm for EvmVm<'b> {
    type Tx = EvmTx;
    type Key = EvmKey;
    type Value = EvmValue;
    type Output = EvmOutput;
    type Error = EvmError;
    type Worker = EvmWorker<'b>;

    fn worker(&self) -> EvmWorker<'b> {
        EvmWorker {
            arenas: self.shared.arenas.lock().pop(),
            stacks: IDLE.with(|idle| idle.borrow_mut().pop()),
            shared: self.shared,
        }
    }

    /// What the transaction itself says: sender, recipient, access list. A guess.
    fn hint(&self, tx: &EvmTx) -> Hint<EvmKey> {
        let Some(tx) = self.user(tx) else { return Hint::none() };
        let mut access = vec![(EvmKey::Account(tx.caller), Mode::Write)];
        if let TxKind::Call(to) = tx.kind {
            let mode = if tx.value.is_zero() { Mode::Read } else { Mode::Write };
            access.push((EvmKey::Account(to), mode));
        }
        for item in &tx.access_list.0 {
            for key in &item.storage_keys {
                let slot = (*key).into();
                let key = EvmKey::Slot { address: item.address, generation: 0, slot };
                access.push((key, Mode::Write));
            }
        }
        Hint { trust: Trust::Guess, access }
    }

    fn execute(
        &self,
        worker: &mut EvmWorker<'b>,
        tx: &EvmTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<EvmError>> {
        match tx {
            EvmTx::User(index) => {
                let Some(tx) = self.txs.get(*index as usize) else {
                    return Err(Stop::Invalid(EvmError::NoSuchTransaction(*index)));
                };
                if self.stock {
                    let output = stock::run_user(self.setting(), tx, self.source(view), &mut effects.writes)?;
                    effects.work = output.result.gas_used;
                    effects.output = Some(EvmOutput::Stock(Box::new(output)));
                    return Ok(());
                }
                let result = self.run(worker, tx, view, &mut effects.writes, |evm| Course::new().run(evm))?;
                let result = stock::tx_result(result);
                effects.work = result.gas_used;
                effects.output = Some(EvmOutput::User(result));
            }
            EvmTx::System(system) => {
                let (output, gas) = self.run_system(worker, system, view, &mut effects.writes)?;
                effects.work = gas;
                effects.output = Some(EvmOutput::System(output));
            }
        }
        Ok(())
    }
}
