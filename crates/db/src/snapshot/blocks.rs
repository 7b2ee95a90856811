//! The blocks of a snapshot: what a folder that is made of it needs to know of the chain to go on.
//!
//! 1. The next block may name each of the last 256 blocks (BLOCKHASH), is held against its parent, and its ommers
//!    against the last seven blocks and theirs ([`ommers::check`](braid_rules::ommers::check)).
//! 2. Which chain it is, block 0 says: a chain is known by its hash, and its rules come with its genesis file.
//! 3. So a snapshot of version n has blocks 0 and n - 255 to n, or none at all if its folder has none: headers, total
//!    difficulties, and of the last seven their ommers. The state root of the last one is that of the snapshot.

use super::{error::SnapshotError, format::SnapshotHeader};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, proofs::calculate_ommers_root};
use alloy_primitives::{B256, U256};
use braid_rules::ommers::MAX_DEPTH;

/// What BLOCKHASH sees, and so what the next block needs to know.
pub(crate) const NEAR: u64 = 256;

/// The last blocks whose ommers no other block may have again.
pub(crate) const WITH_OMMERS: u64 = MAX_DEPTH as u64 + 1;

/// A block of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotBlock {
    /// Its header.
    pub header: Header,
    /// Difficulty of all blocks up to and including it.
    pub total_difficulty: U256,
    /// Its ommers, if it is one of the last seven.
    pub ommers: Vec<Header>,
}

/// Number of the first of the last blocks of a snapshot of this version.
fn first(version: u64) -> u64 {
    version.saturating_sub(NEAR - 1)
}

/// Numbers of the blocks of a snapshot of this version.
pub(crate) fn numbers(version: u64) -> impl Iterator<Item = u64> {
    let first = first(version);
    Some(0).filter(|_| first > 0).into_iter().chain(first..=version)
}

/// Whether a snapshot of this version has the ommers of this block.
pub(crate) fn has_ommers(version: u64, number: u64) -> bool {
    version - number < WITH_OMMERS
}

/// Holds the blocks of a snapshot against each other and against what it says of itself, one after another.
#[derive(Debug)]
pub(super) struct Following {
    snapshot: SnapshotHeader,
    /// Number, hash and total difficulty of the last block.
    last: Option<(u64, B256, U256)>,
}

impl Following {
    pub(super) fn new(snapshot: SnapshotHeader) -> Self {
        Following { snapshot, last: None }
    }

    /// Hash of the last block.
    pub(super) fn hash(&self) -> Option<B256> {
        self.last.map(|(_, hash, _)| hash)
    }

    /// Number of the block that comes next, if there is to be another one.
    fn next(&self) -> Option<u64> {
        match self.last {
            None => Some(0),
            Some((number, ..)) if number == self.snapshot.version => None,
            Some((0, ..)) => Some(first(self.snapshot.version).max(1)),
            Some((number, ..)) => Some(number + 1),
        }
    }

    /// Takes the next block.
    pub(super) fn follow(&mut self, block: &SnapshotBlock) -> Result<(), SnapshotError> {
        let SnapshotBlock { header, total_difficulty, ommers } = block;
        let SnapshotHeader { version, root } = self.snapshot;
        let number = header.number;
        let wrong = |reason: String| Err(SnapshotError::Chain { number, reason });
        match self.next() {
            Some(next) if next == number => {}
            Some(next) => return wrong(format!("it stands in the place of block {next}")),
            None => return wrong(format!("it follows block {version}, the last one")),
        }
        // Nothing leads from block 0 to those that do not follow it.
        let parent = self.last.filter(|(parent, ..)| parent + 1 == number);
        if let Some((_, hash, _)) = parent.filter(|(_, hash, _)| *hash != header.parent_hash) {
            return wrong(format!("its parent is {}, the block before it is {hash}", header.parent_hash));
        }
        let before = match parent {
            Some((_, _, total)) => Some(total),
            None => Some(U256::ZERO).filter(|_| number == 0),
        };
        if before.is_some_and(|before| before.saturating_add(header.difficulty) != *total_difficulty) {
            return wrong(format!("its total difficulty is not {total_difficulty}"));
        }
        let hash = match has_ommers(version, number) {
            true => calculate_ommers_root(ommers),
            false if ommers.is_empty() => header.ommers_hash,
            false => return wrong("nobody needs its ommers".to_owned()),
        };
        if hash != header.ommers_hash {
            return wrong(format!("its ommers have hash {hash}, the header says {}", header.ommers_hash));
        }
        if number == version && header.state_root != root {
            return wrong(format!("its state root is {}, that of the snapshot is {root}", header.state_root));
        }
        self.last = Some((number, header.hash_slow(), *total_difficulty));
        Ok(())
    }

    /// Whether there are all blocks, or none.
    pub(super) fn finish(&self) -> Result<(), SnapshotError> {
        match self.next().filter(|_| self.last.is_some()) {
            Some(number) => Err(SnapshotError::Chain { number, reason: "it is not there".to_owned() }),
            None => Ok(()),
        }
    }
}

/// Whether a block that has ommers lacks them.
pub(crate) fn lacks_ommers(header: &Header, ommers: &[Header]) -> bool {
    ommers.is_empty() && header.ommers_hash != EMPTY_OMMER_ROOT_HASH
}
