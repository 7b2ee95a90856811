//! The yardstick and the oracle: plain revm, one instance, one thread, one transaction after the other.
//!
//! It takes the decoded inputs and nothing else of Braid, so that no defect of Braid's can hide here. It
//! does all that a block does to the state, and no more: no copies of state, no conversion of results.

mod error;
pub(crate) mod forks;

use alloy_eips::{eip2935, eip4788, eip7002, eip7251, eip7594::MAX_BLOBS_PER_TX_FUSAKA};
use alloy_evm::eth::eip6110::accumulate_deposits_from_logs;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, U256};
use braid_evm::BlockInput;
use braid_work::{DbError, PreState};
pub use error::LeanError;
use revm::{
    Context, Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm,
    context::{CfgEnv, ContextTr, result::ExecutionResult},
    context_interface::Cfg,
    database::{AccountState, Cache, CacheDB},
    handler::MainnetContext,
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

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
    /// Gas of the block, as its header has it.
    pub gas_used: u64,
}

type Evm<'a> = MainnetEvm<MainnetContext<CacheDB<&'a PreState>>>;

/// Runs a block on `pre`.
pub fn run(input: &BlockInput, pre: &PreState) -> Result<LeanBlock, LeanError> {
    let mut cfg = CfgEnv::new_with_spec(input.spec).with_chain_id(input.chain_id);
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX_FUSAKA);
    let context = Context::mainnet().with_db(CacheDB::new(pre)).with_cfg(cfg);
    let mut evm = context.with_block(input.env.clone()).build_mainnet();
    if forks::is_constantinople(input) {
        forks::meter_as_in_constantinople(&mut evm);
    }
    let mut done = LeanBlock { results: Vec::with_capacity(input.txs.len()), ..LeanBlock::default() };
    before(input, &mut evm, &mut done)?;
    transactions(input, &mut evm, &mut done)?;
    after(input, &mut evm, &mut done)?;
    done.cache = std::mem::take(&mut evm.ctx.db_mut().cache);
    Ok(done)
}

fn before(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    for (name, contract, argument) in [
        ("eip2935", eip2935::HISTORY_STORAGE_ADDRESS, input.rites.parent_hash),
        ("eip4788", eip4788::BEACON_ROOTS_ADDRESS, input.rites.parent_beacon_root),
    ] {
        let Some(argument) = argument else { continue };
        if has_code(evm, contract)? {
            let result = forks::system_call(evm, contract, argument.0.into(), done);
            result.map_err(|error| LeanError::SystemCall(name, error.to_string()))?;
        }
    }
    if let Some((drained, beneficiary)) = &input.rites.dao_drain {
        let mut sum = U256::ZERO;
        for address in drained {
            let balance = std::mem::take(&mut evm.ctx.db_mut().load_account(*address)?.info.balance);
            credit(evm, *address, U256::ZERO)?;
            sum = sum.saturating_add(balance);
        }
        credit(evm, *beneficiary, sum)?;
    }
    Ok(())
}

fn transactions(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let mut left = forks::GasLeft::of(input);
    for (index, tx) in input.txs.iter().enumerate() {
        left.admit(index, tx, evm.ctx.cfg.tx_gas_limit_cap())?;
        let result = evm.transact_one(tx.clone()).map_err(|e| LeanError::Tx(index, Box::new(e)))?;
        commit(evm, done);
        left.charge(tx, result.gas());
        done.results.push(result);
    }
    done.gas_used = left.used();
    Ok(())
}

fn after(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let Some(after) = &input.rites.after else { return Ok(()) };
    if after.requests {
        let contract = forks::deposit_contract(input.chain_id);
        let (mut deposits, logs) = (vec![0], done.results.iter().flat_map(ExecutionResult::logs));
        forks::laid_out(contract, logs.clone())?;
        accumulate_deposits_from_logs(contract, logs, &mut deposits)
            .map_err(|error| LeanError::SystemCall("eip6110", error.to_string()))?;
        done.requests.extend((deposits.len() > 1).then(|| deposits.into()));
        for (name, contract, ty) in [
            ("eip7002", eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 1),
            ("eip7251", eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 2),
        ] {
            let there = has_code(evm, contract)?;
            let requests = match forks::system_call(evm, contract, Bytes::new(), done) {
                Ok(ExecutionResult::Success { output, .. }) if there => output.into_data(),
                Ok(other) => return Err(LeanError::SystemCall(name, format!("there: {there}, {other:?}"))),
                Err(error) => return Err(LeanError::SystemCall(name, error.to_string())),
            };
            done.requests.extend((!requests.is_empty()).then(|| [&[ty], &requests[..]].concat().into()));
        }
    }
    let mut credits: BTreeMap<Address, U256> = BTreeMap::new();
    for (address, wei) in after.withdrawals.iter().chain(&after.rewards) {
        let sum = credits.entry(*address).or_default();
        *sum = sum.saturating_add(U256::from(*wei));
    }
    for (address, wei) in credits {
        credit(evm, address, wei)?;
    }
    Ok(())
}

/// Commits what a transaction or call left, and keeps what it destroyed.
fn commit(evm: &mut Evm<'_>, done: &mut LeanBlock) {
    let state = evm.finalize();
    done.destroyed.extend(state.iter().filter(|(_, one)| one.is_selfdestructed()).map(|(at, _)| *at));
    evm.commit(state);
}

fn has_code(evm: &mut Evm<'_>, contract: Address) -> Result<bool, DbError> {
    Ok(evm.ctx.db_mut().basic(contract)?.is_some_and(|info| info.code_hash != KECCAK256_EMPTY))
}

fn credit(evm: &mut Evm<'_>, address: Address, wei: U256) -> Result<(), DbError> {
    let account = evm.ctx.db_mut().load_account(address)?;
    // What overflows is not paid, as revm has it for fees.
    account.info.balance = account.info.balance.checked_add(wei).unwrap_or(account.info.balance);
    if !account.account_state.is_storage_cleared() {
        account.account_state = AccountState::Touched;
    }
    Ok(())
}
