//! `braid run`: execute blocks with one profile, and check the results.

use crate::{
    Exit, ORACLE, Session, access_list,
    args::{Check, RunArgs, resolve_threads},
    diverge::{Divergence, quote},
    engines::Engines,
    json::{Problem, RunDocument, RunResult, SCHEMA, Status},
    judge::{Verdict, interrupted, judge, judge_own},
    on_store::OnStore,
    progress::Ui,
    record::Record,
    render,
    rooted::{self, Besides, Rooted, Rooting},
    schedules::Schedules,
    selection::{Item, select},
    stream,
    world::{Case, Source, World},
};
use alloy_primitives::B256;
use braid_core::Control;
use braid_db::BegunVersion;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_profiles::{Profile, find, find_any};
use braid_report::{DiskTimes, RootTimes};
use std::{collections::BTreeMap, time::Duration};

/// Carries the command out.
pub(crate) fn run(args: &RunArgs, world: &World<'_>, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let profile = find_any(world.profiles, world.own_rules, &args.profile);
    let (profile, oracle) = match (profile, find(world.profiles, ORACLE)) {
        (Ok(profile), Ok(oracle)) => (profile, oracle),
        (Err(error), _) | (_, Err(error)) => {
            ui.error(error);
            ui.hint("braid profiles");
            return Exit::Usage;
        }
    };
    // What has no use for threads is given, and reported with, the one it uses.
    let threads = if profile.parallel { resolve_threads(args.threads) } else { 1 };
    let seed = args.seed.unwrap_or_else(crate::random_seed);
    if args.stream {
        if find(world.profiles, profile.name).is_err() {
            ui.error(format_args!("{} has rules of its own: it cannot follow a chain", profile.name));
            return Exit::Usage;
        }
        return stream::run(args, &stream::Setting { profile, oracle, threads, seed }, session, ui);
    }
    let items = match select(world.inputs, &args.input, ui) {
        Ok(items) => items,
        Err(exit) => return exit,
    };
    let mut runner = Runner {
        args,
        profile,
        oracle,
        threads,
        engines: Engines::default(),
        control: session.control(),
        schedules: Schedules::new(args.trace),
        store: None,
    };
    runner.store = args.store.as_ref().map(|path| OnStore::open(path, args.commit, args.overlap, threads));
    let (mut results, mut exit) = (Vec::with_capacity(items.len()), Exit::Ok);
    ui.start(items.len());
    for (seed, item) in (0..).map(|index| seed.wrapping_add(index)).zip(&items) {
        ui.item(&item.name());
        let (result, alone) = match item {
            Item::Source(source) => match runner.block(source.as_ref(), seed, ui) {
                Some(done) => done,
                None => {
                    ui.finish();
                    ui.error("interrupted");
                    return Exit::Interrupted;
                }
            },
            Item::Broken { text, problem } => (runner.unreadable(text.clone(), problem.clone()), false),
        };
        exit = exit.and(report(&result, alone, seed, ui));
        results.push(result);
    }
    ui.finish();
    let nothing = results.is_empty();
    let document = RunDocument { schema: SCHEMA, command: "run", results };
    if args.json {
        ui.result(&crate::to_json(&document));
    } else {
        ui.result(&render::run(&document.results, ui.color_out));
    }
    if nothing {
        ui.error("no input matched");
        return Exit::Nothing;
    }
    let record = Record::new(session.arguments, seed, &document, Vec::new()).with(runner.schedules);
    if args.trace {
        ui.hint("braid report last -o report.html");
    }
    if !record.keep(args.record.as_deref(), session.cache.as_deref(), ui) {
        exit = exit.and(Exit::Failure);
    }
    exit
}

/// Reports what is wrong with a block, and says what that means for the exit.
fn report(result: &RunResult, alone: bool, seed: u64, ui: &mut Ui<'_>) -> Exit {
    let Some(problem) = &result.error else { return Exit::Ok };
    if alone {
        Divergence::new(&result.input, &result.profile, result.threads, seed, problem).report(ui);
        return Exit::Diverged;
    }
    ui.error(problem.of(&result.input));
    if result.status == Status::Invalid && result.profile != ORACLE {
        ui.hint(format_args!("braid run {} --profile {ORACLE}", quote(&result.input)));
    }
    Exit::Failure
}

struct Runner<'a> {
    args: &'a RunArgs,
    profile: &'a Profile,
    oracle: &'a Profile,
    threads: usize,
    engines: Engines,
    control: Control<'a>,
    schedules: Schedules,
    /// The folder to execute on, or why there is none.
    store: Option<Result<OnStore<'a>, Problem>>,
}

impl Runner<'_> {
    /// Executes one block, on a schedule shuffled by `seed`, and judges it. With the result goes whether
    /// a parallel engine alone was wrong.
    /// `None` if interrupted.
    fn block(&mut self, source: &dyn Source, seed: u64, ui: &mut Ui<'_>) -> Option<(RunResult, bool)> {
        if self.control.interrupted::<()>().is_some() {
            return None;
        }
        let case = source.load().and_then(|case| match &mut self.store {
            Some(Ok(store)) => store.place(case),
            Some(Err(problem)) => Err(problem.clone()),
            None => Ok(case),
        });
        let case = match case {
            Ok(case) => case,
            Err(problem) => return Some((self.unreadable(source.name(), problem), false)),
        };
        let input = case.input();
        // An engine that cannot be built says so when it is to execute.
        if let Ok(engine) = self.engines.get(self.profile, self.threads) {
            engine.shuffle(seed);
        }
        let seat = (self.profile, self.threads);
        let rooting = if self.args.root { case.rooting() } else { None };
        let rooting = if self.has_own_rules() { rooting.and_then(Rooting::of_other_rules) } else { rooting };
        let (done, rooted, begun) = self.execute(case.as_ref(), rooting.as_ref());
        if self.args.root && rooting.is_none() {
            let lacks = match self.has_own_rules() {
                true => {
                    "it does not come with a whole state, and a witness is of what Ethereum's rules touch"
                }
                false => "it comes with neither a witness nor a whole state",
            };
            ui.warn(format_args!("{}: no root: {lacks}", source.name()));
        }
        if done.as_ref().is_err_and(interrupted) {
            return None;
        }
        let mut verdict = self.judge(case.as_ref(), &done)?;
        if let (Status::Ok, Some(Err(message))) = (verdict.status, rooted.as_ref().map(|one| &one.root)) {
            verdict.status = Status::Invalid;
            verdict.error = Some(Problem {
                kind: "state_root".to_owned(),
                file: None,
                item: Some("state_root".to_owned()),
                message: message.clone(),
            });
        }
        let block = done.as_ref().ok();
        let gas_used = block.map(|(block, _)| block.results.iter().map(|result| result.gas_used).sum());
        let stats = block.map(|(block, _)| block.stats);
        let name = source.name();
        let list = self.list(case.as_ref(), &name, &mut verdict);
        let mut besides = Besides { rooting: rooting.as_ref(), committed: None };
        if let Some((block, elapsed)) = block {
            besides.committed = self.keep(input, (block, *elapsed, begun), &mut verdict);
        }
        self.trace(case.as_ref(), &name, &besides, &mut verdict, ui);
        let (root, disk) = besides.committed.unzip();
        let result = RunResult {
            input: name,
            block: Some(u64::try_from(input.env.number).unwrap_or(u64::MAX)),
            profile: self.profile.name.to_owned(),
            threads: self.threads,
            txs: Some(input.txs.len()),
            gas_used,
            elapsed_ns: block.map(|(_, elapsed)| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)),
            executions: stats.map(|stats| stats.executions),
            retries: stats.map(|stats| stats.retries),
            fallbacks: stats.map(|stats| stats.fallbacks),
            access_list_hash: list.map(|(hash, _)| hash),
            access_list_bytes: list.map(|(_, bytes)| bytes),
            root: rooted.map(|rooted| rooted.times).or(root),
            disk,
            status: verdict.status,
            error: verdict.error.map(|problem| problem.within(source.file())),
            oracle_equal: verdict.oracle_equal,
            differs_from_evm: self.engines.differs_from_evm(seat, case.as_ref()),
            checks: verdict.checks,
        };
        Some((result, verdict.alone))
    }

    /// Whether the profile's rules are not Ethereum's.
    fn has_own_rules(&mut self) -> bool {
        self.engines.get(self.profile, self.threads).is_ok_and(|engine| engine.oracle().is_some())
    }

    /// Executes a block, with its root if that was asked, or with the version after it begun.
    fn execute(
        &mut self,
        case: &dyn Case,
        rooting: Option<&Rooting<'_>>,
    ) -> (crate::engines::Ran, Option<Rooted>, Option<BegunVersion>) {
        let (given, control, seat) = (case.given(), &self.control, (self.profile, self.threads));
        if let Some(rooting) = rooting {
            let (done, rooted) = rooted::execute(&mut self.engines, seat, given, rooting, control);
            return (done, rooted, None);
        }
        match self.store.as_ref().and_then(|store| store.as_ref().ok()?.begin(self.threads)) {
            Some(begun) => {
                let (done, begun) = rooted::execute_begun(&mut self.engines, seat, given, begun, control);
                (done, None, begun)
            }
            None => (self.engines.execute(self.profile, self.threads, given, control), None, None),
        }
    }

    /// Writes the access list of a block that is right, if that was asked.
    fn list(&mut self, case: &dyn Case, name: &str, verdict: &mut Verdict) -> Option<(B256, usize)> {
        let folder = self.args.access_list.as_ref().filter(|_| verdict.status == Status::Ok)?;
        let seat = (self.profile, self.threads);
        match access_list::write(&mut self.engines, seat, case, &self.control, folder, name) {
            Ok(list) => Some(list),
            Err(problem) => {
                (verdict.status, verdict.error) = (Status::Unreadable, Some(problem));
                None
            }
        }
    }

    /// Commits a block that is right to the folder, if that was asked, and says what it took.
    fn keep(
        &mut self,
        input: &BlockInput,
        (block, elapsed, begun): (&ExecutedBlock, Duration, Option<BegunVersion>),
        verdict: &mut Verdict,
    ) -> Option<(RootTimes, DiskTimes)> {
        let (Status::Ok, Some(Ok(store))) = (verdict.status, &mut self.store) else { return None };
        match store.commit(input, block, elapsed, begun) {
            Ok(committed) => committed,
            Err(problem) => {
                (verdict.status, verdict.error) = (Status::Unreadable, Some(problem));
                None
            }
        }
    }

    /// Records the schedule of a block that is right, if that was asked.
    fn trace(
        &mut self,
        case: &dyn Case,
        name: &str,
        besides: &Besides<'_>,
        verdict: &mut Verdict,
        ui: &mut Ui<'_>,
    ) {
        if verdict.status != Status::Ok {
            return;
        }
        let weighed = self.schedules.analyse_block(name, case, ui);
        let (given, control, seat) = (case.given(), &self.control, (self.profile, self.threads));
        let (schedules, weighed) = (&mut self.schedules, weighed.as_ref());
        let recorded = schedules.record(&mut self.engines, seat, name, given, besides, weighed, control, ui);
        if let Err(problem) = recorded {
            (verdict.status, verdict.error) = (Status::Invalid, Some(problem));
        }
    }

    /// Holds a result against as much as was asked. Without `--check serial` the oracle runs only to
    /// tell whose fault a failure is.
    fn judge(&mut self, case: &dyn Case, done: &crate::engines::Ran) -> Option<Verdict> {
        if self.args.check == Check::None {
            return Some(Verdict::unchecked(done));
        }
        let parallel = self.profile.parallel;
        if self.args.check == Check::Root && !self.has_own_rules() {
            let verdict = judge(case, done, None, parallel);
            if verdict.status == Status::Ok {
                return Some(verdict);
            }
        }
        let own = self.engines.own_oracle(self.profile, self.threads, case.given(), &self.control);
        if let Some(own) = own {
            let interrupted = own.as_ref().is_err_and(interrupted);
            return (!interrupted).then(|| judge_own(case, done, &own));
        }
        if self.profile.name == self.oracle.name {
            return Some(judge(case, done, None, parallel));
        }
        let oracle = self.engines.execute(self.oracle, 1, case.given(), &self.control);
        if oracle.as_ref().is_err_and(interrupted) {
            return None;
        }
        Some(judge(case, done, Some(&oracle), parallel))
    }

    fn unreadable(&self, input: String, problem: Problem) -> RunResult {
        RunResult {
            input,
            block: None,
            profile: self.profile.name.to_owned(),
            threads: self.threads,
            txs: None,
            gas_used: None,
            elapsed_ns: None,
            executions: None,
            retries: None,
            fallbacks: None,
            access_list_hash: None,
            access_list_bytes: None,
            root: None,
            disk: None,
            status: Status::Unreadable,
            error: Some(problem),
            oracle_equal: None,
            differs_from_evm: None,
            checks: BTreeMap::new(),
        }
    }
}
