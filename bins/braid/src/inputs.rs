//! Inputs as `braid-work` loads and generates them.

use crate::{
    chain_inputs,
    json::Problem,
    rooted::{Rooting, Tries},
    world::{Case, Checked, Inputs, Refusal, Source},
};
use alloy_primitives::Bytes;
use braid_evm::{BlockInput, ExecutedBlock};
use braid_work::{HashedState, PreState, Scope, SourceKind, WorkError, synth::Hostile};
use revm::primitives::hardfork::SpecId;
use std::{hint::black_box, path::Path, sync::Arc};

/// The inputs of `braid-work`.
pub(crate) struct Library;

impl Inputs for Library {
    /// A path; one block of a chain file as `PATH#NUMBER`; a blockchain test as `FILE.json#NAME`, perhaps with
    /// `/NUMBER` of one of its blocks, or as `FILE.json` if it is the only one; or the text of a workload.
    fn resolve(&self, text: &str) -> Result<Vec<Box<dyn Source>>, Refusal> {
        let path = Path::new(text);
        if path.exists() {
            let tests = (path.is_file() && is_json(path)).then(|| chain_inputs::only(path));
            return tests.flatten().unwrap_or_else(|| load(path));
        }
        if let Some((file, number)) = text.rsplit_once('#').filter(|(file, _)| Path::new(file).exists()) {
            let file = Path::new(file);
            if let Some(found) = is_json(file).then(|| chain_inputs::resolve(file, number)).flatten() {
                return found;
            }
            let mut found = load(file)?;
            found.retain(|source| source.name().ends_with(&format!("#{number}")));
            return if found.is_empty() { Err(missing(text, "no such block")) } else { Ok(found) };
        }
        if let Some(sources) = hostile(text) {
            return Ok(sources);
        }
        match workload(text) {
            Ok(source) => Ok(vec![boxed(source)]),
            Err(error) if is_workload(text) => Err(Refusal::Usage(error.to_string())),
            Err(_) => Err(missing(text, "no such file or folder")),
        }
    }

    fn sample(&self) -> Result<Vec<Box<dyn Source>>, Refusal> {
        Ok(braid_work::sample().into_iter().map(boxed).collect())
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn load(path: &Path) -> Result<Vec<Box<dyn Source>>, Refusal> {
    match braid_work::load(path) {
        Ok(sources) => Ok(sources.into_iter().map(boxed).collect()),
        // An empty folder selects nothing; it is not broken.
        Err(WorkError::NotAnInput { file }) if file.is_dir() => Ok(Vec::new()),
        Err(error) => Err(Refusal::Input(problem(&error))),
    }
}

fn missing(text: &str, reason: &str) -> Refusal {
    Refusal::Input(Problem {
        kind: "not_found".to_owned(),
        file: Some(text.to_owned()),
        item: None,
        message: format!("{text}: {reason}"),
    })
}

/// What `hostile` and `hostile?seed=S` stand for: one block of each kind.
fn hostile(text: &str) -> Option<Vec<Box<dyn Source>>> {
    let seed = if text == "hostile" { "1" } else { text.strip_prefix("hostile?seed=")? };
    let seed: u64 = seed.parse().ok()?;
    let workload = |kind: Hostile| workload(&format!("hostile?kind={kind}&seed={seed}")).map(boxed).ok();
    Hostile::ALL.into_iter().map(workload).collect()
}

/// Whether a text that is not a path is meant as a workload: a name, `?`, parameters.
fn is_workload(text: &str) -> bool {
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    text.split_once('?').is_some_and(|(name, _)| name.chars().all(word))
}

/// The source of a workload's text.
fn workload(text: &str) -> Result<braid_work::Source, WorkError> {
    Ok(text.parse::<braid_work::Workload>()?.source())
}

fn boxed(source: braid_work::Source) -> Box<dyn Source> {
    Box::new(LibrarySource(source))
}

struct LibrarySource(braid_work::Source);

impl Source for LibrarySource {
    fn name(&self) -> String {
        match (&self.0.path, &self.0.kind) {
            (Some(path), SourceKind::ChainBlock(_)) => format!("{}#{}", path.display(), self.0.name),
            (Some(path), _) => path.display().to_string(),
            (None, _) => self.0.name.clone(),
        }
    }

    fn file(&self) -> Option<String> {
        self.0.path.as_ref().map(|path| path.display().to_string())
    }

    fn load(&self) -> Result<Box<dyn Case>, Problem> {
        let case = self.0.load().map_err(|error| problem(&error))?;
        let pre = case.state().map_err(|error| problem(&error))?.clone();
        let access_list = case.access_list().map_err(|error| problem(&error))?;
        let whole = matches!(self.0.kind, SourceKind::Synthetic(_));
        Ok(Box::new(LibraryCase { case, pre, access_list, whole }))
    }
}

struct LibraryCase {
    case: braid_work::Case,
    pre: Arc<PreState>,
    access_list: Option<Bytes>,
    /// Whether `pre` is all that there is, and not only what the block needs.
    whole: bool,
}

impl Case for LibraryCase {
    fn input(&self) -> &BlockInput {
        &self.case.input
    }

    fn pre(&self) -> &PreState {
        &self.pre
    }

    fn access_list(&self) -> Option<&Bytes> {
        self.access_list.as_ref()
    }

    fn verify(&self, done: &ExecutedBlock) -> Vec<Checked> {
        verified(&self.case, done)
    }

    fn rooting(&self) -> Option<Rooting<'_>> {
        let case = &self.case;
        let root = case.header.as_ref().map(|header| header.state_root);
        let expected = root.filter(|_| case.expect.scope == Scope::FullBlock);
        let tries = match (&case.expect.witness, expected) {
            (Some(witness), Some(_)) => Tries::Witness(witness, witness.nodes.iter().cloned().collect()),
            _ if self.whole => Tries::Whole(Box::new(HashedState::new(&self.pre))),
            _ => return None,
        };
        let clears_empty = case.input.spec.is_enabled_in(SpecId::SPURIOUS_DRAGON);
        Some(Rooting { tries, clears_empty, expected })
    }

    fn recover_senders(&self, threads: usize) {
        if let Some(raw) = &self.case.raw {
            // They were recovered when the case was loaded, so this cannot fail.
            drop(black_box(braid_work::recover_senders(raw, threads)));
        }
    }
}

/// The checks of a case against a result.
pub(crate) fn verified(case: &braid_work::Case, done: &ExecutedBlock) -> Vec<Checked> {
    let checks = braid_work::verify(case, done);
    let difference = |name: &str| {
        let told = |text: &&String| text.split(':').next() == Some(name);
        checks.differences.iter().find(told).cloned()
    };
    let checked = |(name, held)| Checked { name, held, difference: difference(name) };
    checks.all().into_iter().map(checked).collect()
}

/// An error of `braid-work` as it is reported: a stable word, the file, the item.
pub(crate) fn problem(error: &WorkError) -> Problem {
    let tx = |tx: &usize| Some(format!("transaction {tx}"));
    let (kind, file, item) = match error {
        WorkError::Io { file, .. } => ("io", Some(file), None),
        WorkError::Zstd { file, .. } => ("zstd", Some(file), None),
        WorkError::TooLarge { file, what, .. } => ("too_large", Some(file), Some((*what).to_owned())),
        WorkError::Json { file, at, .. } => ("json", Some(file), Some(at.clone())),
        WorkError::Invalid { file, item, .. } => ("invalid", Some(file), Some(item.clone())),
        WorkError::MissingCode { file, hash, .. } => ("missing_code", Some(file), Some(hash.to_string())),
        WorkError::WrongCode { file, hash, .. } => ("wrong_code", Some(file), Some(hash.to_string())),
        WorkError::UnknownFork { file, fork } => ("unknown_fork", Some(file), Some(fork.clone())),
        WorkError::UnknownTxType { file, tx: index, .. } => ("unknown_tx_type", Some(file), tx(index)),
        WorkError::BadTx { file, tx: index, .. } => ("bad_tx", Some(file), tx(index)),
        WorkError::BadSignature { file, tx: index, .. } => ("bad_signature", Some(file), tx(index)),
        WorkError::SenderMismatch { file, tx: index, .. } => ("sender_mismatch", Some(file), tx(index)),
        WorkError::NoState { file } => ("no_state", Some(file), None),
        WorkError::NotAnInput { file } => ("not_an_input", Some(file), None),
        WorkError::Workload { .. } => ("workload", None, None),
    };
    Problem {
        kind: kind.to_owned(),
        file: file.map(|file| file.display().to_string()),
        item,
        message: error.to_string(),
    }
}
