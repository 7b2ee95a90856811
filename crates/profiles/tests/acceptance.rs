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
    Names, OWN_RULES, PROFILES,
    bench::Given,
    find_any, learn,
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

/// Aptos, 2: with ten thousand accounts 32 workers are at least 12 times as fast as one, and with two nothing is lost
/// beyond a third.
#[test]
fn aptos_fills_workers_where_there_is_room_and_loses_little_where_there_is_none() {
    let (wide, narrow) =
        (Block::of("transfers?txs=1000&accounts=10000"), Block::of("transfers?txs=1000&accounts=2"));
    let gained = gains(&wide.virtual_times("aptos", &[], 0), gas(&wide), 32);
    assert!(gained >= 12.0, "{gained}");
    let chain = Block::of("mint?txs=60&collections=1");
    for block in [&narrow, &chain] {
        let (times, serial) = (block.virtual_times("aptos", &[], 0), gas(block));
        for one in &times.on_workers {
            assert!(one.time_ns * 10 <= serial * 13, "{} on {}: {times:?}", block.name, one.workers);
        }
    }
}

/// Aptos, 4: what everybody adds to aborts nobody, and costs at most a fifth of the time.
#[test]
fn additions_to_one_account_abort_nobody() {
    let paid = |to: &dyn Fn(u64) -> u64| {
        let mut world = World::new(SpecId::OSAKA);
        for sender in 1..=64 {
            world.fund(account(sender), common::ETHER);
            world.call(account(sender), 0, account(to(sender)), sender.into());
        }
        Block { name: "64 senders".to_owned(), input: world.input, pre: world.pre }
    };
    let (one, many) = (paid(&|_| 1_000), paid(&|sender| 1_000 + sender));
    for seed in schedule_seeds(8) {
        let trace = one.recorded("aptos", 4, seed);
        assert_eq!((trace.totals().executions, trace.aborts.len()), (64, 0), "BRAID_SEED={seed}");
    }
    let (shared, apart) = (one.virtual_times("aptos", &[], 0), many.virtual_times("aptos", &[], 0));
    for workers in [2, 8, 32] {
        let time = |times: &ModelTimes| times.on(workers).unwrap().time_ns;
        assert!(time(&shared) * 10 <= time(&apart) * 12, "{workers} workers: {shared:?}, {apart:?}");
    }
}

/// Sei, 2: a storm of conflicts is given up after ten rounds, and costs at most half of the time more than one by one.
#[test]
fn sei_gives_up_after_ten_rounds() {
    let mut most = 0;
    for text in [HOT_POOL, "mint?txs=60&collections=1"] {
        let block = Block::of(text);
        for seed in schedule_seeds(6) {
            let trace = block.recorded("sei", 4, seed);
            let last = trace.tasks.iter().map(|task| task.incarnation).max().unwrap();
            assert!(last <= 10, "{text}; BRAID_SEED={seed}: {last} repetitions of one transaction");
            most = most.max(last);
        }
        let (times, serial) = (block.virtual_times("sei", &[], 0), gas(&block));
        for one in times.on_workers.iter().filter(|one| one.workers > 1) {
            assert!(one.time_ns * 2 <= serial * 3, "{text} on {}: {times:?}", one.workers);
        }
    }
    assert!(most > 1, "no transaction was repeated more than once: nothing was looked at");
}

/// Neon, 2: what executing on the parent state finds is all that is touched, if that state is the one that the
/// transaction meets; and where it is not, the result is that of one by one.
#[test]
fn emulation_finds_all_on_an_unchanged_state() {
    for text in ["swaps?txs=1&pools=1", "erc20?txs=1", "mint?txs=1", "orderbook?txs=1", "mainnet?txs=1"] {
        let block = Block::of(text);
        for name in ["sealevel", "megaeth", "monad-article"] {
            let mut engine = engine(name, 2);
            // Code that is known is not read, so let it be known.
            engine.told(&block.input, &block.pre);
            let accuracy = engine.accuracy(&block.input, &block.pre).unwrap();
            assert_eq!(accuracy.recall(), Some(1.0), "{name}, {text}: {accuracy:?}");
        }
    }
    let changed = Block::of("orderbook?txs=60&markets=1");
    let accuracy = engine("megaeth", 2).accuracy(&changed.input, &changed.pre).unwrap();
    assert!(accuracy.recall().unwrap() < 1.0, "nothing was different from the parent state: {accuracy:?}");
    let expected = changed.serially();
    for seed in schedule_seeds(4) {
        let mut engine = engine("megaeth", 4);
        engine.shuffle(seed);
        let done = engine.execute(&changed.input, &changed.pre, &Control::default()).unwrap();
        let done = ExecutedBlock { stats: expected.stats, ..done.into_block(&changed.pre) };
        assert_eq!(done, expected, "BRAID_SEED={seed}");
    }
}

/// Neon, 3: transfers of one token between strangers run side by side where slots are what conflicts, and in line where
/// accounts are.
#[test]
fn one_token_is_a_line_for_accounts_and_none_for_slots() {
    let block = Block::of("erc20?txs=200&holders=100000&tokens=1");
    let serial = gas(&block);
    let (slots, accounts) =
        (block.virtual_times("megaeth-oracle", &[], 0), block.virtual_times("sealevel-oracle", &[], 0));
    assert!(gains(&slots, serial, 8) >= 6.0, "{slots:?}");
    assert!(gains(&accounts, serial, 32) <= 1.02, "{accounts:?}");
}

/// MegaETH, b: independent accounts fill the workers, as long as they have no beneficiary in common: tips are
/// messages, which stand in line at one receiver.
#[test]
fn independent_actors_fill_the_workers() {
    let times = |tip: bool| {
        let mut world = World::new(SpecId::OSAKA);
        for sender in 1..=128 {
            world.fund(account(sender), common::ETHER);
            let tx = world.call(account(sender), 0, account(1_000 + sender), 1);
            if !tip {
                world.input.txs[tx].gas_price = world.input.env.basefee.into();
            }
        }
        let found = find_any(PROFILES, OWN_RULES, "megaeth-actors").unwrap();
        let (mut engine, given) =
            ((found.build)(1).unwrap(), Given { input: &world.input, pre: &world.pre, access_list: None });
        let trace =
            record(engine.as_mut(), (found, 1), "strangers", given, &Names::default(), &Control::default());
        let mut trace = trace.unwrap().unwrap();
        for (task, at) in trace.tasks.iter_mut().zip(0..) {
            (task.start_ns, task.end_ns) = (at * 1_000, (at + 1) * 1_000);
        }
        (trace.elapsed_ns, trace.waits) = (trace.tasks.len() as u64 * 1_000, Vec::new());
        model(engine.as_mut(), &mut trace, given, &footprints(&world.input, &world.pre).unwrap()).unwrap();
        trace.model.unwrap()
    };
    let (free, tipped) = (times(false), times(true));
    for workers in [2, 8, 16] {
        let gained = free.speedup(workers).unwrap();
        assert!(gained >= 0.8 * workers as f64, "{gained} on {workers}");
    }
    // One queue of as many messages as there are transactions, of four times as many.
    assert!(tipped.speedup(16).unwrap() < 4.0, "{tipped:?}");
}
