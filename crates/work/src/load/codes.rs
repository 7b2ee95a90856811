//! Contract code by hash: each code file read once per process, each code analysed once and shared.

use super::file;
use crate::WorkError;
use alloy_primitives::{B256, Bytes, keccak256};
use revm::state::Bytecode;
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Name of a file of codes. It stands in some folder above the cases that refer to it.
const CODES_FILE: &str = "codes.json.zst";

/// How many folders above an input are searched for codes.
const MAX_LEVELS_UP: usize = 4;

struct Code {
    raw: Bytes,
    analysed: OnceLock<Bytecode>,
}

/// The codes of one file.
pub(crate) struct Codes {
    file: PathBuf,
    by_hash: HashMap<B256, Code>,
}

impl Codes {
    /// The codes for an input at `path`: of the nearest code file above it; none, if there is no such file.
    pub(crate) fn above(path: &Path) -> Result<Option<Arc<Codes>>, WorkError> {
        let absolute = std::path::absolute(path)
            .map_err(|error| WorkError::Io { file: path.into(), reason: error.to_string() })?;
        let candidates = absolute.ancestors().take(MAX_LEVELS_UP + 1).map(|folder| folder.join(CODES_FILE));
        match candidates.into_iter().find(|candidate| candidate.is_file()) {
            Some(found) => Codes::shared(found).map(Some),
            None => Ok(None),
        }
    }

    fn shared(file: PathBuf) -> Result<Arc<Codes>, WorkError> {
        static LOADED: Mutex<BTreeMap<PathBuf, Arc<Codes>>> = Mutex::new(BTreeMap::new());
        // Held while loading, so that a second user of the same file waits for the first instead of
        // reading it again. A panic inside leaves the map as it was.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(codes) = loaded.get(&file) {
            return Ok(codes.clone());
        }
        let raw: HashMap<B256, Bytes> = file::read_json(&file)?;
        let code = |(hash, raw)| (hash, Code { raw, analysed: OnceLock::new() });
        let codes = Arc::new(Codes { file: file.clone(), by_hash: raw.into_iter().map(code).collect() });
        loaded.insert(file, codes.clone());
        Ok(codes)
    }

    /// The analysed code with this hash, if it is there.
    pub(crate) fn get(&self, hash: B256) -> Result<Option<Bytecode>, WorkError> {
        let Some(code) = self.by_hash.get(&hash) else { return Ok(None) };
        if let Some(analysed) = code.analysed.get() {
            return Ok(Some(analysed.clone()));
        }
        let analysed = analyse(&self.file, hash, code.raw.clone())?;
        Ok(Some(code.analysed.get_or_init(|| analysed).clone()))
    }
}

/// Checks that `raw` has this hash, and analyses it.
pub(crate) fn analyse(file: &Path, hash: B256, raw: Bytes) -> Result<Bytecode, WorkError> {
    let actual = keccak256(&raw);
    if actual != hash {
        return Err(WorkError::WrongCode { file: file.into(), hash, actual });
    }
    Bytecode::new_raw_checked(raw)
        .map_err(|error| WorkError::invalid(file, format!("code {hash}"), error.to_string()))
}
