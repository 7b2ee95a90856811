//! The EVM as a [`Vm`]: one transaction on one view.

use crate::{
    BlockInput, CodeCache, EvmError, EvmKey, EvmValue, StockOutput, SystemTx, Touched, Touches, TraceOptions,
    TxResult,
    access::{NotePool, Told, Wanted},
    ctx::{Ctx, Instructions},
    eip1283,
    handler::{Course, Fault, Machine},
    hash::BlockRun,
    journal::{Arenas, Journal, JournalRules, Source, Writes},
    precompiles::ShortPrecompiles,
    stacks::Stacks,
    stock::{self, Setting},
    system,
    transfer::{Given, Transfer, Transfers},
};
use alloy_primitives::{B256, Bytes};
use braid_core::{Effects, Hint, Mode, Stop, Trust, View, Vm};
use parking_lot::Mutex;
use revm::{
    context::{BlockEnv, CfgEnv, TxEnv},
    handler::{EthPrecompiles, Handler},
    interpreter::instructions::{GasTable, gas_table_spec},
    primitives::{TxKind, hardfork::SpecId},
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

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
    /// Any of these, with what the transaction touched, if that was asked for.
    Touched(Box<Touched>),
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
    /// Of each worker's own code.
    local_code_bytes: usize,
    #[expect(clippy::vec_box, reason = "a worker moves its box into every execution")]
    arenas: Mutex<Vec<Box<Arenas>>>,
    pub(crate) notes: NotePool,
}

/// Most idle arenas kept: more than there are threads in a common machine.
const IDLE_ARENAS: usize = 256;

/// Largest arenas kept when a worker is done with a block, in bytes: those of a block that touches some
/// ten thousand locations in one transaction.
const KEPT_ARENA: usize = 4 << 20;

impl EvmShared {
    /// Keeps at most about `code_bytes` bytes of analysed code, and each worker, besides, at most a
    /// thirty-second part of that.
    pub fn new(code_bytes: usize) -> Self {
        EvmShared {
            codes: CodeCache::new(code_bytes),
            local_code_bytes: code_bytes / 32,
            arenas: Mutex::default(),
            notes: NotePool::default(),
        }
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
    touches: Wanted,
    precompiles: ShortPrecompiles,
    /// Makes plain transfers, if the block allows it.
    pub(crate) transfers: Option<Transfers>,
    /// Whether system transactions that need no machine go without one: yes, but in tests.
    pub(crate) plainly: bool,
    env: &'b BlockEnv,
    txs: &'b [TxEnv],
    block_hashes: &'b BTreeMap<u64, B256>,
    listed_hashes_only: bool,
    /// For guesses of time.
    used_of_meant: f64,
    /// Whose hashes are remembered.
    run: BlockRun,
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
            touches: Wanted::Nothing,
            transfers: Transfers::new(&cfg, &input.env),
            plainly: true,
            precompiles: ShortPrecompiles(precompiles),
            env: &input.env,
            txs: &input.txs,
            block_hashes: &input.block_hashes,
            listed_hashes_only,
            used_of_meant: used_of_meant(&input.txs, input.gas_used),
            run: BlockRun::begin(),
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

    /// Delivers what transactions touch, in [`EvmOutput::Touched`].
    #[must_use]
    pub fn with_touches(self) -> Self {
        self.wanting(Wanted::All)
    }

    #[must_use]
    pub(crate) fn wanting(mut self, touches: Wanted) -> Self {
        self.touches = touches;
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

    fn setting(&self, told: &Told<'_>) -> Setting<'_> {
        let (eip1283, eip7610) = (self.eip1283, self.rules.eip7610);
        let (trace, touches) = (self.trace, if told.notes.is_some() { Wanted::All } else { self.touches });
        Setting { cfg: &self.cfg, env: self.env, eip1283, eip7610, trace, touches }
    }

    fn output(&self, output: EvmOutput, touches: Touches) -> EvmOutput {
        match self.touches {
            Wanted::Nothing => output,
            // Nearly always.
            Wanted::Unseen if touches.accounts.is_empty() && touches.slots.is_empty() => output,
            _ => EvmOutput::Touched(Box::new(Touched { output, touches })),
        }
    }

    /// Runs a plain transfer; or says what was read before `tx` turned out to be none.
    pub(crate) fn transfer(
        &self,
        tx: &TxEnv,
        view: &mut dyn View<EvmKey, EvmValue>,
        writes: &mut Writes,
        told: &mut Told<'_>,
    ) -> Result<Result<Transfer, Given>, Stop<EvmError>> {
        let Some(transfers) = &self.transfers else { return Ok(Err([None; 2])) };
        let Some(candidate) = transfers.candidate(tx) else { return Ok(Err([None; 2])) };
        let done = transfers.run(tx, &candidate, view)?;
        if let Ok(transfer) = &done {
            transfer.write(writes);
            if self.touches == Wanted::All {
                told.touches.accounts.extend([transfer.from, transfer.to]);
            }
            if let Some(notes) = &mut told.notes {
                transfer.note(notes);
            }
        }
        Ok(done)
    }

    /// Puts revm together, runs `work` in it, takes the worker's parts back, and reports what was
    /// observed and written.
    pub(crate) fn run<'a, T>(
        &'a self,
        worker: &mut EvmWorker,
        tx: &'a TxEnv,
        view: &'a mut (dyn View<EvmKey, EvmValue> + 'a),
        writes: &mut Writes,
        told: &mut Told<'_>,
        work: impl FnOnce(&mut Machine<'a>) -> Result<T, Fault>,
    ) -> Result<T, Stop<EvmError>> {
        let source = self.source(view);
        let arenas = worker.arenas.take();
        let arenas = arenas.unwrap_or_else(|| Box::new(Arenas::new(self.shared.local_code_bytes)));
        let journal = Journal::begin(source, arenas, self.rules, self.run);
        let Stacks { frames, local, deepest } = worker.stacks.take().unwrap_or_default();
        let mut evm = Machine {
            ctx: Ctx::new(self.env, tx, &self.cfg, journal, local),
            inspector: (),
            instruction: Instructions::new(&self.gas, self.eip1283),
            precompiles: self.precompiles.clone(),
            frame_stack: frames,
        };
        let result = work(&mut evm);
        let Machine { ctx, frame_stack, .. } = evm;
        let Ctx { mut journal, local, .. } = ctx;
        if result.is_ok() {
            journal.share_code();
            journal.write(writes);
            journal.touches(self.touches, &mut told.touches);
            if let Some(notes) = &mut told.notes {
                journal.note(writes, notes);
            }
        }
        if !matches!(result, Err(Fault::Stopped(_))) {
            journal.report();
        }
        let deepest = deepest.max(journal.arenas.deepest);
        worker.arenas = Some(journal.arenas);
        worker.stacks = Some(Stacks { frames: frame_stack, local, deepest });
        result.map_err(Into::into)
    }

    /// Runs a transaction. Returns its output and its gas.
    #[inline]
    pub(crate) fn run_tx(
        &self,
        worker: &mut EvmWorker<'b>,
        tx: &EvmTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        writes: &mut Writes,
        mut told: Told<'_>,
    ) -> Result<(EvmOutput, u64), Stop<EvmError>> {
        let told = &mut told;
        let (output, gas) = match tx {
            EvmTx::User(index) => {
                let Some(tx) = self.txs.get(*index as usize) else {
                    return Err(Stop::Invalid(EvmError::NoSuchTransaction(*index)));
                };
                if self.stock {
                    let (setting, source) = (self.setting(told), self.source(view));
                    let output = stock::run_user(setting, tx, source, writes, &mut told.touches)?;
                    told.enter(writes);
                    let gas = output.result.gas_used;
                    (EvmOutput::Stock(Box::new(output)), gas)
                } else {
                    let result = match self.transfer(tx, view, writes, told)? {
                        Ok(transfer) => transfer.result(),
                        Err(given) => stock::tx_result(self.run(worker, tx, view, writes, told, |evm| {
                            evm.ctx.journal.adopt(given);
                            Course::new().run(evm)
                        })?),
                    };
                    let gas = result.gas_used;
                    (EvmOutput::User(result), gas)
                }
            }
            EvmTx::System(system) => {
                let (output, gas) = self.run_system(worker, system, view, writes, told)?;
                (EvmOutput::System(output), gas)
            }
        };
        Ok((self.output(output, std::mem::take(&mut told.touches)), gas))
    }

    /// Runs a system transaction. Returns its output and its gas.
    pub(crate) fn run_system(
        &self,
        worker: &mut EvmWorker,
        system: &SystemTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        writes: &mut Writes,
        told: &mut Told<'_>,
    ) -> Result<(Bytes, u64), Stop<EvmError>> {
        match system {
            // Tracing does not concern system calls.
            SystemTx::Call { to, data, optional } if self.cfg.spec.is_enabled_in(SpecId::AMSTERDAM) => {
                let (setting, source) = (self.setting(told), self.source(view));
                let result = stock::run_system(setting, *to, data, source, writes, &mut told.touches)?;
                told.enter(writes);
                Ok(system::ended(*to, *optional, result)?)
            }
            SystemTx::Call { to, data, .. } => {
                let tx = stock::system_call(self.cfg.spec, *to, data.clone());
                self.run(worker, &tx, view, writes, told, |evm| system.run(evm))
            }
            _ if self.plainly && system.run_plainly(self.cfg.spec, self.touches, view, writes, told)? => {
                Ok((Bytes::new(), 0))
            }
            _ => self.run(worker, &TxEnv::default(), view, writes, told, |evm| system.run(evm)),
        }
    }
}

/// Guesses of time, in nanoseconds on a core of about 2025 (medians over the block cases): a transaction
/// without calldata; one with, before it uses gas; and for a thousand units of the gas that it may use.
const PLAIN_NS: u64 = 270;
const CALL_NS: u64 = 800;
const KILOGAS_NS: u64 = 100;
/// Gas of a transaction without calldata.
const PLAIN_GAS: u64 = 21_000;
/// Gas that a limit is taken to mean at most: who asks for more than that seldom needs it.
const MEANT_GAS: u64 = 10_000_000;

/// Gas that `tx` may use by what it says itself; `None` if it is a transfer by its looks.
fn meant_gas(tx: &TxEnv) -> Option<u64> {
    let plain = tx.data.is_empty() && tx.kind.is_call();
    (!plain).then(|| tx.gas_limit.min(MEANT_GAS))
}

/// Which part of the gas that transactions may use they do, if the block uses `used`.
fn used_of_meant(txs: &[TxEnv], used: Option<u64>) -> f64 {
    let Some(used) = used else { return 1.0 };
    let (mut plain, mut meant) = (0_u64, 0_u64);
    for tx in txs {
        match meant_gas(tx) {
            None => plain += PLAIN_GAS,
            Some(gas) => meant = meant.saturating_add(gas),
        }
    }
    if meant == 0 { 1.0 } else { (used.saturating_sub(plain) as f64 / meant as f64).min(1.0) }
}

/// Scratch of one thread, back to its pools when dropped, unless it has grown large.
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
        if let Some(arenas) = self.arenas.take().filter(|arenas| arenas.bytes() <= KEPT_ARENA) {
            let mut pool = self.shared.arenas.lock();
            if pool.len() < IDLE_ARENAS {
                pool.push(arenas);
            }
        }
        if let Some(stacks) = self.stacks.take() {
            stacks.keep();
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
        let arenas = self.shared.arenas.lock().pop();
        EvmWorker { arenas, stacks: Stacks::kept(), shared: self.shared }
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

    /// By calldata and gas limit, and by the gas of the block if that is known.
    fn weigh(&self, tx: &EvmTx) -> Option<Duration> {
        let nanos = match self.user(tx) {
            None => CALL_NS,
            Some(tx) => match meant_gas(tx) {
                None => PLAIN_NS,
                Some(gas) => CALL_NS + (gas as f64 * self.used_of_meant) as u64 * KILOGAS_NS / 1000,
            },
        };
        Some(Duration::from_nanos(nanos))
    }

    fn execute(
        &self,
        worker: &mut EvmWorker<'b>,
        tx: &EvmTx,
        view: &mut dyn View<EvmKey, EvmValue>,
        effects: &mut Effects<Self>,
    ) -> Result<(), Stop<EvmError>> {
        let (output, work) = self.run_tx(worker, tx, view, &mut effects.writes, Told::default())?;
        (effects.output, effects.work) = (Some(output), work);
        Ok(())
    }
}
