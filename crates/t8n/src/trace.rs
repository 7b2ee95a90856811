//! Traces of the included transactions.

use crate::{T8nError, include::fatal, world::World};
use braid_core::Control;
use braid_evm::{BlockInput, ExecutedBlock, TraceOptions};
use braid_profiles::Engine;
use std::collections::BTreeMap;

/// Bytes of all traces together; each transaction may use an equal share, but never more than
/// [`TraceOptions::default`] allows one.
const MAX_BYTES: usize = 8 << 30;

/// What is to be told of the instructions that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracing {
    /// Every one of them, with this much around it.
    pub steps: Option<TraceOptions>,
    /// How often each ran.
    pub opcodes: bool,
}

impl Tracing {
    /// Runs `block` again, with as much of a trace as was asked for: one for each transaction. Workers
    /// trace in parallel, each execution into a buffer of its own, and what is committed counts.
    ///
    /// # Errors
    /// [`T8nError::Config`], if the engine cannot trace; [`T8nError::Evm`], if the block does not come out
    /// as `done`, which it did without.
    pub(crate) fn run(
        self,
        engine: &mut dyn Engine,
        block: &BlockInput,
        world: &World,
        done: &ExecutedBlock,
        control: &Control<'_>,
    ) -> Result<Vec<Vec<u8>>, T8nError> {
        if self.steps.is_none() && !self.opcodes {
            return Ok(Vec::new());
        }
        let bare = TraceOptions { stack: false, ..TraceOptions::default() };
        let mut options = self.steps.unwrap_or(bare);
        options.limit = options.limit.min(MAX_BYTES / block.txs.len().max(1));
        engine.reset();
        let traced = engine.execute_traced(block, &world.pre, options, control);
        let traced = traced.ok_or_else(|| T8nError::config("this profile cannot trace"))?;
        let (traced, traces) = traced.map_err(fatal)?;
        let traced = traced.into_block(&world.pre);
        let parts = |block: &ExecutedBlock| {
            (block.results.clone(), block.diff.clone(), block.codes.clone(), block.requests.clone())
        };
        if parts(&traced) != parts(done) {
            return Err(T8nError::Evm("the block comes out otherwise when it is traced".into()));
        }
        Ok(traces)
    }
}

/// Adds up the instructions of a trace by their names.
pub(crate) fn count(mut counts: BTreeMap<String, u64>, trace: &[u8]) -> BTreeMap<String, u64> {
    const NAME: &str = "\"opName\":\"";
    for line in String::from_utf8_lossy(trace).lines() {
        let name = line.split_once(NAME).and_then(|(_, rest)| rest.split_once('"'));
        if let Some((name, _)) = name {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}
