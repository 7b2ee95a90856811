//! Compare what an engine computed with everything the input says about it.

use crate::{Case, Scope, witness};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use braid_evm::{AccountInfoDiff, EvmKey, EvmValue, ExecutedBlock, Status, TxResult};
use braid_rules::outcome::{self, Landed};
use revm::primitives::hardfork::SpecId;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Result of a verification. Each check is `None` where the input does not allow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// The header's fields hash to the block's hash.
    pub header_hash: Option<bool>,
    /// Root of the signed transactions.
    pub transactions_root: Option<bool>,
    /// Gas used by the block.
    pub gas_used: Option<bool>,
    /// Root of the receipts (from Byzantium on; earlier ones carry intermediate state roots).
    pub receipts_root: Option<bool>,
    /// Bloom filter over all logs.
    pub logs_bloom: Option<bool>,
    /// Hash of the EIP-7685 requests.
    pub requests_hash: Option<bool>,
    /// Root of the withdrawals.
    pub withdrawals_root: Option<bool>,
    /// Blob gas used by the block.
    pub blob_gas: Option<bool>,
    /// Status, gas and logs of each transaction against the chain's receipts.
    pub tx_status: Option<bool>,
    /// State after the block.
    pub post_state: Option<bool>,
    /// State root after the block, by the witness.
    pub state_root: Option<bool>,
    /// The first difference of each failed check.
    pub differences: Vec<String>,
}

impl Checks {
    /// Every check with its name.
    pub fn all(&self) -> [(&'static str, Option<bool>); 11] {
        [
            ("header_hash", self.header_hash),
            ("transactions_root", self.transactions_root),
            ("gas_used", self.gas_used),
            ("receipts_root", self.receipts_root),
            ("logs_bloom", self.logs_bloom),
            ("requests_hash", self.requests_hash),
            ("withdrawals_root", self.withdrawals_root),
            ("blob_gas", self.blob_gas),
            ("tx_status", self.tx_status),
            ("post_state", self.post_state),
            ("state_root", self.state_root),
        ]
    }

    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }

    /// Number of checks that could be made.
    pub fn made(&self) -> usize {
        self.all().iter().filter(|(_, check)| check.is_some()).count()
    }

    /// Compares, and remembers a difference.
    fn equal<T: PartialEq + fmt::Debug>(&mut self, what: &str, computed: &T, expected: &T) -> Option<bool> {
        self.result(
            what,
            (computed != expected).then(|| format!("computed {computed:?}, expected {expected:?}")),
        )
    }

    fn result(&mut self, what: &str, difference: Option<String>) -> Option<bool> {
        let same = difference.is_none();
        self.differences.extend(difference.map(|difference| format!("{what}: {difference}")));
        Some(same)
    }
}

impl fmt::Display for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |state: Option<bool>| {
            self.all().into_iter().filter(move |(_, check)| *check == state).map(|(name, _)| name)
        };
        let passed: Vec<_> = of(Some(true)).collect();
        write!(f, "passed: {}", passed.join(" "))?;
        for difference in &self.differences {
            write!(f, "\nFAILED {difference}")?;
        }
        Ok(())
    }
}

/// Checks what needs no execution: the input against itself, and against receipts it comes with.
pub fn verify_input(case: &Case) -> Checks {
    let mut checks = Checks::default();
    let Some(header) = &case.header else { return checks };
    if let Some(expected) = &case.expect.block_hash {
        checks.header_hash = checks.equal("header_hash", &header.hash_slow(), expected);
    }
    if let Some(raw) = &case.raw {
        let root = outcome::encoded_root(&raw.txs);
        checks.transactions_root = checks.equal("transactions_root", &root, &header.transactions_root);
    }
    if let (Some(expected), Some(withdrawals)) = (&header.withdrawals_root, &case.expect.withdrawals) {
        let root = outcome::withdrawals_root(withdrawals);
        checks.withdrawals_root = checks.equal("withdrawals_root", &root, expected);
    }
    if let Some(expected) = header.blob_gas_used {
        let blobs: usize = case.input.txs.iter().map(|tx| tx.blob_hashes.len()).sum();
        let used = blobs as u64 * alloy_eips::eip4844::DATA_GAS_PER_BLOB;
        checks.blob_gas = checks.equal("blob_gas", &used, &expected);
    }
    if let Some(receipts) = &case.expect.receipts {
        let listed = receipts.iter().zip(types(case)).map(|(one, tx_type)| Landed {
            tx_type,
            success: one.success,
            cumulative_gas_used: one.cumulative_gas_used,
            logs: one.logs.clone(),
        });
        check_receipts(&mut checks, case, header, listed.collect());
    }
    checks
}

/// Checks `done` and the input against all that `case` allows.
pub fn verify(case: &Case, done: &ExecutedBlock) -> Checks {
    let mut checks = verify_input(case);
    if let Some(header) = &case.header {
        check_receipts(&mut checks, case, header, outcome::landed(types(case), done));
        if let (Some(expected), Scope::FullBlock) = (&header.requests_hash, case.expect.scope) {
            let hash = outcome::requests_hash(&done.requests);
            checks.requests_hash = checks.equal("requests_hash", &hash, expected);
        }
    }
    if let Some(receipts) = &case.expect.receipts {
        let difference = tx_difference(receipts, &done.results);
        checks.tx_status = checks.result("tx_status", difference);
    }
    if let Some((computed, expected)) = end_states(case, done) {
        checks.post_state = checks.result("post_state", state_difference(&computed, &expected));
    }
    let root_expected = case.header.as_ref().filter(|_| case.expect.scope == Scope::FullBlock);
    if let (Some(witness), Some(header)) = (&case.expect.witness, root_expected) {
        let clears_empty = case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
        checks.state_root = match witness::state_root_after(witness, &done.diff, clears_empty) {
            Ok(root) => checks.equal("state_root", &root, &header.state_root),
            Err(error) => checks.result("state_root", Some(error.to_string())),
        };
    }
    checks
}

/// Types of the transactions.
fn types(case: &Case) -> impl Iterator<Item = u8> {
    case.input.txs.iter().map(|tx| tx.tx_type)
}

/// Gas used, receipts root and bloom.
fn check_receipts(checks: &mut Checks, case: &Case, header: &Header, landed: Vec<Landed>) {
    let gas = landed.last().map_or(0, |last| last.cumulative_gas_used);
    checks.gas_used = checks.equal("gas_used", &gas, &header.gas_used);
    let receipts = outcome::receipts(landed);
    let bloom = outcome::logs_bloom(&receipts);
    checks.logs_bloom =
        checks.result("logs_bloom", (bloom != header.logs_bloom).then(|| "blooms differ".into()));
    if case.input.spec.is_enabled_in(SpecId::BYZANTIUM) {
        let root = outcome::receipts_root(&receipts);
        checks.receipts_root = checks.equal("receipts_root", &root, &header.receipts_root);
    }
}

fn tx_difference(receipts: &[crate::ExpectedReceipt], results: &[TxResult]) -> Option<String> {
    if receipts.len() != results.len() {
        return Some(format!("{} results for {} receipts", results.len(), receipts.len()));
    }
    let mut before = 0;
    for (tx, (receipt, result)) in receipts.iter().zip(results).enumerate() {
        let gas = receipt.cumulative_gas_used.saturating_sub(before);
        before = receipt.cumulative_gas_used;
        let success = result.status == Status::Success;
        if (success, result.gas_used) != (receipt.success, gas) {
            let expected = receipt.success;
            return Some(format!(
                "transaction {tx}: success {success} with {} gas, expected {expected} with {gas}",
                result.gas_used
            ));
        }
        if receipt.logs != result.logs {
            return Some(format!("transaction {tx}: logs differ"));
        }
    }
    None
}

/// A state, restricted to what one of two descriptions of it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct EndState {
    accounts: BTreeMap<Address, Option<AccountInfoDiff>>,
    slots: BTreeMap<(Address, U256), U256>,
    /// Codes that accounts got, as far as known.
    codes: BTreeMap<B256, Bytes>,
}

/// The computed and the expected end state, both over everything that either changes. An account or a
/// slot that only one of them lists is in the other as it was before the block.
fn end_states(case: &Case, done: &ExecutedBlock) -> Option<(EndState, EndState)> {
    let (expected, pre) = (case.expect.post_state.as_ref()?, case.pre.as_ref()?);
    let clears_empty = case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
    let alive = |info: AccountInfoDiff| {
        let empty = info.balance.is_zero() && info.nonce == 0 && info.code_hash == KECCAK256_EMPTY;
        (!(clears_empty && empty)).then_some(info)
    };
    let account_before = |address: Address| match pre.store.get(&EvmKey::Account(address)) {
        Some(EvmValue::Account(account)) => alive(account.into()),
        _ => None,
    };
    let slot_before =
        |address: Address, slot: U256| match pre.store.get(&EvmKey::Slot { address, generation: 0, slot }) {
            Some(EvmValue::Slot(value)) => *value,
            _ => U256::ZERO,
        };
    let both = [&done.diff, expected];
    let addresses: BTreeSet<Address> = both.iter().flat_map(|diff| diff.keys().copied()).collect();
    let listed = both.iter().flat_map(|diff| diff.iter());
    let mut slots: BTreeSet<(Address, U256)> =
        listed.flat_map(|(address, diff)| diff.storage.keys().map(|slot| (*address, *slot))).collect();
    let wiped = |address: &Address| both.iter().any(|d| d.get(address).is_some_and(|diff| diff.wiped));
    slots.extend(pre.store.iter().filter_map(|(key, _)| match key {
        EvmKey::Slot { address, slot, .. } if wiped(address) => Some((*address, *slot)),
        _ => None,
    }));
    let end = |diff: &BTreeMap<Address, braid_evm::AccountDiff>| {
        let account = |address: &Address| match diff.get(address) {
            Some(diff) => (*address, diff.account.and_then(alive)),
            None => (*address, account_before(*address)),
        };
        let slot = |(address, slot): &(Address, U256)| {
            let value = match diff.get(address) {
                Some(diff) if diff.account.is_none() => U256::ZERO,
                Some(diff) => match diff.storage.get(slot) {
                    Some(value) => *value,
                    None if diff.wiped => U256::ZERO,
                    None => slot_before(*address, *slot),
                },
                None => slot_before(*address, *slot),
            };
            ((*address, *slot), value)
        };
        let accounts = addresses.iter().map(account).collect();
        EndState { accounts, slots: slots.iter().map(slot).collect(), codes: BTreeMap::new() }
    };
    let (mut computed, mut wanted) = (end(&done.diff), end(expected));
    // Only codes that the input lists can be compared: others are in a code file already.
    wanted.codes = case.expect.new_codes.clone();
    let hashes = wanted.codes.keys();
    computed.codes = hashes.filter_map(|hash| Some((*hash, done.codes.get(hash)?.clone()))).collect();
    Some((computed, wanted))
}

fn state_difference(computed: &EndState, expected: &EndState) -> Option<String> {
    let accounts = computed.accounts.iter().zip(&expected.accounts).find(|(one, other)| one != other);
    if let Some(((address, computed), (_, expected))) = accounts {
        return Some(format!("account {address}: computed {computed:?}, expected {expected:?}"));
    }
    let slots = computed.slots.iter().zip(&expected.slots).find(|(one, other)| one != other);
    if let Some((((address, slot), computed), (_, expected))) = slots {
        return Some(format!("slot {slot:#x} of {address}: computed {computed:#x}, expected {expected:#x}"));
    }
    let missing = expected.codes.iter().find(|(hash, code)| computed.codes.get(*hash) != Some(code));
    missing.map(|(hash, _)| format!("code {hash} was not deployed"))
}
