//! What each system's design promises of its schedule, held against the profile that bears its name. Letters are those
//! of the lists that the profiles were written to: each names one promise of a system, in its own words below.
//!
//! The cores that nobody has are virtual: the profile's own model of conflicts (`braid_report::Model`), with gas for
//! time, so that every number is the same on every machine. Nothing here is measured.

mod common;

use alloy_primitives::{Address, TxKind};
use braid_core::{Control, Mode};
use braid_evm::{EvmKey, ExecutedBlock, hints};
use braid_profiles::{
    Names,
    bench::Given,
    learn,
    limit::{Dependencies, Footprint, Nonces, trace as footprints},
    profile,
    schedule::{model, record},
};
use braid_report::{ModelTimes, Trace, trace::Fate};
use braid_work::{Case, PreState, Workload};
use common::{World, account, engine, schedule_seeds};
use revm::primitives::hardfork::SpecId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A block with what is needed to run and to judge it.
struct Block {
    name: String,
    input: braid_evm::BlockInput,
    pre: PreState,
}

impl Block {
    fn of(text: &str) -> Block {
        let case: Case = text.parse::<Workload>().unwrap().generate().unwrap();
        let pre = PreState::clone(case.state().unwrap());
        Block { name: text.to_owned(), input: case.input, pre }
    }

    /// `count` transfers of one sender, to as many others.
    fn of_one_sender(count: u64) -> Block {
        let mut world = World::new(SpecId::OSAKA);
        world.fund(account(0), 1_000_000 * common::ETHER);
        for nonce in 0..count {
            world.call(account(0), nonce, account(1 + nonce), 1);
        }
        Block { name: format!("{count} of one sender"), input: world.input, pre: world.pre }
    }

    /// `count` calls of one sender and one contract each, all of which call one and the same counter.
    fn of_a_hidden_counter(count: u64) -> Block {
        let mut world = World::new(SpecId::OSAKA);
        let counter = account(0);
        world.contract(counter, common::queue_code(), 0);
        for index in 1..=count {
            let (sender, target) = (account(index), account(1_000 + index));
            world.fund(sender, common::ETHER);
            world.contract(target, common::Asm::default().call(counter, 0).stop(), 0);
            world.call(sender, 0, target, 0);
        }
        Block { name: format!("{count} that share a counter"), input: world.input, pre: world.pre }
    }

    fn given(&self) -> Given<'_> {
        Given { input: &self.input, pre: &self.pre, access_list: None }
    }

    fn footprints(&self) -> Vec<Footprint> {
        footprints(&self.input, &self.pre).unwrap()
    }

    fn serially(&self) -> ExecutedBlock {
        let done = engine("serial", 1).execute(&self.input, &self.pre, &Control::default()).unwrap();
        done.into_block(&self.pre)
    }

    fn recorded(&self, name: &str, threads: usize, seed: u64) -> Trace {
        let mut engine = engine(name, threads);
        engine.shuffle(seed);
        let seat = (profile(name).unwrap(), threads);
        let trace =
            record(engine.as_mut(), seat, &self.name, self.given(), &Names::default(), &Control::default());
        let trace = trace.unwrap().unwrap();
        assert_eq!(trace.lost, 0);
        trace
    }

    /// By the profile's own model, with gas for time, and for getting hints that of all threads once.
    fn virtual_times(&self, name: &str, taught: &[&Block], hint_ns: u64) -> ModelTimes {
        let mut lessons = hints::Learned::default();
        let shared = braid_evm::EvmShared::default();
        taught.iter().for_each(|block| learn(&mut lessons, &shared, &block.input, &block.pre));
        let mut engine = engine(name, 1);
        engine.teach(&Arc::new(lessons));
        let seat = (profile(name).unwrap(), 1);
        let trace =
            record(engine.as_mut(), seat, &self.name, self.given(), &Names::default(), &Control::default());
        let mut trace = Trace { hint_ns, ..trace.unwrap().unwrap() };
        in_gas(&mut trace, &self.serially());
        model(engine.as_mut(), &mut trace, self.given(), &self.footprints()).unwrap();
        trace.model.unwrap_or_else(|| panic!("{name} has a model"))
    }
}

/// Has each transaction take as long as its gas says, one after the other.
fn in_gas(trace: &mut Trace, done: &ExecutedBlock) {
    let mut now = 0;
    trace.tasks.retain(|task| task.fate == Fate::Committed);
    trace.tasks.sort_by_key(|task| task.tx);
    for task in &mut trace.tasks {
        let gas = usize::try_from(task.tx)
            .ok()
            .and_then(|tx| done.results.get(tx))
            .map_or(0, |result| result.gas_used);
        (task.worker, task.incarnation, task.start_ns, task.end_ns) = (0, 0, now, now + gas);
        now += gas;
    }
    (trace.elapsed_ns, trace.threads) = (now, 1);
    trace.waits.clear();
    trace.aborts.clear();
}

/// How many times as fast as one by one.
fn gains(times: &ModelTimes, serial: u64, workers: usize) -> f64 {
    serial as f64 / times.on(workers).unwrap().time_ns as f64
}

fn gas(block: &Block) -> u64 {
    block.serially().results.iter().map(|result| result.gas_used).sum()
}

const HOT_POOL: &str = "swaps?txs=60&pools=1&traders=40";

/// Monad, b: each transaction is executed at most twice, ever.
#[test]
fn monad_executes_nothing_more_than_twice() {
    for text in [HOT_POOL, "mint?txs=60&collections=1", "erc20?txs=60&holders=6"] {
        let block = Block::of(text);
        for seed in schedule_seeds(8) {
            let trace = block.recorded("monad", 4, seed);
            assert!(trace.tasks.iter().all(|task| task.incarnation <= 1), "{text}; BRAID_SEED={seed}");
        }
        let times = block.virtual_times("monad", &[], 0);
        assert!(times.on_workers.iter().all(|one| one.executions <= 120), "{text}: {times:?}");
    }
}

/// Monad, c: transfers of one sender to distinct addresses are never repeated where nonces are predicted and balances
/// are merged by bounds.
#[test]
fn monad_repeats_no_transfer_of_one_sender() {
    let block = Block::of_one_sender(60);
    for seed in schedule_seeds(8) {
        let trace = block.recorded("monad", 4, seed);
        assert_eq!((trace.totals().executions, trace.aborts.len()), (60, 0), "BRAID_SEED={seed}");
    }
    let times = block.virtual_times("monad", &[], 0);
    assert_eq!(times.on(8).unwrap().executions, 60);
    assert_eq!(times.on(16).unwrap().time_ns, 4 * 21_000, "60 equal ones on 16 workers");
}

/// Monad: a chain takes what it takes one by one, but for nearly twice the work, as the first execution of each is in
/// vain.
#[test]
fn a_chain_costs_monad_nearly_twice_the_work() {
    let block = Block::of("mint?txs=60&collections=1");
    let (times, serial) = (block.virtual_times("monad", &[], 0), gas(&block));
    assert!(gains(&times, serial, 8) <= 1.0, "{times:?}");
    let busy = times.on(8).unwrap().busy_ns as f64 / times.work_ns as f64;
    assert!((1.8..2.0).contains(&busy), "{busy} times the work");
}

/// MegaETH, a: with exact sets nothing is executed twice, and what needs another begins when that has ended.
#[test]
fn megaeth_keeps_to_the_order_of_its_graph() {
    for text in [HOT_POOL, "erc20?txs=60&holders=6", "orderbook?txs=60&markets=3"] {
        let block = Block::of(text);
        let needs = Dependencies::new(&block.footprints(), Nonces::Predicted).on;
        for seed in schedule_seeds(8) {
            let trace = block.recorded("megaeth-oracle", 4, seed);
            let who = format!("{text}; BRAID_SEED={seed}");
            assert_eq!(trace.totals().aborted, 0, "{who}");
            let place: BTreeMap<i64, (u64, u64)> =
                trace.tasks.iter().map(|task| (task.tx, (task.start_ns, task.end_ns))).collect();
            for (tx, on) in (0i64..).zip(&needs) {
                for on in on {
                    assert!(place[&i64::from(*on)].1 <= place[&tx].0, "{who}: {tx} needs {on}");
                }
            }
        }
        let times = block.virtual_times("megaeth-oracle", &[], 0);
        assert!(
            times.on_workers.iter().all(|one| one.executions == times.on_workers[0].executions),
            "{text}"
        );
    }
}

/// Pharos, b: what is inferred is told with its precision and recall; it never has more executed again than plain
/// in-order optimism, where calls are those that it has seen.
#[test]
fn pharos_repeats_no_more_than_plain_optimism() {
    for (text, other) in [
        // Another number of transactions: nothing is foreseen from a block like itself.
        (HOT_POOL, "swaps?txs=61&pools=1&traders=40&seed=7"),
        ("erc20?txs=60&holders=6", "erc20?txs=61&holders=6&seed=7"),
        ("mint?txs=60&collections=1", "mint?txs=61&collections=1&seed=7"),
    ] {
        let (block, other) = (Block::of(text), Block::of(other));
        let inferred = block.virtual_times("pharos", &[&other], 0).on(8).unwrap().executions;
        let plain = block.virtual_times("monad", &[], 0).on(8).unwrap().executions;
        assert!(inferred <= plain, "{text}: {inferred}, plain {plain}");
    }
}

/// Artela, d: a block of calls that were seen before has fewer of them executed again than the first one.
#[test]
fn artela_learns_from_other_blocks() {
    let (first, second) = (Block::of("erc20?txs=61&holders=6&seed=7"), Block::of("erc20?txs=60&holders=6"));
    let untaught = second.virtual_times("artela", &[], 0).on(8).unwrap().executions;
    let taught = second.virtual_times("artela", &[&first], 0).on(8).unwrap().executions;
    assert!(taught < untaught, "{taught} of a block that was foreseen, {untaught} of one that was not");
}

/// Reddio, a: no two members of a batch share sender or target, batches follow one another, and if a member is done
/// again all are.
#[test]
fn reddio_batches_are_exact() {
    let mut again = 0;
    let texts = [HOT_POOL, "erc20?txs=60&holders=6", "transfers?txs=60&accounts=12", "mainnet?txs=60"];
    for block in texts.into_iter().map(Block::of).chain([Block::of_a_hidden_counter(70)]) {
        let (text, batches) = (&block.name, batches(&block));
        assert!(batches.len() > 1, "{text}");
        for seed in schedule_seeds(6) {
            let trace = block.recorded("reddio", 4, seed);
            let who = format!("{text}; BRAID_SEED={seed}");
            let mut before = 0;
            for members in &batches {
                let mine = || trace.tasks.iter().filter(|task| members.contains(&task.tx));
                let first = mine().map(|task| task.start_ns).min().unwrap();
                assert!(first >= before, "{who}: {members:?} begins before the batch before it has ended");
                before = mine().map(|task| task.end_ns).max().unwrap();
                let repeated: BTreeSet<i64> =
                    mine().filter(|task| task.incarnation > 0).map(|task| task.tx).collect();
                assert!(
                    repeated.is_empty() || repeated == *members,
                    "{who}: {members:?}: {repeated:?} again"
                );
                again += repeated.len();
            }
        }
    }
    assert!(again > 0, "no batch had a conflict after all: nothing was looked at");
}

/// The batches of a block by senders and targets, at most 64 members each.
fn batches(block: &Block) -> Vec<BTreeSet<i64>> {
    let (mut batches, mut seen) = (vec![BTreeSet::new()], BTreeSet::<Address>::new());
    for (tx, env) in (0..).zip(&block.input.txs) {
        let mut ends: BTreeSet<Address> = [env.caller].into();
        if let TxKind::Call(to) = env.kind {
            ends.insert(to);
        }
        let full = batches.last().is_some_and(|members| members.len() == 64);
        if full || !seen.is_disjoint(&ends) {
            batches.push(BTreeSet::new());
            seen.clear();
        }
        seen.extend(ends);
        batches.last_mut().unwrap().insert(tx);
    }
    batches
}

/// Sealevel, 1: no two executions that overlap hold locks that conflict.
#[test]
fn sealevel_locks_exclude() {
    for text in [HOT_POOL, "erc20?txs=60&holders=9&tokens=3", "transfers?txs=60&accounts=12"] {
        let block = Block::of(text);
        let mut oracle = engine("sealevel-oracle", 4);
        let told = oracle.told(&block.input, &block.pre).unwrap();
        let first = i64::from(braid_evm::first_position(&block.input));
        let locks = |tx: i64| -> &[(EvmKey, Mode)] { &told[usize::try_from(tx + first).unwrap()].access };
        let conflict = |one: i64, other: i64| {
            let meets = |(key, mode): &(EvmKey, Mode)| {
                locks(other)
                    .iter()
                    .any(|(also, how)| also == key && !(*mode == Mode::Read && *how == Mode::Read))
            };
            locks(one).iter().any(meets)
        };
        for seed in schedule_seeds(6) {
            let trace = block.recorded("sealevel-oracle", 4, seed);
            for (at, one) in trace.tasks.iter().enumerate() {
                let later = &trace.tasks[at + 1..];
                for other in later.iter().take_while(|other| other.start_ns < one.end_ns) {
                    let who = format!("{text}; BRAID_SEED={seed}: {} and {}", one.tx, other.tx);
                    assert!(!conflict(one.tx, other.tx), "{who} overlap");
                }
            }
        }
    }
}

/// Sealevel, 2: what shares no account takes at most 1.1 times its share of the work; those that share one stand in
/// line without a gap.
#[test]
fn sealevel_lets_strangers_pass_and_leaves_no_gap_in_a_line() {
    let block = Block::of("transfers?txs=480&accounts=100000");
    let times = block.virtual_times("sealevel-oracle", &[], 0);
    for workers in [2, 8] {
        let (time, share) = (times.on(workers).unwrap().time_ns, times.work_ns / workers as u64);
        assert!(time * 10 <= share * 11, "{workers} workers: {time}, a share is {share}");
    }
    let line = Block::of(HOT_POOL).virtual_times("sealevel-oracle", &[], 0);
    assert!(line.on_workers.iter().all(|one| one.time_ns == line.work_ns), "{line:?}");
}

/// A hot pool: account locks take what one by one takes, once hints are there, and whoever knows slots gains no more
/// than work and span allow.
#[test]
fn nobody_gains_in_a_hot_pool_but_who_knows_values() {
    let block = Block::of(HOT_POOL);
    let serial = gas(&block);
    let needs = Dependencies::new(&block.footprints(), Nonces::Predicted);
    let weights: Vec<u64> = block.serially().results.iter().map(|result| result.gas_used).collect();
    let allowed = serial as f64 / needs.span(&weights) as f64;
    for name in ["sealevel", "sealevel-oracle"] {
        let times = block.virtual_times(name, &[], 0);
        for one in &times.on_workers {
            let ratio = serial as f64 / one.time_ns as f64;
            assert!((0.95..=1.02).contains(&ratio), "{name} on {}: {ratio}", one.workers);
        }
    }
    // Getting them by executing everything takes its share besides.
    let told = block.virtual_times("sealevel", &[], serial);
    assert!(gains(&told, serial, 1) < 0.51 && gains(&told, serial, 8) > 0.8, "{told:?}");
    for name in
        ["monad", "monad-article", "aptos", "megaeth", "megaeth-oracle", "pharos", "artela", "sei", "braid"]
    {
        let times = block.virtual_times(name, &[], 0);
        for one in &times.on_workers {
            let gained = serial as f64 / one.time_ns as f64;
            assert!(gained <= allowed * 1.000_001, "{name} on {}: {gained}, {allowed} allowed", one.workers);
        }
    }
    let by_list = block.virtual_times("bal", &[], 0);
    assert!(gains(&by_list, serial, 8) > 4.0, "who knows values has no chain: {by_list:?}");
}

/// Hints from the block's access list: no worse than emulated ones, for less.
#[test]
fn an_access_list_is_a_source_of_hints() {
    for text in [HOT_POOL, "erc20?txs=60&holders=6"] {
        let block = Block::of(text);
        let mut engine = engine("bal-hints", 2);
        assert_eq!(engine.hints_from().map(|(name, _)| name), Some("bal"));
        engine.prepare(&block.input, &block.pre, None);
        let accuracy = engine.accuracy(&block.input, &block.pre).unwrap();
        assert!(accuracy.precision().unwrap() > 0.99, "{text}: {accuracy:?}");
        let times = block.virtual_times("bal-hints", &[], 0);
        let blind = block.virtual_times("monad", &[], 0);
        let executions = |times: &ModelTimes| times.on(8).unwrap().executions;
        assert!(executions(&times) < executions(&blind), "{text}: {times:?}");
    }
}
