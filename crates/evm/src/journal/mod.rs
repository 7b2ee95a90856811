//! The journal: the state of one running transaction, what it observed, and what it changes.
//!
//! It behaves as revm's `JournalInner` (revm-context 43.0.3) for Frontier to Osaka, with two
//! differences. It reads through a recorded [`View`] and notes which *part* of each account's record
//! made a difference; and it lives in arenas that a worker keeps between transactions, whose entries
//! name each other by position.
//!
//! What is observed, by rule:
//! 1. A record is read once. At the end each read is narrowed to what was observed.
//! 2. Balances are observed as bounds, see [`entry`]; exactly only where the value itself flows on.
//! 3. The sender's nonce is predicted unless the view is final; other nonces are observed where used.
//! 4. Code is observed, by its hash, where the code or its hash is used.
//! 5. Emptiness and existence are observed where gas, EXTCODEHASH or the end of the transaction
//!    (EIP-161) depend on them, and only if the transaction's own changes do not settle them.
//! 6. Storage belongs to a generation of its account, which each access observes; creation observes it
//!    too, and begins the next.
//! 7. Creation is refused where storage is left (EIP-7610), which observes whether there is any.
//! 8. A fee or a credit to an account that was not loaded reads nothing.

mod arena;
mod effects;
mod entry;
mod handle;
mod index;
mod load;
mod state;
mod step;
mod tr;

pub(crate) use arena::Arenas;
pub(crate) use effects::Writes;

use crate::{CodeCache, EvmKey, EvmValue, hash::BlockRun};
use alloy_primitives::{Address, B256, U256};
use braid_core::{Halt, StoreError, View};
use revm::{
    bytecode::Bytecode,
    database_interface::{DBErrorMarker, Database},
    precompile::Precompiles,
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use std::collections::BTreeMap;

/// The view stopped the execution. An error as revm wants one.
#[derive(Clone, Debug, thiserror::Error)]
#[error("halted: {0:?}")]
pub(crate) struct Stopped(pub(crate) Halt);

impl DBErrorMarker for Stopped {}

/// What lies under the journal.
pub(crate) struct Source<'a> {
    /// The state, as left by earlier transactions.
    pub(crate) view: &'a mut (dyn View<EvmKey, EvmValue> + 'a),
    /// Codes of all workers.
    pub(crate) codes: &'a CodeCache,
    /// Hashes for BLOCKHASH.
    pub(crate) block_hashes: &'a BTreeMap<u64, B256>,
    /// Whether one that is not among them is missing, instead of zero.
    pub(crate) listed_hashes_only: bool,
}

/// What revm may ask of the state besides the journal. Only BLOCKHASH does; the rest is there because
/// the trait wants it, and observes everything.
impl Database for Source<'_> {
    type Error = Stopped;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Stopped> {
        match self.view.read(&EvmKey::Account(address)).map_err(Stopped)?.value {
            Some(EvmValue::Account(account)) if account.exists => Ok(Some(AccountInfo {
                balance: account.balance,
                nonce: account.nonce,
                code_hash: account.code_hash,
                account_id: None,
                code: None,
            })),
            Some(EvmValue::Account(_)) | None => Ok(None),
            Some(_) => Err(mismatch("account", &address)),
        }
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Stopped> {
        match self.view.read(&EvmKey::Code(hash)).map_err(Stopped)?.value {
            Some(EvmValue::Code(code)) => Ok(code),
            Some(_) => Err(mismatch("code", &hash)),
            None => Err(missing_code(hash)),
        }
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Stopped> {
        let key = EvmKey::Slot { address, generation: 0, slot };
        match self.view.read(&key).map_err(Stopped)?.value {
            Some(EvmValue::Slot(value)) => Ok(value),
            None => Ok(U256::ZERO),
            Some(_) => Err(mismatch("slot", &address)),
        }
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Stopped> {
        match self.block_hashes.get(&number) {
            Some(hash) => Ok(*hash),
            None if self.listed_hashes_only => {
                let (what, item) = ("block hash", number.to_string());
                Err(Stopped(Halt::Store(StoreError::Missing { what, item })))
            }
            None => Ok(B256::ZERO),
        }
    }
}

pub(crate) fn mismatch(what: &str, item: &impl std::fmt::Display) -> Stopped {
    Stopped(Halt::Store(StoreError::Failed(format!("not the kind of value for {what} {item}"))))
}

pub(crate) fn missing_code(hash: B256) -> Stopped {
    Stopped(Halt::Store(StoreError::Missing { what: "code", item: hash.to_string() }))
}

/// Rules of the block that the journal needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalRules {
    /// Fork.
    pub(crate) spec: SpecId,
    /// Whether creation fails where storage is left (EIP-7610).
    pub(crate) eip7610: bool,
    /// Precompiles.
    pub(crate) precompiles: &'static Precompiles,
}

/// The journal of one execution.
pub(crate) struct Journal<'a> {
    /// What lies under it.
    pub(crate) source: Source<'a>,
    /// Where it keeps everything.
    pub(crate) arenas: Box<Arenas>,
    /// Beneficiary, if warm from the start (EIP-3651).
    pub(crate) coinbase: Option<Address>,
    /// Whether precompiles are warm from the start: in users' transactions, not in system calls.
    pub(crate) warm_precompiles: bool,
    /// Rules.
    pub(crate) rules: JournalRules,
    /// Whose hashes are remembered.
    pub(crate) run: BlockRun,
}

impl<'a> Journal<'a> {
    /// A journal for one execution.
    pub(crate) fn begin(
        source: Source<'a>,
        mut arenas: Box<Arenas>,
        rules: JournalRules,
        run: BlockRun,
    ) -> Self {
        arenas.begin();
        Journal { source, arenas, coinbase: None, warm_precompiles: false, rules, run }
    }

    /// Whether EIP-161 is in force: empty accounts do not exist.
    pub(crate) fn state_clear(&self) -> bool {
        self.rules.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON)
    }
}
