//! What a case is, and what can come of it.

use crate::{PlainCase, TransactionCase, TxFault, chain::ChainCase};
use alloy_primitives::{B256, Bytes};
use braid_rules::{ChainSpec, Fork};
use braid_work::Alloc;
use revm::context::{BlockEnv, TxEnv};
use std::sync::Arc;

/// One case of a vector file: one test under one fork, of state tests one choice of data, gas, value.
#[derive(Clone, Debug)]
pub struct Case {
    /// Archive (if any) and path in it, as upstream.
    pub file: Arc<str>,
    /// Name in the file, and what of it: `add11/Prague/d0g0v0`.
    pub name: String,
    /// What it says.
    pub kind: CaseKind,
}

/// The forms of cases.
#[derive(Clone, Debug)]
pub enum CaseKind {
    /// A state test.
    State(Box<StateCase>),
    /// A blockchain test.
    Chain(Box<ChainCase>),
    /// A transaction test.
    Transaction(Box<TransactionCase>),
    /// A test of something that needs no engine.
    Plain(Box<PlainCase>),
}

/// One transaction on one state, and what must come of it.
#[derive(Clone, Debug)]
pub struct StateCase {
    /// The chain.
    pub chain: Arc<ChainSpec>,
    /// The fork it runs under.
    pub fork: Fork,
    /// The block.
    pub env: BlockEnv,
    /// Most blob gas of the block.
    pub max_blob_gas: Option<u64>,
    /// State before.
    pub pre: Arc<Alloc>,
    /// The transaction, or why it is none (some tests are of transactions that no one can encode).
    pub tx: Result<TxEnv, TxFault>,
    /// Its consensus encoding, if the vector has it.
    pub raw: Option<Bytes>,
    /// What must come of it.
    pub expect: StateExpect,
}

/// The result that a state test demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateExpect {
    /// State root after.
    pub root: B256,
    /// Keccak-256 of the RLP of the logs.
    pub logs: B256,
    /// The transaction must be rejected, for a reason of one of these classes (separated by `|`).
    pub exception: Option<String>,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As demanded, on every seat.
    Passed,
    /// Not as demanded, on some seat.
    Failed,
    /// Not run, for a reason of the committed list.
    Skipped(&'static str),
}

/// One seat on which a case was not as demanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Profile, or empty if the case failed before any engine ran.
    pub profile: &'static str,
    /// Its threads.
    pub threads: usize,
    /// What was not as demanded.
    pub reason: String,
}

/// A class of cases whose expectations are counted, but not demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A draft of the fork after Osaka, which the pinned machine does not match. What is demanded of such
    /// cases is that every engine does with them what the yardstick does.
    Amsterdam,
    /// Access lists (EIP-7928) of blocks of that draft whose gas is as demanded: encoding, order and hash of
    /// what an engine records.
    AccessList,
    /// What the yardstick makes of any case, where the others are right and it is not: plain revm lacks
    /// some rules of forks that mainnet never had.
    Lean,
}

impl Class {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::Amsterdam => "amsterdam",
            Class::AccessList => "access_list",
            Class::Lean => "lean",
        }
    }
}

/// What came of a case, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a word. What is only reported leaves it at [`Outcome::Passed`].
    pub outcome: Outcome,
    /// Every seat that was not as demanded.
    pub failures: Vec<Failure>,
    /// Whether a parallel engine alone was wrong: its result is not that of the serial ones.
    pub diverged: bool,
    /// Classes of reports that the case is in, each with why it failed there, if it did.
    pub reported: Vec<(Class, Option<String>)>,
    /// Blocks executed, over all engines.
    pub executions: u64,
}

impl Verdict {
    /// A case that was checked without an engine.
    pub fn checked(result: Result<(), String>) -> Self {
        let failure = |reason| Failure { profile: "", threads: 0, reason };
        let failures: Vec<Failure> = result.err().map(failure).into_iter().collect();
        Verdict {
            outcome: if failures.is_empty() { Outcome::Passed } else { Outcome::Failed },
            failures,
            diverged: false,
            reported: Vec::new(),
            executions: 0,
        }
    }

    /// A case that was not run.
    pub fn skipped(reason: &'static str) -> Self {
        Verdict { outcome: Outcome::Skipped(reason), ..Verdict::checked(Ok(())) }
    }
}
