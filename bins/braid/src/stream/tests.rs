//! Streams against one block after another.

use super::{
    difference,
    pipeline::{Manner, Run, one_by_one, stream},
};
use crate::sync::tests::{blocks, wrong_receipts};
use braid_core::Control;
use braid_evm::{BlockInput, EvmKey, hints::Learned};
use braid_profiles::{Engine, ExecError, Executed, HintSource, LeanEngine, bench::execute_once, profile};
use braid_testkit::{Rng, data};
use braid_work::{Chain, ChainBlock, ChainError, HashedState, PreState, chain, chain::Follower};
use std::{
    io::Read,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

static GO_ON: AtomicBool = AtomicBool::new(false);

const MANNER: Manner = Manner { seed: 1, learning: true, recoverers: 3, prints: true };

fn streamed(chain: &Chain, engine: &mut dyn Engine) -> Run {
    stream(chain, engine, MANNER, &GO_ON, |_| ())
}

fn serial(chain: &Chain) -> Run {
    one_by_one(chain, &mut LeanEngine, &Control::default())
}

/// As every profile streams it; returns what all agree on.
fn agree(chain: &Chain) -> Run {
    let expected = serial(chain);
    for (name, threads) in
        [("lean", 1), ("serial", 1), ("aptos", 1), ("aptos", 2), ("aptos", 4), ("monad", 2), ("pharos", 2)]
    {
        let mut engine = (profile(name).unwrap().build)(threads).unwrap();
        let run = streamed(chain, engine.as_mut());
        assert_eq!(difference(&run, &expected), None, "{}: {name} at {threads}", chain.name);
        let sums = |run: &Run| (run.blocks, run.txs, run.gas_used, run.prints.len());
        assert_eq!(sums(&run), sums(&expected), "{}: {name} at {threads}", chain.name);
        let failed = |run: &Run| run.failed.as_ref().map(|failure| (failure.block, failure.kind.clone()));
        assert_eq!(failed(&run), failed(&expected), "{}: {name} at {threads}", chain.name);
    }
    expected
}

#[test]
fn workloads_are_split_and_stream() {
    for (text, blocks, txs) in [
        ("transfers?txs=50&accounts=5&blocks=50", 50, 50),
        ("transfers?txs=200&accounts=20&hot=50&blocks=7", 7, 200),
        ("erc20?txs=300&holders=10&blocks=12&seed=3", 12, 300),
        ("erc20?blocks=1&txs=20", 1, 20),
    ] {
        let run = agree(&chain(text).unwrap());
        assert_eq!((run.blocks, run.txs, run.failed), (blocks, txs, None), "{text}");
    }
    // The state is carried over: nonces go on, so no block but the first is valid alone.
    let whole = serial(&chain("transfers?txs=60&accounts=3&blocks=1").unwrap());
    let parts = serial(&chain("transfers?txs=60&accounts=3&blocks=6").unwrap());
    assert_eq!((whole.gas_used, parts.gas_used), (60 * 21_000, 60 * 21_000));
}

/// Blocks that were executed teach those after them, and nothing teaches the first.
#[test]
fn a_chain_teaches_what_runs_from_learned_hints() {
    struct Pupil(Box<dyn Engine>, Vec<usize>);
    impl Engine for Pupil {
        fn execute(
            &mut self,
            input: &BlockInput,
            pre: &PreState,
            control: &Control<'_>,
        ) -> Result<Box<dyn Executed>, ExecError> {
            // What its hints say of the targets' storage, which nothing but lessons can tell.
            let told = self.0.told(input, pre).unwrap();
            let slots = told.iter().flat_map(|hint| &hint.access);
            self.1.push(slots.filter(|(key, _)| matches!(key, EvmKey::Slot { .. })).count());
            self.0.execute(input, pre, control)
        }
        fn teach(&mut self, learned: &Arc<Learned>) {
            self.0.teach(learned);
        }
        fn hint_source(&self) -> Option<HintSource> {
            self.0.hint_source()
        }
    }
    let chain = chain("erc20?txs=60&holders=30&blocks=6").unwrap();
    let pupil = || Pupil((profile("pharos").unwrap().build)(2).unwrap(), Vec::new());
    let mut learning = pupil();
    let run = streamed(&chain, &mut learning);
    assert_eq!((run.blocks, run.failed), (6, None));
    assert_eq!(learning.1[0], 0, "the first block is foreseen by nobody");
    assert!(learning.1[1..].iter().all(|slots| *slots > 0), "{:?}", learning.1);
    let mut forgetting = pupil();
    stream(&chain, &mut forgetting, Manner { learning: false, ..MANNER }, &GO_ON, |_| ());
    assert_eq!(forgetting.1, [0; 6]);
}

/// `lean`, until a block at which it does something else.
struct Until {
    left: usize,
    then: Then,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Refuses,
    Panics,
    Waits,
}

impl Engine for Until {
    fn execute(
        &mut self,
        input: &BlockInput,
        pre: &PreState,
        control: &Control<'_>,
    ) -> Result<Box<dyn Executed>, ExecError> {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return LeanEngine.execute(input, pre, control);
        }
        match self.then {
            Then::Refuses => {
                Err(ExecError::Invalid { tx: 2, kind: "nonce_too_low", reason: "made up".to_owned() })
            }
            Then::Panics => panic!("made up"),
            Then::Waits => loop {
                if control.interrupted::<()>().is_some() {
                    return Err(ExecError::Cancelled { tx: 0 });
                }
                std::thread::yield_now();
            },
        }
    }
}

#[test]
fn a_block_that_fails_is_named_and_ends_the_stream() {
    let chain = chain("transfers?txs=90&blocks=30").unwrap();
    let all = serial(&chain);
    for left in [0, 1, 6, 17, 29] {
        for (then, kind) in [(Then::Refuses, "nonce_too_low"), (Then::Panics, "panicked")] {
            let run = streamed(&chain, &mut Until { left, then });
            let failure = run.failed.as_ref().unwrap();
            assert_eq!((run.blocks, failure.kind.as_str()), (left, kind));
            assert_eq!(failure.block, all.prints[left].0, "block {left}");
            assert_eq!(run.prints, all.prints[..left], "all before it are finished");
            let told = difference(&run, &all).unwrap();
            assert_eq!(told.item, Some(format!("block {}", failure.block)));
        }
    }
}

#[test]
fn an_interrupt_ends_a_stream_in_the_midst_of_a_block() {
    let chain = chain("transfers?txs=90&blocks=30").unwrap();
    let interrupt = AtomicBool::new(false);
    let mut engine = Until { left: 7, then: Then::Waits };
    let run = stream(&chain, &mut engine, MANNER, &interrupt, |done| {
        if done == 7 {
            interrupt.store(true, Ordering::Relaxed);
        }
    });
    assert!(run.failed.unwrap().interrupted);
    assert_eq!(run.blocks, 7);
}

/// A folder with a chain of its own, removed at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The chain of ethereum/execution-apis, which crosses all forks up to the second change of blob parameters
/// after Osaka: its genesis file and its blocks.
fn real() -> Option<(Vec<u8>, Vec<u8>)> {
    let file = std::fs::File::open(data()?.join("ethereum/rpc/execution-apis-tests.tar.zst")).unwrap();
    let mut decoder = zstd::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    let (mut genesis, mut blocks) = (Vec::new(), Vec::new());
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.ends_with("genesis.json") {
            entry.read_to_end(&mut genesis).unwrap();
        } else if path.ends_with("chain.rlp") {
            entry.read_to_end(&mut blocks).unwrap();
        }
    }
    Some((genesis, blocks))
}

fn folder(name: &str, genesis: &[u8], blocks: &[u8]) -> Folder {
    let path = std::env::temp_dir().join(format!("braid-stream-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("genesis.json"), genesis).unwrap();
    std::fs::write(path.join("chain.rlp"), blocks).unwrap();
    Folder(path)
}

fn open(folder: &Folder) -> Chain {
    chain(folder.0.to_str().unwrap()).unwrap()
}

#[test]
fn a_real_chain_across_all_forks() {
    let Some((genesis, blocks)) = real() else { return };
    let folder = folder("real", &genesis, &blocks);
    let run = agree(&open(&folder));
    assert_eq!(run.failed, None);
    assert!(run.blocks > 50 && run.txs > 200, "{} blocks, {} transactions", run.blocks, run.txs);
}

/// Roots of the tries that follow a chain, against those of the whole state after each block.
#[test]
fn roots_that_follow_a_chain_are_those_of_the_whole_state() {
    let real = real().map(|(genesis, blocks)| folder("roots", &genesis, &blocks));
    let texts =
        ["transfers?txs=60&accounts=9&blocks=6", "erc20?txs=120&holders=10&blocks=8", "mint?txs=40&blocks=5"];
    let chains = texts.map(|text| chain(text).unwrap()).into_iter().chain(real.as_ref().map(open));
    for chain in chains {
        let mut whole = PreState::clone(&chain.pre);
        let mut hashed = HashedState::new(&whole);
        let mut engine = LeanEngine;
        for block in chain.blocks() {
            let block = block.unwrap();
            whole.block_hashes.clone_from(&block.input.block_hashes);
            let (done, _) = execute_once(&mut engine, &block.input, &whole, &Control::default()).unwrap();
            whole.apply(&done).unwrap();
            hashed.apply(&done);
            assert_eq!(hashed.root(), whole.state_root(), "{}: block {}", chain.name, block.number());
        }
    }
}

/// What is recovered ahead is what one thread recovers, error included, in the same order; and whoever takes
/// the blocks may stop at any of them.
#[test]
fn any_number_of_threads_recovers_the_same() {
    let Some((genesis, blocks)) = real() else { return };
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    let mut failed = 0;
    for seed in repeat.map_or(0..24u64, |seed| seed..seed + 1) {
        let mut random = Rng::new(seed);
        let mut damaged = blocks.clone();
        if seed > 0 {
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << random.below(8);
        }
        let folder = folder(&format!("ahead-{seed}"), &genesis, &damaged);
        let Ok(chain) = chain(folder.0.to_str().unwrap()) else { continue };
        let print = |block: Result<ChainBlock, ChainError>| {
            block.map(|block| format!("{:?}", block.input)).map_err(|error| error.to_string())
        };
        let one: Vec<_> = chain.blocks().map(print).collect();
        failed += usize::from(one.last().is_some_and(|last| last.is_err()));
        let stop_at = 1 + random.below(one.len() as u64) as usize;
        for threads in [0, 1, 2, 3, 8, 1000] {
            for most in [one.len() + 1, stop_at] {
                let mut many = Vec::new();
                chain.for_each_block(threads, &mut |block| {
                    many.push(print(block));
                    if many.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                let expected = &one[..most.min(one.len())];
                assert_eq!(many, expected, "{threads} threads; repeat with BRAID_SEED={seed}");
            }
        }
    }
    assert!(repeat.is_some() || failed >= 8, "{failed} of the damaged chains end in an error");
}

#[test]
fn a_panic_of_the_taker_leaves_no_thread_waiting() {
    let Some((genesis, blocks)) = real() else { return };
    let folder = folder("taker", &genesis, &blocks);
    let chain = open(&folder);
    let took = catch_unwind(AssertUnwindSafe(|| chain.for_each_block(4, &mut |_| panic!("made up"))));
    assert!(took.is_err());
}

/// An engine that forgets is told so before each block, and comes to the same results.
#[test]
fn forgetting_changes_no_result() {
    let chain = chain("erc20?txs=200&holders=10&blocks=10").unwrap();
    let mut engine = (profile("aptos").unwrap().build)(2).unwrap();
    let manner = Manner { learning: false, ..MANNER };
    let run = stream(&chain, engine.as_mut(), manner, &GO_ON, |_| ());
    assert_eq!(difference(&run, &serial(&chain)), None);
    assert_eq!((run.blocks, run.failed), (10, None));
}

/// Their receipts have the roots of the states between transactions.
#[test]
fn receipts_of_before_byzantium_are_checked() {
    let Some(folder) = data() else { return };
    wrong_receipts(&folder, |name, right, wrong, number| {
        let [right, wrong] = [right, wrong].map(|import| {
            let follower = Follower::new(import.genesis.chain.clone(), import.genesis.header.clone());
            let pre = Arc::new(import.genesis.pre.clone());
            agree(&Chain::of_blocks(name.to_owned(), pre, blocks(import), follower))
        });
        assert_eq!((right.failed, right.last), (None, Some(number)), "{name}");
        let failure = wrong.failed.unwrap_or_else(|| panic!("{name}: it passed"));
        assert_eq!((failure.block, failure.kind.as_str()), (number, "receipts_root"), "{name}: {failure:?}");
        assert_eq!(wrong.blocks + 1, right.blocks, "{name}");
    });
}

/// Mainnet from its genesis to block 8191: rewards and ommers only, and a state root in each header.
/// Era1 (e2store entries: type, length, two reserved bytes, content): 3 is a header, 4 a body, in snappy frames.
#[test]
fn the_first_blocks_of_mainnet_have_their_roots() {
    let Some(data) = data() else { return };
    let file = data.join("ethereum/era1/mainnet_genesis_alloc.json.zst");
    let mut genesis: serde_json::Value =
        serde_json::from_reader(zstd::Decoder::new(std::fs::File::open(file).unwrap()).unwrap()).unwrap();
    genesis["config"].as_object_mut().unwrap().remove("daoForkBlock");
    let era = std::fs::read(data.join("ethereum/era1/mainnet-00000-5ec1ffb8.era1")).unwrap();
    let (mut rest, mut header, mut blocks) = (&era[..], Vec::new(), Vec::new());
    while let [kind, _, a, b, c, d, _, _, content @ ..] = rest {
        let (content, others) = content.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        let plain = || {
            let mut plain = Vec::new();
            snap::read::FrameDecoder::new(content).read_to_end(&mut plain).unwrap();
            plain
        };
        match kind {
            3 => header = plain(),
            4 => {
                // A block is a list of its header and what is in the list of its body.
                let body = plain();
                let mut items = &body[..];
                alloy_rlp::Header::decode(&mut items).unwrap();
                let payload_length = header.len() + items.len();
                alloy_rlp::Header { list: true, payload_length }.encode(&mut blocks);
                blocks.extend_from_slice(&header);
                blocks.extend_from_slice(items);
            }
            _ => {}
        }
        rest = others;
    }
    // The first is the genesis block itself.
    let mut following = &blocks[..];
    let first = alloy_rlp::Header::decode(&mut following).unwrap();
    let folder = folder("era1", genesis.to_string().as_bytes(), &following[first.payload_length..]);
    let mut engine = (profile("serial").unwrap().build)(1).unwrap();
    let run = streamed(&open(&folder), engine.as_mut());
    assert_eq!((run.failed, run.blocks, run.last), (None, 8191, Some(8191)));
}

/// Bytes are changed at random: in a header, a transaction, a signature. Whatever stage finds it, streaming
/// stops where one block after another does.
#[test]
fn damaged_chains_end_where_they_end_one_by_one() {
    let Some((genesis, blocks)) = real() else { return };
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    let mut kinds = std::collections::BTreeSet::new();
    for seed in repeat.map_or(0..40u64, |seed| seed..seed + 1) {
        let mut random = Rng::new(seed);
        let mut damaged = blocks.clone();
        let at = random.below(damaged.len() as u64) as usize;
        damaged[at] ^= 1 << random.below(8);
        let folder = folder(&format!("damaged-{seed}"), &genesis, &damaged);
        // Where it cannot even be cut into blocks.
        let Ok(chain) = chain(folder.0.to_str().unwrap()) else { continue };
        let expected = serial(&chain);
        let mut engine = (profile("aptos").unwrap().build)(2).unwrap();
        let run = streamed(&chain, engine.as_mut());
        let what = format!("byte {at}; repeat with BRAID_SEED={seed}");
        assert_eq!(difference(&run, &expected), None, "{what}");
        assert_eq!(run.failed, expected.failed, "{what}");
        assert_eq!((run.blocks, &run.prints), (expected.blocks, &expected.prints), "{what}");
        kinds.extend(run.failed.map(|failure| failure.kind));
    }
    assert!(repeat.is_some() || kinds.len() >= 4, "{kinds:?}");
}

#[test]
fn genesis_files_that_cannot_be_are_refused() {
    let Some((genesis, blocks)) = real() else { return };
    let text = String::from_utf8(genesis).unwrap();
    for (n, (from, to, told)) in [
        ("\"homesteadBlock\": 0", "\"homesteadBlock\": \"x\"", "homesteadBlock"),
        ("\"homesteadBlock\": 0", "\"amsterdamTime\": 0", "amsterdamTime"),
        (
            "\"terminalTotalDifficulty\": 4732352",
            "\"terminalTotalDifficulty\": -1",
            "terminalTotalDifficulty",
        ),
        ("\"baseFeeUpdateFraction\": 3338477", "\"baseFeeUpdateFraction\": 0", "blobSchedule"),
        ("\"gasLimit\": \"0x5f5e100\"", "\"gasLimit\": []", "gasLimit"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(text.contains(from), "{from}");
        let folder = folder(&format!("genesis-{n}"), text.replacen(from, to, 1).as_bytes(), &blocks);
        let error = chain(folder.0.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("genesis.json"), "{error}");
    }
    // Another genesis: the first block does not follow it.
    let other = text.replacen("\"gasLimit\": \"0x5f5e100\"", "\"gasLimit\": \"0x5f5e101\"", 1);
    let run = serial(&open(&folder("genesis-other", other.as_bytes(), &blocks)));
    let failure = run.failed.unwrap();
    assert_eq!((run.blocks, failure.block, failure.kind.as_str()), (0, 1, "unknown_parent"));
}

#[test]
fn what_is_no_chain_is_said() {
    for (text, told) in [
        ("transfers?txs=10", "`blocks` must be given"),
        ("transfers", "`blocks` must be given"),
        ("transfers?txs=10&blocks=0", "`blocks` is `0`, must be between 1 and 10"),
        ("transfers?txs=10&blocks=11", "`blocks` is `11`"),
        ("transfers?txs=10&blocks=x", "`blocks` is `x`"),
        ("transfers?txs=10&blocks=2&blocks=2", "given twice"),
        ("nonsense?blocks=2", "unknown workload"),
        ("/nonexistent", "genesis.json"),
    ] {
        let error = chain(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}
