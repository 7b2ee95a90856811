//! Engines that run a block from hints: where the hints come from, and what they cost.

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY};
use alloy_rlp::Decodable;
use braid_core::{Control, Hint, Reader, State};
use braid_evm::{
    BlockAccessList, BlockInput, EvmKey, EvmShared, EvmValue, ExecOptions,
    hints::{self, Learned},
    record_block,
};
use braid_report::model::HintTime;
use braid_sched::{Accuracy, Pool, Serial, emulate, oracle};
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

    /// Who gets them while the block waits.
    pub fn by(self) -> HintTime {
        match self {
            HintSource::Declared | HintSource::Endpoints | HintSource::Learned => HintTime::One,
            HintSource::Emulated => HintTime::All,
            HintSource::Oracle => HintTime::None,
        }
    }
}

/// All that hints can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One that others can ask for.
    Of(HintSource),
    /// The access list of the block (EIP-7928): what it says that each transaction changes. It is decoded inside
    /// the timed region; a block that comes without one is recorded off the clock.
    List,
}

impl From<HintSource> for Source {
    fn from(source: HintSource) -> Self {
        Source::Of(source)
    }
}

impl Source {
    pub(crate) fn known(self) -> Option<HintSource> {
        match self {
            Source::Of(source) => Some(source),
            Source::List => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.known().map_or("bal", HintSource::name)
    }

    pub(crate) fn by(self) -> HintTime {
        self.known().map_or(HintTime::One, HintSource::by)
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
    pub(crate) source: Source,
    grain: Grain,
    pub(crate) learned: Arc<Learned>,
    /// What was got of a block off the clock.
    prepared: Option<(Arc<Vec<Hint<EvmKey>>>, BlockPlace)>,
    /// The access list of a block.
    list: Option<(Bytes, BlockPlace)>,
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
    learned.learn(input, hints::of_users(input, &truth), code_hashes(pre));
}

/// The access list of a block that came with none; `None` if the block does not run to its end.
fn recorded(shared: &EvmShared, input: &BlockInput, pre: &PreState) -> Option<Bytes> {
    let (options, control) = (ExecOptions::default(), Control::default());
    let (_, made) = record_block(options, &Serial::new(), shared, input, pre, &(), &control).ok()?;
    made.rlp(pre).ok()
}

/// The hashes of accounts' code before the block; `None` of one that has none, and if the state cannot tell.
fn code_hashes(pre: &PreState) -> impl FnMut(Address) -> Option<B256> + '_ {
    let mut reader = pre.reader().ok();
    move |address| match reader.as_mut()?.get(&EvmKey::Account(address)).ok()? {
        Some(EvmValue::Account(account)) => Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY),
        _ => None,
    }
}

impl Hinting {
    pub(crate) fn new(source: Source, grain: Grain) -> Self {
        Hinting { source, grain, learned: Arc::default(), prepared: None, list: None }
    }

    fn find(
        &self,
        pool: &Pool,
        shared: &EvmShared,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Vec<Hint<EvmKey>> {
        let Source::Of(source) = self.source else { return self.in_grain(input, self.listed(input)) };
        let found = match source {
            HintSource::Declared => hints::about_users(input, |_, tx| hints::declared(tx)),
            HintSource::Endpoints => hints::about_users(input, |_, tx| hints::endpoints(tx)),
            HintSource::Emulated => hints::foresee(shared, input, pre, |block| emulate(pool, block, control)),
            HintSource::Learned => {
                let id = Learned::id(input);
                let mut code = code_hashes(pre);
                hints::about_users(input, |_, tx| self.learned.hint(&id, tx, &mut code))
            }
            HintSource::Oracle => hints::foresee(shared, input, pre, |block| oracle(block, control)),
        };
        self.in_grain(input, found)
    }

    /// What the list of a block says, if it came with one that can be read.
    fn listed(&self, input: &BlockInput) -> Vec<Hint<EvmKey>> {
        let list = self.list.as_ref().filter(|(_, of)| *of == place(input));
        let list = list.and_then(|(bytes, _)| BlockAccessList::decode(&mut bytes.as_ref()).ok());
        list.map(|list| hints::listed(&list, input)).unwrap_or_default()
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

    /// Before a block is executed, off the clock: asks the oracle, or keeps the access list.
    pub(crate) fn prepare(
        &mut self,
        pool: &Pool,
        shared: &EvmShared,
        input: &BlockInput,
        pre: &PreState,
        access_list: Option<&Bytes>,
    ) {
        self.prepared = (self.source == Source::Of(HintSource::Oracle))
            .then(|| (Arc::new(self.find(pool, shared, input, pre, &Control::default())), place(input)));
        if self.source == Source::List {
            let list = access_list.cloned().or_else(|| recorded(shared, input, pre));
            self.list = list.map(|bytes| (bytes, place(input)));
        }
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
