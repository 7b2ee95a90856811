//! From a range to cases.

use crate::{
    Endpoint, FetchError, Range,
    block::{self, Told},
    case::{self, Found, Staging},
    discover::{Discovered, discover},
    origin::Recorder,
    prestate,
    rpc::{Client, Manners},
    witness,
};
use alloy_primitives::{B256, U256};
use braid_core::Control;
use braid_evm::BlockInput;
use braid_profiles::{Engine, LeanEngine};
use braid_work::{Case, Checks, Witness, WorkError, verify, verify_input};
use serde_json::json;
use std::{
    fmt,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How often a block is fetched anew because the chain changed meanwhile.
const REORGS: usize = 3;

/// How to get at the state before a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// By witness; where the node has none, or an incomplete one, by prestate.
    #[default]
    Auto,
    /// `debug_executionWitness`: every value is proven, and the state root after the block is checked.
    Witness,
    /// `debug_traceBlockByNumber` with the `prestateTracer`, and single look-ups.
    Prestate,
}

impl Method {
    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Auto => "auto",
            Method::Witness => "witness",
            Method::Prestate => "prestate",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Method::Auto, Method::Witness, Method::Prestate];
        let found = known.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| "must be auto, witness or prestate".into())
    }
}

/// What to fetch from where to where, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node.
    pub endpoint: Endpoint,
    /// The folder of cases; made if it is not there.
    pub out: PathBuf,
    /// How to get at states.
    pub method: Method,
    /// Most calls a second; those of a batch count one by one. `None`: no limit.
    pub rate: Option<f64>,
    /// How often a call that failed for a passing reason is made again.
    pub retries: u32,
    /// Longest time for one answer.
    pub timeout: Duration,
    /// Most bytes of one answer, decompressed.
    pub max_bytes: u64,
}

impl Options {
    /// The defaults, for `endpoint` and `out`.
    pub fn new(endpoint: Endpoint, out: PathBuf) -> Self {
        let timeout = Duration::from_secs(120);
        Options { endpoint, out, method: Method::Auto, rate: None, retries: 5, timeout, max_bytes: 1 << 29 }
    }
}

/// Hears how far a fetch is.
pub trait Observer {
    /// So many blocks are to be had.
    fn start(&mut self, _blocks: usize) {}
    /// This block is next.
    fn block(&mut self, _number: u64) {}
    /// What is being done for it.
    fn stage(&mut self, _stage: &'static str) {}
    /// A block is done with.
    fn done(&mut self, _report: &BlockReport) {}
}

impl Observer for () {}

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its case was written.
    Fetched,
    /// Its case was there.
    Skipped,
    /// There is no case.
    Failed(FetchError),
}

/// What became of a block, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReport {
    /// Its number.
    pub number: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Its case, if there is one.
    pub path: Option<PathBuf>,
    /// Its hash.
    pub hash: Option<B256>,
    /// How the state was got (`witness`, `prestate`).
    pub method: Option<String>,
    /// What is covered (`full_block`, `transactions_only`).
    pub scope: Option<String>,
    /// Number of transactions.
    pub txs: Option<usize>,
    /// Gas used.
    pub gas_used: Option<u64>,
    /// Checks by name; `None` where the case does not allow it.
    pub checks: Vec<(String, Option<bool>)>,
    /// Why the witness was not used, if the method was left to choose.
    pub without_witness: Option<String>,
}

/// What became of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The chain.
    pub chain_id: Option<u64>,
    /// Blocks in the order of the range, as far as it was worked on.
    pub blocks: Vec<BlockReport>,
    /// Calls made, those of batches one by one.
    pub calls: u64,
    /// Times that something was asked again.
    pub retries: u64,
    /// Why it ended before the range did.
    pub stopped: Option<FetchError>,
}

/// Fetches the blocks of `range` that are not there yet. A block that fails leaves the others alone; an
/// error that all would share ends the work, and is in [`Summary::stopped`].
pub fn fetch(range: &Range, options: &Options, cancel: &AtomicBool, observer: &mut dyn Observer) -> Summary {
    let manners = Manners {
        rate: options.rate,
        retries: options.retries,
        timeout: options.timeout,
        max_bytes: options.max_bytes,
    };
    let client = Client::new(options.endpoint.clone(), manners, cancel);
    let mut session =
        Session { options, client, summary: Summary::default(), chain_id: 0, no_witness: None, lock: None };
    let stopped = session.run(range, observer).err();
    let counts = session.client.counts();
    Summary { stopped, calls: counts.calls, retries: counts.retries, ..session.summary }
}

struct Session<'a> {
    options: &'a Options,
    client: Client<'a>,
    summary: Summary,
    chain_id: u64,
    /// Why no witness is asked for any more.
    no_witness: Option<String>,
    /// Held while files are written.
    lock: Option<File>,
}

/// A block's state with what came of it.
struct Gathered {
    discovered: Discovered,
    witness: Option<Witness>,
    method: Method,
    input: BlockInput,
    without_witness: Option<String>,
}

impl Session<'_> {
    fn run(&mut self, range: &Range, observer: &mut dyn Observer) -> Result<(), FetchError> {
        // Before the node is asked for anything, as far as the range allows.
        if !range.needs_latest() {
            range.numbers(u64::MAX)?;
        }
        self.lock_folder()?;
        let chain_id: U256 = self.client.call("eth_chainId", json!([]))?;
        self.chain_id = u64::try_from(chain_id).unwrap_or(u64::MAX);
        self.summary.chain_id = Some(self.chain_id);
        let latest: U256 = match range.needs_latest() {
            true => self.client.call("eth_blockNumber", json!([]))?,
            false => U256::MAX,
        };
        let numbers = range.numbers(u64::try_from(latest).unwrap_or(u64::MAX))?;
        observer.start(numbers.len());
        for number in numbers {
            if self.client.cancel().load(Ordering::Relaxed) {
                return Err(FetchError::Cancelled);
            }
            observer.block(number);
            let mut report = self.there(number)?;
            if report.is_none() {
                report = Some(match self.block(number, observer) {
                    Ok(report) => report,
                    Err(FetchError::Cancelled) => return Err(FetchError::Cancelled),
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(error) => failed(number, error),
                });
            }
            if let Some(report) = report {
                observer.done(&report);
                self.summary.blocks.push(report);
            }
        }
        Ok(())
    }

    /// Makes the folder and keeps others from writing there.
    fn lock_folder(&mut self) -> Result<(), FetchError> {
        let out = &self.options.out;
        fs::create_dir_all(out).map_err(|error| FetchError::io(out, &error))?;
        let path = out.join(".fetch.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| FetchError::io(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FetchError::Busy { path: out.clone() }),
            Err(TryLockError::Error(error)) => return Err(FetchError::io(&path, &error)),
        }
        self.lock = Some(file);
        case::clean(out)
    }

    /// The report of a block whose case need not, or must not, be written.
    fn there(&self, number: u64) -> Result<Option<BlockReport>, FetchError> {
        let path = case::place(&self.options.out, number);
        Ok(match case::find(&path) {
            Found::Nothing | Found::Damaged => None,
            Found::Foreign => Some(failed(number, FetchError::Foreign { path })),
            Found::Case(meta) if meta.chain_id != self.chain_id => {
                let (found, wanted) = (meta.chain_id, self.chain_id);
                return Err(FetchError::OtherChain { path, found, wanted });
            }
            Found::Case(meta) => Some(report(Outcome::Skipped, path, *meta, None)),
        })
    }

    /// Fetches a block, anew if the chain has another one there by now.
    fn block(&mut self, number: u64, observer: &mut dyn Observer) -> Result<BlockReport, FetchError> {
        for _ in 0..REORGS {
            observer.stage("block");
            let told = block::ask(&mut self.client, number)?;
            match self.one(number, &told, observer) {
                Err(error) if !error.is_fatal() => {
                    let now = block::hash_of(&mut self.client, number);
                    if !matches!(now, Ok(Some(now)) if now != told.hash) {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
        let reason = format!("the node had another block there, {REORGS} times in a row");
        Err(FetchError::Check { number, check: "stable", reason })
    }

    fn one(
        &mut self,
        number: u64,
        told: &Told,
        observer: &mut dyn Observer,
    ) -> Result<BlockReport, FetchError> {
        // Rewards of uncles need the uncles, which are listed by hash only.
        let scope = if told.has_uncles { "transactions_only" } else { "full_block" };
        let mut staging = Staging::new(&self.options.out, number)?;
        staging.write("block.json.zst", &told.json)?;
        staging.write_draft(self.chain_id, scope)?;
        let mut case = load(&staging, number)?;
        held(number, "", &verify_input(&case))?;
        self.linked(number, told)?;
        case.expect.receipts.clone_from(&told.receipts);
        held(number, "the node's receipts: ", &verify_input(&case))?;

        let gathered = self.gather(number, told, &case.input, observer)?;
        observer.stage("check");
        let Gathered { discovered, witness, method, input, without_witness } = gathered;
        let Discovered { touched, done } = discovered;
        staging.write_json("pre_state.json.zst", &case::pre_state(&touched))?;
        staging.write_json("post_state.json.zst", &case::post_state(&done))?;
        let codes = case::new_codes(&done, &touched);
        if !codes.is_empty() {
            staging.write_json("new_codes.json.zst", &codes)?;
        }
        if let Some(hashes) = case::block_hashes(number, &input.block_hashes) {
            staging.write_json("block_hashes.json", &hashes)?;
        }
        if let Some(witness) = &witness {
            staging.write_json("witness.json.zst", &case::witness(witness))?;
        }
        let checks = self.check(number, &staging, told)?;
        let mut meta = case::meta(number, self.chain_id, method, scope);
        (meta.hash, meta.parent_hash) = (told.hash, told.parent_hash);
        meta.txs = done.results.len();
        meta.gas_used = done.results.iter().map(|result| result.gas_used).sum();
        meta.verified = checks.all().into_iter().map(|(name, held)| (name.to_owned(), held)).collect();
        meta.verified.insert("senders".into(), Some(true));
        meta.verified.insert("receipts".into(), told.receipts.as_ref().map(|_| true));
        if self.client.cancel().load(Ordering::Relaxed) {
            return Err(FetchError::Cancelled);
        }
        staging.publish(meta.clone())?;
        let path = case::place(&self.options.out, number);
        Ok(report(Outcome::Fetched, path, meta, without_witness))
    }

    /// Holds the case, as it is on the disk, against the header: executed by the oracle.
    fn check(&self, number: u64, staging: &Staging, told: &Told) -> Result<Checks, FetchError> {
        let mut case = load(staging, number)?;
        case.expect.receipts.clone_from(&told.receipts);
        let failed = |reason: String| FetchError::Check { number, check: "execution", reason };
        let pre = case.state().map_err(|error| FetchError::Unusable { number, error })?;
        let ran = LeanEngine.execute(&case.input, pre, &Control::default());
        let done = ran.map_err(|error| failed(error.to_string()))?.into_block(pre);
        let checks = verify(&case, &done);
        held(number, "", &checks)?;
        Ok(checks)
    }

    /// If the case of the parent is there, it must be this block's parent.
    fn linked(&self, number: u64, told: &Told) -> Result<(), FetchError> {
        let Some(parent) = number.checked_sub(1) else { return Ok(()) };
        let before = match self.summary.blocks.last().filter(|last| last.number == parent) {
            Some(report) => report.hash,
            None => match case::find(&case::place(&self.options.out, parent)) {
                Found::Case(meta) => Some(meta.hash),
                _ => None,
            },
        };
        match before.filter(|before| *before != told.parent_hash) {
            None => Ok(()),
            Some(before) => {
                let reason = format!("its parent is {}, the case of {parent} has {before}", told.parent_hash);
                Err(FetchError::Check { number, check: "parent", reason })
            }
        }
    }

    fn gather(
        &mut self,
        number: u64,
        told: &Told,
        input: &BlockInput,
        observer: &mut dyn Observer,
    ) -> Result<Gathered, FetchError> {
        let mut without = None;
        if self.options.method != Method::Prestate && self.no_witness.is_none() {
            observer.stage("witness");
            let error = match self.by_witness(number, told, input.clone()) {
                Ok(gathered) => return Ok(gathered),
                Err(error) => error,
            };
            // What is wrong is not asked for elsewhere; what is not there is.
            let lacking = matches!(
                error,
                FetchError::NoMethod { .. }
                    | FetchError::Incomplete { .. }
                    | FetchError::Rpc { .. }
                    | FetchError::TooLarge { .. }
                    | FetchError::Refused { .. }
            );
            if self.options.method == Method::Witness || !lacking {
                return Err(error);
            }
            if matches!(error, FetchError::NoMethod { .. } | FetchError::Refused { .. }) {
                self.no_witness = Some(error.to_string());
            }
            without = Some(error);
        }
        observer.stage("prestate");
        let text = without.as_ref().map(FetchError::to_string).or_else(|| self.no_witness.clone());
        match (self.by_prestate(number, told, input.clone()), without) {
            (Ok(gathered), _) => Ok(Gathered { without_witness: text, ..gathered }),
            (Err(FetchError::Cancelled), _) => Err(FetchError::Cancelled),
            (Err(prestate), Some(witness)) => {
                let (witness, prestate) = (Box::new(witness), Box::new(prestate));
                Err(FetchError::Neither { number, witness, prestate })
            }
            (Err(error), None) => Err(error),
        }
    }

    fn by_witness(
        &mut self,
        number: u64,
        told: &Told,
        mut input: BlockInput,
    ) -> Result<Gathered, FetchError> {
        let cancel = self.client.cancel();
        let (origin, witness) = witness::ask(&mut self.client, number, told.parent_hash)?;
        let recorder = Recorder::new(number, Box::new(origin));
        let discovered = discover(number, &mut input, &recorder, cancel)?;
        let (method, witness) = (Method::Witness, Some(witness));
        Ok(Gathered { discovered, witness, method, input, without_witness: None })
    }

    fn by_prestate(
        &mut self,
        number: u64,
        told: &Told,
        mut input: BlockInput,
    ) -> Result<Gathered, FetchError> {
        let cancel = self.client.cancel();
        let origin = prestate::ask(&mut self.client, number, told, &input)?;
        let recorder = Recorder::new(number, Box::new(origin));
        let discovered = discover(number, &mut input, &recorder, cancel)?;
        Ok(Gathered { discovered, witness: None, method: Method::Prestate, input, without_witness: None })
    }
}

/// Loads a case as any command would.
fn load(staging: &Staging, number: u64) -> Result<Case, FetchError> {
    let unusable = |error: WorkError| FetchError::Unusable { number, error };
    let sources = braid_work::load(staging.folder()).map_err(unusable)?;
    let source = sources.first().ok_or_else(|| unusable(missing(staging.folder())))?;
    source.load().map_err(unusable)
}

fn missing(folder: &Path) -> WorkError {
    WorkError::NotAnInput { file: folder.into() }
}

/// The first check that failed, as an error.
fn held(number: u64, whose: &str, checks: &Checks) -> Result<(), FetchError> {
    let Some((check, _)) = checks.all().into_iter().find(|(_, held)| *held == Some(false)) else {
        return Ok(());
    };
    let told = |text: &&String| text.split(':').next() == Some(check);
    let difference = checks.differences.iter().find(told).map_or("", String::as_str);
    let difference = difference.strip_prefix(check).unwrap_or(difference).trim_start_matches([':', ' ']);
    Err(FetchError::Check { number, check, reason: format!("{whose}{difference}") })
}

fn failed(number: u64, error: FetchError) -> BlockReport {
    BlockReport {
        number,
        outcome: Outcome::Failed(error),
        path: None,
        hash: None,
        method: None,
        scope: None,
        txs: None,
        gas_used: None,
        checks: Vec::new(),
        without_witness: None,
    }
}

fn report(outcome: Outcome, path: PathBuf, meta: case::Meta, without_witness: Option<String>) -> BlockReport {
    BlockReport {
        number: meta.number,
        outcome,
        path: Some(path),
        hash: Some(meta.hash),
        method: Some(meta.method),
        scope: Some(meta.scope),
        txs: Some(meta.txs),
        gas_used: Some(meta.gas_used),
        checks: meta.verified.into_iter().collect(),
        without_witness,
    }
}
