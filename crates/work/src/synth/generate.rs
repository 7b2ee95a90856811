//! From a description to a case.

use super::{Kind, Workload, hostile, rng::Rng, token};
use crate::{Case, Expect, PreState, WorkError, load::fork};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmValue, Rites};
use revm::{
    context::{BlockEnv, TransactionType, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
};
use std::{collections::BTreeMap, sync::Arc};

/// The changing parts of a generated block.
pub(super) struct Generated {
    pub(super) spec: SpecId,
    pub(super) beneficiary: Address,
    pub(super) pre: PreState,
    pub(super) txs: Vec<TxEnv>,
}

const GWEI: u64 = 1_000_000_000;
/// A block of mainnet under Osaka rules.
const NUMBER: u64 = 24_000_000;
const TIMESTAMP: u64 = 1_766_000_000;
pub(super) const BASE_FEE: u64 = GWEI;
pub(super) const TIP: u64 = GWEI;
const TRANSFER_GAS: u64 = 21_000;
/// Above what any call of the token costs.
const TOKEN_CALL_GAS: u64 = 100_000;
/// Wei that each account has: enough for any number of its transactions.
pub(super) const BALANCE: u128 = 1 << 100;
/// Units of each token that each holder has.
const TOKEN_BALANCE: u128 = 1 << 90;

/// Generates the case of a workload that is within limits.
pub(super) fn case(workload: &Workload) -> Result<Case, WorkError> {
    if let Kind::Hostile(kind) = workload.kind {
        return Ok(assemble(workload, hostile::block(kind, workload.txs, workload.seed)));
    }
    let mut rng = Rng::new(workload.seed);
    let mut pre = PreState::default();
    let accounts: Vec<Address> = (0..workload.accounts).map(|index| address("account", index)).collect();
    for account in &accounts {
        put_account(&mut pre, *account, U256::from(BALANCE), 0, KECCAK256_EMPTY, false);
    }
    let mut senders = Senders { accounts: &accounts, nonces: BTreeMap::new() };
    let txs = if let Kind::Erc20 { tokens } = workload.kind {
        let tokens: Vec<Address> = (0..tokens).map(|index| address("token", index)).collect();
        put_tokens(&mut pre, &tokens, &accounts)?;
        erc20(workload, &mut rng, &mut senders, &tokens, &mut pre)
    } else {
        transfers(workload, &mut rng, &mut senders)
    };
    let beneficiary = address("beneficiary", 0);
    Ok(assemble(workload, Generated { spec: SpecId::OSAKA, beneficiary, pre, txs }))
}

fn assemble(workload: &Workload, block: Generated) -> Case {
    let Generated { spec, beneficiary, pre, txs } = block;
    let gas_limit = txs.iter().map(|tx| tx.gas_limit).sum();
    let blob = fork::blob_params_at(fork::MAINNET, spec, TIMESTAMP);
    let env = BlockEnv {
        number: U256::from(NUMBER),
        beneficiary,
        timestamp: U256::from(TIMESTAMP),
        gas_limit,
        basefee: BASE_FEE,
        difficulty: U256::ZERO,
        prevrandao: Some(keccak256(workload.seed.to_be_bytes())),
        blob_excess_gas_and_price: blob.and_then(|params| {
            Some(BlobExcessGasAndPrice::new(0, u64::try_from(params.update_fraction).ok()?))
        }),
        slot_num: 0,
    };
    let input = BlockInput {
        chain_id: fork::MAINNET,
        spec,
        env,
        txs,
        block_hashes: BTreeMap::new(),
        max_blob_gas: blob.map(|params| params.max_blob_gas_per_block()),
        rites: Rites::default(),
        rules: braid_evm::EvmRules::default(),
    };
    Case {
        name: workload.to_string(),
        path: None,
        input,
        raw: None,
        pre: Some(Arc::new(pre)),
        header: None,
        expect: Expect::default(),
    }
}

struct Senders<'a> {
    accounts: &'a [Address],
    nonces: BTreeMap<Address, u64>,
}

impl Senders<'_> {
    fn pick(&self, rng: &mut Rng) -> Address {
        self.accounts[rng.below(self.accounts.len() as u64) as usize]
    }

    /// Two different accounts: one that pays, and one that is paid, `hot` times in a hundred the first.
    fn pair(&self, rng: &mut Rng, hot: u64) -> (Address, Address) {
        let from = rng.below(self.accounts.len() as u64) as usize;
        let to = if rng.percent(hot) { 0 } else { rng.below(self.accounts.len() as u64) as usize };
        let to = if to == from { (to + 1) % self.accounts.len() } else { to };
        (self.accounts[from], self.accounts[to])
    }

    fn tx(&mut self, caller: Address, to: Address, value: U256, data: Bytes, gas_limit: u64) -> TxEnv {
        let nonce = self.nonces.entry(caller).or_default();
        *nonce += 1;
        TxEnv {
            tx_type: TransactionType::Eip1559 as u8,
            caller,
            gas_limit,
            gas_price: u128::from(2 * BASE_FEE + TIP),
            kind: TxKind::Call(to),
            value,
            data,
            nonce: *nonce - 1,
            chain_id: Some(fork::MAINNET),
            gas_priority_fee: Some(u128::from(TIP)),
            ..TxEnv::default()
        }
    }
}

fn transfers(workload: &Workload, rng: &mut Rng, senders: &mut Senders<'_>) -> Vec<TxEnv> {
    let transfer = |_| {
        let (from, to) = senders.pair(rng, workload.hot);
        let value = U256::from(1 + rng.below(GWEI));
        senders.tx(from, to, value, Bytes::new(), TRANSFER_GAS)
    };
    (0..workload.txs).map(transfer).collect()
}

fn erc20(
    workload: &Workload,
    rng: &mut Rng,
    senders: &mut Senders<'_>,
    tokens: &[Address],
    pre: &mut PreState,
) -> Vec<TxEnv> {
    let call = |_| {
        let token = tokens[rng.below(tokens.len() as u64) as usize];
        let (from, to) = senders.pair(rng, workload.hot);
        let value = U256::from(1 + rng.below(GWEI));
        let (caller, data) = match rng.below(100) {
            0..90 => (from, token::transfer(to, value)),
            90..95 => (from, token::approve(to, value)),
            _ => {
                let spender = senders.pick(rng);
                put_slot(pre, token, token::allowance_slot(from, spender), U256::MAX);
                (spender, token::transfer_from(from, to, value))
            }
        };
        senders.tx(caller, token, U256::ZERO, data, TOKEN_CALL_GAS)
    };
    (0..workload.txs).map(call).collect()
}

fn put_tokens(pre: &mut PreState, tokens: &[Address], holders: &[Address]) -> Result<(), WorkError> {
    let code = token::code()?;
    let hash = code.hash_slow();
    pre.store.set(EvmKey::Code(hash), Some(EvmValue::Code(code)));
    let slots: Vec<U256> = holders.iter().map(|holder| token::balance_slot(*holder)).collect();
    for token in tokens {
        put_account(pre, *token, U256::ZERO, 1, hash, true);
        let supply = U256::from(TOKEN_BALANCE) * U256::from(holders.len());
        put_slot(pre, *token, token::SUPPLY_SLOT, supply);
        for slot in &slots {
            put_slot(pre, *token, *slot, U256::from(TOKEN_BALANCE));
        }
    }
    Ok(())
}

pub(super) fn put_account(
    pre: &mut PreState,
    address: Address,
    balance: U256,
    nonce: u64,
    code_hash: B256,
    has_storage: bool,
) {
    let account = AccountState { exists: true, balance, nonce, code_hash, generation: 0, has_storage };
    pre.store.set(EvmKey::Account(address), Some(EvmValue::Account(account)));
}

pub(super) fn put_slot(pre: &mut PreState, address: Address, slot: U256, value: U256) {
    pre.store.set(EvmKey::Slot { address, generation: 0, slot }, Some(EvmValue::Slot(value)));
}

/// Addresses that look like any others.
pub(super) fn address(role: &str, index: u64) -> Address {
    Address::from_word(keccak256([role.as_bytes(), &index.to_be_bytes()].concat()))
}
