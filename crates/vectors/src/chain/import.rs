//! One block onto the chain it names.

use crate::{
    Ran, TxFault,
    exception::{self, Reason, UnknownException},
};
use alloy_consensus::Header;
use alloy_primitives::{B256, U256};
use braid_evm::BlockInput;
use braid_profiles::ExecError;
use braid_rules::{
    Block, ChainSpec, Fork, Item, Parts, RuleError, block_input, body, decode, header,
    ommers::{self, Ancestor},
};
use braid_work::Alloc;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

/// Hashes that BLOCKHASH can see.
const BLOCK_HASHES: usize = 256;

/// Most accounts and slots that the states of all blocks of a case may have together: some gigabyte. The
/// largest official case has less than a tenth of that.
const MAX_KEPT: usize = 5_000_000;

/// A valid block, with what its children need of it.
#[derive(Clone, Debug)]
pub(super) struct Imported {
    pub(super) header: Header,
    /// Hashes of its ommers.
    pub(super) ommers: Vec<B256>,
    /// Up to and with it.
    pub(super) total_difficulty: U256,
    /// State after it.
    pub(super) state: Arc<Alloc>,
}

/// All reasons that were found to reject a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejection {
    /// Rules of the chain that it breaks.
    pub(super) rules: Vec<RuleError>,
    /// What is wrong with a transaction that does not decode.
    pub(super) fault: Option<TxFault>,
    /// Why it cannot be executed.
    pub(super) exec: Option<ExecError>,
}

impl Rejection {
    pub(super) fn of(rules: Vec<RuleError>) -> Self {
        Rejection { rules, ..Rejection::default() }
    }

    /// With what an engine made of the block, and the rules that this breaks.
    pub(super) fn and(&self, ran: &Ran, mut broken: Vec<RuleError>) -> Self {
        let mut all = self.clone();
        all.rules.append(&mut broken);
        all.exec = ran.as_ref().err().cloned();
        all
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.exec.is_none()
    }

    /// Whether one of the reasons is of one of `classes`, which are separated by `|`. A block may break
    /// several rules, and which of them a client finds first is free.
    pub(super) fn is_of(&self, classes: &str) -> Result<bool, UnknownException> {
        let rules = self.rules.iter().map(|rule| Reason::Kind(rule.kind()));
        let reasons = rules
            .chain(self.fault.map(Reason::Fault))
            .chain(self.exec.as_ref().map(|error| Reason::Kind(exec_kind(error))));
        let mut found = exception::block::allows(classes, Reason::Kind(""))?;
        for reason in reasons {
            found |= exception::block::allows(classes, reason)?;
        }
        Ok(found)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<String> =
            self.rules.iter().map(|rule| format!("{} ({rule})", rule.kind())).collect();
        reasons.extend(self.exec.as_ref().map(|error| format!("{} ({error})", exec_kind(error))));
        f.write_str(&reasons.join("; "))
    }
}

/// Kind of what an engine reports, in the words in which exceptions of blocks are listed.
fn exec_kind(error: &ExecError) -> &'static str {
    match error {
        ExecError::Invalid { kind, .. } => kind,
        ExecError::SystemCall { name: "eip6110", .. } => "deposit_layout",
        // In the words of Braid's engines and of the yardstick.
        ExecError::SystemCall { reason, .. } if reason.starts_with("no code") => "system_contract_empty",
        ExecError::SystemCall { reason, .. } if reason.starts_with("there: false") => "system_contract_empty",
        ExecError::SystemCall { .. } => "system_contract_failed",
        ExecError::Store { .. } => "store",
        ExecError::Panicked { .. } => "panicked",
        ExecError::Cancelled { .. } => "cancelled",
        ExecError::Deadline { .. } => "deadline",
    }
}

/// A block that engines can execute.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) block: Block,
    pub(super) fork: Fork,
    pub(super) input: BlockInput,
    pub(super) parent: Arc<Imported>,
    /// Rules that it breaks.
    pub(super) broken: Rejection,
}

/// The blocks that were accepted.
#[derive(Debug)]
pub(super) struct Tree {
    chain: Arc<ChainSpec>,
    blocks: HashMap<B256, Arc<Imported>>,
    /// Accounts and slots in all states that are kept.
    kept: usize,
}

impl Tree {
    pub(super) fn new(chain: Arc<ChainSpec>, genesis: &Header, state: Arc<Alloc>) -> Self {
        let imported = Imported {
            header: genesis.clone(),
            ommers: Vec::new(),
            total_difficulty: genesis.difficulty,
            state,
        };
        let kept = size(&imported.state);
        Tree { chain, blocks: HashMap::from([(genesis.hash_slow(), Arc::new(imported))]), kept }
    }

    pub(super) fn get(&self, hash: B256) -> Option<&Imported> {
        self.blocks.get(&hash).map(|imported| &**imported)
    }

    /// Enters a block that was accepted, with the state after it.
    ///
    /// # Errors
    /// If the states of the case are more than can be kept.
    pub(super) fn accept(&mut self, ready: Ready, state: Alloc) -> Result<(), String> {
        self.kept = self.kept.saturating_add(size(&state));
        if self.kept > MAX_KEPT {
            return Err(format!("its states have {} accounts and slots, limit {MAX_KEPT}", self.kept));
        }
        let imported = Imported {
            ommers: ready.block.ommers.iter().map(Header::hash_slow).collect(),
            total_difficulty: ready.parent.total_difficulty.saturating_add(ready.block.header.difficulty),
            header: ready.block.header,
            state: Arc::new(state),
        };
        self.blocks.insert(ready.block.hash, Arc::new(imported));
        Ok(())
    }

    /// Checks all of a block that needs no execution.
    ///
    /// # Errors
    /// Why it cannot be executed at all.
    pub(super) fn prepare(&self, rlp: &[u8]) -> Result<Ready, Rejection> {
        let block = Block::decode(rlp).map_err(|error| Rejection {
            fault: undecodable_tx(&error, rlp),
            ..Rejection::of(vec![error])
        })?;
        let parent_hash = block.header.parent_hash;
        let Some(parent) = self.blocks.get(&parent_hash) else {
            return Err(Rejection::of(vec![RuleError::UnknownParent { hash: parent_hash }]));
        };
        let (number, time) = (block.header.number, block.header.timestamp);
        let fork = self.chain.fork_at(number, time, parent.total_difficulty);
        let mut broken = self.violations(fork, &block, parent);
        match self.input(fork, &block) {
            Ok(input) => {
                let broken = Rejection::of(broken);
                Ok(Ready { block, fork, input, parent: parent.clone(), broken })
            }
            Err(error) => {
                broken.push(error);
                Err(Rejection::of(broken))
            }
        }
    }

    fn input(&self, fork: Fork, block: &Block) -> Result<BlockInput, RuleError> {
        let senders = body::senders(fork, &block.txs)?;
        let parts = Parts {
            header: &block.header,
            txs: &block.txs,
            senders: &senders,
            ommers: &block.ommers,
            withdrawals: block.withdrawals.as_deref().unwrap_or_default(),
        };
        let hashes: BTreeMap<u64, B256> = self
            .ancestors(block.header.parent_hash, BLOCK_HASHES)
            .map(|(hash, one)| (one.header.number, hash))
            .collect();
        block_input(&self.chain, fork, parts, hashes)
    }

    fn violations(&self, fork: Fork, block: &Block, parent: &Imported) -> Vec<RuleError> {
        let difficulty = parent.total_difficulty;
        let mut broken = header::violations(&self.chain, &block.header, &parent.header, difficulty);
        let near: Vec<Ancestor<'_>> = self
            .ancestors(block.header.parent_hash, ommers::MAX_DEPTH + 1)
            .map(|(hash, one)| Ancestor {
                hash,
                header: &one.header,
                ommers: &one.ommers,
                total_difficulty: one.total_difficulty,
            })
            .collect();
        broken.extend(ommers::check(&self.chain, &block.ommers, &near).err());
        broken.extend(body::violations(&self.chain, fork, block));
        broken
    }

    /// The blocks from that one up.
    fn ancestors(&self, from: B256, most: usize) -> impl Iterator<Item = (B256, &Imported)> {
        let first = self.blocks.get(&from).map(|one| (from, &**one));
        let parent = |(_, one): &(B256, &Imported)| {
            let hash = one.header.parent_hash;
            self.blocks.get(&hash).map(|parent| (hash, &**parent))
        };
        std::iter::successors(first, parent).take(most)
    }
}

/// Accounts and slots of a state.
fn size(state: &Alloc) -> usize {
    state.0.values().map(|account| 1 + account.storage.len()).sum()
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
