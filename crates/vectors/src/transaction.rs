//! TransactionTests: an encoding, and what each fork makes of it.
//!
//! A transaction that can be decoded and has a sender runs, without its value, in a state in which the
//! sender can pay for anything, so that the machine itself says whether the fork takes it.

use crate::{Base, Case, CaseKind, Field, Flaw, TxFault, VectorError, json, json::Num, tx::sender};
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, Bytes, U256};
use braid_evm::{BlockInput, EvmRules, Rites};
use braid_rules::{ChainSpec, Fork, SignedTx, decode, input::tx_env};
use braid_work::{Alloc, AllocAccount};
use revm::{
    context::{BlockEnv, TxEnv},
    context_interface::{block::BlobExcessGasAndPrice, cfg::gas::calculate_initial_tx_gas_for_tx},
    primitives::hardfork::SpecId,
};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Chain of the vectors.
const CHAIN_ID: u64 = 1;

/// Most gas that a transaction may burn here, if it can do with less than it has.
const MAX_GAS: u64 = 1_000_000;

/// One transaction under one fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionCase {
    /// The fork.
    pub fork: Fork,
    /// The encoding.
    pub raw: Bytes,
    /// What must come of it.
    pub expect: TransactionExpect,
}

/// What must come of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionExpect {
    /// It is valid.
    Valid {
        /// Its hash.
        hash: B256,
        /// Its sender.
        sender: Address,
        /// Gas that it uses before any code runs.
        intrinsic_gas: u64,
    },
    /// It is not, for a reason of this class.
    Exception(String),
}

/// A transaction that could be decoded, ready to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) base: Base,
    pub(crate) input: BlockInput,
}

impl TransactionCase {
    /// The transaction, if it is one of the fork's, with the state and the block in which to try it; or all
    /// that is wrong with it.
    ///
    /// # Errors
    /// If it is not what is expected.
    pub(crate) fn prepare(&self, file: &str) -> Result<Result<Prepared, Vec<TxFault>>, String> {
        let (tx, sender) = match self.decode() {
            Ok(decoded) => decoded,
            Err(faults) => return Ok(Err(faults)),
        };
        let mut env = tx_env(&tx, sender);
        let (spec, rules) = ChainSpec::evm(self.fork);
        let gas = calculate_initial_tx_gas_for_tx(&env, spec, None);
        if let TransactionExpect::Valid { hash, sender: expected, intrinsic_gas } = &self.expect {
            let gas = gas.initial_total_gas();
            let found = (*tx.tx_hash(), sender, gas);
            if found != (*hash, *expected, *intrinsic_gas) {
                return Err(format!("hash, sender, intrinsic gas: {found:?}, expected {:?}", self.expect));
            }
        }
        env.value = U256::ZERO;
        let enough = gas.initial_total_gas().max(gas.floor_gas()).max(MAX_GAS);
        env.gas_limit = env.gas_limit.min(enough);
        let input = block(spec, rules, env);
        let account = AllocAccount { balance: U256::MAX, nonce: tx.nonce(), ..AllocAccount::default() };
        let alloc = Arc::new(Alloc([(sender, account)].into()));
        let base = Base::new(alloc, BTreeMap::new(), file).map_err(|error| error.to_string())?;
        Ok(Ok(Prepared { base, input }))
    }
}

impl TransactionCase {
    fn decode(&self) -> Result<(SignedTx, Address), Vec<TxFault>> {
        let (spec, _) = ChainSpec::evm(self.fork);
        let first_with = match self.raw.first() {
            Some(1) => SpecId::BERLIN,
            Some(2) => SpecId::LONDON,
            Some(3) => SpecId::CANCUN,
            Some(4) => SpecId::PRAGUE,
            _ => SpecId::FRONTIER,
        };
        let too_new = !spec.is_enabled_in(first_with);
        let mut faults = Vec::from_iter(too_new.then_some(TxFault::new(Field::Envelope, Flaw::Type)));
        match self.decode_of_any_fork() {
            Ok(decoded) if faults.is_empty() => return Ok(decoded),
            Ok(_) => {}
            Err(fault) => faults.push(fault),
        }
        Err(faults)
    }

    fn decode_of_any_fork(&self) -> Result<(SignedTx, Address), TxFault> {
        let tx = decode::tx(&self.raw).map_err(|_| TxFault::of(&self.raw))?;
        match tx.chain_id() {
            // EIP-155: before it, a signature with a chain id is none.
            Some(_) if tx.is_legacy() && self.fork < Fork::SpuriousDragon => {
                Err(TxFault::new(Field::V, Flaw::Signature))
            }
            Some(id) if id != CHAIN_ID => Err(TxFault::new(Field::ChainId, Flaw::OtherChain)),
            _ => sender(&tx, self.fork).map(|sender| (tx, sender)),
        }
    }
}

fn block(spec: SpecId, rules: EvmRules, tx: TxEnv) -> BlockInput {
    let env = BlockEnv {
        number: U256::ONE,
        timestamp: U256::ONE,
        gas_limit: u64::MAX,
        basefee: 0,
        prevrandao: Some(B256::ZERO),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice: 1 }),
        ..BlockEnv::default()
    };
    BlockInput {
        chain_id: CHAIN_ID,
        spec,
        env,
        txs: vec![tx],
        block_hashes: BTreeMap::new(),
        max_blob_gas: None,
        rites: Rites::default(),
        rules,
        gas_used: None,
    }
}

#[derive(Deserialize)]
struct JsonUnit {
    txbytes: Bytes,
    result: BTreeMap<String, JsonResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonResult {
    hash: Option<B256>,
    sender: Option<Address>,
    intrinsic_gas: Option<Num<u64>>,
    exception: Option<String>,
}

/// The cases of a file of TransactionTests.
pub(crate) fn cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonUnit> = json::parse(label, bytes)?;
    let mut cases = Vec::new();
    for (unit, JsonUnit { txbytes, result }) in units {
        for (network, result) in result {
            let name = format!("{unit}/{network}");
            let invalid = |reason: String| VectorError::invalid(label, &name, reason);
            let chain = ChainSpec::of_network(&network, CHAIN_ID);
            let fork = chain.map_err(|error| invalid(error.to_string()))?.fork_at(0, 0, U256::ZERO);
            let expect = match (result.exception, result.hash, result.sender) {
                (Some(exception), _, _) => TransactionExpect::Exception(exception),
                (None, Some(hash), Some(sender)) => {
                    let intrinsic_gas = result.intrinsic_gas.map_or(0, |gas| gas.0);
                    TransactionExpect::Valid { hash, sender, intrinsic_gas }
                }
                _ => return Err(invalid("neither an exception, nor hash and sender".to_owned())),
            };
            let case = TransactionCase { fork, raw: txbytes.clone(), expect };
            cases.push(Case { file: label.clone(), name, kind: CaseKind::Transaction(Box::new(case)) });
        }
    }
    Ok(cases)
}
