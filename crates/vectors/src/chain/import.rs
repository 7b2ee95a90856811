//! One block onto the chain it names.

use crate::{
    Seats,
    exception::{self, Reason, UnknownException},
    fault::TxFault,
};
use alloy_consensus::Header;
use alloy_primitives::{B256, U256};
use braid_core::Control;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_profiles::ExecError;
use braid_rules::{
    Block, ChainSpec, Fork, Item, Parts, RuleError, block_input, body, decode, header,
    ommers::{self, Ancestor},
    outcome,
};
use braid_work::{Alloc, PreState};
use std::{collections::HashMap, path::Path, sync::Arc};

/// Hashes that BLOCKHASH can see.
const BLOCK_HASHES: usize = 256;

/// A valid block, with what its children need of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its header.
    pub header: Header,
    /// Hashes of its ommers.
    pub ommers: Vec<B256>,
    /// Total difficulty up to and with it.
    pub total_difficulty: U256,
    /// State after it.
    pub state: Arc<Alloc>,
}

/// Why a block was rejected.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejection {
    /// By a rule of the chain; with what is wrong in a transaction that does not decode.
    Rule(RuleError, Option<TxFault>),
    /// By an engine.
    Exec(ExecError),
}

impl std::fmt::Display for Rejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rejection::Rule(rule, _) => write!(f, "{} ({rule})", rule.kind()),
            Rejection::Exec(error) => write!(f, "{} ({error})", exec_kind(error)),
        }
    }
}

impl Rejection {
    /// Whether it is of one of `classes`, which are separated by `|`.
    ///
    /// # Errors
    /// If one of the classes is not known.
    pub fn is_of(&self, classes: &str) -> Result<bool, UnknownException> {
        let kind = match self {
            Rejection::Rule(rule, _) => rule.kind(),
            Rejection::Exec(error) => exec_kind(error),
        };
        let by_fault = match self {
            Rejection::Rule(_, Some(fault)) => exception::block::allows(classes, Reason::Fault(*fault))?,
            _ => false,
        };
        Ok(by_fault || exception::block::allows(classes, Reason::Kind(kind))?)
    }
}

/// Kind of what an engine reports, in the words in which exceptions of blocks are listed.
fn exec_kind(error: &ExecError) -> &'static str {
    match error {
        ExecError::Invalid { kind, .. } => kind,
        ExecError::SystemCall { name: "eip6110", .. } => "deposit_layout",
        ExecError::SystemCall { reason, .. } if reason == "no code" => "system_contract_empty",
        ExecError::SystemCall { .. } => "system_contract_failed",
        ExecError::Store { .. } => "store",
        ExecError::Panicked { .. } => "panicked",
        ExecError::Cancelled { .. } => "cancelled",
        ExecError::Deadline { .. } => "deadline",
    }
}

/// A block that may be executed.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) block: Block,
    pub(super) fork: Fork,
    pub(super) input: BlockInput,
    pub(super) parent: Arc<Imported>,
}

/// The blocks that were accepted.
#[derive(Debug)]
pub(super) struct Tree {
    chain: Arc<ChainSpec>,
    blocks: HashMap<B256, Arc<Imported>>,
}

impl Tree {
    pub(super) fn new(chain: Arc<ChainSpec>, genesis: &Header, state: Arc<Alloc>) -> Self {
        let imported = Imported {
            header: genesis.clone(),
            ommers: Vec::new(),
            total_difficulty: genesis.difficulty,
            state,
        };
        Tree { chain, blocks: HashMap::from([(genesis.hash_slow(), Arc::new(imported))]) }
    }

    pub(super) fn get(&self, hash: B256) -> Option<&Arc<Imported>> {
        self.blocks.get(&hash)
    }

    /// Enters a block that was accepted, with the state after it.
    pub(super) fn accept(&mut self, ready: Ready, state: Alloc) {
        let imported = Imported {
            ommers: ready.block.ommers.iter().map(Header::hash_slow).collect(),
            total_difficulty: ready.parent.total_difficulty.saturating_add(ready.block.header.difficulty),
            header: ready.block.header,
            state: Arc::new(state),
        };
        self.blocks.insert(ready.block.hash, Arc::new(imported));
    }

    /// Checks all of a block that needs no execution. With `lenient`, what breaks a rule of the header or
    /// of the body can be executed still, and the rule is in the second place.
    pub(super) fn prepare(&self, rlp: &[u8], lenient: bool) -> Result<(Ready, Option<RuleError>), Rejection> {
        let rule = |error| Rejection::Rule(error, None);
        let block = Block::decode(rlp).map_err(|error| {
            let fault = undecodable_tx(&error, rlp);
            Rejection::Rule(error, fault)
        })?;
        let parent_hash = block.header.parent_hash;
        let parent = self.blocks.get(&parent_hash);
        let parent = parent.ok_or_else(|| rule(RuleError::UnknownParent { hash: parent_hash }))?;
        let (number, time) = (block.header.number, block.header.timestamp);
        let fork = self.chain.fork_at(number, time, parent.total_difficulty);
        let checked = self.check(fork, &block, parent);
        if let (Err(error), false) = (&checked, lenient) {
            return Err(rule(error.clone()));
        }
        let senders = body::senders(fork, &block.txs).map_err(rule)?;
        let parts = Parts {
            header: &block.header,
            txs: &block.txs,
            senders: &senders,
            ommers: &block.ommers,
            withdrawals: block.withdrawals.as_deref().unwrap_or_default(),
        };
        let hashes = self.ancestors(parent_hash, BLOCK_HASHES).map(|(hash, one)| (one.header.number, hash));
        let input = block_input(&self.chain, fork, parts, hashes.collect()).map_err(rule)?;
        Ok((Ready { block, fork, input, parent: parent.clone() }, checked.err()))
    }

    fn check(&self, fork: Fork, block: &Block, parent: &Imported) -> Result<(), RuleError> {
        header::check(&self.chain, &block.header, &parent.header, parent.total_difficulty)?;
        let near: Vec<Ancestor<'_>> = self
            .ancestors(block.header.parent_hash, ommers::MAX_DEPTH + 1)
            .map(|(hash, one)| Ancestor {
                hash,
                header: &one.header,
                ommers: &one.ommers,
                total_difficulty: one.total_difficulty,
            })
            .collect();
        ommers::check(&self.chain, &block.ommers, &near)?;
        body::check(&self.chain, fork, block)
    }

    /// The blocks from that one up.
    fn ancestors(&self, from: B256, most: usize) -> impl Iterator<Item = (B256, &Imported)> {
        let first = self.blocks.get(&from).map(|one| (from, &**one));
        std::iter::successors(first, |(_, one)| {
            let hash = one.header.parent_hash;
            self.blocks.get(&hash).map(|parent| (hash, &**parent))
        })
        .take(most)
    }
}

/// What is wrong with the transaction that `error` names.
fn undecodable_tx(error: &RuleError, rlp: &[u8]) -> Option<TxFault> {
    match error {
        RuleError::Rlp { item: Item::Transaction(index), .. } => {
            decode::tx_bytes(rlp, *index).map(TxFault::of)
        }
        _ => None,
    }
}

/// What one engine made of a block, and the rule by which its header does not say that.
#[derive(Clone, Debug)]
pub(super) struct Executed {
    pub(super) result: Result<Arc<(ExecutedBlock, Alloc)>, ExecError>,
    pub(super) broken: Option<RuleError>,
}

impl Executed {
    /// Why the block is rejected, if it is.
    pub(super) fn rejection(&self) -> Option<Rejection> {
        match (&self.result, &self.broken) {
            (Err(error), _) => Some(Rejection::Exec(error.clone())),
            (Ok(_), broken) => broken.clone().map(|rule| Rejection::Rule(rule, None)),
        }
    }

    /// Whether two engines made the same of a block.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (&self.result, &other.result) {
            (Ok(one), Ok(other)) => Arc::ptr_eq(one, other),
            (Err(one), Err(other)) => one == other,
            _ => false,
        }
    }
}

/// Executes a block on every engine, and holds what came of it against its header. Equal blocks are
/// looked at once, and shared.
///
/// # Errors
/// If there is no state to run on: code that cannot be analysed.
pub(super) fn execute(
    ready: &Ready,
    seats: &mut Seats,
    control: &Control<'_>,
) -> Result<Vec<Executed>, String> {
    let mut pre = pre_state(&ready.parent.state)?;
    pre.block_hashes = ready.input.block_hashes.clone();
    let mut all: Vec<Executed> = Vec::with_capacity(seats.len());
    for ran in seats.execute(&ready.input, &pre, control) {
        let mut block = match ran {
            Ok(block) => block,
            Err(error) => {
                all.push(Executed { result: Err(error), broken: None });
                continue;
            }
        };
        block.stats = Default::default();
        let known = all.iter().find(|one| one.result.as_ref().is_ok_and(|done| done.0 == block));
        if let Some(known) = known.cloned() {
            all.push(known);
            continue;
        }
        let mut state = Alloc::clone(&ready.parent.state);
        state.apply(&block);
        let root = pre_state(&state)?.state_root();
        let types = ready.block.types();
        let broken = outcome::check(ready.fork, &ready.block.header, types, &block, root).err();
        all.push(Executed { result: Ok(Arc::new((block, state))), broken });
    }
    Ok(all)
}

pub(super) fn pre_state(alloc: &Alloc) -> Result<PreState, String> {
    alloc.pre_state(Path::new("state")).map_err(|error| error.to_string())
}
