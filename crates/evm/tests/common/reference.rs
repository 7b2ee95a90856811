//! Stock revm over a plain map.

use super::{Account, World};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use braid_evm::{BlockInput, EvmError, EvmKey, EvmValue, SYSTEM_CALL_GAS, Status, TxResult};
use revm::{
    Context, Database, ExecuteEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{CfgEnv, TxEnv},
    context_interface::result::{EVMError, ExecutionResult, Output},
    handler::{Handler, MainnetHandler, SYSTEM_ADDRESS, SystemCallTx},
    primitives::hardfork::SpecId,
    state::{AccountInfo, EvmState},
};
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

/// State as revm's databases keep it, with the commit rules of revm-database's `CacheState`.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub accounts: BTreeMap<Address, Account>,
    codes: HashMap<B256, Bytecode>,
    block_hashes: BTreeMap<u64, B256>,
}

impl Reference {
    pub fn new(world: &World, block: &BlockInput) -> Self {
        let codes = world.0.iter().filter_map(|(key, value)| match (key, value) {
            (EvmKey::Code(hash), EvmValue::Code(code)) => Some((*hash, code.clone())),
            _ => None,
        });
        Reference {
            accounts: world.state(),
            codes: codes.collect(),
            block_hashes: block.block_hashes.clone(),
        }
    }

    fn commit(&mut self, state: EvmState) {
        for (address, changed) in state {
            if !changed.is_touched() {
                continue;
            }
            let gone = changed.is_selfdestructed() || (changed.is_empty() && !changed.is_created());
            if gone {
                self.accounts.remove(&address);
                continue;
            }
            let account = self.accounts.entry(address).or_default();
            if changed.is_created() {
                account.storage.clear();
            }
            account.balance = changed.info.balance;
            account.nonce = changed.info.nonce;
            account.code_hash = changed.info.code_hash;
            if let Some(code) = &changed.info.code
                && account.code_hash != KECCAK256_EMPTY
            {
                self.codes.insert(account.code_hash, code.clone());
            }
            for (key, slot) in changed.storage {
                if slot.present_value.is_zero() {
                    account.storage.remove(&key);
                } else {
                    account.storage.insert(key, slot.present_value);
                }
            }
        }
    }

    /// Runs and commits a transaction.
    pub fn transact(&mut self, block: &BlockInput, tx: &TxEnv) -> Result<TxResult, EvmError> {
        let cfg = CfgEnv::new_with_spec(block.spec).with_chain_id(block.chain_id);
        let executed = {
            let context = Context::mainnet().with_db(&mut *self).with_cfg(cfg).with_block(block.env.clone());
            context.build_mainnet().transact(tx.clone())
        };
        match executed {
            Ok(executed) => {
                self.commit(executed.state);
                Ok(result(executed.result))
            }
            Err(EVMError::Transaction(invalid)) => Err(EvmError::Transaction(invalid)),
            Err(EVMError::Header(invalid)) => Err(EvmError::Header(invalid)),
            Err(other) => Err(EvmError::Other(other.to_string())),
        }
    }

    /// Runs and commits a system call.
    pub fn system_call(&mut self, block: &BlockInput, to: Address, data: Bytes) -> TxResult {
        let cfg = CfgEnv::new_with_spec(block.spec).with_chain_id(block.chain_id);
        let executed = {
            let context = Context::mainnet().with_db(&mut *self).with_cfg(cfg).with_block(block.env.clone());
            let mut evm = context.build_mainnet();
            evm.ctx.tx = TxEnv::new_system_tx_with_caller(SYSTEM_ADDRESS, to, data);
            if !block.spec.is_enabled_in(SpecId::AMSTERDAM) {
                evm.ctx.tx.gas_limit = SYSTEM_CALL_GAS;
            }
            let mut handler = MainnetHandler::<_, EVMError<Infallible>, _>::default();
            let result = handler.run_system_call(&mut evm).expect("a system call is valid");
            (result, evm.finalize())
        };
        self.commit(executed.1);
        result(executed.0)
    }
}

impl Database for Reference {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.accounts.get(&address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            account_id: None,
            code: None,
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes[&hash].clone())
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let account = self.accounts.get(&address);
        Ok(account.and_then(|account| account.storage.get(&slot)).copied().unwrap_or_default())
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok(self.block_hashes.get(&number).copied().unwrap_or_default())
    }
}

fn result(result: ExecutionResult) -> TxResult {
    let gas_used = result.tx_gas_used();
    let status = match &result {
        ExecutionResult::Success { .. } => Status::Success,
        ExecutionResult::Revert { .. } => Status::Revert,
        ExecutionResult::Halt { .. } => Status::Halt,
    };
    let created = match &result {
        ExecutionResult::Success { output: Output::Create(_, address), .. } => *address,
        _ => None,
    };
    let output = result.output().cloned().unwrap_or_default();
    let logs = result.into_logs();
    TxResult { status, gas_used, logs, output, created }
}
