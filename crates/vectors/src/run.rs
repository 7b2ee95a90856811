//! Runs a case on every engine and holds what comes out against what the case demands.

use crate::{
    Base, Case, CaseKind, Class, Failure, Outcome, Ran, Seats, StateCase, TransactionCase, TransactionExpect,
    TxFault, VectorError, Verdict, chain,
    compare::{difference, groups},
    exception::{Reason, tx},
    logs_hash, skips,
    state::block_hashes,
    transaction::Prepared,
};
use alloy_primitives::{B256, U256, keccak256};
use braid_core::Control;
use braid_evm::{After, BlockInput, Rites};
use braid_profiles::ExecError;
use braid_rules::{ChainSpec, Fork};
use braid_work::Alloc;
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

/// The profile that is the yardstick: plain revm.
pub const YARDSTICK: &str = "lean";

/// How cases are run.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Longest time for one case on all engines together.
    pub deadline: Duration,
    /// Perturbs schedules, in builds that can (see [`Seats::shuffle`]); the schedule of a case follows
    /// from this and its name.
    pub shuffle: Option<u64>,
    /// Set to stop.
    pub cancel: Option<&'a AtomicBool>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { deadline: Duration::from_secs(300), shuffle: None, cancel: None }
    }
}

/// Runs cases.
#[derive(Debug)]
pub struct Runner<'a> {
    seats: Seats,
    options: Options<'a>,
    /// The state of the latest case, which the next one of the same vector shares.
    base: Option<(U256, Arc<Base>)>,
}

impl<'a> Runner<'a> {
    /// Runs cases on `seats`.
    pub fn new(seats: Seats, options: Options<'a>) -> Self {
        Runner { seats, options, base: None }
    }

    /// The engines.
    pub fn seats(&mut self) -> &mut Seats {
        &mut self.seats
    }

    /// Number of engines.
    pub fn engines(&self) -> usize {
        self.seats.len()
    }

    /// Runs `case`, unless it is on the list of those that are not run.
    pub fn run(&mut self, case: &Case) -> Verdict {
        if let Some(skip) = skips::skipped(case) {
            return Verdict::skipped(skip.reason);
        }
        if let Some(seed) = self.options.shuffle {
            let name = keccak256(format!("{}{}", case.file, case.name));
            self.seats.shuffle(seed ^ U256::from_be_bytes(name.0).as_limbs()[0]);
        }
        match &case.kind {
            CaseKind::State(state) => self.state(case, state),
            CaseKind::Chain(chain) => chain::run(chain, &case.file, &mut self.seats, &self.options),
            CaseKind::Transaction(transaction) => self.transaction(case, transaction),
            CaseKind::Plain(plain) => Verdict::checked(plain.check()),
        }
    }

    /// For one case, from here on.
    fn control(&self) -> Control<'a> {
        let deadline = Instant::now() + self.options.deadline;
        Control { cancel: self.options.cancel, deadline: Some(deadline) }
    }

    fn transaction(&mut self, case: &Case, transaction: &TransactionCase) -> Verdict {
        let exception = match &transaction.expect {
            TransactionExpect::Exception(exception) => Some(exception.as_str()),
            TransactionExpect::Valid { .. } => None,
        };
        let Prepared { base, input } = match transaction.prepare(&case.file) {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(faults)) => {
                // It is rejected for all of them; which a client names is its own choice.
                let of = |fault: &TxFault| rejected(exception, Reason::Fault(*fault), &fault.to_string());
                let results: Vec<_> = faults.iter().map(of).collect();
                let result = results.iter().find(|result| result.is_ok()).or(results.first()).cloned();
                return Verdict::checked(result.unwrap_or(Ok(())));
            }
            Err(reason) => return Verdict::checked(Err(reason)),
        };
        let results = self.seats.execute(&input, &base.pre, &self.control());
        judge(&self.seats, &results, transaction.fork >= Fork::Amsterdam, |ran| match (ran, exception) {
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(exception)) => Err(accepted(exception)),
            (Err(error @ ExecError::Invalid { kind, .. }), _) => {
                rejected(exception, Reason::Kind(kind), &error.to_string())
            }
            (Err(error), _) => Err(error.to_string()),
        })
    }

    fn state(&mut self, case: &Case, state: &StateCase) -> Verdict {
        let base = match self.base(&state.pre, state.env.number, &case.file) {
            Ok(base) => base,
            Err(error) => return Verdict::checked(Err(error.to_string())),
        };
        let tx = match &state.tx {
            Ok(tx) => tx.clone(),
            Err(fault) => {
                let demanded = state.expect.exception.as_deref();
                let rejected = rejected(demanded, Reason::Fault(*fault), &fault.to_string());
                return Verdict::checked(rejected.and_then(|()| untouched(state, &base)));
            }
        };
        let (spec, rules) = ChainSpec::evm(state.fork);
        let after = After { rewards: vec![(state.env.beneficiary, 0)], ..After::default() };
        let input = BlockInput {
            chain_id: state.chain.chain_id,
            spec,
            env: state.env.clone(),
            txs: vec![tx],
            block_hashes: base.pre.block_hashes.clone(),
            max_blob_gas: state.max_blob_gas,
            rites: Rites { after: Some(after), ..Rites::default() },
            rules,
            gas_used: None,
        };
        let results = self.seats.execute(&input, &base.pre, &self.control());
        let demand = |ran: &Ran| demanded(state, &base, ran);
        judge(&self.seats, &results, state.fork >= Fork::Amsterdam, demand)
    }

    fn base(&mut self, pre: &Arc<Alloc>, number: U256, file: &str) -> Result<Arc<Base>, VectorError> {
        match &self.base {
            Some((same, base)) if *same == number && Arc::ptr_eq(&base.alloc, pre) => Ok(base.clone()),
            _ => {
                let base = Base::new(pre.clone(), block_hashes(number), file);
                let base =
                    Arc::new(base.map_err(|error| VectorError::invalid(file, "pre", error.to_string()))?);
                self.base = Some((number, base.clone()));
                Ok(base)
            }
        }
    }
}

/// Judges what the seats made of one block. `demand` is what the vector demands of any result of it; it
/// is asked once for results that are the same. If the vector's demands are only `reported`, every seat
/// must do what the yardstick does.
pub fn judge(
    seats: &Seats,
    results: &[Ran],
    reported: bool,
    demand: impl Fn(&Ran) -> Result<(), String>,
) -> Verdict {
    let mut verdict = Verdict { executions: results.len() as u64, ..Verdict::checked(Ok(())) };
    let names: Vec<(&'static str, usize)> = seats.names().collect();
    let parallel: Vec<bool> = seats.parallel().collect();
    let groups = groups(results);
    let found: Vec<Result<(), String>> = groups.iter().map(|group| demand(&results[group[0]])).collect();
    let group_of = |seat: usize| groups.iter().position(|group| group.contains(&seat)).unwrap_or_default();
    let lean = names.iter().position(|(name, _)| *name == YARDSTICK);
    let lean_found = lean.map(|lean| found[group_of(lean)].clone());
    // What all others must equal: the yardstick, unless it is wrong itself.
    let other = (0..names.len()).find(|seat| Some(*seat) != lean);
    let lean_counts = reported || lean_found.as_ref().is_some_and(Result::is_ok);
    let Some(model) = lean.filter(|_| lean_counts).or(other).or(lean) else { return verdict };
    for (seat, (profile, threads)) in names.iter().enumerate() {
        let demand = if reported { &Ok(()) } else { &found[group_of(seat)] };
        let mut reason = demand.clone().err();
        if group_of(seat) != group_of(model) && Some(seat) != lean {
            let differs = difference(&results[seat], &results[model]).unwrap_or_default();
            let (model, _) = names[model];
            let differs = format!("not what {model} does: {differs}");
            reason = Some(reason.map_or(differs.clone(), |reason| format!("{reason}; {differs}")));
            verdict.diverged |= parallel[seat];
        }
        match reason {
            Some(reason) if Some(seat) == lean && other.is_some() => {
                verdict.reported.push((Class::Lean, Some(reason)));
            }
            Some(reason) => verdict.failures.push(Failure { profile, threads: *threads, reason }),
            None => {}
        }
    }
    if reported {
        verdict.reported.push((Class::Amsterdam, found[group_of(model)].clone().err()));
    }
    if !verdict.failures.is_empty() {
        verdict.outcome = Outcome::Failed;
    }
    verdict
}

fn accepted(exception: &str) -> String {
    format!("accepted, but must be rejected: {exception}")
}

/// Whether a rejection for this reason is what is demanded.
///
/// # Errors
/// What is demanded instead.
pub(crate) fn rejected(demanded: Option<&str>, reason: Reason<'_>, words: &str) -> Result<(), String> {
    let Some(classes) = demanded else { return Err(format!("rejected: {words}")) };
    match tx::allows(classes, reason) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("rejected for another reason than {classes}: {words}")),
        Err(unknown) => Err(unknown.to_string()),
    }
}

/// Where nothing may have happened, the root must be that of the state before, with the beneficiary touched
/// or not: before EIP-161 that differs, and fillers of state tests did the one or the other.
fn untouched(state: &StateCase, base: &Base) -> Result<(), String> {
    let clears_empty = state.fork >= Fork::SpuriousDragon;
    if !clears_empty && base.root() == state.expect.root {
        return Ok(());
    }
    let root = base.root_touched(state.env.beneficiary, clears_empty);
    equal("state root of a rejected transaction", root, state.expect.root)
}

fn demanded(state: &StateCase, base: &Base, ran: &Ran) -> Result<(), String> {
    let expect = &state.expect;
    match ran {
        Ok(block) => {
            if let Some(exception) = &expect.exception {
                return Err(accepted(exception));
            }
            equal("state root", base.root_after(block), expect.root)?;
            equal("logs", logs_hash(block.results.iter().flat_map(|result| &result.logs)), expect.logs)
        }
        Err(error @ ExecError::Invalid { kind, .. }) => {
            rejected(expect.exception.as_deref(), Reason::Kind(kind), &error.to_string())?;
            untouched(state, base)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn equal(what: &str, computed: B256, expected: B256) -> Result<(), String> {
    if computed == expected {
        Ok(())
    } else {
        Err(format!("{what}: computed {computed}, expected {expected}"))
    }
}
