//! State that is asked for location by location, and what was asked for.

use crate::FetchError;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use braid_core::{Reader, State, StoreError};
use braid_evm::{AccountState, EvmKey, EvmValue};
use braid_work::PreState;
use revm::state::Bytecode;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most locations that one block may ask for: no block pays for more (2100 gas each, EIP-2929).
const MAX_LOCATIONS: usize = 1_000_000;

/// Where the state before a block comes from.
pub(crate) trait Origin: Send {
    /// An account; `None` if there is none.
    fn account(&mut self, address: Address) -> Result<Option<AccountState>, FetchError>;

    /// A slot of an account that is there.
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, FetchError>;

    /// The code of an account, which has this hash.
    fn code(&mut self, address: Address, hash: B256) -> Result<Bytes, FetchError>;

    /// Hashes of all blocks from `first` to the parent.
    fn block_hashes(&mut self, first: u64) -> Result<BTreeMap<u64, B256>, FetchError>;
}

/// The state that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) accounts: BTreeMap<Address, Option<AccountState>>,
    pub(crate) slots: BTreeMap<(Address, U256), U256>,
    pub(crate) codes: BTreeMap<B256, Bytes>,
}

/// Asks an origin, each location once, and keeps what it says.
pub(crate) struct Recorder<'a>(Mutex<Inner<'a>>);

struct Inner<'a> {
    number: u64,
    origin: Box<dyn Origin + 'a>,
    touched: Touched,
    /// Why the state could not answer.
    error: Option<FetchError>,
}

impl<'a> Recorder<'a> {
    /// Asks `origin`, for block `number`.
    pub(crate) fn new(number: u64, origin: Box<dyn Origin + 'a>) -> Self {
        Recorder(Mutex::new(Inner { number, origin, touched: Touched::default(), error: None }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<'a>> {
        // What is inside is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an account; whether it was asked for the first time.
    pub(crate) fn account(&self, address: Address) -> Result<bool, FetchError> {
        let inner = &mut *self.lock();
        let first = !inner.touched.accounts.contains_key(&address);
        inner.account(address).map(|_| first)
    }

    /// Asks for a slot; whether it was asked for the first time.
    pub(crate) fn slot(&self, address: Address, slot: U256) -> Result<bool, FetchError> {
        let inner = &mut *self.lock();
        let first = !inner.touched.slots.contains_key(&(address, slot));
        inner.slot(address, slot).map(|_| first)
    }

    /// Asks for the hashes of all blocks from `first` to the parent.
    pub(crate) fn block_hashes(&self, first: u64) -> Result<BTreeMap<u64, B256>, FetchError> {
        self.lock().origin.block_hashes(first)
    }

    /// Why the state could not answer, if it could not.
    pub(crate) fn take_error(&self) -> Option<FetchError> {
        self.lock().error.take()
    }

    /// What was asked for, with the code of every account in it.
    pub(crate) fn touched(&self) -> Result<Touched, FetchError> {
        let inner = &mut *self.lock();
        let accounts: Vec<(Address, B256)> = inner
            .touched
            .accounts
            .iter()
            .filter_map(|(at, one)| Some((*at, one.as_ref()?.code_hash)))
            .collect();
        for (address, hash) in accounts {
            inner.code(address, hash)?;
        }
        Ok(inner.touched.clone())
    }
}

impl Inner<'_> {
    fn room(&self) -> Result<(), FetchError> {
        if self.touched.accounts.len() + self.touched.slots.len() < MAX_LOCATIONS {
            return Ok(());
        }
        let reason = format!("touches more than {MAX_LOCATIONS} locations");
        Err(FetchError::Check { number: self.number, check: "execution", reason })
    }

    fn account(&mut self, address: Address) -> Result<Option<AccountState>, FetchError> {
        if let Some(known) = self.touched.accounts.get(&address) {
            return Ok(*known);
        }
        self.room()?;
        let account = self.origin.account(address)?;
        self.touched.accounts.insert(address, account);
        Ok(account)
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, FetchError> {
        if let Some(known) = self.touched.slots.get(&(address, slot)) {
            return Ok(*known);
        }
        self.room()?;
        let value = match self.account(address)? {
            Some(_) => self.origin.slot(address, slot)?,
            None => U256::ZERO,
        };
        self.touched.slots.insert((address, slot), value);
        Ok(value)
    }

    fn code(&mut self, address: Address, hash: B256) -> Result<(), FetchError> {
        if hash == KECCAK256_EMPTY || self.touched.codes.contains_key(&hash) {
            return Ok(());
        }
        let code = self.origin.code(address, hash)?;
        if keccak256(&code) != hash {
            let reason = format!("code of {address} hashes to {}, not to {hash}", keccak256(&code));
            return Err(FetchError::Check { number: self.number, check: "code", reason });
        }
        self.touched.codes.insert(hash, code);
        Ok(())
    }

    fn value(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, FetchError> {
        Ok(match key {
            EvmKey::Account(address) => self.account(*address)?.map(EvmValue::Account),
            EvmKey::Slot { address, generation: 0, slot } => {
                Some(EvmValue::Slot(self.slot(*address, *slot)?))
            }
            // Later lives of an account are not of the state before the block.
            EvmKey::Slot { .. } => None,
            EvmKey::Code(hash) => {
                let with_it = |(address, account): (&Address, &Option<AccountState>)| {
                    account.filter(|account| account.code_hash == *hash).map(|_| *address)
                };
                let Some(address) = self.touched.accounts.iter().find_map(with_it) else { return Ok(None) };
                self.code(address, *hash)?;
                let raw = self.touched.codes.get(hash).cloned().unwrap_or_default();
                Some(EvmValue::Code(analyse(self.number, raw)?))
            }
        })
    }
}

fn analyse(number: u64, raw: Bytes) -> Result<Bytecode, FetchError> {
    let bad = |error: revm::bytecode::BytecodeDecodeError| error.to_string();
    Bytecode::new_raw_checked(raw).map_err(|error| FetchError::Check {
        number,
        check: "code",
        reason: bad(error),
    })
}

impl State<EvmKey, EvmValue> for Recorder<'_> {
    type Reader<'r>
        = &'r Self
    where
        Self: 'r;

    fn reader(&self) -> Result<&Self, StoreError> {
        Ok(self)
    }
}

impl Reader<EvmKey, EvmValue> for &Recorder<'_> {
    fn get(&mut self, key: &EvmKey) -> Result<Option<EvmValue>, StoreError> {
        let mut inner = self.lock();
        inner.value(key).map_err(|error| {
            let told = StoreError::Failed(error.to_string());
            inner.error = Some(error);
            told
        })
    }
}

impl Touched {
    /// The state as engines read it.
    pub(crate) fn pre_state(
        &self,
        number: u64,
        block_hashes: BTreeMap<u64, B256>,
    ) -> Result<PreState, FetchError> {
        let mut pre = PreState { block_hashes, ..PreState::default() };
        for (hash, code) in &self.codes {
            pre.store.set(EvmKey::Code(*hash), Some(EvmValue::Code(analyse(number, code.clone())?)));
        }
        for (address, account) in &self.accounts {
            let Some(account) = account else { continue };
            // As the loader of cases has it: what is not listed is not there.
            let has_storage = self.slots_of(*address).any(|(_, value)| !value.is_zero());
            let account = AccountState { has_storage, ..*account };
            pre.store.set(EvmKey::Account(*address), Some(EvmValue::Account(account)));
        }
        for ((address, slot), value) in self.slots.iter().filter(|(_, value)| !value.is_zero()) {
            let key = EvmKey::Slot { address: *address, generation: 0, slot: *slot };
            pre.store.set(key, Some(EvmValue::Slot(*value)));
        }
        Ok(pre)
    }

    /// Slots of one account.
    pub(crate) fn slots_of(&self, address: Address) -> impl Iterator<Item = (U256, U256)> + '_ {
        let all = self.slots.range((address, U256::ZERO)..=(address, U256::MAX));
        all.map(|((_, slot), value)| (*slot, *value))
    }
}
