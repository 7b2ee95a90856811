//! What lies under revm's journal: a view, observed record by record.

use crate::{
    AccountState, EvmKey, EvmValue,
    journal::{Source, Stopped, mismatch, missing_code},
};
use alloy_primitives::{Address, B256, U256};
use revm::{bytecode::Bytecode, database_interface::Database, state::AccountInfo};
use std::collections::BTreeMap;

/// A view as revm's database. Whatever it reads the execution is held to exactly.
pub(crate) struct StockSource<'a> {
    pub(super) source: Source<'a>,
    /// Records as they were before the transaction.
    pub(super) records: BTreeMap<Address, AccountState>,
    /// Codes that were asked for.
    codes: BTreeMap<B256, Bytecode>,
    /// A credit to an account that was not read.
    pub(super) blind: Option<(Address, U256)>,
    /// An account that shows a nonce although it has none, so that nothing can be created there.
    pub(super) occupied: Option<Address>,
}

impl<'a> StockSource<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        let (records, codes) = (BTreeMap::new(), BTreeMap::new());
        StockSource { source, records, codes, blind: None, occupied: None }
    }

    /// Credits an account that is not loaded, as the last thing of a transaction.
    pub(super) fn credit(&mut self, address: Address, amount: U256) {
        self.blind = Some((address, amount));
    }

    /// The record of an account before the transaction.
    pub(super) fn record(&mut self, address: Address) -> Result<AccountState, Stopped> {
        if let Some(record) = self.records.get(&address) {
            return Ok(*record);
        }
        let record = match self.source.view.read(&EvmKey::Account(address)).map_err(Stopped)?.value {
            Some(EvmValue::Account(account)) => account,
            None => AccountState::default(),
            Some(_) => return Err(mismatch("account", &address)),
        };
        self.records.insert(address, record);
        Ok(record)
    }
}

impl Database for StockSource<'_> {
    type Error = Stopped;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Stopped> {
        let record = self.record(address)?;
        let info = AccountInfo {
            balance: record.balance,
            nonce: if self.occupied == Some(address) { 1 } else { record.nonce },
            code_hash: record.code_hash,
            account_id: None,
            code: None,
        };
        Ok(record.exists.then_some(info))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Stopped> {
        if let Some(code) = self.codes.get(&hash) {
            return Ok(code.clone());
        }
        let code = match self.source.codes.get(&hash) {
            Some(code) => code,
            None => match self.source.view.read(&EvmKey::Code(hash)).map_err(Stopped)?.value {
                Some(EvmValue::Code(code)) => {
                    self.source.codes.insert(hash, &code);
                    code
                }
                Some(_) => return Err(mismatch("code", &hash)),
                None => return Err(missing_code(hash)),
            },
        };
        self.codes.insert(hash, code.clone());
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Stopped> {
        let generation = self.record(address)?.generation;
        let key = EvmKey::Slot { address, generation, slot };
        match self.source.view.read(&key).map_err(Stopped)?.value {
            Some(EvmValue::Slot(value)) => Ok(value),
            None => Ok(U256::ZERO),
            Some(_) => Err(mismatch("slot", &address)),
        }
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Stopped> {
        self.source.block_hash(number)
    }
}
