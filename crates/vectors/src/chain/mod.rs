//! Blockchain tests: a genesis, blocks in their consensus encoding, what becomes of each.
//!
//! Every block is imported as a client imports it: decoded, held against its parent, executed on every
//! engine, held against its header. Blocks of side chains are imported like any others, on the state
//! after their own parent. Which chain wins is not decided here: seals and fork choice belong to others, so
//! the fixture's last block hash says whose state is compared.

mod access;
mod import;
mod json;
mod run;

pub(crate) use json::cases;
pub(crate) use run::run;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes};
use braid_evm::BlockAccessList;
use braid_rules::{ChainSpec, Fork, ForkCondition};
use braid_work::Alloc;
use std::sync::Arc;

/// A blockchain test.
#[derive(Clone, Debug)]
pub struct ChainCase {
    /// Name of the network.
    pub network: String,
    /// Its rules.
    pub chain: Arc<ChainSpec>,
    /// Header of the genesis block.
    pub genesis: Header,
    /// State of the genesis block.
    pub pre: Arc<Alloc>,
    /// Blocks in the order in which they arrive.
    pub blocks: Vec<BlockCase>,
    /// Hash of the block whose state is compared in the end.
    pub last: B256,
    /// That state.
    pub post: Post,
}

/// One block of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockCase {
    /// Its encoding.
    pub rlp: Bytes,
    /// Its hash, if the fixture has it.
    pub hash: Option<B256>,
    /// Whether it must be accepted.
    pub valid: bool,
    /// Classes of exceptions, separated by `|`, of which the reason to reject it must be.
    pub exception: Option<String>,
    /// Its access list, if the fixture has it.
    pub access_list: Option<BlockAccessList>,
}

/// What a fixture says of the last state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// All of it.
    State(Box<Alloc>),
    /// Its root.
    Root(B256),
    /// Nothing.
    Unknown,
}

impl ChainCase {
    /// Whether the chain comes to Amsterdam, whose vectors follow a draft.
    pub fn is_draft(&self) -> bool {
        self.chain.condition(Fork::Amsterdam) != ForkCondition::Never
    }
}
