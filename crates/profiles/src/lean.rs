//! The yardstick and the oracle: plain revm, one instance, one thread, one transaction after the other.
//!
//! It takes the decoded inputs and nothing else of Braid, so that a defect of Braid's cannot hide here.
//! It does what a block is (system calls, DAO drain, admission, rewards, withdrawals, requests), and no
//! more: no copies of the state, no conversion of results.

use alloy_eips::{eip2935, eip4788, eip6110, eip7002, eip7251};
use alloy_evm::eth::eip6110::accumulate_deposits_from_logs;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256, address};
use braid_evm::BlockInput;
use braid_work::{DbError, PreState};
use revm::{
    Context, Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    SystemCallCommitEvm,
    context::{BlockEnv, Cfg, CfgEnv, ContextTr, Journal, TxEnv},
    context_interface::{Transaction, result::EVMError, result::ExecutionResult},
    database::{AccountState, Cache, CacheDB},
    primitives::{eip4844::GAS_PER_BLOB, hardfork::SpecId},
};

/// Blobs that one transaction may carry from Osaka on (EIP-7594).
const MAX_BLOBS_PER_TX: u64 = 6;

/// Deposit contract of mainnet and Hoodi, and of the test networks that have another.
const DEPOSIT_CONTRACTS: [(u64, Address); 2] = [
    (17_000, address!("0x4242424242424242424242424242424242424242")),
    (11_155_111, address!("0x7f02c3e3c98b133055b8b348b2ac625669ed295d")),
];

/// A block that ran to its end.
#[derive(Debug)]
pub struct LeanBlock {
    /// Results in block order.
    pub results: Vec<ExecutionResult>,
    /// Everything read or written. Touched accounts and all their slots are the change.
    pub cache: Cache,
    /// Accounts that were destroyed at some point, with repetitions.
    pub destroyed: Vec<Address>,
    /// EIP-7685 requests with their type bytes.
    pub requests: Vec<Bytes>,
}

/// Why a block did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum LeanError {
    /// A transaction does not fit into what the block has left.
    #[error("transaction {tx} needs {needs} {what}, {left} left")]
    NotAdmitted { tx: usize, what: &'static str, needs: u64, left: u64 },
    /// revm refused a transaction.
    #[error("transaction {tx}: {error}")]
    Tx { tx: usize, error: Box<EVMError<DbError>> },
    /// A call of the block to a system contract failed.
    #[error("system call {name}: {reason}")]
    SystemCall { name: &'static str, reason: String },
    /// The state failed outside of transactions.
    #[error(transparent)]
    Store(#[from] DbError),
}

type Db<'a> = CacheDB<&'a PreState>;
type Evm<'a> = MainnetEvm<Context<BlockEnv, TxEnv, CfgEnv, Db<'a>, Journal<Db<'a>>, ()>>;

/// Runs a block on `pre`.
pub fn run(input: &BlockInput, pre: &PreState) -> Result<LeanBlock, LeanError> {
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX);
    let context = Context::mainnet().with_db(CacheDB::new(pre)).with_cfg(cfg);
    let mut evm = context.with_block(input.env.clone()).build_mainnet();
    let mut done = LeanBlock {
        results: Vec::with_capacity(input.txs.len()),
        cache: Cache::default(),
        destroyed: Vec::new(),
        requests: Vec::new(),
    };
    before(input, &mut evm)?;
    transactions(input, &mut evm, &mut done)?;
    after(input, &mut evm, &mut done)?;
    done.cache = std::mem::take(&mut evm.ctx.db_mut().cache);
    Ok(done)
}

fn before(input: &BlockInput, evm: &mut Evm<'_>) -> Result<(), LeanError> {
    let calls = [
        ("eip2935", eip2935::HISTORY_STORAGE_ADDRESS, input.rites.parent_hash),
        ("eip4788", eip4788::BEACON_ROOTS_ADDRESS, input.rites.parent_beacon_root),
    ];
    for (name, contract, argument) in calls {
        let there = evm.ctx.db_mut().basic(contract)?.is_some_and(|info| info.code_hash != KECCAK256_EMPTY);
        if let Some(argument) = argument.filter(|_| there) {
            let failed = |error: EVMError<DbError>| LeanError::SystemCall { name, reason: error.to_string() };
            evm.system_call_commit(contract, argument.0.into()).map_err(failed)?;
        }
    }
    if let Some((drained, beneficiary)) = &input.rites.dao_drain {
        for address in drained {
            let account = evm.ctx.db_mut().load_account(*address)?;
            account.account_state = AccountState::Touched;
            let balance = std::mem::take(&mut account.info.balance);
            credit(evm, *beneficiary, balance)?;
        }
    }
    Ok(())
}

fn transactions(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let cap = evm.ctx.cfg.tx_gas_limit_cap();
    let (mut gas_left, mut blob_gas_left) = (input.env.gas_limit, input.max_blob_gas.unwrap_or(u64::MAX));
    for (index, tx) in input.txs.iter().enumerate() {
        let blob_gas = tx.blob_hashes.len() as u64 * GAS_PER_BLOB;
        let checks = [("gas", tx.gas_limit.min(cap), gas_left), ("blob gas", blob_gas, blob_gas_left)];
        for (what, needs, left) in checks {
            if needs > left {
                return Err(LeanError::NotAdmitted { tx: index, what, needs, left });
            }
        }
        let failed = |error| LeanError::Tx { tx: index, error: Box::new(error) };
        let result = evm.transact_one(tx.clone()).map_err(failed)?;
        let state = evm.finalize();
        let destroyed = state.iter().filter(|(_, account)| account.is_selfdestructed());
        done.destroyed.extend(destroyed.map(|(address, _)| *address));
        evm.commit(state);
        gas_left = gas_left.saturating_sub(result.tx_gas_used());
        blob_gas_left -= blob_gas;
        done.results.push(result);
    }
    Ok(())
}

fn after(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let Some(after) = &input.rites.after else { return Ok(()) };
    if after.requests {
        let other = DEPOSIT_CONTRACTS.iter().find(|(chain, _)| *chain == input.chain_id);
        let contract = other.map_or(eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, |(_, contract)| *contract);
        let mut deposits = vec![eip6110::DEPOSIT_REQUEST_TYPE];
        let failed = |name, reason| LeanError::SystemCall { name, reason };
        accumulate_deposits_from_logs(contract, done.results.iter().flat_map(|r| r.logs()), &mut deposits)
            .map_err(|error| failed("eip6110", error.to_string()))?;
        done.requests.extend((deposits.len() > 1).then(|| deposits.into()));
        let (withdrawals, consolidations) =
            (eip7002::WITHDRAWAL_REQUEST_TYPE, eip7251::CONSOLIDATION_REQUEST_TYPE);
        for (name, contract, ty) in [
            ("eip7002", eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, withdrawals),
            ("eip7251", eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, consolidations),
        ] {
            if evm.ctx.db_mut().basic(contract)?.is_none_or(|info| info.code_hash == KECCAK256_EMPTY) {
                return Err(failed(name, "no contract".into()));
            }
            match evm.system_call_commit(contract, Bytes::new()) {
                Ok(ExecutionResult::Success { output, .. }) if output.data().is_empty() => {}
                Ok(ExecutionResult::Success { output, .. }) => {
                    done.requests.push([&[ty], output.data().as_ref()].concat().into());
                }
                Ok(other) => return Err(failed(name, format!("{other:?}"))),
                Err(error) => return Err(failed(name, error.to_string())),
            }
        }
    }
    for (address, wei) in after.withdrawals.iter().chain(&after.rewards) {
        credit(evm, *address, U256::from(*wei))?;
    }
    Ok(())
}

fn credit(evm: &mut Evm<'_>, address: Address, wei: U256) -> Result<(), DbError> {
    let account = evm.ctx.db_mut().load_account(address)?;
    account.info.balance = account.info.balance.saturating_add(wei);
    if !account.account_state.is_storage_cleared() {
        account.account_state = AccountState::Touched;
    }
    Ok(())
}
