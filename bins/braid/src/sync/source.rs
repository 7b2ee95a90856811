//! Where the blocks of an import come from.

use crate::{inputs::problem, json::Problem};
use alloy_primitives::{B256, Bytes};
use braid_rules::Block;
use braid_vectors::{Case, CaseKind, chain::ChainCase};
use braid_work::chain::{Genesis, Import};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Most bytes of a JSON file.
const MAX_JSON: u64 = 1 << 28;

/// Finds the chain that `from` names: a path as [`Import::open`] takes it, or a JSON file of blockchain tests, of
/// which `#NAME` is one; without a name there must be one only.
pub(crate) fn open(from: &str, genesis: Option<&Path>) -> Result<Import, Problem> {
    let (path, name) = match from.rsplit_once('#') {
        Some((file, name)) if !Path::new(from).exists() => (Path::new(file), Some(name)),
        _ => (Path::new(from), None),
    };
    if genesis.is_none() && path.extension().is_some_and(|extension| extension == "json") {
        return tests(path, name);
    }
    Import::open(path, genesis).map_err(|error| problem(&error))
}

fn bad(kind: &str, file: &Path, item: Option<&str>, message: String) -> Problem {
    Problem {
        kind: kind.to_owned(),
        file: Some(file.display().to_string()),
        item: item.map(str::to_owned),
        message: format!("{}: {message}", file.display()),
    }
}

fn tests(file: &Path, name: Option<&str>) -> Result<Import, Problem> {
    let io = |error: std::io::Error| bad("io", file, None, error.to_string());
    let size = std::fs::metadata(file).map_err(io)?.len();
    if size > MAX_JSON {
        return Err(bad("too_large", file, None, format!("{size} bytes, limit {MAX_JSON}")));
    }
    let label: Arc<str> = file.display().to_string().into();
    let cases = braid_vectors::load(&label, &std::fs::read(file).map_err(io)?);
    let cases = cases.map_err(|error| Problem {
        kind: "vectors".to_owned(),
        file: Some(file.display().to_string()),
        item: None,
        // It names the file.
        message: error.to_string(),
    })?;
    let mut chains: Vec<(String, ChainCase)> = cases.into_iter().filter_map(of_chain).collect();
    let names: Vec<String> = chains.iter().map(|(name, _)| name.clone()).collect();
    if let Some(name) = name {
        chains.retain(|(one, _)| one == name);
    }
    match chains.pop() {
        Some((name, case)) if chains.is_empty() => import(file, &name, case),
        Some(_) => {
            let some: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
            let message = format!("{} chains: name one after `#`, such as {}", names.len(), some.join(", "));
            Err(bad("ambiguous", file, None, message))
        }
        None => Err(bad("not_found", file, name, "no such chain".to_owned())),
    }
}

pub(super) fn of_chain(case: Case) -> Option<(String, ChainCase)> {
    match case.kind {
        CaseKind::Chain(chain) => Some((case.name, *chain)),
        _ => None,
    }
}

/// The blocks from the genesis block to the one that the test ends with.
pub(super) fn import(file: &Path, name: &str, case: ChainCase) -> Result<Import, Problem> {
    let pre = case.pre.pre_state(file).map_err(|error| problem(&error))?;
    let genesis =
        Genesis { chain: braid_rules::ChainSpec::clone(&case.chain), header: case.genesis.clone(), pre };
    let mut known: BTreeMap<B256, (B256, Bytes)> = BTreeMap::new();
    for block in &case.blocks {
        if let Ok(decoded) = Block::decode(&block.rlp) {
            known.insert(decoded.hash, (decoded.header.parent_hash, block.rlp.clone()));
        }
    }
    let (mut blocks, mut at) = (Vec::new(), case.last);
    let first = genesis.header.hash_slow();
    while at != first {
        let Some((parent, rlp)) = known.remove(&at) else {
            let message = format!("block {at}, on the way to the last one, is not there");
            return Err(bad("gap", file, Some(name), message));
        };
        blocks.push(rlp);
        at = parent;
    }
    blocks.reverse();
    let name = PathBuf::from(file).display().to_string() + "#" + name;
    Ok(Import::of_blocks(name, genesis, blocks))
}
