//! The yardstick and the oracle: plain revm, one instance, one thread, one transaction after the other.
//!
//! It takes the decoded inputs and nothing else of Braid, so that no defect of Braid's can hide here. It
//! does all that a block does to the state, and no more: no copies of state, no conversion of results.

use alloy_eips::{eip2935, eip4788, eip6110, eip7002, eip7251, eip7594::MAX_BLOBS_PER_TX_FUSAKA};
use alloy_evm::eth::eip6110::accumulate_deposits_from_logs;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256, address};
use braid_evm::BlockInput;
use braid_work::{DbError, PreState};
use revm::{
    Context, Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    SystemCallCommitEvm,
    context::{CfgEnv, ContextTr, Transaction, result::EVMError, result::ExecutionResult},
    database::{AccountState, Cache, CacheDB},
    handler::MainnetContext,
    primitives::hardfork::SpecId,
};

/// Deposit contract (EIP-6110) of Holesky; other chains have mainnet's.
const HOLESKY_DEPOSITS: (u64, Address) = (17_000, address!("0x4242424242424242424242424242424242424242"));

/// A block that ran to its end.
#[derive(Debug, Default)]
pub struct LeanBlock {
    /// Results in block order.
    pub results: Vec<ExecutionResult>,
    /// Everything read or written.
    pub cache: Cache,
    /// Accounts that were destroyed at some point, with repetitions.
    pub destroyed: Vec<Address>,
    /// EIP-7685 requests with their type bytes.
    pub requests: Vec<Bytes>,
}

/// Why a block did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum LeanError {
    /// This transaction needs more of something (gas, blob gas) than the block has left.
    #[error("transaction {0} needs {2} {1}, the block has {3} left")]
    NotAdmitted(usize, &'static str, u64, u64),
    /// revm refused this transaction.
    #[error("transaction {0}: {1}")]
    Tx(usize, Box<EVMError<DbError>>),
    /// A call of the block to this system contract failed.
    #[error("system call {0}: {1}")]
    SystemCall(&'static str, String),
    /// The state failed outside of transactions.
    #[error(transparent)]
    Store(#[from] DbError),
}

type Evm<'a> = MainnetEvm<MainnetContext<CacheDB<&'a PreState>>>;

/// Runs a block on `pre`.
pub fn run(input: &BlockInput, pre: &PreState) -> Result<LeanBlock, LeanError> {
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX_FUSAKA);
    let context = Context::mainnet().with_db(CacheDB::new(pre)).with_cfg(cfg);
    let mut evm = context.with_block(input.env.clone()).build_mainnet();
    let mut done = LeanBlock { results: Vec::with_capacity(input.txs.len()), ..LeanBlock::default() };
    before(input, &mut evm)?;
    transactions(input, &mut evm, &mut done)?;
    after(input, &mut evm, &mut done)?;
    done.cache = std::mem::take(&mut evm.ctx.db_mut().cache);
    Ok(done)
}

fn before(input: &BlockInput, evm: &mut Evm<'_>) -> Result<(), LeanError> {
    for (name, contract, argument) in [
        ("eip2935", eip2935::HISTORY_STORAGE_ADDRESS, input.rites.parent_hash),
        ("eip4788", eip4788::BEACON_ROOTS_ADDRESS, input.rites.parent_beacon_root),
    ] {
        let Some(argument) = argument else { continue };
        if has_code(evm, contract)? {
            let result = evm.system_call_commit(contract, argument.0.into());
            result.map_err(|error| LeanError::SystemCall(name, error.to_string()))?;
        }
    }
    if let Some((drained, beneficiary)) = &input.rites.dao_drain {
        for address in drained {
            let balance = std::mem::take(&mut evm.ctx.db_mut().load_account(*address)?.info.balance);
            credit(evm, *address, U256::ZERO)?;
            credit(evm, *beneficiary, balance)?;
        }
    }
    Ok(())
}

fn transactions(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let (mut gas_left, mut blob_gas_left) = (input.env.gas_limit, input.max_blob_gas.unwrap_or(u64::MAX));
    for (index, tx) in input.txs.iter().enumerate() {
        let blob_gas = tx.total_blob_gas();
        for (what, needs, left) in [("gas", tx.gas_limit, gas_left), ("blob gas", blob_gas, blob_gas_left)] {
            if needs > left {
                return Err(LeanError::NotAdmitted(index, what, needs, left));
            }
        }
        let result = evm.transact_one(tx.clone()).map_err(|e| LeanError::Tx(index, Box::new(e)))?;
        let state = evm.finalize();
        done.destroyed.extend(state.iter().filter(|(_, one)| one.is_selfdestructed()).map(|(at, _)| *at));
        evm.commit(state);
        gas_left -= result.tx_gas_used();
        blob_gas_left -= blob_gas;
        done.results.push(result);
    }
    Ok(())
}

fn after(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let Some(after) = &input.rites.after else { return Ok(()) };
    if after.requests {
        let (chain, contract) = HOLESKY_DEPOSITS;
        let holesky = (input.chain_id == chain).then_some(contract);
        let contract = holesky.unwrap_or(eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS);
        let (mut deposits, logs) = (vec![0], done.results.iter().flat_map(ExecutionResult::logs));
        accumulate_deposits_from_logs(contract, logs, &mut deposits)
            .map_err(|error| LeanError::SystemCall("eip6110", error.to_string()))?;
        done.requests.extend((deposits.len() > 1).then(|| deposits.into()));
        for (name, contract, ty) in [
            ("eip7002", eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 1),
            ("eip7251", eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 2),
        ] {
            let there = has_code(evm, contract)?;
            let requests = match evm.system_call_commit(contract, Bytes::new()) {
                Ok(ExecutionResult::Success { output, .. }) if there => output.into_data(),
                Ok(other) => return Err(LeanError::SystemCall(name, format!("there: {there}, {other:?}"))),
                Err(error) => return Err(LeanError::SystemCall(name, error.to_string())),
            };
            done.requests.extend((!requests.is_empty()).then(|| [&[ty], &requests[..]].concat().into()));
        }
    }
    for (address, wei) in after.withdrawals.iter().chain(&after.rewards) {
        credit(evm, *address, U256::from(*wei))?;
    }
    Ok(())
}

fn has_code(evm: &mut Evm<'_>, contract: Address) -> Result<bool, DbError> {
    Ok(evm.ctx.db_mut().basic(contract)?.is_some_and(|info| info.code_hash != KECCAK256_EMPTY))
}

fn credit(evm: &mut Evm<'_>, address: Address, wei: U256) -> Result<(), DbError> {
    let account = evm.ctx.db_mut().load_account(address)?;
    account.info.balance = account.info.balance.saturating_add(wei);
    if !account.account_state.is_storage_cleared() {
        account.account_state = AccountState::Touched;
    }
    Ok(())
}
