//! Runs a blockchain test on every engine.

use super::{
    BlockCase, ChainCase, Post, Rejection,
    import::{Executed, Tree, execute, pre_state},
};
use crate::{Failure, Outcome, Seats, Verdict};
use braid_core::Control;
use braid_work::Alloc;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Name of the profile whose failures fail no case.
const YARDSTICK: &str = "lean";

/// Something that is not as demanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Index of the block; `None` if it is of the case as a whole.
    pub block: Option<usize>,
    /// The engine (in the order of [`Seats::names`]); `None` if it failed before any engine ran.
    pub seat: Option<usize>,
    /// Whether the engine made something else of the block than the one that others are held to.
    pub diverges: bool,
    /// What it is.
    pub reason: String,
}

/// What came of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All that is not as demanded, in order.
    pub findings: Vec<Finding>,
    /// Blocks executed.
    pub blocks: usize,
    /// Transactions in them.
    pub txs: usize,
}

impl Report {
    /// The verdict on a case of a fork that is settled. What fails on the yardstick alone is listed, and
    /// fails nothing.
    pub fn verdict(&self, seats: &Seats) -> Verdict {
        self.judged(seats, |profile, _| profile != YARDSTICK)
    }

    /// The verdict on a case of a draft: it fails only where an engine diverges.
    pub fn draft_verdict(&self, seats: &Seats) -> Verdict {
        self.judged(seats, |_, finding| finding.diverges)
    }

    fn judged(&self, seats: &Seats, counts: impl Fn(&str, &Finding) -> bool) -> Verdict {
        let names: Vec<_> = seats.names().collect();
        let mut failed = false;
        let mut failures = Vec::with_capacity(self.findings.len());
        for finding in &self.findings {
            let (profile, threads) = finding.seat.map_or(("", 0), |seat| names[seat]);
            failed |= counts(profile, finding);
            let reason = match finding.block {
                Some(block) => format!("block {block}: {}", finding.reason),
                None => finding.reason.clone(),
            };
            failures.push(Failure { profile, threads, reason });
        }
        Verdict { outcome: if failed { Outcome::Failed } else { Outcome::Passed }, failures }
    }
}

struct Running<'a> {
    case: &'a ChainCase,
    draft: bool,
    /// The engine that the others are held to, if it is not the yardstick, which is held to nothing.
    reference: usize,
    yardstick: Vec<bool>,
    tree: Tree,
    report: Report,
}

/// Runs `case` on every engine of `seats`, each block with at most `timeout`.
///
/// A case of a draft ([`ChainCase::is_draft`]) is run as far as it goes: a block that breaks a rule, or
/// whose header says something else than what came of it, is reported and taken for accepted, so that
/// there is more to compare engines on.
pub fn run(case: &ChainCase, seats: &mut Seats, timeout: Duration) -> Report {
    let yardstick: Vec<bool> = seats.names().map(|(profile, _)| profile == YARDSTICK).collect();
    let draft = case.is_draft();
    let reference = yardstick.iter().position(|lean| *lean == draft).unwrap_or(0);
    let tree = Tree::new(case.chain.clone(), &case.genesis, case.pre.clone());
    let mut running = Running { case, draft, reference, yardstick, tree, report: Report::default() };
    if running.genesis() {
        for (index, block) in case.blocks.iter().enumerate() {
            if !running.block(index, block, seats, timeout) {
                break;
            }
        }
        running.last();
    }
    running.report
}

impl Running<'_> {
    fn find(&mut self, block: Option<usize>, reason: impl Into<String>) {
        let reason = reason.into();
        self.report.findings.push(Finding { block, seat: None, diverges: false, reason });
    }

    /// Whether the state of the genesis block is what its header says.
    fn genesis(&mut self) -> bool {
        let expected = self.case.genesis.state_root;
        match pre_state(&self.case.pre).map(|pre| pre.state_root()) {
            Ok(root) if root == expected => return true,
            Ok(root) => self.find(None, format!("genesis state root {root}, the header has {expected}")),
            Err(reason) => self.find(None, reason),
        }
        false
    }

    /// Imports one block; whether the case can go on.
    fn block(&mut self, index: usize, block: &BlockCase, seats: &mut Seats, timeout: Duration) -> bool {
        let (ready, broken) = match self.tree.prepare(&block.rlp, self.draft) {
            Ok(ready) => ready,
            Err(rejection) => {
                if let Some(reason) = unexpected(block, Some(&rejection)) {
                    self.find(Some(index), reason);
                }
                return !block.valid;
            }
        };
        if let Some(hash) = block.hash.filter(|hash| *hash != ready.block.hash) {
            self.find(Some(index), format!("hash {}, expected {hash}", ready.block.hash));
        }
        let control = Control { deadline: Instant::now().checked_add(timeout), ..Control::default() };
        let executed = match execute(&ready, seats, &control) {
            Ok(executed) => executed,
            Err(reason) => {
                self.find(Some(index), reason);
                return false;
            }
        };
        self.report.blocks += 1;
        self.report.txs += ready.block.txs.len();
        self.compare(index, &executed);
        match broken {
            // Rejected before any engine ran, though a draft lets engines run it.
            Some(rule) => {
                if let Some(reason) = unexpected(block, Some(&Rejection::Rule(rule, None))) {
                    self.find(Some(index), reason);
                }
            }
            None => self.judge(index, block, &executed),
        }
        if !block.valid {
            return true;
        }
        match self.accepted(&executed) {
            Some(state) => {
                self.tree.accept(ready, state);
                true
            }
            None => false,
        }
    }

    /// Holds every engine to the one that is the reference.
    fn compare(&mut self, index: usize, executed: &[Executed]) {
        let reference = self.reference;
        for (seat, one) in executed.iter().enumerate() {
            let counts = self.draft || !self.yardstick[seat];
            if seat != reference && counts && !one.same(&executed[reference]) {
                let reason =
                    format!("{} where the reference has {}", summary(one), summary(&executed[reference]));
                let finding = Finding { block: Some(index), seat: Some(seat), diverges: true, reason };
                self.report.findings.push(finding);
            }
        }
    }

    /// Holds every engine to what the fixture demands.
    fn judge(&mut self, index: usize, block: &BlockCase, executed: &[Executed]) {
        for (seat, one) in executed.iter().enumerate() {
            if let Some(reason) = unexpected(block, one.rejection().as_ref()) {
                let finding = Finding { block: Some(index), seat: Some(seat), diverges: false, reason };
                self.report.findings.push(finding);
            }
        }
    }

    /// The state after a block that counts as accepted: that of the reference, or else of the first engine
    /// that accepts it.
    fn accepted(&self, executed: &[Executed]) -> Option<Alloc> {
        let first = std::iter::once(&executed[self.reference]).chain(executed);
        let mut accepting = first.filter(|one| self.draft || one.broken.is_none());
        accepting.find_map(|one| one.result.as_ref().ok()).map(|done| done.1.clone())
    }

    /// Compares the state that the fixture ends with.
    fn last(&mut self) {
        let Some(last) = self.tree.get(self.case.last) else {
            self.find(None, format!("the last block {} was not accepted", self.case.last));
            return;
        };
        let state = last.state.clone();
        match &self.case.post {
            Post::State(expected) => {
                if let Some(difference) = difference(&state, expected) {
                    self.find(None, format!("post state: {difference}"));
                }
            }
            Post::Root(expected) => match pre_state(&state).map(|state| state.state_root()) {
                Ok(root) if root == *expected => {}
                Ok(root) => self.find(None, format!("post state root {root}, expected {expected}")),
                Err(reason) => self.find(None, reason),
            },
            Post::Unknown => {}
        }
    }
}

/// What is not as `block` demands, given why it is rejected (`None` if it is accepted).
fn unexpected(block: &BlockCase, rejection: Option<&Rejection>) -> Option<String> {
    match (block.valid, rejection, &block.exception) {
        (true, None, _) | (false, Some(_), None) => None,
        (true, Some(rejection), _) => Some(format!("rejected: {rejection}")),
        (false, None, class) => {
            Some(format!("accepted, expected {}", class.as_deref().unwrap_or("rejection")))
        }
        (false, Some(rejection), Some(class)) => match rejection.is_of(class) {
            Ok(true) => None,
            Ok(false) => Some(format!("rejected: {rejection}, expected {class}")),
            Err(unknown) => Some(unknown.to_string()),
        },
    }
}

fn summary(executed: &Executed) -> String {
    match &executed.result {
        Err(error) => error.to_string(),
        Ok(done) => {
            let gas: u64 = done.0.results.iter().map(|result| result.gas_used).sum();
            let accounts = done.0.diff.len();
            format!("{} results with {gas} gas and {accounts} changed accounts", done.0.results.len())
        }
    }
}

/// The first account in which two states differ.
fn difference(got: &Alloc, expected: &Alloc) -> Option<String> {
    let addresses: BTreeSet<_> = got.0.keys().chain(expected.0.keys()).collect();
    addresses.into_iter().find_map(|address| {
        let bare = |state: &Alloc| {
            let mut account = state.0.get(address).cloned();
            if let Some(account) = &mut account {
                account.storage.retain(|_, value| !value.is_zero());
            }
            account
        };
        let (got, expected) = (bare(got), bare(expected));
        (got != expected).then(|| format!("account {address} is {got:?}, expected {expected:?}"))
    })
}
