//! Inputs from files: every form of block, one type of case.

mod block;
pub(crate) mod codes;
pub(crate) mod file;
pub mod fork;
pub(crate) mod json;
mod state;
mod tx;

use crate::{Case, Expect, ExpectedReceipt, Scope, WorkError, synth};
use block::{About, blob_env};
use braid_evm::{BlockInput, EvmRules, Rites};
use codes::Codes;
use json::{JsonBody, JsonChainBlock, JsonEnv, JsonEnvTx, JsonHeader, JsonMeta};
use revm::{context::BlockEnv, primitives::hardfork::SpecId};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};
pub use tx::{RawTxs, SignedTx, recover_senders};

/// How many folders deep a folder of blocks is searched.
const MAX_DEPTH: usize = 4;

/// Most inputs that one path may stand for.
const MAX_SOURCES: usize = 100_000;

/// The form of an input.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// A folder with `block.json.zst` and usually a state.
    CaseFolder,
    /// A block in its RPC form, without state.
    BlockFile,
    /// A folder with a bare block environment and transactions without signatures.
    Environment,
    /// One block of a chain file.
    ChainBlock(Arc<ChainBlock>),
    /// A generated workload.
    Synthetic(synth::Workload),
    /// An input that is known not to load.
    Broken(WorkError),
}

/// One parsed block of a chain file.
#[derive(Debug)]
pub struct ChainBlock(JsonChainBlock);

/// An input that can be loaded. Cheap, except that the blocks of a chain file are kept parsed.
#[derive(Clone, Debug)]
pub struct Source {
    /// Short name: the block number, or the text of a synthetic workload.
    pub name: String,
    /// Its form.
    pub kind: SourceKind,
    /// Where it is; `None` for a synthetic workload.
    pub path: Option<PathBuf>,
}

/// Finds what `path` stands for: one block, or all blocks of a folder in numeric order.
///
/// # Errors
/// If there is nothing to load. An input that turns out broken is an error of its own
/// [`Source::load`], so that it does not stop the others.
pub fn load(path: &Path) -> Result<Vec<Source>, WorkError> {
    let mut found = Vec::new();
    if path.is_dir() {
        expand(path, 0, &mut found)?;
    } else {
        found = file_sources(path)?;
    }
    if found.is_empty() {
        return Err(WorkError::NotAnInput { file: path.into() });
    }
    Ok(found)
}

/// Finds what `input` stands for: a workload such as `erc20?txs=100`, or else a path (see [`load`]).
///
/// # Errors
/// If it is neither.
pub fn sources(input: &str) -> Result<Vec<Source>, WorkError> {
    let path = Path::new(input);
    let is_word = input.chars().all(|letter| letter.is_ascii_alphanumeric());
    match input.contains('?') || (is_word && !path.exists()) {
        true => Ok(vec![input.parse::<synth::Workload>()?.source()]),
        false => load(path),
    }
}

fn source(path: &Path, kind: SourceKind) -> Source {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let name = name.split('.').next().unwrap_or_default().to_owned();
    Source { name, kind, path: Some(path.into()) }
}

/// The block or blocks of one file, told apart by its first character.
fn file_sources(path: &Path) -> Result<Vec<Source>, WorkError> {
    let bytes = file::read(path)?;
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(vec![source(path, SourceKind::BlockFile)]);
    }
    let blocks: Vec<JsonChainBlock> = file::parse(path, &bytes)?;
    let one = |block: JsonChainBlock| {
        let name = block.header.number.0.to_string();
        Source { name, ..source(path, SourceKind::ChainBlock(Arc::new(ChainBlock(block)))) }
    };
    Ok(blocks.into_iter().map(one).collect())
}

fn expand(folder: &Path, depth: usize, found: &mut Vec<Source>) -> Result<(), WorkError> {
    if let Some(kind) = folder_kind(folder) {
        found.push(source(folder, kind));
        return Ok(());
    }
    let io = |error: std::io::Error| WorkError::Io { file: folder.into(), reason: error.to_string() };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        // Hidden: such as a case that is still being written.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            entries.push(entry.path());
        }
    }
    entries.sort_by_cached_key(|path| numeric_order(path));
    for entry in entries {
        if entry.is_dir() {
            if depth < MAX_DEPTH {
                expand(&entry, depth + 1, found)?;
            }
        } else if is_block_file(&entry) {
            match file_sources(&entry) {
                Ok(sources) => found.extend(sources),
                Err(error) => found.push(source(&entry, SourceKind::Broken(error))),
            }
        }
        if found.len() > MAX_SOURCES {
            let (size, limit) = (found.len() as u64, MAX_SOURCES as u64);
            return Err(WorkError::TooLarge { file: folder.into(), what: "number of inputs", size, limit });
        }
    }
    Ok(())
}

fn folder_kind(folder: &Path) -> Option<SourceKind> {
    match (folder.join("txs.json.zst").is_file(), folder.join("block.json.zst").is_file()) {
        (true, _) => Some(SourceKind::Environment),
        (false, true) => Some(SourceKind::CaseFolder),
        (false, false) => None,
    }
}

/// In a folder, block and chain files are those whose name (before any `.`) ends in a number.
fn is_block_file(path: &Path) -> bool {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let Some((stem, rest)) = name.split_once('.') else { return false };
    matches!(rest, "json.zst" | "json") && stem.ends_with(|last: char| last.is_ascii_digit())
}

fn numeric_order(path: &Path) -> (u64, PathBuf) {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap_or(u64::MAX), path.into())
}

impl Source {
    /// Loads or generates the case, and recovers its senders.
    ///
    /// # Errors
    /// A [`WorkError`] that names the file and the item.
    pub fn load(&self) -> Result<Case, WorkError> {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        match &self.kind {
            SourceKind::CaseFolder => self.load_case(path),
            SourceKind::BlockFile => self.load_block_file(path),
            SourceKind::Environment => self.load_environment(path),
            SourceKind::ChainBlock(block) => self.load_chain_block(path, &block.0),
            SourceKind::Synthetic(workload) => workload.generate(),
            SourceKind::Broken(error) => Err(error.clone()),
        }
    }

    fn case(&self, loaded: block::Loaded, block_hash: Option<alloy_primitives::B256>) -> Case {
        let withdrawals = loaded.withdrawals;
        Case {
            name: self.name.clone(),
            path: self.path.clone(),
            input: loaded.input,
            raw: Some(loaded.raw),
            pre: None,
            header: Some(loaded.header),
            expect: Expect { block_hash, withdrawals, ..Expect::default() },
        }
    }

    fn load_case(&self, folder: &Path) -> Result<Case, WorkError> {
        let meta_file = folder.join("meta.json");
        let meta: Option<JsonMeta> = file::read_json_if_there(&meta_file)?;
        let scope = match meta.as_ref().map(|meta| meta.scope.as_str()) {
            Some("full_block") => Scope::FullBlock,
            Some("transactions_only") => Scope::TransactionsOnly,
            None => Scope::None,
            Some(other) => return Err(WorkError::invalid(&meta_file, "scope", format!("`{other:.80}`"))),
        };
        let block_file = folder.join("block.json.zst");
        let bytes = file::read(&block_file)?;
        let header: JsonHeader = file::parse(&block_file, &bytes)?;
        let body: JsonBody = file::parse(&block_file, &bytes)?;
        let hashes_file = folder.join("block_hashes.json");
        let listed: BTreeMap<String, _> = file::read_json_if_there(&hashes_file)?.unwrap_or_default();
        let about = About {
            file: &block_file,
            chain_id: meta.as_ref().map_or_else(|| block::chain_id_of(&body.transactions), |m| m.chain_id),
            full: scope == Scope::FullBlock,
            dao_drain: meta.and_then(|meta| meta.dao_drain),
            block_hashes: state::block_hashes(&hashes_file, listed)?,
        };
        let mut case = self.case(block::build(about, &header, &body)?, header.hash);
        let pre_file = folder.join("pre_state.json.zst");
        if pre_file.is_file() {
            let codes = Codes::above(folder)?;
            let pre = state::pre_state(&pre_file, codes.as_deref(), case.input.block_hashes.clone())?;
            case.pre = Some(Arc::new(pre));
        }
        case.expect.scope = scope;
        case.expect.post_state = state::post_state(&folder.join("post_state.json.zst"))?;
        case.expect.new_codes = state::new_codes(&folder.join("new_codes.json.zst"))?;
        case.expect.witness = state::witness(&folder.join("witness.json.zst"))?;
        Ok(case)
    }

    fn load_block_file(&self, path: &Path) -> Result<Case, WorkError> {
        let bytes = file::read(path)?;
        let header: JsonHeader = file::parse(path, &bytes)?;
        let body: JsonBody = file::parse(path, &bytes)?;
        let loaded = block::build(stateless(path, &body), &header, &body)?;
        Ok(self.case(loaded, header.hash))
    }

    fn load_chain_block(&self, path: &Path, block: &JsonChainBlock) -> Result<Case, WorkError> {
        let body =
            JsonBody { transactions: block.transactions.clone(), uncles: Vec::new(), withdrawals: None };
        let loaded = block::build(stateless(path, &body), &block.header, &body)?;
        let mut case = self.case(loaded, Some(block.hash));
        let receipt = |json: &json::JsonReceipt| ExpectedReceipt {
            success: json.status.0 == 1,
            cumulative_gas_used: json.cumulative_gas_used.0,
            logs: json.logs.iter().cloned().map(Into::into).collect(),
        };
        case.expect.receipts = Some(block.receipts.iter().map(receipt).collect());
        Ok(case)
    }

    fn load_environment(&self, folder: &Path) -> Result<Case, WorkError> {
        let (env_file, txs_file) = (folder.join("block.json.zst"), folder.join("txs.json.zst"));
        let json: JsonEnv = file::read_json(&env_file)?;
        let txs: Vec<JsonEnvTx> = file::read_json(&txs_file)?;
        let txs = txs.into_iter().enumerate().map(|(index, tx)| tx::env_of_bare(&txs_file, index, tx));
        let input = environment(&env_file, json, txs.collect::<Result<_, _>>()?)?;
        let pre_file = folder.join("pre_state.json.zst");
        let pre = match pre_file.is_file() {
            true => Some(Arc::new(state::pre_state(&pre_file, None, input.block_hashes.clone())?)),
            false => None,
        };
        let (name, path) = (self.name.clone(), self.path.clone());
        Ok(Case { name, path, input, raw: None, pre, header: None, expect: Expect::default() })
    }
}

fn stateless<'a>(file: &'a Path, body: &JsonBody) -> About<'a> {
    let chain_id = block::chain_id_of(&body.transactions);
    About { file, chain_id, full: false, dao_drain: None, block_hashes: BTreeMap::new() }
}

/// A block environment has no rites: nothing is known but its transactions.
fn environment(file: &Path, json: JsonEnv, txs: Vec<revm::context::TxEnv>) -> Result<BlockInput, WorkError> {
    let spec: SpecId = json
        .spec_id
        .parse()
        .map_err(|_| WorkError::UnknownFork { file: file.into(), fork: json.spec_id.clone() })?;
    let (chain_id, timestamp) = (json.chain_id.0, json.timestamp.0);
    let blob = blob_env(file, chain_id, spec, timestamp, json.excess_blob_gas.map(|gas| gas.0))?;
    let merged = spec.is_enabled_in(SpecId::MERGE);
    if merged && json.prevrandao.is_none() {
        return Err(WorkError::invalid(file, "prevrandao", "missing"));
    }
    let env = BlockEnv {
        number: alloy_primitives::U256::from(json.number.0),
        beneficiary: json.coinbase,
        timestamp: alloy_primitives::U256::from(timestamp),
        gas_limit: json.gas_limit.0,
        basefee: json.basefee.0,
        difficulty: json.difficulty.0,
        prevrandao: json.prevrandao.filter(|_| merged),
        blob_excess_gas_and_price: blob.map(|blob| blob.price),
        slot_num: 0,
    };
    let block_hashes = state::block_hashes(file, json.block_hashes)?;
    let max_blob_gas = blob.map(|blob| blob.max_gas);
    Ok(BlockInput {
        chain_id,
        spec,
        env,
        txs,
        block_hashes,
        max_blob_gas,
        rites: Rites::default(),
        rules: EvmRules::default(),
        gas_used: None,
    })
}
