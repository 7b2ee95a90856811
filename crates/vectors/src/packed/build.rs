//! One block out of some cases.

use super::pool::Source;
use crate::{Ran, StateCase, state::block_hashes};
use alloy_primitives::{Address, TxKind, U256, keccak256};
use braid_core::Control;
use braid_evm::{After, BlockInput, Rites};
use braid_profiles::{Engine, ExecError};
use braid_rules::ChainSpec;
use braid_work::{Alloc, PreState, synth::Rng};
use revm::context::{TransactionType, TxEnv};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Cases in one block, and transactions, at most.
const CASES: u64 = 6;
const TRANSACTIONS: usize = 20;
/// Most gas of one transaction: a block of the longest cases would run for minutes.
const GAS: u64 = 2_000_000;
/// Wei that a sender has at least: enough for any of the adapted transactions.
const FUNDS: u128 = 1 << 120;
/// Most wei for a unit of gas or blob gas, so that the funds last.
const PRICE: u128 = 1 << 60;
/// How many of a hundred refused transactions stay in their block, which ends before them.
const REFUSED_PERCENT: u64 = 12;
/// How many of a hundred blocks get one that must be refused.
const SPOILED_PERCENT: u64 = 8;
/// Longest time that plain revm may take for a block that is being built.
const PATIENCE: Duration = Duration::from_secs(5);

/// A block, and what plain revm makes of it.
pub(super) struct Built {
    pub(super) files: BTreeSet<Arc<str>>,
    pub(super) input: BlockInput,
    pub(super) pre: PreState,
    pub(super) expected: Ran,
}

/// A block out of some of `cases`, which are under the same rules. `None` if fewer than two transactions are
/// left of it.
pub(super) fn block(cases: &[Source], rng: &mut Rng, lean: &mut dyn Engine) -> Option<Built> {
    let chosen = choose(cases, rng);
    let (_, first) = chosen.first()?;
    let mut yard = Yard { alloc: Alloc::clone(&first.pre), senders: BTreeSet::new() };
    let mut txs = Vec::new();
    for (_, case) in &chosen {
        let Ok(tx) = &case.tx else { continue };
        let tx = yard.place(case, tx);
        let copies = 1 + rng.below(4) as usize;
        txs.extend(std::iter::repeat_n(tx, copies));
    }
    shuffle(&mut txs, rng);
    txs.truncate(TRANSACTIONS);
    yard.share_senders(&mut txs, rng);
    let mut input = block_input(first);
    for tx in &mut txs {
        adapt(tx, &input);
    }
    let pre = yard.state(&input)?;
    input.txs = txs;
    let files = chosen.iter().map(|(file, _)| file.clone()).collect();
    let mut expected = settle(&mut input, &yard.alloc, &pre, rng, lean)?;
    if expected.is_ok() && input.txs.len() >= 2 && rng.percent(SPOILED_PERCENT) {
        spoil(&mut input.txs, rng);
        expected = execute(&input, &pre, lean)?;
    }
    (input.txs.len() >= 2).then_some(Built { files, input, pre, expected })
}

/// Some cases: neighbours of one, which are often choices of the same test, and some from anywhere.
fn choose(cases: &[Source], rng: &mut Rng) -> Vec<Source> {
    let count = 1 + rng.below(CASES).min(cases.len() as u64 - 1);
    let start = rng.below(cases.len() as u64);
    let pick = |at: u64| {
        let near = (start + at) % cases.len() as u64;
        let at = if rng.percent(75) { near } else { rng.below(cases.len() as u64) };
        cases[at as usize].clone()
    };
    (0..count).map(pick).collect()
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

/// The state that all cases of a block share.
struct Yard {
    alloc: Alloc,
    senders: BTreeSet<Address>,
}

impl Yard {
    /// Puts a case's accounts beside those that are there, and gives its transaction to be sent here. Of two
    /// accounts at one address the first stays, with the slots of both; but a target with other code moves.
    fn place(&mut self, case: &StateCase, tx: &TxEnv) -> TxEnv {
        let mut tx = tx.clone();
        for (address, account) in &case.pre.0 {
            match self.alloc.0.get_mut(address) {
                None => {
                    self.alloc.0.insert(*address, account.clone());
                }
                Some(there) if there.code == account.code => {
                    for (slot, value) in &account.storage {
                        there.storage.entry(*slot).or_insert(*value);
                    }
                }
                Some(_) if tx.kind == TxKind::Call(*address) => {
                    let moved = Address::from_word(keccak256([&address[..], &account.code].concat()));
                    self.alloc.0.insert(moved, account.clone());
                    tx.kind = TxKind::Call(moved);
                }
                Some(_) => {}
            }
        }
        self.senders.insert(tx.caller);
        tx
    }

    /// Has half of the transactions sent by one of two senders.
    fn share_senders(&mut self, txs: &mut [TxEnv], rng: &mut Rng) {
        let people: Vec<Address> =
            self.senders.iter().copied().filter(|one| self.sends(one)).take(2).collect();
        if people.is_empty() {
            return;
        }
        for tx in txs {
            if rng.percent(50) {
                tx.caller = people[rng.below(people.len() as u64) as usize];
            }
        }
    }

    /// Whether an account is one of a person (EIP-3607).
    fn sends(&self, account: &Address) -> bool {
        self.alloc.0.get(account).is_none_or(|account| account.code.is_empty())
    }

    /// Funds the senders, and gives the state as engines read it. Accounts that have nothing but storage are
    /// left without: plain revm creates at such an address (EIP-7610 forbids it).
    fn state(&mut self, input: &BlockInput) -> Option<PreState> {
        for sender in &self.senders {
            let account = self.alloc.0.entry(*sender).or_default();
            account.balance = account.balance.max(U256::from(FUNDS));
            // Room for the nonces to come.
            account.nonce = account.nonce.min(u64::MAX / 2);
        }
        for account in self.alloc.0.values_mut() {
            if account.nonce == 0 && account.code.is_empty() {
                account.storage.clear();
            }
        }
        let mut pre = self.alloc.pre_state(Path::new("packed block")).ok()?;
        pre.block_hashes = input.block_hashes.clone();
        Some(pre)
    }
}

/// A block without transactions, in the environment of a case.
fn block_input(case: &StateCase) -> BlockInput {
    let (spec, rules) = ChainSpec::evm(case.fork);
    let mut env = case.env.clone();
    env.gas_limit = GAS * TRANSACTIONS as u64;
    let after = After { rewards: vec![(env.beneficiary, 0)], ..After::default() };
    BlockInput {
        chain_id: case.chain.chain_id,
        spec,
        block_hashes: block_hashes(env.number),
        env,
        txs: Vec::new(),
        max_blob_gas: case.max_blob_gas,
        rites: Rites { after: Some(after), ..Rites::default() },
        rules,
        gas_used: None,
    }
}

/// Makes a transaction fit for the block's prices and gas.
fn adapt(tx: &mut TxEnv, input: &BlockInput) {
    tx.gas_limit = tx.gas_limit.min(GAS);
    let base_fee = u128::from(input.env.basefee).min(PRICE);
    tx.gas_price = tx.gas_price.clamp(base_fee, PRICE.max(base_fee));
    tx.gas_priority_fee = tx.gas_priority_fee.map(|fee| fee.min(tx.gas_price));
    if tx.tx_type == TransactionType::Eip4844 as u8 {
        let price = input.env.blob_excess_gas_and_price.map_or(0, |blob| blob.blob_gasprice);
        tx.max_fee_per_blob_gas = tx.max_fee_per_blob_gas.clamp(price.min(PRICE), PRICE);
    }
    if tx.value > U256::from(FUNDS >> 8) {
        tx.value = U256::from(FUNDS >> 8);
    }
}

/// What plain revm makes of the block; `None` if it takes too long.
fn execute(input: &BlockInput, pre: &PreState, lean: &mut dyn Engine) -> Option<Ran> {
    let started = Instant::now();
    let ran = lean.execute(input, pre, &Control::default()).map(|executed| executed.into_block(pre));
    (started.elapsed() <= PATIENCE).then_some(ran)
}

/// Makes one of the transactions, anywhere but first, such that it must be refused.
fn spoil(txs: &mut [TxEnv], rng: &mut Rng) {
    let at = 1 + rng.below(txs.len() as u64 - 1) as usize;
    let tx = &mut txs[at];
    match rng.below(4) {
        0 => tx.nonce += 1,
        1 => tx.gas_limit = 20_999,
        2 => tx.value = U256::MAX >> 1,
        _ => tx.gas_limit = GAS * TRANSACTIONS as u64 + 1,
    }
}

/// Numbers the transactions of each sender, and takes out what plain revm refuses; now and then it stays, and
/// the block ends before it. Gives what plain revm makes of the block; `None` if it cannot say.
fn settle(
    input: &mut BlockInput,
    alloc: &Alloc,
    pre: &PreState,
    rng: &mut Rng,
    lean: &mut dyn Engine,
) -> Option<Ran> {
    loop {
        number(&mut input.txs, alloc);
        match execute(input, pre, lean)? {
            Ok(block) => return Some(Ok(block)),
            Err(error @ ExecError::Invalid { tx, .. }) if tx > 0 && rng.percent(REFUSED_PERCENT) => {
                return Some(Err(error));
            }
            Err(ExecError::Invalid { tx, .. }) if tx < input.txs.len() => {
                input.txs.remove(tx);
            }
            Err(_) => return None,
        }
        if input.txs.len() < 2 {
            return None;
        }
    }
}

/// Gives each transaction the nonce that follows its sender's last one. Authorities that sign for each other
/// (EIP-7702) may still have used it: then the transaction is refused.
fn number(txs: &mut [TxEnv], alloc: &Alloc) {
    let mut next: BTreeMap<Address, u64> = BTreeMap::new();
    for tx in txs {
        let nonce = next
            .entry(tx.caller)
            .or_insert_with(|| alloc.0.get(&tx.caller).map_or(0, |account| account.nonce));
        tx.nonce = *nonce;
        *nonce += 1;
    }
}
