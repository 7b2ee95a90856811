//! Engines that run a block from hints: where the hints come from, and what they cost.

use crate::{
    Engine, ExecError, Executed, Recorded,
    ours::{Ran, exec_error, recorded},
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY};
use braid_core::{Control, Hint, Reader, Scheduler, State};
use braid_evm::{
    BlockInput, BlockOutput, EvmKey, EvmShared, EvmValue, ExecOptions, execute_block_with,
    hints::{self, Learned},
};
use braid_sched::{Accuracy, Pool, emulate, oracle};
use braid_work::PreState;
use std::{sync::Arc, time::Instant};

/// Where hints come from. Getting them is part of the time of the block, but for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintSource {
    /// Each transaction says it: sender, target, and its EIP-2930 access list.
    Declared,
    /// Sender and target alone, as accounts that are written.
    Endpoints,
    /// Each transaction is executed on the state before the block.
    Emulated,
    /// What calls of the same code and selector touched in other blocks.
    Learned,
    /// What a serial run of the block touched, found off the clock: the best that hints can be.
    Oracle,
}

impl HintSource {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            HintSource::Declared => "declared",
            HintSource::Endpoints => "endpoints",
            HintSource::Emulated => "emulated",
            HintSource::Learned => "learned",
            HintSource::Oracle => "oracle",
        }
    }
}

/// In what hints are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Records of accounts, slots.
    Location,
    /// Accounts with their storage.
    Account,
}

struct Hinted<S> {
    /// Always there: taken only while it is perturbed, which goes by value.
    scheduler: Option<S>,
    perturb: fn(S, u64) -> S,
    source: HintSource,
    grain: Grain,
    pool: Arc<Pool>,
    shared: EvmShared,
    learned: Arc<Learned>,
    /// What the oracle says of a block.
    prepared: Option<(Arc<Vec<Hint<EvmKey>>>, BlockPlace)>,
}

/// Where the transactions of a block are.
type BlockPlace = (usize, usize);

fn place(input: &BlockInput) -> BlockPlace {
    (input.txs.as_ptr().addr(), input.txs.len())
}

/// The EVM under `scheduler`, with hints from `source`.
pub(crate) fn hinted<S: Scheduler + 'static>(
    scheduler: S,
    perturb: fn(S, u64) -> S,
    source: HintSource,
    grain: Grain,
    pool: Arc<Pool>,
) -> Box<dyn Engine> {
    let (shared, learned) = (EvmShared::default(), Arc::default());
    let scheduler = Some(scheduler);
    Box::new(Hinted { scheduler, perturb, source, grain, pool, shared, learned, prepared: None })
}

/// What the transactions of a block really touch: found by a serial run. For measuring, and for learning.
pub fn touched(shared: &EvmShared, input: &BlockInput, pre: &PreState) -> Vec<Hint<EvmKey>> {
    hints::foresee(shared, input, pre, |block| oracle(block, &Control::default()))
}

/// Adds what the transactions of a block touched to what is known of calls.
pub fn learn(learned: &mut Learned, shared: &EvmShared, input: &BlockInput, pre: &PreState) {
    let truth = touched(shared, input, pre);
    learned.learn(input, hints::of_users(input, &truth), |address| code_hash(pre, address));
}

/// The hash of an account's code before the block; `None` if it has none.
fn code_hash(pre: &PreState, address: Address) -> Option<B256> {
    let value = pre.reader().ok()?.get(&EvmKey::Account(address)).ok()?;
    match value {
        Some(EvmValue::Account(account)) => Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY),
        _ => None,
    }
}

impl<S: Scheduler> Hinted<S> {
    fn hints(&self, input: &BlockInput, pre: &PreState, control: &Control<'_>) -> Vec<Hint<EvmKey>> {
        let mut found = match self.source {
            HintSource::Declared => hints::about_users(input, |_, tx| hints::declared(tx)),
            HintSource::Endpoints => hints::about_users(input, |_, tx| hints::endpoints(tx)),
            HintSource::Emulated => {
                hints::foresee(&self.shared, input, pre, |block| emulate(&self.pool, block, control))
            }
            HintSource::Learned => {
                let id = Learned::id(input);
                let code = |address| code_hash(pre, address);
                hints::about_users(input, |_, tx| self.learned.hint(&id, tx, code))
            }
            HintSource::Oracle => hints::foresee(&self.shared, input, pre, |block| oracle(block, control)),
        };
        if self.grain == Grain::Account {
            found.iter_mut().for_each(|hint| *hint = hints::by_account(hint, input.env.beneficiary));
        }
        found
    }

    fn run(
        &mut self,
        record: bool,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<BlockOutput, ExecError> {
        let prepared =
            self.prepared.as_ref().filter(|(_, of)| *of == place(input)).map(|(hints, _)| hints.clone());
        let began = Instant::now();
        let (hints, hint_ns) = match prepared {
            Some(hints) => (hints, 0),
            None => {
                let hints = Arc::new(self.hints(input, pre, control));
                (hints, u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
            }
        };
        let Some(scheduler) = &self.scheduler else { unreachable!("put back after every perturbation") };
        let options = ExecOptions { access_list: record, hints: &hints, ..ExecOptions::default() };
        let done = execute_block_with(options, scheduler, &self.shared, input, pre, &(), control);
        let mut output = done.map_err(|failure| exec_error(failure, input.txs.len()))?;
        output.stats.hint_ns = hint_ns;
        Ok(output)
    }
}

impl<S: Scheduler> Engine for Hinted<S> {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        Ok(Box::new(Ran(self.run(false, input, pre, control)?)))
    }

    fn execute_recorded(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Option<Result<Recorded, ExecError>> {
        Some(self.run(true, input, pre, control).map(recorded))
    }

    fn prepare(&mut self, input: &BlockInput, pre: &PreState, _access_list: Option<&Bytes>) {
        self.prepared = None;
        if self.source == HintSource::Oracle {
            let hints = self.hints(input, pre, &Control::default());
            self.prepared = Some((Arc::new(hints), place(input)));
        }
    }

    fn teach(&mut self, learned: &Arc<Learned>) {
        self.learned = learned.clone();
    }

    fn hint_source(&self) -> Option<HintSource> {
        Some(self.source)
    }

    fn accuracy(&mut self, input: &BlockInput, pre: &PreState) -> Option<Accuracy> {
        let mut truth = touched(&self.shared, input, pre);
        if self.grain == Grain::Account {
            truth.iter_mut().for_each(|hint| *hint = hints::by_account(hint, input.env.beneficiary));
        }
        Some(Accuracy::of(&self.hints(input, pre, &Control::default()), &truth))
    }

    fn bound_code(&mut self, bytes: usize) {
        self.shared = EvmShared::new(bytes);
    }

    fn shuffle(&mut self, seed: u64) {
        self.scheduler = self.scheduler.take().map(|scheduler| (self.perturb)(scheduler, seed));
    }
}
