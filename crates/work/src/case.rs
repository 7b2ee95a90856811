//! One piece of work: a block, the state before it, and what is known about its result.

use crate::{PreState, RawTxs, WorkError, load::file::read};
use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes, Log};
use braid_evm::{AccountDiff, BlockInput};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// One piece of work, from whatever form it was loaded or generated.
#[derive(Clone, Debug)]
pub struct Case {
    /// Short name: the block number, or the text of a synthetic workload.
    pub name: String,
    /// File or folder it was loaded from.
    pub path: Option<PathBuf>,
    /// Decoded block with senders.
    pub input: BlockInput,
    /// Signed transactions; `None` where the form has no signatures.
    pub raw: Option<RawTxs>,
    /// State before the block; `None` where the form has none.
    pub pre: Option<Arc<PreState>>,
    /// Header; `None` where the form has none.
    pub header: Option<Header>,
    /// What is known about the result.
    pub expect: Expect,
}

impl Case {
    /// The state before the block.
    ///
    /// # Errors
    /// [`WorkError::NoState`], if this form of block comes without.
    pub fn state(&self) -> Result<&Arc<PreState>, WorkError> {
        let file = || self.path.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        self.pre.as_ref().ok_or_else(|| WorkError::NoState { file: file() })
    }

    /// The access list that lies beside the block (EIP-7928), as RLP: `access_list.rlp` or
    /// `access_list.rlp.zst` in its folder. Not decoded: who runs the block by it says what is wrong with it.
    ///
    /// # Errors
    /// If there is one that cannot be read.
    pub fn access_list(&self) -> Result<Option<Bytes>, WorkError> {
        let Some(folder) = self.path.as_ref().filter(|path| path.is_dir()) else { return Ok(None) };
        let files = ["access_list.rlp", "access_list.rlp.zst"].map(|name| folder.join(name));
        let file = files.into_iter().find(|file| file.exists());
        file.map(|file| read(&file).map(Bytes::from)).transpose()
    }
}

/// How much of the block the expected state covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything: system calls, transactions, withdrawals, rewards, requests.
    FullBlock,
    /// The state after the last transaction.
    TransactionsOnly,
    /// No state is expected.
    #[default]
    None,
}

/// What is known about the result of a block.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// What `post_state` covers.
    pub scope: Scope,
    /// Changed accounts after the block. One that ends as it began may be listed.
    pub post_state: Option<BTreeMap<Address, AccountDiff>>,
    /// Code deployed by the block that no code file has.
    pub new_codes: BTreeMap<B256, Bytes>,
    /// Trie nodes that lead to the header's state root.
    pub witness: Option<Witness>,
    /// Receipts, in block order.
    pub receipts: Option<Vec<ExpectedReceipt>>,
    /// Hash of the block.
    pub block_hash: Option<B256>,
    /// Withdrawals of the block's body.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// Trie nodes by which a change of the state can be followed to the root.
#[derive(Clone, Debug)]
pub struct Witness {
    /// State root before the block.
    pub pre_state_root: B256,
    /// RLP of nodes of the state trie and of storage tries.
    pub nodes: Vec<Bytes>,
}

/// A receipt as the chain has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedReceipt {
    /// Whether the transaction succeeded.
    pub success: bool,
    /// Gas used in the block up to and including it.
    pub cumulative_gas_used: u64,
    /// Its logs.
    pub logs: Vec<Log>,
}
