//! What goes into the execution of a block, and what comes out of it.

use crate::{AccountState, EvmKey, EvmRules, EvmValue};
use alloy_eips::eip7928::BlockAccessList;
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use braid_core::Stats;
use revm::{
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

/// A decoded block with recovered senders: all that execution needs besides the state.
#[derive(Clone, Debug)]
pub struct BlockInput {
    /// Chain id.
    pub chain_id: u64,
    /// Rules in force.
    pub spec: SpecId,
    /// Number, time, beneficiary, gas limit, base fee, randomness, blob price.
    pub env: BlockEnv,
    /// Transactions in order.
    pub txs: Vec<TxEnv>,
    /// Hashes of earlier blocks by number, the parent's included, for BLOCKHASH. One that is not
    /// listed reads as zero.
    pub block_hashes: BTreeMap<u64, B256>,
    /// Most blob gas the block may use, from Cancun on.
    pub max_blob_gas: Option<u64>,
    /// What the block does before its first transaction and after its last.
    pub rites: Rites,
    /// Rules that `spec` does not select.
    pub rules: EvmRules,
    /// Gas of the block, if it has a header that tells. Only what is guessed of times depends on it: it need not be
    /// true, and nobody checks it.
    pub gas_used: Option<u64>,
}

impl BlockInput {
    /// A block of nothing but `txs`: no hashes of earlier blocks, no limit on blob gas, no rites, default
    /// rules. What differs is set afterwards, so that a field that a later version adds changes no caller.
    pub fn new(chain_id: u64, spec: SpecId, env: BlockEnv, txs: Vec<TxEnv>) -> Self {
        BlockInput {
            chain_id,
            spec,
            env,
            txs,
            block_hashes: BTreeMap::new(),
            max_blob_gas: None,
            rites: Rites::default(),
            rules: EvmRules::default(),
            gas_used: None,
        }
    }
}

/// What a block does to the state besides its transactions. A block of which only the transactions are
/// known (`transactions_only` cases, bare environments) leaves `after` out.
#[derive(Clone, Debug, Default)]
pub struct Rites {
    /// Hash of the parent, written by EIP-2935 from Prague on. `None`: no such call.
    pub parent_hash: Option<B256>,
    /// Parent beacon root, written by EIP-4788 from Cancun on. `None`: no such call.
    pub parent_beacon_root: Option<B256>,
    /// The DAO fork block: these accounts are drained to that one before the first transaction.
    pub dao_drain: Option<(Vec<Address>, Address)>,
    /// What follows the last transaction; `None` if out of scope.
    pub after: Option<After>,
}

/// What a block does after its last transaction.
#[derive(Clone, Debug, Default)]
pub struct After {
    /// Static rewards before the Merge: beneficiary and uncle miners, in wei.
    pub rewards: Vec<(Address, u128)>,
    /// Withdrawals from Shanghai on, in wei.
    pub withdrawals: Vec<(Address, u128)>,
    /// Whether to call the EIP-7002 and EIP-7251 queues and collect requests (Prague on).
    pub requests: bool,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It ran to its end.
    Success,
    /// It reverted.
    Revert,
    /// It halted exceptionally.
    Halt,
}

/// The result of one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct TxResult {
    /// How it ended.
    pub status: Status,
    /// Gas charged.
    pub gas_used: u64,
    /// Logs in order.
    pub logs: Vec<Log>,
    /// Return or revert data.
    pub output: Bytes,
    /// Address of the contract it deployed.
    pub created: Option<Address>,
}

/// What a block changed in one account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountDiff {
    /// The account after the block; `None` if it is gone.
    pub account: Option<AccountInfoDiff>,
    /// Its storage of before the block is gone: it was created or destroyed in this block.
    pub wiped: bool,
    /// Slots written, with their final values.
    pub storage: BTreeMap<U256, U256>,
}

/// The fields of an account after the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountInfoDiff {
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// Hash of its code.
    pub code_hash: B256,
}

impl From<&AccountState> for AccountInfoDiff {
    fn from(account: &AccountState) -> Self {
        AccountInfoDiff { balance: account.balance, nonce: account.nonce, code_hash: account.code_hash }
    }
}

/// An executed block in the form in which engines are compared. Made outside the timed region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutedBlock {
    /// Results in block order.
    pub results: Vec<TxResult>,
    /// Changed accounts. Engines list accounts and slots that end as they began too, each its own:
    /// [`Self::minimize`] before comparing.
    pub diff: BTreeMap<Address, AccountDiff>,
    /// Code deployed by the block, by hash.
    pub codes: BTreeMap<B256, Bytes>,
    /// EIP-7685 requests, each with its type byte first; empty ones left out.
    pub requests: Vec<Bytes>,
    /// Gas of the block, as its header has it: after Osaka not the sum of what transactions were charged
    /// (EIP-7778, EIP-8037).
    pub gas_used: u64,
    /// What the block touched and changed, index by index (EIP-7928), if that was asked for.
    pub access_list: Option<BlockAccessList>,
    /// What the engine counted.
    pub stats: Stats,
}

/// Changes of a block as a scheduler gives them.
pub type EvmChanges = Vec<(EvmKey, Option<EvmValue>)>;
