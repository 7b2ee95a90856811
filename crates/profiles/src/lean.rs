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
    bytecode::opcode::SSTORE,
    context::{
        CfgEnv, ContextSetters, ContextTr, Transaction, TxEnv, result::EVMError, result::ExecutionResult,
    },
    context_interface::{Cfg, cfg::gas_params::GasId},
    database::{AccountState, Cache, CacheDB},
    handler::{Handler, MainnetContext, MainnetHandler, SystemCallTx},
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        instructions::host::sstore_with_gas_accounting, interpreter::EthInterpreter,
    },
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

/// Deposit contracts (EIP-6110) of Sepolia, Holesky and Hoodi; other chains have mainnet's.
const DEPOSITS: [(u64, Address); 3] = [
    (11_155_111, address!("0x7f02C3E3c98b133055B8B348B2Ac625669Ed295D")),
    (17_000, address!("0x4242424242424242424242424242424242424242")),
    (560_048, address!("0x00000000219ab540356cBB839Cbe05303d7705Fa")),
];

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
    let constantinople = input.rules.eip1283 && !input.spec.is_enabled_in(SpecId::ISTANBUL);
    if constantinople {
        cfg.gas_params.override_gas([(GasId::sstore_static(), 200)]);
    }
    cfg.max_blobs_per_tx = input.spec.is_enabled_in(SpecId::OSAKA).then_some(MAX_BLOBS_PER_TX_FUSAKA);
    let context = Context::mainnet().with_db(CacheDB::new(pre)).with_cfg(cfg);
    let mut evm = context.with_block(input.env.clone()).build_mainnet();
    if constantinople {
        evm.instruction.insert_instruction(SSTORE, Instruction::new(sstore_eip1283), 0);
    }
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
            let result = system_call(evm, contract, argument.0.into());
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
    // EIP-8037 counts regular and state gas apart, each up to the block's limit; EIP-7778 counts without
    // refunds. Before, all gas is regular.
    let amsterdam = input.spec.is_enabled_in(SpecId::AMSTERDAM);
    let (mut gas_left, mut state_gas_left) = (input.env.gas_limit, input.env.gas_limit);
    let mut blob_gas_left = input.max_blob_gas.unwrap_or(u64::MAX);
    for (index, tx) in input.txs.iter().enumerate() {
        let (gas, blob_gas) = (tx.gas_limit, tx.total_blob_gas());
        let regular = if amsterdam { gas.min(evm.ctx.cfg.tx_gas_limit_cap()) } else { gas };
        let state = if amsterdam { gas } else { 0 };
        for (what, least, needs, left) in [
            ("gas", regular, gas, gas_left),
            ("gas", state, gas, state_gas_left),
            ("blob gas", blob_gas, blob_gas, blob_gas_left),
        ] {
            if least > left {
                return Err(LeanError::NotAdmitted(index, what, needs, left));
            }
        }
        let result = evm.transact_one(tx.clone()).map_err(|e| LeanError::Tx(index, Box::new(e)))?;
        let state = evm.finalize();
        done.destroyed.extend(state.iter().filter(|(_, one)| one.is_selfdestructed()).map(|(at, _)| *at));
        evm.commit(state);
        let used = result.gas();
        gas_left = gas_left.saturating_sub(if amsterdam {
            used.block_regular_gas_used()
        } else {
            used.tx_gas_used()
        });
        state_gas_left =
            state_gas_left.saturating_sub(if amsterdam { used.block_state_gas_used() } else { 0 });
        blob_gas_left -= blob_gas;
        done.results.push(result);
    }
    done.gas_used = input.env.gas_limit - gas_left.min(state_gas_left);
    Ok(())
}

fn after(input: &BlockInput, evm: &mut Evm<'_>, done: &mut LeanBlock) -> Result<(), LeanError> {
    let Some(after) = &input.rites.after else { return Ok(()) };
    if after.requests {
        let own = DEPOSITS.iter().find(|(chain, _)| *chain == input.chain_id);
        let contract = own.map_or(eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, |(_, contract)| *contract);
        let (mut deposits, logs) = (vec![0], done.results.iter().flat_map(ExecutionResult::logs));
        accumulate_deposits_from_logs(contract, logs, &mut deposits)
            .map_err(|error| LeanError::SystemCall("eip6110", error.to_string()))?;
        done.requests.extend((deposits.len() > 1).then(|| deposits.into()));
        for (name, contract, ty) in [
            ("eip7002", eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 1),
            ("eip7251", eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 2),
        ] {
            let there = has_code(evm, contract)?;
            let requests = match system_call(evm, contract, Bytes::new()) {
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

/// As revm's `system_call_commit`, but with the 30 million gas of EIP-4788 and its followers up to Osaka.
fn system_call(
    evm: &mut Evm<'_>,
    contract: Address,
    data: Bytes,
) -> Result<ExecutionResult, EVMError<DbError>> {
    let mut tx = TxEnv::new_system_tx(contract, data);
    if !evm.ctx.cfg.spec.is_enabled_in(SpecId::AMSTERDAM) {
        tx.gas_limit = 30_000_000;
    }
    evm.ctx.set_tx(tx);
    let result = MainnetHandler::<_, EVMError<DbError>, _>::default().run_system_call(evm)?;
    evm.commit_inner();
    Ok(result)
}

/// SSTORE at the prices of EIP-1283, of which the 200 that are always due are charged already.
fn sstore_eip1283<'a>(
    at: InstructionContext<'_, MainnetContext<CacheDB<&'a PreState>>, EthInterpreter>,
) -> InstructionExecResult {
    sstore_with_gas_accounting(at, |at, _, load| {
        let (original, current, new) =
            (load.data.original_value, load.data.present_value, load.data.new_value);
        let gas = &mut at.interpreter.gas;
        if current == new {
            return Ok(());
        }
        if original == current {
            if !gas.record_regular_cost(if original.is_zero() { 19_800 } else { 4_800 }) {
                return Err(InstructionResult::OutOfGas);
            }
            if !original.is_zero() && new.is_zero() {
                gas.record_refund(15_000);
            }
            return Ok(());
        }
        if !original.is_zero() {
            if current.is_zero() {
                gas.record_refund(-15_000);
            } else if new.is_zero() {
                gas.record_refund(15_000);
            }
        }
        if original == new {
            gas.record_refund(if original.is_zero() { 19_800 } else { 4_800 });
        }
        Ok(())
    })
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
