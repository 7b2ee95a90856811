//! revm's interface to a journal, and nothing else: the work is done beside it.

use super::{Arenas, Journal, JournalRules, Source, Stopped, handle::Handle, load::LoadFailure};
use crate::hash::BlockRun;
use alloy_primitives::{
    Address, B256, Log, U256,
    map::{AddressMap, AddressSet, HashSet},
};
use revm::{
    bytecode::Bytecode,
    context_interface::{
        context::{SStoreResult, SelfDestructResult, StateLoad},
        journaled_state::{
            AccountInfoLoad, AccountLoad, JournalCheckpoint, JournalLoadError, JournalTr, TransferError,
        },
    },
    precompile::{PrecompileSpecId, Precompiles},
    primitives::hardfork::SpecId,
    state::Account,
};

impl<'a> JournalTr for Journal<'a> {
    type Database = Source<'a>;
    type State = Box<Arenas>;
    type JournaledAccount<'b>
        = Handle<'b, 'a>
    where
        Self: 'b;

    fn new(source: Source<'a>) -> Self {
        let spec = SpecId::default();
        let precompiles = Precompiles::new(PrecompileSpecId::from_spec_id(spec));
        Journal::begin(
            source,
            Box::default(),
            JournalRules { spec, eip7610: true, precompiles },
            BlockRun::begin(),
        )
    }

    fn db_and_state(&self) -> (&Source<'a>, &Box<Arenas>) {
        (&self.source, &self.arenas)
    }

    fn db_and_state_mut(&mut self) -> (&mut Source<'a>, &mut Box<Arenas>) {
        (&mut self.source, &mut self.arenas)
    }

    fn sload_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<U256>, LoadFailure> {
        let at = self.arenas.find(&address).ok_or(JournalLoadError::ColdLoadSkipped)?;
        let (slot, is_cold) = self.load_slot(at, key, skip_cold_load)?;
        Ok(StateLoad::new(self.arenas.slots[slot as usize].slot.present_value, is_cold))
    }

    fn sstore_skip_cold_load(
        &mut self,
        address: Address,
        key: U256,
        value: U256,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SStoreResult>, LoadFailure> {
        let at = self.arenas.find(&address).ok_or(JournalLoadError::ColdLoadSkipped)?;
        self.store(at, key, value, skip_cold_load)
    }

    fn tload(&mut self, address: Address, key: U256) -> U256 {
        self.arenas.find(&address).map_or(U256::ZERO, |at| self.arenas.transient(at, &key))
    }

    fn tstore(&mut self, address: Address, key: U256, value: U256) {
        if let Some(at) = self.arenas.find(&address) {
            self.arenas.set_transient(at, key, value);
        }
    }

    fn log(&mut self, log: Log) {
        self.arenas.logs.push(log);
    }

    fn take_logs(&mut self) -> Vec<Log> {
        std::mem::take(&mut self.arenas.logs)
    }

    fn logs(&self) -> &[Log] {
        &self.arenas.logs
    }

    fn selfdestruct(
        &mut self,
        address: Address,
        target: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<SelfDestructResult>, LoadFailure> {
        self.destroy(address, target, skip_cold_load)
    }

    fn warm_access_list(&mut self, access_list: AddressMap<HashSet<U256>>) {
        for (address, keys) in access_list {
            self.arenas.warm_addresses.insert(address);
            self.arenas.warm_slots.extend(keys.into_iter().map(|key| (address, key)));
        }
    }

    fn warm_coinbase_account(&mut self, address: Address) {
        self.coinbase = Some(address);
    }

    fn warm_precompiles(&mut self, addresses: &AddressSet) {
        self.arenas.warm_addresses.extend(addresses);
    }

    fn precompile_addresses(&self) -> &AddressSet {
        self.rules.precompiles.addresses_set()
    }

    fn set_spec_id(&mut self, spec: SpecId) {
        self.rules.spec = spec;
    }

    fn set_eip7708_config(&mut self, _disabled: bool, _eip8246_delayed_clear_disabled: bool) {}

    fn touch_account(&mut self, address: Address) {
        if let Some(at) = self.arenas.find(&address) {
            self.touch(at);
        }
    }

    fn transfer(
        &mut self,
        from: Address,
        to: Address,
        balance: U256,
    ) -> Result<Option<TransferError>, Stopped> {
        self.load_any(from)?;
        self.load_any(to)?;
        Ok(self.move_wei(from, to, balance))
    }

    fn transfer_loaded(&mut self, from: Address, to: Address, balance: U256) -> Option<TransferError> {
        self.move_wei(from, to, balance)
    }

    fn caller_accounting_journal_entry(&mut self, _address: Address, _old: U256, _bump_nonce: bool) {}

    fn balance_incr(&mut self, address: Address, balance: U256) -> Result<(), Stopped> {
        let (at, _) = self.load_any(address)?;
        self.credit(at, balance);
        Ok(())
    }

    fn nonce_bump_journal_entry(&mut self, _address: Address) {}

    fn load_account(&mut self, address: Address) -> Result<StateLoad<&Account>, Stopped> {
        let (at, is_cold) = self.load_any(address)?;
        Ok(StateLoad::new(&self.arenas.entry(at).account, is_cold))
    }

    fn load_account_with_code(&mut self, address: Address) -> Result<StateLoad<&Account>, Stopped> {
        let (at, is_cold) = self.load_any(address)?;
        self.load_code(at)?;
        Ok(StateLoad::new(&self.arenas.entry(at).account, is_cold))
    }

    fn load_account_delegated(&mut self, address: Address) -> Result<StateLoad<AccountLoad>, Stopped> {
        let (at, is_cold) = self.load_any(address)?;
        let is_empty = if self.state_clear() {
            self.arenas.entry_mut(at).is_empty()
        } else {
            !self.arenas.entry_mut(at).exists()
        };
        let mut load = AccountLoad { is_delegate_account_cold: None, is_empty };
        if self.rules.spec.is_enabled_in(SpecId::PRAGUE) {
            self.load_code(at)?;
            let code = self.arenas.entry(at).account.info.code.as_ref();
            if let Some(delegate) = code.and_then(Bytecode::eip7702_address) {
                let (at, cold) = self.load_any(delegate)?;
                self.load_code(at)?;
                load.is_delegate_account_cold = Some(cold);
            }
        }
        Ok(StateLoad::new(load, is_cold))
    }

    fn load_account_mut_skip_cold_load(
        &mut self,
        address: Address,
        skip_cold_load: bool,
    ) -> Result<StateLoad<Handle<'_, 'a>>, LoadFailure> {
        let (at, is_cold) = self.load(address, skip_cold_load)?;
        Ok(StateLoad::new(Handle { journal: self, at }, is_cold))
    }

    fn load_account_mut_optional_code(
        &mut self,
        address: Address,
        load_code: bool,
    ) -> Result<StateLoad<Handle<'_, 'a>>, Stopped> {
        let (at, is_cold) = self.load_any(address)?;
        if load_code {
            self.load_code(at)?;
        }
        Ok(StateLoad::new(Handle { journal: self, at }, is_cold))
    }

    fn set_code_with_hash(&mut self, address: Address, code: Bytecode, hash: B256) {
        self.deploy(address, code, hash);
    }

    fn checkpoint(&mut self) -> JournalCheckpoint {
        self.open()
    }

    fn checkpoint_commit(&mut self) {
        self.arenas.depth = self.arenas.depth.saturating_sub(1);
    }

    fn checkpoint_revert(&mut self, checkpoint: JournalCheckpoint) {
        self.undo_to(checkpoint);
    }

    fn create_account_checkpoint(
        &mut self,
        caller: Address,
        address: Address,
        balance: U256,
        _spec_id: SpecId,
    ) -> Result<JournalCheckpoint, TransferError> {
        self.create(caller, address, balance)
    }

    fn depth(&self) -> usize {
        self.arenas.depth
    }

    fn commit_tx(&mut self) {
        self.next_call();
    }

    fn discard_tx(&mut self) {
        let state_clear = self.state_clear();
        self.arenas.revert(0, state_clear);
        self.next_call();
    }

    fn finalize(&mut self) -> Box<Arenas> {
        std::mem::take(&mut self.arenas)
    }

    fn load_account_info_skip_cold_load(
        &mut self,
        address: Address,
        load_code: bool,
        skip_cold_load: bool,
    ) -> Result<AccountInfoLoad<'_>, LoadFailure> {
        let (at, is_cold) = self.load(address, skip_cold_load)?;
        if load_code {
            self.load_code(at)?;
        }
        // Who asks is unknown here, so all of it counts as used.
        let state_clear = self.state_clear();
        let entry = self.arenas.entry_mut(at);
        entry.balance();
        entry.observe_code();
        entry.nonce();
        let is_empty = if state_clear { entry.is_empty() } else { !entry.exists() };
        Ok(AccountInfoLoad::new(&self.arenas.entry(at).account.info, is_cold, is_empty))
    }
}
