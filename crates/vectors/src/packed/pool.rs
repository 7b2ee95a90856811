//! Which cases go into one block.

use super::{PackedBlock, build};
use crate::{Case, CaseKind, StateCase};
use alloy_primitives::keccak256;
use braid_profiles::{Engine, ProfileError, profile};
use braid_rules::Fork;
use braid_work::synth::Rng;
use std::{collections::BTreeMap, collections::VecDeque, sync::Arc};

/// Cases under the same rules that wait to be packed.
const POOL: usize = 24;
/// Blocks that are made when a pool is full.
const BLOCKS_EACH: u64 = 8;
/// Cases that then make room for others.
const TURNOVER: usize = 12;

/// A case with the file that it is from.
pub(super) type Source = (Arc<str>, StateCase);

/// Collects cases, and packs blocks out of them.
pub struct Packer {
    seed: u64,
    lean: Box<dyn Engine>,
    /// By fork and chain.
    pools: BTreeMap<(Fork, u64), Pool>,
    number: u64,
}

#[derive(Default)]
struct Pool {
    cases: VecDeque<Source>,
    /// Cases that no block could be made of yet.
    fresh: usize,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer")
            .field("seed", &self.seed)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Packer {
    /// Packs by this seed.
    ///
    /// # Errors
    /// If plain revm cannot be had.
    pub fn new(seed: u64) -> Result<Self, ProfileError> {
        let lean = (profile(crate::YARDSTICK)?.build)(1)?;
        Ok(Packer { seed, lean, pools: BTreeMap::new(), number: 0 })
    }

    /// Takes a case, and gives the blocks that it completes.
    ///
    /// A case of Osaka counts as one of the draft after it too: there are no state tests of Amsterdam, and
    /// what must come of a packed block plain revm says, not the vector.
    pub fn push(&mut self, case: &Case) -> Vec<PackedBlock> {
        let CaseKind::State(state) = &case.kind else { return Vec::new() };
        if state.tx.is_err() {
            return Vec::new();
        }
        let mut blocks = self.enter((case.file.clone(), StateCase::clone(state)));
        if state.fork == Fork::Osaka {
            let drafted = StateCase { fork: Fork::Amsterdam, ..StateCase::clone(state) };
            blocks.extend(self.enter((case.file.clone(), drafted)));
        }
        blocks
    }

    fn enter(&mut self, source: Source) -> Vec<PackedBlock> {
        let (_, case) = &source;
        let key = (case.fork, case.chain.chain_id);
        let pool = self.pools.entry(key).or_default();
        pool.cases.push_back(source);
        pool.fresh += 1;
        if pool.cases.len() < POOL {
            return Vec::new();
        }
        let blocks = self.pack(key, BLOCKS_EACH);
        if let Some(pool) = self.pools.get_mut(&key) {
            pool.cases.drain(..TURNOVER.min(pool.cases.len()));
            pool.fresh = 0;
        }
        blocks
    }

    /// Blocks of the cases that are left.
    pub fn finish(&mut self) -> Vec<PackedBlock> {
        let rest: Vec<_> = self.pools.iter().map(|(key, pool)| (*key, pool.fresh as u64)).collect();
        let blocks = rest.into_iter().flat_map(|(key, fresh)| self.pack(key, fresh.min(BLOCKS_EACH)));
        let blocks = blocks.collect();
        self.pools.clear();
        blocks
    }

    fn pack(&mut self, key: (Fork, u64), count: u64) -> Vec<PackedBlock> {
        let Some(pool) = self.pools.get_mut(&key) else { return Vec::new() };
        let cases = pool.cases.make_contiguous();
        let mut blocks = Vec::new();
        for _ in 0..count {
            let mut rng = rng(self.seed, self.number);
            if let Some(built) = build::block(cases, &mut rng, &mut *self.lean) {
                let (seed, number) = (self.seed, self.number);
                let build::Built { files, input, pre, expected } = built;
                blocks.push(PackedBlock { seed, number, files, input, pre, expected });
            }
            self.number += 1;
        }
        blocks
    }
}

/// The generator of one block.
fn rng(seed: u64, number: u64) -> Rng {
    let mixed = keccak256([seed.to_be_bytes(), number.to_be_bytes()].concat());
    Rng::new(u64::from_be_bytes(std::array::from_fn(|at| mixed[at])))
}

/// The blocks that `cases` give, in order.
///
/// # Errors
/// If plain revm cannot be had.
pub fn blocks(
    cases: impl Iterator<Item = Case>,
    seed: u64,
) -> Result<impl Iterator<Item = PackedBlock>, ProfileError> {
    let mut packer = Packer::new(seed)?;
    // The end is one item more, that gives what is left.
    let steps = cases.map(Some).chain([None]);
    Ok(steps.flat_map(move |case| match case {
        Some(case) => packer.push(&case),
        None => packer.finish(),
    }))
}
