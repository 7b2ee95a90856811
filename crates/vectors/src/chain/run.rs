//! Runs a blockchain test on every engine.

use super::{
    BlockCase, ChainCase, Post,
    import::{Ready, Rejection, Tree},
};
use crate::{Base, Class, Options, Outcome, Ran, Seats, Verdict, YARDSTICK, judge};
use braid_core::Control;
use braid_evm::{access_list_hash, compare_access_lists};
use braid_rules::{RuleError, outcome};
use braid_work::Alloc;
use std::{collections::BTreeSet, sync::Arc, time::Instant};

struct Running<'a> {
    case: &'a ChainCase,
    file: &'a str,
    tree: Tree,
    /// Of all blocks so far.
    verdict: Verdict,
    /// Why the case is not as demanded, if that is only reported.
    first_cause: Option<String>,
    /// Whether the access lists of all blocks are as demanded, if any was compared.
    lists: Option<Result<(), String>>,
}

/// Runs `case`, which is of `file`, on every engine of `seats`.
///
/// A case of a draft ([`ChainCase::is_draft`]) is run as far as it goes: a block that must be accepted is,
/// whatever rule it breaks, so that there is more to compare engines on.
pub(crate) fn run(case: &ChainCase, file: &str, seats: &mut Seats, options: &Options<'_>) -> Verdict {
    let control = Control { cancel: options.cancel, deadline: Instant::now().checked_add(options.deadline) };
    let mut running = Running {
        case,
        file,
        tree: Tree::new(case.chain.clone(), &case.genesis, case.pre.clone()),
        verdict: Verdict::checked(Ok(())),
        first_cause: None,
        lists: None,
    };
    let done = running.genesis().and_then(|()| {
        for (index, block) in case.blocks.iter().enumerate() {
            let imported = running.import(block, seats, &control);
            imported.map_err(|reason| format!("block {index}: {reason}"))?;
            if running.verdict.outcome == Outcome::Failed {
                running.name_block(index);
                return Ok(());
            }
        }
        running.last()
    });
    running.finish(done)
}

impl Running<'_> {
    /// The verdict, given what the case as a whole fails for.
    fn finish(mut self, done: Result<(), String>) -> Verdict {
        if !self.case.is_draft() {
            if let Err(reason) = done {
                let failed = Verdict::checked(Err(reason));
                self.verdict.outcome = failed.outcome;
                self.verdict.failures.extend(failed.failures);
            }
            return self.verdict;
        }
        let cause = self.first_cause.or(done.err());
        self.verdict.reported.push((Class::Amsterdam, cause));
        self.verdict.reported.extend(self.lists.map(|lists| (Class::AccessList, lists.err())));
        self.verdict
    }

    /// Whether the state of the genesis block is what its header says.
    fn genesis(&self) -> Result<(), String> {
        let (root, expected) = (self.base(&self.case.pre)?.root(), self.case.genesis.state_root);
        if root == expected {
            return Ok(());
        }
        Err(format!("genesis state root {root}, the header has {expected}"))
    }

    fn base(&self, state: &Arc<Alloc>) -> Result<Base, String> {
        Base::new(state.clone(), Default::default(), self.file).map_err(|error| error.to_string())
    }

    /// Imports one block. What engines fail at is in the verdict.
    ///
    /// # Errors
    /// What is not as demanded before any engine ran; the case cannot go on.
    fn import(&mut self, block: &BlockCase, seats: &mut Seats, control: &Control<'_>) -> Result<(), String> {
        let ready = match self.tree.prepare(&block.rlp) {
            Ok(ready) => ready,
            Err(rejection) => return as_demanded(block, &rejection),
        };
        if let Some(hash) = block.hash.filter(|hash| *hash != ready.block.hash) {
            return Err(format!("hash {}, expected {hash}", ready.block.hash));
        }
        if !ready.broken.is_empty() {
            match as_demanded(block, &ready.broken) {
                Ok(()) => return Ok(()),
                Err(reason) if block.valid && self.case.is_draft() => {
                    self.first_cause.get_or_insert(reason);
                }
                Err(reason) if block.valid => return Err(reason),
                // Perhaps a rule of execution is the one that is meant.
                Err(_) => {}
            }
        }
        self.execute(block, ready, seats, control)
    }

    fn execute(
        &mut self,
        block: &BlockCase,
        ready: Ready,
        seats: &mut Seats,
        control: &Control<'_>,
    ) -> Result<(), String> {
        let mut base = self.base(&ready.parent.state)?;
        base.pre.block_hashes = ready.input.block_hashes.clone();
        let results = seats.execute(&ready.input, &base.pre, control);
        let broken = |ran: &Ran| match ran {
            Ok(done) => {
                let root = base.root_after(done);
                let types = ready.block.types();
                outcome::violations(ready.fork, &ready.block.header, types, done, root)
            }
            Err(_) => Vec::new(),
        };
        let demand = |ran: &Ran| as_demanded(block, &ready.broken.and(ran, broken(ran)));
        // What a block that is not as demanded leaves is no state to compare lists on.
        if self.case.is_draft() && block.valid && self.first_cause.is_none() {
            let gas =
                |rule: &RuleError| matches!(rule, RuleError::GasUsed { .. } | RuleError::ReceiptsRoot { .. });
            if results.iter().all(|ran| ran.is_ok() && !broken(ran).iter().any(gas)) {
                self.compare_lists(block, &ready, &base, &results, seats, control);
            }
        }
        let verdict = judge(seats, &results, self.case.is_draft(), demand);
        self.take(verdict);
        if !block.valid {
            return Ok(());
        }
        let draft = self.case.is_draft();
        let names = seats.names().map(|(profile, _)| profile);
        // Of a draft, all others are held to the yardstick; otherwise it is the last that is asked.
        let mut order: Vec<(bool, &Ran)> =
            names.map(|profile| (profile == YARDSTICK) != draft).zip(&results).collect();
        order.sort_by_key(|(last, _)| *last);
        let accepting = |ran: &&Ran| draft || broken(ran).is_empty();
        let accepted = order.into_iter().map(|(_, ran)| ran).filter(|ran| ran.is_ok()).find(accepting);
        if let Some(Ok(done)) = accepted {
            let mut state = Alloc::clone(&ready.parent.state);
            state.apply(done);
            self.tree.accept(ready, state)?;
        }
        Ok(())
    }

    /// Holds the access list that an engine records against the block's. Only for blocks whose gas, of each
    /// transaction too, is as demanded: the pinned machine is behind the draft in some prices.
    fn compare_lists(
        &mut self,
        block: &BlockCase,
        ready: &Ready,
        base: &Base,
        results: &[Ran],
        seats: &mut Seats,
        control: &Control<'_>,
    ) {
        let header = &ready.block.header;
        let Some(hash) = header.block_access_list_hash else { return };
        let Some(found) = seats.record(&ready.input, &base.pre, control) else { return };
        let differs = |reason| Err(format!("access list of {}: {reason}", header.number));
        let compared = match (access_list_hash(&found) == hash, &block.access_list) {
            (true, None) => Ok(()),
            (true, Some(listed)) if *listed == found => Ok(()),
            (_, Some(listed)) => match compare_access_lists(listed, &found) {
                Ok(()) => differs("hash or order".to_owned()),
                Err(difference) => differs(difference.to_string()),
            },
            (false, None) => differs("hash".to_owned()),
        };
        // A transaction that fails at all of its gas has used that, whatever the prices: where it failed
        // cannot be held against the list.
        let spends_all = |ran: &Ran| {
            let results = ran.iter().flat_map(|done| done.results.iter().zip(&ready.input.txs));
            results.into_iter().any(|(result, tx)| result.gas_used >= tx.gas_limit)
        };
        if compared.is_err() && results.iter().any(spends_all) {
            return;
        }
        match &mut self.lists {
            Some(Err(_)) => {}
            lists => *lists = Some(compared),
        }
    }

    /// Adds the verdict on a block to that on the case.
    fn take(&mut self, block: Verdict) {
        self.verdict.executions += block.executions;
        self.verdict.diverged |= block.diverged;
        self.verdict.failures.extend(block.failures);
        if block.outcome != Outcome::Passed {
            self.verdict.outcome = block.outcome;
        }
        for (class, cause) in block.reported {
            match class {
                Class::Amsterdam => self.first_cause = self.first_cause.take().or(cause),
                Class::AccessList => {}
                Class::Lean if self.verdict.reported.iter().any(|(class, _)| *class == Class::Lean) => {}
                Class::Lean => self.verdict.reported.push((class, cause)),
            }
        }
    }

    /// Says in which block the failures are.
    fn name_block(&mut self, index: usize) {
        for failure in &mut self.verdict.failures {
            failure.reason = format!("block {index}: {}", failure.reason);
        }
    }

    /// Compares the state that the fixture ends with.
    fn last(&self) -> Result<(), String> {
        let last = self.tree.get(self.case.last);
        let last = last.ok_or_else(|| format!("the last block {} was not accepted", self.case.last))?;
        match &self.case.post {
            Post::State(expected) => match difference(&last.state, expected) {
                Some(difference) => Err(format!("post state: {difference}")),
                None => Ok(()),
            },
            Post::Root(expected) => match self.base(&last.state)?.root() {
                root if root == *expected => Ok(()),
                root => Err(format!("post state root {root}, expected {expected}")),
            },
            Post::Unknown => Ok(()),
        }
    }
}

/// Whether `block` is rejected, or accepted, as it must be; `rejection` is all that speaks against it.
///
/// # Errors
/// What is not as demanded.
fn as_demanded(block: &BlockCase, rejection: &Rejection) -> Result<(), String> {
    match (block.valid, &block.exception) {
        (true, _) if rejection.is_empty() => Ok(()),
        (true, _) => Err(format!("rejected: {rejection}")),
        (false, None) if rejection.is_empty() => Err("accepted, but must be rejected".to_owned()),
        (false, None) => Ok(()),
        (false, Some(classes)) if rejection.is_empty() => {
            Err(format!("accepted, but must be rejected: {classes}"))
        }
        (false, Some(classes)) => match rejection.is_of(classes) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("rejected for another reason than {classes}: {rejection}")),
            Err(unknown) => Err(format!("{unknown}; rejected: {rejection}")),
        },
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
