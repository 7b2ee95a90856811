//! Chains: blocks that follow one another, and the state before the first.
//!
//! Two forms: a folder with `genesis.json` (as geth takes it: `config`, fields of the header, `alloc`) and
//! `chain.rlp` (the blocks after the genesis block in their consensus encoding, one after the other), as in
//! ethereum/execution-apis and hive; and a generated workload that is split into blocks
//! (`erc20?txs=1000&blocks=10`).

mod ahead;
mod era1;
mod follow;
mod genesis;
mod hashed;
mod import;

pub use ahead::MAX_RECOVERERS;
pub use follow::{ChainBlock, ChainError, Follower, Link};
pub use genesis::Genesis;
pub use hashed::HashedState;
pub use import::Import;

use crate::{Case, PreState, WorkError, Workload, load::file, synth::WorkloadError};
use alloy_primitives::{Bytes, U256};
use braid_evm::BlockInput;
use std::{
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Most blocks of one chain.
pub const MAX_BLOCKS: usize = 100_000;

/// Seconds from block to block of a split workload.
const SLOT_SECONDS: u64 = 12;

/// A chain that can be followed. Its blocks are not decoded yet.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Text that, given as an input, names this chain.
    pub name: String,
    /// State before the first block.
    pub pre: Arc<PreState>,
    /// The blocks.
    blocks: Blocks,
}

#[derive(Clone, Debug)]
enum Blocks {
    /// Encoded, and what their rules are checked against.
    Encoded(Vec<Bytes>, Follower),
    /// With senders, without headers.
    Plain(Vec<BlockInput>),
}

/// Finds the chain that `text` stands for.
///
/// # Errors
/// [`WorkError`], which names the file and the item, or the workload.
pub fn chain(text: &str) -> Result<Chain, WorkError> {
    let path = Path::new(text);
    if path.is_dir() {
        return folder(path);
    }
    let wrong = |reason| WorkError::Workload { workload: text.chars().take(200).collect(), reason };
    let no_chain = || {
        let possible = "a number; else a chain is a folder with genesis.json and chain.rlp".to_owned();
        wrong(WorkloadError::Required { key: "blocks", possible })
    };
    let bad = |value: &str, most: u64| {
        let value = value.chars().take(40).collect();
        wrong(WorkloadError::BadValue { key: "blocks", value, possible: format!("between 1 and {most}") })
    };
    let (name, parameters) = text.split_once('?').ok_or_else(no_chain)?;
    let (blocks, others): (Vec<&str>, Vec<&str>) =
        parameters.split('&').partition(|parameter| parameter.starts_with("blocks="));
    let blocks = match blocks[..] {
        [] => return Err(no_chain()),
        [one] => &one["blocks=".len()..],
        _ => return Err(wrong(WorkloadError::Twice { key: "blocks".to_owned() })),
    };
    let workload: Workload = format!("{name}?{}", others.join("&")).parse()?;
    let most = workload.get("txs").unwrap_or(1).min(MAX_BLOCKS as u64);
    let wanted: u64 = blocks.parse().map_err(|_| bad(blocks, most))?;
    if !(1..=most).contains(&wanted) {
        return Err(bad(blocks, most));
    }
    let blocks = wanted;
    Ok(split(text, workload.generate()?, blocks as usize))
}

fn folder(path: &Path) -> Result<Chain, WorkError> {
    let genesis = genesis::read(&path.join("genesis.json"))?;
    let blocks = rlp_blocks(&path.join("chain.rlp"))?;
    let blocks = Blocks::Encoded(blocks, Follower::new(genesis.chain, genesis.header));
    Ok(Chain { name: path.display().to_string(), pre: Arc::new(genesis.pre), blocks })
}

/// The blocks in a file of blocks in their consensus encoding, one after the other.
fn rlp_blocks(file: &Path) -> Result<Vec<Bytes>, WorkError> {
    let bytes = Bytes::from(file::read(file)?);
    let mut blocks = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let mut body = rest;
        let header = alloy_rlp::Header::decode(&mut body).map_err(|error| {
            let item = format!("block {} of the file", blocks.len() + 1);
            WorkError::invalid(file, item, error.to_string())
        })?;
        let size = rest.len() - body.len() + header.payload_length;
        let start = bytes.len() - rest.len();
        blocks.push(bytes.slice(start..start + size));
        rest = &rest[size..];
        if blocks.len() > MAX_BLOCKS {
            let (size, limit) = (blocks.len() as u64, MAX_BLOCKS as u64);
            return Err(WorkError::TooLarge { file: file.into(), what: "number of blocks", size, limit });
        }
    }
    Ok(blocks)
}

/// The transactions of a case in so many blocks, as even as can be.
fn split(name: &str, case: Case, blocks: usize) -> Chain {
    let Case { input, pre, .. } = case;
    let all = input.txs.len();
    let block = |at: usize| {
        let txs = input.txs[at * all / blocks..(at + 1) * all / blocks].to_vec();
        let mut env = input.env.clone();
        env.number += U256::from(at);
        env.timestamp += U256::from(at as u64 * SLOT_SECONDS);
        env.gas_limit = txs.iter().fold(0, |sum, tx| tx.gas_limit.saturating_add(sum));
        BlockInput {
            env,
            txs,
            block_hashes: input.block_hashes.clone(),
            rites: input.rites.clone(),
            ..BlockInput::new(input.chain_id, input.spec, Default::default(), Vec::new())
        }
    };
    let with_limits =
        |block: BlockInput| BlockInput { max_blob_gas: input.max_blob_gas, rules: input.rules, ..block };
    let blocks = Blocks::Plain((0..blocks).map(block).map(with_limits).collect());
    Chain { name: name.to_owned(), pre: pre.unwrap_or_default(), blocks }
}

impl Chain {
    /// Blocks in their consensus encoding that follow where `follower` is; `pre` is the state there.
    pub fn of_blocks(name: String, pre: Arc<PreState>, blocks: Vec<Bytes>, follower: Follower) -> Chain {
        Chain { name, pre, blocks: Blocks::Encoded(blocks, follower) }
    }

    /// How many blocks it has.
    pub fn len(&self) -> usize {
        match &self.blocks {
            Blocks::Encoded(blocks, _) => blocks.len(),
            Blocks::Plain(blocks) => blocks.len(),
        }
    }

    /// Whether it has no blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands the blocks to `each` in order, as [`Self::blocks`] gives them, until it breaks off or a block is an
    /// error. Senders are recovered ahead, by up to `threads` threads (at most [`MAX_RECOVERERS`]), this one among
    /// them. Returns the time for which any of these threads was at work.
    pub fn for_each_block(
        &self,
        threads: usize,
        each: &mut dyn FnMut(Result<ChainBlock, ChainError>) -> ControlFlow<()>,
    ) -> Duration {
        match &self.blocks {
            Blocks::Encoded(blocks, follower) => ahead::for_each(blocks, follower.clone(), threads, each),
            Blocks::Plain(_) => {
                let (mut busy, mut blocks) = (Duration::ZERO, self.blocks());
                loop {
                    let start = Instant::now();
                    let next = blocks.next();
                    busy += start.elapsed();
                    if next.is_none_or(|block| each(block).is_break()) {
                        return busy;
                    }
                }
            }
        }
    }

    /// The blocks in order: decoded, held against their parents, with their senders recovered. Each of that
    /// is done when the block is asked for; after an error there is nothing more.
    pub fn blocks(&self) -> Box<dyn Iterator<Item = Result<ChainBlock, ChainError>> + Send + '_> {
        match &self.blocks {
            Blocks::Plain(blocks) => {
                Box::new(blocks.iter().map(|input| Ok(ChainBlock { input: input.clone(), consensus: None })))
            }
            Blocks::Encoded(blocks, follower) => {
                let mut follower = Some(follower.clone());
                Box::new(blocks.iter().map_while(move |rlp| {
                    let next = follower.as_mut()?.next(rlp);
                    if next.is_err() {
                        follower = None;
                    }
                    Some(next)
                }))
            }
        }
    }
}
