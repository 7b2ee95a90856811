//! The folder of a case: written beside its place, checked, and moved there in one step.

use crate::{FetchError, Method, origin::Touched};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use braid_evm::ExecutedBlock;
use braid_work::Witness;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// What `meta.json` has under `source`, by which a case is known as one of these.
const SOURCE: &str = "braid fetch";

/// Effort of the compressor: states are read more often than written.
const ZSTD_LEVEL: i32 = 9;

/// Most bytes of a `meta.json` that is looked at.
const META_BYTES: u64 = 1 << 20;

/// `meta.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Meta {
    pub(crate) number: u64,
    pub(crate) chain_id: u64,
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) scope: String,
    pub(crate) txs: usize,
    pub(crate) gas_used: u64,
    /// How the state was got: `witness` or `prestate`.
    pub(crate) method: String,
    /// Checks by name; null: the case does not allow it.
    pub(crate) verified: BTreeMap<String, Option<bool>>,
    /// Size and hash of every other file.
    pub(crate) files: BTreeMap<String, FileMeta>,
    pub(crate) source: String,
}

/// What a file must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct FileMeta {
    bytes: u64,
    keccak: B256,
}

/// What stands where a case belongs.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    /// A complete case.
    Case(Box<Meta>),
    /// A case of ours with files missing or changed.
    Damaged,
    /// Something else.
    Foreign,
}

/// Looks at `folder`. Every byte of a case is read.
pub(crate) fn find(folder: &Path) -> Found {
    if fs::symlink_metadata(folder).is_err() {
        return Found::Nothing;
    }
    let meta_file = folder.join("meta.json");
    let small = fs::metadata(&meta_file).is_ok_and(|meta| meta.len() <= META_BYTES);
    let text = if small { fs::read(&meta_file).unwrap_or_default() } else { Vec::new() };
    let value: Value = serde_json::from_slice(&text).unwrap_or_default();
    if value.get("source").and_then(Value::as_str) != Some(SOURCE) {
        return Found::Foreign;
    }
    let Ok(meta) = serde_json::from_value::<Meta>(value) else { return Found::Damaged };
    let whole = |(name, wanted): (&String, &FileMeta)| {
        let path = folder.join(name);
        let plain =
            !name.contains(['/', '\\']) && fs::metadata(&path).is_ok_and(|at| at.len() == wanted.bytes);
        plain && fs::read(&path).is_ok_and(|bytes| keccak256(&bytes) == wanted.keccak)
    };
    let has = |name: &str| meta.files.contains_key(name);
    let whole = has("block.json.zst") && has("pre_state.json.zst") && meta.files.iter().all(whole);
    if whole { Found::Case(Box::new(meta)) } else { Found::Damaged }
}

/// The folder of a block's case.
pub(crate) fn place(out: &Path, number: u64) -> PathBuf {
    out.join(number.to_string())
}

/// A case being written. Dropped without [`Staging::publish`], it is gone.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: PathBuf,
    place: PathBuf,
    files: BTreeMap<String, FileMeta>,
    /// Whether the folder is still this one's to remove.
    open: bool,
}

/// Ending of the names of folders that are being written. They begin with a dot, so that loaders of
/// folders pass over them.
const PARTIAL: &str = ".partial";

/// Removes what a fetch that was killed left behind. Only to be called by the one fetch of this folder.
pub(crate) fn clean(out: &Path) -> Result<(), FetchError> {
    let io = |error: std::io::Error| FetchError::io(out, &error);
    for entry in fs::read_dir(out).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix('.').and_then(|name| name.strip_suffix(PARTIAL));
        if number.is_some_and(|number| number.parse::<u64>().is_ok()) {
            fs::remove_dir_all(entry.path()).map_err(|error| FetchError::io(&entry.path(), &error))?;
        }
    }
    Ok(())
}

impl Staging {
    /// Begins the case of block `number` in `out`.
    pub(crate) fn new(out: &Path, number: u64) -> Result<Self, FetchError> {
        let folder = out.join(format!(".{number}{PARTIAL}"));
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FetchError::io(&folder, &error));
            }
            _ => {}
        }
        fs::create_dir(&folder).map_err(|error| FetchError::io(&folder, &error))?;
        Ok(Staging { folder, place: place(out, number), files: BTreeMap::new(), open: true })
    }

    /// The folder as long as it is not in its place.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file, compressed if its name says so, and sees it onto the disk.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let path = self.folder.join(name);
        let io = |error: std::io::Error| FetchError::io(&path, &error);
        let packed = match name.ends_with(".zst") {
            true => zstd::encode_all(bytes, ZSTD_LEVEL).map_err(io)?,
            false => bytes.to_vec(),
        };
        let mut file = File::create(&path).map_err(io)?;
        file.write_all(&packed).and_then(|()| file.sync_all()).map_err(io)?;
        let meta = FileMeta { bytes: packed.len() as u64, keccak: keccak256(&packed) };
        self.files.insert(name.to_owned(), meta);
        Ok(())
    }

    /// Writes a JSON file.
    pub(crate) fn write_json(&mut self, name: &str, value: &impl Serialize) -> Result<(), FetchError> {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| FetchError::Io { path: self.folder.join(name), reason: error.to_string() })?;
        self.write(name, &bytes)
    }

    /// Writes `meta.json` as far as loading needs it.
    pub(crate) fn write_draft(&mut self, chain_id: u64, scope: &str) -> Result<(), FetchError> {
        self.write_json("meta.json", &json!({ "chain_id": chain_id, "scope": scope }))
    }

    /// Completes `meta.json` and moves the case into its place, in one step.
    pub(crate) fn publish(mut self, mut meta: Meta) -> Result<(), FetchError> {
        self.files.remove("meta.json");
        meta.files = self.files.clone();
        let mut text = serde_json::to_vec_pretty(&meta).map_err(|error| FetchError::Io {
            path: self.folder.join("meta.json"),
            reason: error.to_string(),
        })?;
        text.push(b'\n');
        self.write("meta.json", &text)?;
        sync_folder(&self.folder)?;
        let io = |error: std::io::Error| FetchError::io(&self.place, &error);
        // What is replaced is damaged; until the new case stands there, there is none.
        if self.place.exists() {
            fs::remove_dir_all(&self.place).map_err(io)?;
        }
        fs::rename(&self.folder, &self.place).map_err(io)?;
        self.open = false;
        match self.place.parent() {
            Some(out) => sync_folder(out),
            None => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.open {
            // What cannot be removed is removed by the next fetch.
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Sees the entries of a folder onto the disk, where the system can.
fn sync_folder(folder: &Path) -> Result<(), FetchError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| FetchError::io(folder, &error))?;
    }
    Ok(())
}

/// A draft of `meta.json`; [`Staging::publish`] fills in the files.
pub(crate) fn meta(number: u64, chain_id: u64, method: Method, scope: &str) -> Meta {
    Meta {
        number,
        chain_id,
        hash: B256::ZERO,
        parent_hash: B256::ZERO,
        scope: scope.into(),
        txs: 0,
        gas_used: 0,
        method: method.name().into(),
        verified: BTreeMap::new(),
        files: BTreeMap::new(),
        source: SOURCE.into(),
    }
}

/// `pre_state.json`: accounts with their slots; a code stands with the first account that has it.
pub(crate) fn pre_state(touched: &Touched) -> Value {
    let mut listed = BTreeSet::new();
    let mut accounts = Map::new();
    for (address, account) in &touched.accounts {
        let Some(account) = account else { continue };
        let storage: Map<String, Value> = slots(touched.slots_of(*address));
        let mut json = json!({ "balance": account.balance, "nonce": account.nonce, "storage": storage });
        if account.code_hash != KECCAK256_EMPTY {
            json["code_hash"] = json!(account.code_hash);
            if let Some(code) =
                touched.codes.get(&account.code_hash).filter(|_| listed.insert(account.code_hash))
            {
                json["code"] = json!(code);
            }
        }
        accounts.insert(name(*address), json);
    }
    Value::Object(accounts)
}

/// `post_state.json`: what the block changes.
pub(crate) fn post_state(done: &ExecutedBlock) -> Value {
    let mut accounts = Map::new();
    for (address, diff) in &done.diff {
        let json = match &diff.account {
            None => json!({ "deleted": true }),
            Some(info) => {
                let storage = slots(diff.storage.iter().map(|(slot, value)| (*slot, *value)));
                let mut json = json!({ "balance": info.balance, "nonce": info.nonce, "storage": storage });
                if info.code_hash != KECCAK256_EMPTY {
                    json["code_hash"] = json!(info.code_hash);
                }
                if diff.wiped {
                    json["created"] = json!(true);
                }
                json
            }
        };
        accounts.insert(name(*address), json);
    }
    Value::Object(accounts)
}

/// `new_codes.json`: what the block deploys and the state before it does not have.
pub(crate) fn new_codes<'a>(done: &'a ExecutedBlock, touched: &Touched) -> BTreeMap<&'a B256, &'a Bytes> {
    done.codes.iter().filter(|(hash, _)| !touched.codes.contains_key(*hash)).collect()
}

/// `witness.json`.
pub(crate) fn witness(witness: &Witness) -> Value {
    json!({ "pre_state_root": witness.pre_state_root, "state": witness.nodes })
}

/// `block_hashes.json`: the ancestors' that the block may ask for, without the parent's, which is in the
/// header. `None` if there are none.
pub(crate) fn block_hashes(number: u64, hashes: &BTreeMap<u64, B256>) -> Option<BTreeMap<String, B256>> {
    let parent = number.saturating_sub(1);
    let listed: BTreeMap<String, B256> =
        hashes.iter().filter(|(at, _)| **at != parent).map(|(at, hash)| (at.to_string(), *hash)).collect();
    (!listed.is_empty()).then_some(listed)
}

fn slots(slots: impl Iterator<Item = (U256, U256)>) -> Map<String, Value> {
    slots.map(|(slot, value)| (format!("{slot:#x}"), json!(value))).collect()
}

/// An address as files have it, in lower case.
fn name(address: Address) -> String {
    format!("{address:#x}")
}
