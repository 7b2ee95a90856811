//! Engines that run a block from hints: where the hints come from, and what they cost.

use alloy_primitives::{Address, B256, KECCAK256_EMPTY};
use braid_core::{Control, Hint, Reader, State};
use braid_evm::{
    BlockInput, EvmKey, EvmShared, EvmValue,
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

/// What an engine that runs from hints has besides.
pub(crate) struct Hinting {
    pub(crate) source: HintSource,
    grain: Grain,
    pub(crate) learned: Arc<Learned>,
    /// What was got of a block off the clock.
    prepared: Option<(Arc<Vec<Hint<EvmKey>>>, BlockPlace)>,
}

/// Where the transactions of a block are.
type BlockPlace = (usize, usize);

fn place(input: &BlockInput) -> BlockPlace {
    (input.txs.as_ptr().addr(), input.txs.len())
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

impl Hinting {
    pub(crate) fn new(source: HintSource, grain: Grain) -> Self {
        Hinting { source, grain, learned: Arc::default(), prepared: None }
    }

    fn find(
        &self,
        pool: &Pool,
        shared: &EvmShared,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Vec<Hint<EvmKey>> {
        let found = match self.source {
            HintSource::Declared => hints::about_users(input, |_, tx| hints::declared(tx)),
            HintSource::Endpoints => hints::about_users(input, |_, tx| hints::endpoints(tx)),
            HintSource::Emulated => hints::foresee(shared, input, pre, |block| emulate(pool, block, control)),
            HintSource::Learned => {
                let id = Learned::id(input);
                let code = |address| code_hash(pre, address);
                hints::about_users(input, |_, tx| self.learned.hint(&id, tx, code))
            }
            HintSource::Oracle => hints::foresee(shared, input, pre, |block| oracle(block, control)),
        };
        self.in_grain(input, found)
    }

    fn in_grain(&self, input: &BlockInput, mut hints: Vec<Hint<EvmKey>>) -> Vec<Hint<EvmKey>> {
        if self.grain == Grain::Account {
            hints.iter_mut().for_each(|hint| *hint = hints::by_account(hint, input.env.beneficiary));
        }
        hints
    }

    /// Hints about a block, and the nanoseconds that it took to get them.
    pub(crate) fn hints(
        &self,
        pool: &Pool,
        shared: &EvmShared,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> (Arc<Vec<Hint<EvmKey>>>, u64) {
        if let Some((hints, _)) = self.prepared.as_ref().filter(|(_, of)| *of == place(input)) {
            return (hints.clone(), 0);
        }
        let began = Instant::now();
        let hints = self.find(pool, shared, input, pre, control);
        (Arc::new(hints), u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Before a block is executed, off the clock: asks the oracle.
    pub(crate) fn prepare(&mut self, pool: &Pool, shared: &EvmShared, input: &BlockInput, pre: &PreState) {
        self.prepared = (self.source == HintSource::Oracle)
            .then(|| (Arc::new(self.find(pool, shared, input, pre, &Control::default())), place(input)));
    }

    pub(crate) fn accuracy(
        &self,
        pool: &Pool,
        shared: &EvmShared,
        input: &BlockInput,
        pre: &PreState,
    ) -> Accuracy {
        let truth = self.in_grain(input, touched(shared, input, pre));
        Accuracy::of(&self.find(pool, shared, input, pre, &Control::default()), &truth)
    }
}
