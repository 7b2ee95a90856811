//! A block under construction: its transactions, and the state that they need.

use crate::{
    PreState,
    load::fork,
    synth::{
        Workload,
        generate::{BALANCE, BASE_FEE, Generated, TIP, address, put_account, put_slot},
        rng::Rng,
    },
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use braid_evm::{AccountState, EvmKey, EvmValue};
use revm::{
    bytecode::Bytecode,
    context::{TransactionType, TxEnv, either::Either},
    context_interface::transaction::{Authorization, RecoveredAuthority, RecoveredAuthorization},
    primitives::hardfork::SpecId,
};
use std::collections::BTreeMap;

/// Gas of a call that does little.
pub(super) const CALL_GAS: u64 = 300_000;
/// Gas of a call that does much; below what one transaction may have from Osaka on (EIP-7825).
pub(super) const LONG_GAS: u64 = 10_000_000;
/// Gas of a transfer.
pub(super) const TRANSFER_GAS: u64 = 21_000;

/// Senders that kinds share, at most: few enough that one sends more than once.
const SENDERS: u64 = 400;

/// A block under construction.
pub(super) struct Yard {
    pub(super) rng: Rng,
    pub(super) pre: PreState,
    pub(super) txs: Vec<TxEnv>,
    pub(super) beneficiary: Address,
    /// Transactions that the block is to have.
    pub(super) count: u64,
    senders: Vec<Address>,
    nonces: BTreeMap<Address, u64>,
}

impl Yard {
    /// An empty block of this workload, with nobody in its state.
    pub(super) fn bare(workload: &Workload) -> Self {
        Self::empty(workload.at("seed"), workload.at("txs"))
    }

    fn empty(seed: u64, count: u64) -> Self {
        Yard {
            rng: Rng::new(seed),
            pre: PreState::default(),
            txs: Vec::new(),
            beneficiary: address("beneficiary", 0),
            count,
            senders: Vec::new(),
            nonces: BTreeMap::new(),
        }
    }

    /// An empty block that is to have `count` transactions, with senders that its scenes share.
    pub(super) fn new(seed: u64, count: u64) -> Self {
        let mut yard = Self::empty(seed, count);
        yard.senders = yard.people("sender", count.clamp(8, SENDERS));
        yard
    }

    /// So many funded accounts.
    pub(super) fn people(&mut self, role: &str, count: u64) -> Vec<Address> {
        let people: Vec<Address> = (0..count).map(|index| address(role, index)).collect();
        for account in &people {
            put_account(&mut self.pre, *account, U256::from(BALANCE), 0, KECCAK256_EMPTY, false);
        }
        people
    }

    /// A contract with `slots` in its storage, in the state before the block.
    pub(super) fn contract(&mut self, role: &str, code: Bytes, slots: &[(u64, u64)]) -> Address {
        let at = address(role, 0);
        self.contract_at(at, code, slots);
        at
    }

    /// As [`Self::contract`], at an address of choice.
    pub(super) fn contract_at(&mut self, at: Address, code: Bytes, slots: &[(u64, u64)]) {
        let hash = keccak256(&code);
        self.pre.store.set(EvmKey::Code(hash), Some(EvmValue::Code(Bytecode::new_legacy(code))));
        put_account(&mut self.pre, at, U256::ZERO, 1, hash, !slots.is_empty());
        for (slot, value) in slots {
            put_slot(&mut self.pre, at, U256::from(*slot), U256::from(*value));
        }
    }

    /// Puts code into the state before the block; its hash.
    pub(super) fn code(&mut self, code: &Bytes) -> B256 {
        self.analysed(&Bytecode::new_legacy(code.clone()))
    }

    /// As [`Self::code`], of code that has been looked at.
    pub(super) fn analysed(&mut self, code: &Bytecode) -> B256 {
        let hash = code.hash_slow();
        let key = EvmKey::Code(hash);
        if self.pre.store.get(&key).is_none() {
            self.pre.store.set(key, Some(EvmValue::Code(code.clone())));
        }
        hash
    }

    /// Puts a contract into the state before the block, with these slots.
    pub(super) fn deploy(&mut self, at: Address, code_hash: B256, slots: &[(U256, U256)]) {
        let slots = slots.iter().copied();
        self.pre.put_account(at, (U256::ZERO, 1, code_hash), slots);
    }

    /// Gives a slot of a contract, which is there, a value that is not zero.
    pub(super) fn slot(&mut self, contract: Address, slot: U256, value: U256) {
        put_slot(&mut self.pre, contract, slot, value);
        let key = EvmKey::Account(contract);
        let Some(EvmValue::Account(account)) = self.pre.store.get(&key) else { return };
        if !account.has_storage {
            let account = AccountState { has_storage: true, ..*account };
            self.pre.store.set(key, Some(EvmValue::Account(account)));
        }
    }

    /// Whether a slot has a value.
    pub(super) fn has_slot(&self, address: Address, slot: U256) -> bool {
        self.pre.store.get(&EvmKey::Slot { address, generation: 0, slot }).is_some()
    }

    /// Puts a funded account into the state before the block.
    pub(super) fn person(&mut self, account: Address) {
        put_account(&mut self.pre, account, U256::from(BALANCE), 0, KECCAK256_EMPTY, false);
    }

    /// The block.
    pub(super) fn finish(self) -> Generated {
        Generated { spec: SpecId::OSAKA, beneficiary: self.beneficiary, pre: self.pre, txs: self.txs }
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.below(from.len() as u64) as usize]
    }

    /// One of the senders that all kinds share.
    pub(super) fn sender(&mut self) -> Address {
        let at = self.rng.below(self.senders.len() as u64) as usize;
        self.senders[at]
    }

    /// The nonce that the next transaction of `account` has.
    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.nonces.get(&account).copied().unwrap_or_default()
    }

    /// Appends a call by one of the senders.
    pub(super) fn call(&mut self, to: Address, data: Bytes, gas: u64) {
        let from = self.sender();
        self.send(from, TxKind::Call(to), 0, data, gas);
    }

    /// Appends a transaction.
    pub(super) fn send(&mut self, caller: Address, kind: TxKind, value: u64, data: Bytes, gas: u64) {
        let nonce = self.nonce(caller);
        self.nonces.insert(caller, nonce + 1);
        self.txs.push(TxEnv {
            tx_type: TransactionType::Eip1559 as u8,
            caller,
            gas_limit: gas,
            gas_price: u128::from(2 * BASE_FEE + TIP),
            kind,
            value: U256::from(value),
            data,
            nonce,
            chain_id: Some(fork::MAINNET),
            gas_priority_fee: Some(u128::from(TIP)),
            ..TxEnv::default()
        });
    }

    /// Gives the last transaction authorizations (EIP-7702), each of an authority that is not a contract: to
    /// whom, and how far off its nonce is (then it is void).
    pub(super) fn authorize(&mut self, list: &[(Address, Address, u64)]) {
        let mut signed = Vec::with_capacity(list.len());
        for (authority, address, off) in list {
            let nonce = self.nonce(*authority);
            if *off == 0 {
                self.nonces.insert(*authority, nonce + 1);
            }
            let chain_id = U256::from(fork::MAINNET);
            let inner = Authorization { chain_id, address: *address, nonce: nonce + off };
            let authority = RecoveredAuthority::Valid(*authority);
            signed.push(Either::Right(RecoveredAuthorization::new_unchecked(inner, authority)));
        }
        if let Some(tx) = self.txs.last_mut().filter(|_| !list.is_empty()) {
            tx.tx_type = TransactionType::Eip7702 as u8;
            tx.authorization_list = signed;
        }
    }
}
