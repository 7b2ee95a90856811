//! One block after another, each held against its parent before it is executed, and against its header after.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256};
use braid_evm::{BlockInput, ExecutedBlock};
use braid_rules::{
    Block, ChainSpec, Fork, Parts, RuleError, block_input, body, header,
    ommers::{self, Ancestor},
    outcome,
};
use std::{
    collections::{BTreeMap, VecDeque},
    hint::black_box,
    sync::Arc,
};

/// Hashes that BLOCKHASH can see.
const BLOCK_HASHES: usize = 256;

/// A block that is ready to be executed.
#[derive(Clone, Debug)]
pub struct ChainBlock {
    /// What engines execute.
    pub input: BlockInput,
    /// The block as the chain has it, and its fork; `None` of a workload.
    pub consensus: Option<(Fork, Arc<Block>)>,
}

impl ChainBlock {
    /// Its number.
    pub fn number(&self) -> u64 {
        u64::try_from(self.input.env.number).unwrap_or(u64::MAX)
    }

    /// Checks the result of its execution against its header, as far as there is one: gas, receipts, bloom,
    /// requests, and the root of the state after it. Without a header, receipts and bloom are computed all the
    /// same. Returns the root of the receipts, as they are from Byzantium on.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self, done: &ExecutedBlock, state_root: impl FnOnce() -> B256) -> Result<B256, RuleError> {
        if let Some((fork, block)) = &self.consensus {
            outcome::check(*fork, &block.header, block.types(), done, state_root())?;
            if *fork >= Fork::Byzantium {
                return Ok(block.header.receipts_root);
            }
        }
        let types = self.input.txs.iter().map(|tx| tx.tx_type);
        let receipts = outcome::receipts(outcome::landed(types, done));
        black_box(outcome::logs_bloom(&receipts));
        Ok(outcome::receipts_root(&receipts))
    }
}

/// A block that breaks a rule before it is executed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct ChainError {
    /// Its number, as far as it is known: that after its parent's.
    pub number: u64,
    /// The rule.
    pub error: Box<RuleError>,
}

/// A block as far as those after it need to know it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its hash.
    pub hash: B256,
    /// Its header.
    pub header: Header,
    /// Hashes of its ommers.
    pub ommers: Vec<B256>,
    /// Difficulty of all blocks up to and including it.
    pub total_difficulty: U256,
}

/// A block that follows its parent, and whose senders are not known yet.
#[derive(Clone, Debug)]
pub(super) struct Unrecovered {
    number: u64,
    chain: Arc<ChainSpec>,
    pub(super) fork: Fork,
    pub(super) block: Arc<Block>,
    /// What BLOCKHASH can see.
    hashes: BTreeMap<u64, B256>,
}

impl Unrecovered {
    /// The error of a block that breaks `rule`.
    pub(super) fn broken(&self, rule: RuleError) -> ChainError {
        ChainError { number: self.number, error: Box::new(rule) }
    }

    /// The block, with its senders in order.
    pub(super) fn with_senders(self, senders: &[Address]) -> Result<ChainBlock, ChainError> {
        let Unrecovered { number, chain, fork, block, hashes } = self;
        let parts = Parts {
            header: &block.header,
            txs: &block.txs,
            senders,
            ommers: &block.ommers,
            withdrawals: block.withdrawals.as_deref().unwrap_or_default(),
        };
        let input = block_input(&chain, fork, parts, hashes);
        let input = input.map_err(|error| ChainError { number, error: Box::new(error) })?;
        Ok(ChainBlock { input, consensus: Some((fork, block)) })
    }
}

/// The last blocks of a chain, as far as the next one needs them.
#[derive(Clone, Debug)]
pub struct Follower {
    chain: Arc<ChainSpec>,
    /// The latest first; never empty.
    near: VecDeque<Link>,
}

impl Follower {
    /// Of a chain that ends in its genesis block.
    pub fn new(chain: ChainSpec, genesis: Header) -> Self {
        let link = Link {
            hash: genesis.hash_slow(),
            ommers: Vec::new(),
            total_difficulty: genesis.difficulty,
            header: genesis,
        };
        Follower { chain: Arc::new(chain), near: VecDeque::from([link]) }
    }

    /// Of a chain that ends in `latest`; `earlier` are the blocks before it, the latest first, of which 255 are
    /// of use.
    pub fn at(chain: ChainSpec, latest: Link, earlier: impl IntoIterator<Item = Link>) -> Self {
        let near = std::iter::once(latest).chain(earlier).take(BLOCK_HASHES).collect();
        Follower { chain: Arc::new(chain), near }
    }

    /// Decodes the next block, checks all that needs no execution, and recovers its senders.
    ///
    /// # Errors
    /// The first rule that it breaks. The chain ends where it ended before.
    pub fn next(&mut self, rlp: &[u8]) -> Result<ChainBlock, ChainError> {
        let (unrecovered, link) = self.decode(rlp)?;
        let senders = body::senders(unrecovered.fork, &unrecovered.block.txs)
            .map_err(|error| unrecovered.broken(error))?;
        let block = unrecovered.with_senders(&senders)?;
        self.push(link);
        Ok(block)
    }

    /// Decodes the next block and checks all that needs neither its senders nor its execution; the chain then
    /// ends in it.
    pub(super) fn next_unrecovered(&mut self, rlp: &[u8]) -> Result<Unrecovered, ChainError> {
        let (block, link) = self.decode(rlp)?;
        self.push(link);
        Ok(block)
    }

    fn decode(&self, rlp: &[u8]) -> Result<(Unrecovered, Link), ChainError> {
        let Some(parent) = self.near.front() else { unreachable!("the genesis block is always there") };
        let number = parent.header.number.saturating_add(1);
        let of_block = |error: RuleError| ChainError { number, error: Box::new(error) };
        let block = Block::decode(rlp).map_err(of_block)?;
        let parent_hash = block.header.parent_hash;
        if parent_hash != parent.hash {
            return Err(of_block(RuleError::UnknownParent { hash: parent_hash }));
        }
        let before = parent.total_difficulty;
        header::check(&self.chain, &block.header, &parent.header, before).map_err(of_block)?;
        let fork = self.chain.fork_at(number, block.header.timestamp, before);
        ommers::check(&self.chain, &block.ommers, &self.ancestors()).map_err(of_block)?;
        if let Some(broken) = body::violations(&self.chain, fork, &block).into_iter().next() {
            return Err(of_block(broken));
        }
        let hashes = self.near.iter().map(|link| (link.header.number, link.hash)).collect();
        let link = Link {
            hash: block.hash,
            ommers: block.ommers.iter().map(Header::hash_slow).collect(),
            total_difficulty: before.saturating_add(block.header.difficulty),
            header: block.header.clone(),
        };
        let chain = self.chain.clone();
        Ok((Unrecovered { number, chain, fork, block: Arc::new(block), hashes }, link))
    }

    fn push(&mut self, link: Link) {
        self.near.push_front(link);
        self.near.truncate(BLOCK_HASHES);
    }

    fn ancestors(&self) -> Vec<Ancestor<'_>> {
        let near = self.near.iter().take(ommers::MAX_DEPTH + 1);
        near.map(|link| Ancestor {
            hash: link.hash,
            header: &link.header,
            ommers: &link.ommers,
            total_difficulty: link.total_difficulty,
        })
        .collect()
    }
}
