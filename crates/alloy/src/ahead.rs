//! A block, as the caller announces it.

use alloy_evm::EvmEnv;
use alloy_primitives::B256;
use revm::{
    context::{CfgEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

/// A block that is about to be executed: all that its execution depends on.
#[derive(Clone, Debug)]
pub struct BlockAhead<S> {
    pub(crate) env: EvmEnv,
    pub(crate) parent_hash: B256,
    pub(crate) parent_beacon_root: Option<B256>,
    pub(crate) txs: Vec<TxEnv>,
    pub(crate) state: S,
    pub(crate) block_hashes: Option<BTreeMap<u64, B256>>,
    pub(crate) setup_allowed: bool,
    pub(crate) deferred: bool,
}

impl<S> BlockAhead<S> {
    /// The block with this environment and these transactions, on the state after its parent.
    ///
    /// `env`, `parent_hash` and `parent_beacon_root` are those that the executor will be made with, `txs` what
    /// the EVM will be given for each transaction (`ToTxEnv::to_tx_env` of a `Recovered` transaction).
    pub fn new(
        env: EvmEnv,
        parent_hash: B256,
        parent_beacon_root: Option<B256>,
        txs: Vec<TxEnv>,
        state: S,
    ) -> Self {
        let (block_hashes, setup_allowed, deferred) = (None, false, false);
        BlockAhead { env, parent_hash, parent_beacon_root, txs, state, block_hashes, setup_allowed, deferred }
    }

    /// Hashes of earlier blocks by number, for BLOCKHASH. A transaction that asks for another one ends the
    /// speculation. Without this, all that BLOCKHASH can ask for are read from the state before the block
    /// begins, which a database on disk may not be quick to tell.
    #[must_use]
    pub fn with_block_hashes(mut self, hashes: BTreeMap<u64, B256>) -> Self {
        self.block_hashes = Some(hashes);
        self
    }

    /// Lets the caller set up the EVM (`BlockExecutor::evm_mut`) after the executor was made and before
    /// `apply_pre_execution_changes`, as reth does to put a cache before precompiles and a hook on the state.
    /// The environment is compared again after that; what the caller answers for is that precompiles still
    /// compute the same and that the state was not changed.
    #[must_use]
    pub fn with_setup(mut self) -> Self {
        self.setup_allowed = true;
        self
    }

    /// Lets the executor keep back the changes of the transactions that it takes from what is executed ahead,
    /// and commit them to its database merged, each changed account once.
    ///
    /// They are committed before anything else is executed, when `evm_mut` is called, in `finish`, and when the
    /// executor is dropped: the database then holds, and its bundle with all reverts tells, what it would have
    /// after a commit for each transaction. What the caller answers for is that nobody counts commits or looks
    /// at the state in between:
    /// - no hook on the state of the database (it would be told of several transactions as one);
    /// - no builder of access lists in the database, unless transactions are executed with their index;
    /// - the database behind `evm()` is not read between two transactions;
    /// - the receipt builder looks at the result alone: to it, the state that a transaction leaves is empty.
    #[must_use]
    pub fn with_deferred_commits(mut self) -> Self {
        self.deferred = true;
        self
    }
}

/// Why a block is not executed ahead. Its executor executes it serially.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Before Spurious Dragon, or from Amsterdam on, which is a draft.
    #[error("the fork {0:?} is not executed ahead")]
    Fork(SpecId),
    /// The configuration departs from that of its fork in more than chain id, most blobs of a transaction
    /// and most gas of one.
    #[error("the configuration of the EVM is not that of its fork")]
    Configuration,
    /// More transactions than positions.
    #[error("{0} transactions")]
    Transactions(usize),
    /// The genesis block has nothing to execute.
    #[error("the genesis block")]
    Genesis,
    /// The thread that executes ahead could not be started, or has ended.
    #[error("there is no thread that executes ahead")]
    NoThread,
}

/// Checks that the engine means by `block` what revm means by it.
pub(crate) fn supported<S>(block: &BlockAhead<S>) -> Result<(), Refused> {
    let cfg = &block.env.cfg_env;
    if !cfg.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON) || cfg.spec.is_enabled_in(SpecId::AMSTERDAM) {
        return Err(Refused::Fork(cfg.spec));
    }
    let mut plain = CfgEnv::new_with_spec(cfg.spec).with_chain_id(cfg.chain_id);
    plain.max_blobs_per_tx = cfg.max_blobs_per_tx;
    plain.tx_gas_limit_cap = cfg.tx_gas_limit_cap;
    if plain != *cfg {
        return Err(Refused::Configuration);
    }
    if block.txs.len() >= (u32::MAX / 2) as usize {
        return Err(Refused::Transactions(block.txs.len()));
    }
    if block.env.block_env.number.is_zero() {
        return Err(Refused::Genesis);
    }
    Ok(())
}
