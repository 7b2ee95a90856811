//! State from `debug_traceBlockByNumber` with the `prestateTracer`, and location by location where that
//! does not tell.
//!
//! The tracer says what each transaction found at what it touched. Of a location that several
//! transactions touched, the first one's word is that of the state before the block, with two
//! exceptions. What the block itself changes before its first transaction (EIP-2935, EIP-4788, the DAO
//! drain) is not taken from the tracer. And a contract that a transaction of no recipient creates is
//! left out of that transaction's prestate, so that the next one to touch it would be the first: it is
//! known to be absent.

use crate::{
    FetchError,
    answer::{TracedAccount, TracedTx},
    block::{Ancestors, Told, tag},
    origin::Origin,
    rpc::{Call, Client, decode, shorten},
};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use braid_evm::{AccountState, BlockInput};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const METHOD: &str = "debug_traceBlockByNumber";

/// The merged prestates, completed by looking up what they lack in the state before the block.
pub(crate) struct PrestateOrigin<'c, 'a> {
    client: &'c mut Client<'a>,
    /// The parent, as nodes name it.
    parent: String,
    ancestors: Ancestors,
    /// `None`: known to be absent.
    accounts: BTreeMap<Address, Option<AccountState>>,
    slots: BTreeMap<(Address, U256), U256>,
    codes: BTreeMap<B256, Bytes>,
    number: u64,
}

/// Asks for the prestates of `input`, which is block `number` as `told`.
pub(crate) fn ask<'c, 'a>(
    client: &'c mut Client<'a>,
    number: u64,
    told: &Told,
    input: &BlockInput,
) -> Result<PrestateOrigin<'c, 'a>, FetchError> {
    let traced: Vec<TracedTx> = match input.txs.is_empty() {
        true => Vec::new(),
        false => client.call(METHOD, json!([tag(number), {"tracer": "prestateTracer"}]))?,
    };
    let parent = tag(number.saturating_sub(1));
    let ancestors = Ancestors::new(number, told.parent_hash);
    let mut origin = PrestateOrigin {
        client,
        parent,
        ancestors,
        accounts: BTreeMap::new(),
        slots: BTreeMap::new(),
        codes: BTreeMap::new(),
        number,
    };
    origin.merge(traced, told, input)?;
    origin.look_up(&around(input))?;
    Ok(origin)
}

/// Accounts that the block changes before its first transaction.
fn changed_before(input: &BlockInput) -> BTreeSet<Address> {
    let rites = &input.rites;
    let history = rites.parent_hash.map(|_| HISTORY_STORAGE_ADDRESS);
    let beacon = rites.parent_beacon_root.map(|_| BEACON_ROOTS_ADDRESS);
    let drain = rites.dao_drain.iter().flat_map(|(from, to)| from.iter().chain([to]).copied());
    history.into_iter().chain(beacon).chain(drain).collect()
}

/// Accounts that the block touches by itself.
fn around(input: &BlockInput) -> BTreeSet<Address> {
    let mut accounts = changed_before(input);
    accounts.insert(input.env.beneficiary);
    if let Some(after) = &input.rites.after {
        accounts.extend(after.withdrawals.iter().chain(&after.rewards).map(|(address, _)| *address));
        if after.requests {
            accounts.extend([WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS]);
        }
    }
    accounts
}

impl PrestateOrigin<'_, '_> {
    fn merge(&mut self, traced: Vec<TracedTx>, told: &Told, input: &BlockInput) -> Result<(), FetchError> {
        let bad =
            |tx: usize, reason: String| FetchError::Answer { method: METHOD, at: format!("[{tx}]"), reason };
        if traced.len() != input.txs.len() {
            let reason = format!("{} traces for {} transactions", traced.len(), input.txs.len());
            return Err(bad(traced.len().min(input.txs.len()), reason));
        }
        let distrusted = changed_before(input);
        for (index, (trace, tx)) in traced.into_iter().zip(&input.txs).enumerate() {
            let listed = told.tx_hashes.get(index).copied().flatten();
            if trace.tx_hash.is_some_and(|hash| listed.is_some_and(|listed| listed != hash)) {
                return Err(bad(index, "of another transaction than the block has there".into()));
            }
            let accounts = trace
                .result
                .ok_or_else(|| bad(index, shorten(trace.error.as_deref().unwrap_or("no result"))))?;
            for (address, account) in accounts.into_iter().filter(|(at, _)| !distrusted.contains(at)) {
                let account = account.unwrap_or_default();
                self.first_word(address, account).map_err(|reason| bad(index, reason))?;
            }
            if tx.kind == TxKind::Create {
                self.accounts.entry(tx.caller.create(tx.nonce)).or_insert(None);
            }
        }
        Ok(())
    }

    /// Takes what is said of an account, as far as nothing was said before.
    fn first_word(&mut self, address: Address, traced: TracedAccount) -> Result<(), String> {
        let slots = traced.storage.unwrap_or_default();
        if let Some(known) = self.accounts.get(&address) {
            // What a contract of this block has in its storage, it does not have before the block.
            if known.is_some() {
                for (slot, value) in slots {
                    self.slots.entry((address, slot)).or_insert(value);
                }
            }
            return Ok(());
        }
        let nonce = traced.nonce.unwrap_or_default();
        let nonce = u64::try_from(nonce).map_err(|_| format!("nonce {nonce} of {address}"))?;
        let code = traced.code.unwrap_or_default();
        self.enter(address, traced.balance.unwrap_or_default(), nonce, code);
        for (slot, value) in slots {
            self.slots.entry((address, slot)).or_insert(value);
        }
        Ok(())
    }

    fn enter(&mut self, address: Address, balance: U256, nonce: u64, code: Bytes) {
        let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
        let account =
            AccountState { exists: true, balance, nonce, code_hash, generation: 0, has_storage: false };
        if !code.is_empty() {
            self.codes.insert(code_hash, code);
        }
        // Nodes do not tell an empty account from none. From EIP-161 on there are no empty ones; before,
        // taking one for absent shows in the gas of who touches it.
        self.accounts.insert(address, Some(account).filter(|account| !account.is_empty()));
    }

    /// Looks up those of `addresses` that nothing is known of, in as few requests as may be.
    fn look_up(&mut self, addresses: &BTreeSet<Address>) -> Result<(), FetchError> {
        const METHODS: [&str; 3] = ["eth_getBalance", "eth_getTransactionCount", "eth_getCode"];
        let unknown = |address: &&Address| !self.accounts.contains_key(*address);
        let unknown: Vec<Address> = addresses.iter().filter(unknown).copied().collect();
        let mut calls = Vec::with_capacity(unknown.len() * METHODS.len());
        for address in &unknown {
            let params = json!([address, self.parent]);
            calls.extend(METHODS.map(|method| Call { method, params: params.clone() }));
        }
        let mut answers = self.client.ask(&calls)?.into_iter();
        for address in unknown {
            let (Some(balance), Some(nonce), Some(code)) = (answers.next(), answers.next(), answers.next())
            else {
                break;
            };
            let balance: U256 = decode(METHODS[0], &balance?)?;
            let nonce: U256 = decode(METHODS[1], &nonce?)?;
            let code: Bytes = decode(METHODS[2], &code?)?;
            let nonce = u64::try_from(nonce).map_err(|_| FetchError::Answer {
                method: METHODS[1],
                at: ".".into(),
                reason: format!("{nonce} is out of range"),
            })?;
            self.enter(address, balance, nonce, code);
        }
        Ok(())
    }
}

impl Origin for PrestateOrigin<'_, '_> {
    fn account(&mut self, address: Address) -> Result<Option<AccountState>, FetchError> {
        self.look_up(&BTreeSet::from([address]))?;
        Ok(self.accounts.get(&address).copied().flatten())
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, FetchError> {
        if let Some(value) = self.slots.get(&(address, slot)) {
            return Ok(*value);
        }
        let params = json!([address, B256::from(slot), self.parent]);
        let value: U256 = self.client.call("eth_getStorageAt", params)?;
        self.slots.insert((address, slot), value);
        Ok(value)
    }

    fn code(&mut self, address: Address, hash: B256) -> Result<Bytes, FetchError> {
        // Codes come with accounts, and hashes are computed from them.
        self.codes.get(&hash).cloned().ok_or_else(|| FetchError::Incomplete {
            number: self.number,
            reason: format!("no code for {address}"),
        })
    }

    fn block_hashes(&mut self, first: u64) -> Result<BTreeMap<u64, B256>, FetchError> {
        self.ancestors.hashes(self.client, first)
    }
}
