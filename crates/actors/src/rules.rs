//! What is fixed for a block: its rules, its surroundings, its transactions, and the limits.

use alloy_primitives::B256;
use braid_evm::BlockInput;
use revm::{
    context::{BlockEnv, CfgEnv, TxEnv},
    handler::{EthPrecompiles, SYSTEM_ADDRESS},
    interpreter::instructions::{GasTable, gas_table_spec},
    precompile::Precompiles,
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

/// How much a transaction may ask of the delivery. What exceeds a limit is a call that fails, as one that is too
/// deep does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames that wait for each other: 1024, as Ethereum's.
    pub depth: usize,
    /// Messages that a transaction sends, answers and what its sender does not counted. There are at most twice as
    /// many rounds, and a few.
    pub messages: u32,
    /// Bytes that are copied for a transaction: frames, each time that they are suspended, and the data of calls.
    pub copied: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth: 1024, messages: 10_000, copied: 256 << 20 }
    }
}

/// Most blobs of one transaction from Osaka on (EIP-7594).
const MAX_BLOBS_PER_TX: u64 = 6;

/// revm's configuration for a block.
pub(crate) fn config(input: &BlockInput) -> CfgEnv {
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX);
    // Of what the block has left nobody knows before all is delivered.
    cfg.disable_block_gas_limit = true;
    cfg
}

/// What is fixed for a block.
#[derive(Debug)]
pub(crate) struct Rules<'b> {
    pub(crate) cfg: CfgEnv,
    pub(crate) spec: SpecId,
    pub(crate) gas: GasTable,
    pub(crate) env: &'b BlockEnv,
    pub(crate) txs: &'b [TxEnv],
    pub(crate) block_hashes: &'b BTreeMap<u64, B256>,
    pub(crate) precompiles: &'static Precompiles,
    pub(crate) eip7610: bool,
    pub(crate) limits: Limits,
    /// What the protocol's calls run as.
    pub(crate) system: TxEnv,
}

impl<'b> Rules<'b> {
    pub(crate) fn new(input: &'b BlockInput, limits: Limits) -> Self {
        let spec = input.spec;
        Rules {
            cfg: config(input),
            spec,
            gas: gas_table_spec(spec),
            env: &input.env,
            txs: &input.txs,
            block_hashes: &input.block_hashes,
            precompiles: EthPrecompiles::new(spec).precompiles,
            eip7610: input.rules.eip7610,
            limits,
            system: TxEnv { caller: SYSTEM_ADDRESS, ..TxEnv::default() },
        }
    }

    /// The transaction at `origin`, or what the protocol's calls run as.
    pub(crate) fn tx(&self, origin: u32) -> &TxEnv {
        self.txs.get(origin as usize).unwrap_or(&self.system)
    }

    /// Whether empty accounts are removed (EIP-161).
    pub(crate) fn state_clear(&self) -> bool {
        self.since(SpecId::SPURIOUS_DRAGON)
    }

    pub(crate) fn since(&self, spec: SpecId) -> bool {
        self.spec.is_enabled_in(spec)
    }
}
