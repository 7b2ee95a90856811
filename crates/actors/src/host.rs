//! What the interpreter asks of a turn.

use crate::turn::Turn;
use alloy_primitives::{Address, B256, Log, U256};
use braid_core::Halt;
use revm::{
    context_interface::{
        Block, Cfg, Transaction,
        cfg::GasParams,
        context::{SStoreResult, SelfDestructResult, StateLoad},
        host::{Host, LoadError},
        journaled_state::AccountInfoLoad,
        transaction::TransactionType,
    },
    interpreter::{InstructionTable, instruction_table, interpreter::EthInterpreter},
    primitives::hardfork::SpecId,
};

impl<'t> Turn<'t> {
    /// revm's instructions, on a turn.
    pub(crate) const INSTRUCTIONS: &'t InstructionTable<EthInterpreter, Turn<'t>> =
        &instruction_table::<EthInterpreter, Turn<'t>>();

    /// Keeps why the view stopped, for the end of the frame.
    #[cold]
    fn stopped(&mut self, halt: Halt) -> LoadError {
        self.halt = Some(halt);
        LoadError::DBError
    }

    /// Warms an account. Says whether it was cold; one that must not be loaded cold is left so.
    fn warm_up(&mut self, address: Address, skip_cold_load: bool) -> Result<bool, LoadError> {
        let is_cold = self.warmth(&(address, None)).is_none();
        if is_cold && skip_cold_load {
            return Err(LoadError::ColdLoadSkipped);
        }
        self.touch(address);
        Ok(is_cold)
    }

    /// The value of a slot, the one that it had when the transaction first looked at it, and whether it was cold.
    fn load_slot(&mut self, slot: U256, skip_cold_load: bool) -> Result<(U256, U256, bool), LoadError> {
        let warmth = self.warmth(&(self.address, Some(slot)));
        if warmth.is_none() && skip_cold_load {
            return Err(LoadError::ColdLoadSkipped);
        }
        let value = self.slot(slot).map_err(|halt| self.stopped(halt))?;
        let original = match warmth.flatten() {
            Some(original) => original,
            None => {
                self.touch_slot(slot, value);
                value
            }
        };
        Ok((value, original, warmth.is_none()))
    }
}

impl Host for Turn<'_> {
    fn basefee(&self) -> U256 {
        U256::from(self.rules.env.basefee)
    }

    fn blob_gasprice(&self) -> U256 {
        U256::from(self.rules.env.blob_gasprice().unwrap_or(0))
    }

    fn gas_limit(&self) -> U256 {
        U256::from(self.rules.env.gas_limit)
    }

    fn difficulty(&self) -> U256 {
        self.rules.env.difficulty
    }

    fn prevrandao(&self) -> Option<U256> {
        self.rules.env.prevrandao.map(Into::into)
    }

    fn block_number(&self) -> U256 {
        self.rules.env.number
    }

    fn timestamp(&self) -> U256 {
        self.rules.env.timestamp
    }

    fn beneficiary(&self) -> Address {
        self.rules.env.beneficiary
    }

    fn slot_num(&self) -> U256 {
        U256::from(self.rules.env.slot_num())
    }

    fn chain_id(&self) -> U256 {
        U256::from(self.rules.cfg.chain_id)
    }

    fn effective_gas_price(&self) -> U256 {
        U256::from(self.tx.effective_gas_price(u128::from(self.rules.env.basefee)))
    }

    fn caller(&self) -> Address {
        self.tx.caller
    }

    fn blob_hash(&self, number: usize) -> Option<U256> {
        if self.tx.tx_type != TransactionType::Eip4844 as u8 {
            return None;
        }
        self.tx.blob_hashes.get(number).map(|hash| U256::from_be_bytes(hash.0))
    }

    fn max_initcode_size(&self) -> usize {
        self.rules.cfg.max_initcode_size()
    }

    fn gas_params(&self) -> &GasParams {
        self.rules.cfg.gas_params()
    }

    fn is_amsterdam_eip8037_enabled(&self) -> bool {
        false
    }

    fn block_hash(&mut self, number: u64) -> Option<B256> {
        Some(self.rules.block_hashes.get(&number).copied().unwrap_or_default())
    }

    /// Sends the balance to `target`. The account is gone at the end of the turn; from Cancun on (EIP-6780) only if
    /// the same transaction created it.
    fn selfdestruct(
        &mut self,
        _address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadError> {
        let is_cold = self.warm_up(target, skip_cold_load)?;
        let there = self.look_at_code(target).map_err(|halt| self.stopped(halt))?.0;
        let target_exists = !self.is_empty(&there);
        let (had_value, previously_destroyed) = (!self.now.balance.is_zero(), self.is_destroyed());
        let ends =
            !self.rules.since(SpecId::CANCUN) || self.born_here().map_err(|halt| self.stopped(halt))?;
        if had_value && (ends || target != self.address) {
            let balance = std::mem::take(&mut self.now.balance);
            self.send_credit(target, balance);
        }
        if ends {
            self.destroy();
        }
        let data = SelfDestructResult { had_value, target_exists, previously_destroyed };
        Ok(StateLoad::new(data, is_cold))
    }

    fn log(&mut self, log: Log) {
        self.logs.push(log);
    }

    fn sstore_skip_cold_load(
        &mut self,
        _address: Address,
        key: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadError> {
        let (present_value, original_value, is_cold) = self.load_slot(key, skip_cold_load)?;
        self.set_slot(key, value);
        Ok(StateLoad::new(SStoreResult { original_value, present_value, new_value: value }, is_cold))
    }

    fn sload_skip_cold_load(
        &mut self,
        _address: Address,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<U256>, LoadError> {
        let (value, _, is_cold) = self.load_slot(key, skip_cold_load)?;
        Ok(StateLoad::new(value, is_cold))
    }

    fn tstore(&mut self, _address: Address, key: U256, value: U256) {
        if let Err(halt) = self.set_transient(key, value) {
            self.halt = Some(halt);
        }
    }

    fn tload(&mut self, _address: Address, key: U256) -> U256 {
        self.transient(key).unwrap_or_else(|halt| {
            self.halt = Some(halt);
            U256::ZERO
        })
    }

    /// With code: for calls, EXTCODESIZE and EXTCODECOPY. Without: for balances and EXTCODEHASH, which look at
    /// everything.
    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadError> {
        let is_cold = self.warm_up(address, skip_cold_load)?;
        let (account, code) = if load_code {
            let (account, code) = self.look_at_code(address).map_err(|halt| self.stopped(halt))?;
            (account, Some(code))
        } else {
            let account = self.look(address, |account, seen| {
                seen.code_hash = Some(account.code_hash);
                seen.nonce = Some(account.nonce);
                seen.exists = Some(account.exists);
                seen.balance_exactly(account.balance);
            });
            (account.map_err(|halt| self.stopped(halt))?, None)
        };
        let is_empty = self.is_empty(&account);
        self.answer.balance = account.balance;
        self.answer.nonce = account.nonce;
        self.answer.code_hash = account.code_hash;
        self.answer.code = code;
        Ok(AccountInfoLoad::new(&self.answer, is_cold, is_empty))
    }
}
