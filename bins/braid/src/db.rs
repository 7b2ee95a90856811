//! `braid db`: look at a data folder, check it, prove from it, take back or let go of versions.

use crate::{
    Exit, Session,
    json::{Problem, SCHEMA},
    progress::Ui,
    sync::{folder_problem, names, options},
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use braid_db::{DataFolder, DataReader, DbError, SnapshotError, SnapshotStat};
use braid_store::disk::{DiskOptions, SlotProof};
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    fs::OpenOptions,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// How long a version stays for a command that reads beside a writer.
const LEASE: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What there is: versions, blocks, code, sizes. Beside a writer, of the state only.
    Stat(Common),
    /// Look at every bit: nodes by their hashes, blocks and receipts by their headers, code by its hash.
    Verify(Common),
    /// Let go of versions, and of bodies and receipts. What went before an interrupt stays gone.
    #[command(group(ArgGroup::new("what").args(["keep", "bodies_before"]).required(true).multiple(true)))]
    Prune {
        #[command(flatten)]
        common: Common,
        /// Versions to keep: the latest, and those before it.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
        keep: Option<u32>,
        /// Remove bodies and receipts of blocks before this one; headers stay, all of the last seven blocks, and
        /// the ommers that a block after any retained version is held against.
        #[arg(long, value_name = "NUMBER")]
        bodies_before: Option<u64>,
    },
    /// Undo all blocks after one whose version is kept.
    Rollback {
        #[command(flatten)]
        common: Common,
        /// The block that is to be the latest.
        #[arg(long, value_name = "NUMBER")]
        to: u64,
    },
    /// Write the whole state of a version (accounts, slots, code) to one file, with the headers that the next block
    /// needs to know.
    Snapshot {
        #[command(flatten)]
        common: Common,
        /// The file, which is replaced if it is there, and is not in the data folder. It appears once it is whole.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A version that is kept; by default the latest.
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
    },
    /// Make a data folder of such a file, with which `sync` goes on. Its root is computed anew; bodies and receipts of
    /// the blocks before are not in it.
    Restore {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The data folder, which must not be there yet.
        #[arg(long, visible_alias = "store", value_name = "DIR")]
        data: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Prove an account and slots of it, or that they are not there, as eth_getProof does (EIP-1186). A proof is
    /// verified before it is printed.
    Proof {
        #[command(flatten)]
        common: Common,
        /// The account.
        address: Address,
        /// Slots of it, in hexadecimal or decimal.
        #[arg(value_name = "SLOT", value_parser = slot)]
        slots: Vec<U256>,
        /// After this block, whose version must be kept; by default the latest.
        #[arg(long, value_name = "NUMBER")]
        block: Option<u64>,
    },
}

#[derive(Args, Debug)]
struct Common {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// What `db --json` prints.
#[derive(Serialize)]
struct DbDocument<'a> {
    schema: u32,
    command: &'static str,
    action: &'static str,
    data: String,
    /// By action; null if it failed.
    result: &'a Value,
    error: Option<Problem>,
}

/// Carries the command out.
pub(crate) fn db(args: &DbArgs, session: &Session<'_>, ui: &mut Ui<'_>) -> Exit {
    let (action, ((data, json), done)) = carry_out(&args.action, session.cancel);
    let (result, error) = match done {
        Ok(result) => (result, None),
        Err(problem) if problem.kind == DbError::Cancelled.kind() => {
            ui.error("interrupted");
            return Exit::Interrupted;
        }
        Err(error) => (Value::Null, Some(error)),
    };
    if let Some(error) = &error {
        ui.error(&error.message);
    }
    let exit = if error.is_some() { Exit::Failure } else { Exit::Ok };
    if json {
        let data = data.display().to_string();
        let document = DbDocument { schema: SCHEMA, command: "db", action, data, result: &result, error };
        ui.result(&crate::to_json(&document));
    } else if exit == Exit::Ok {
        ui.result(&text(action, &result));
    }
    exit
}

/// The name of an action; the folder it is on, and whether a document is wanted; what came of it.
type Done = (&'static str, ((PathBuf, bool), Result<Value, Problem>));

fn carry_out(action: &Action, stop: &AtomicBool) -> Done {
    let of = |Common { data, json }: &Common| (data.clone(), *json);
    let folder = |common: &Common, done: Result<Value, DbError>| {
        (of(common), done.map_err(|error| folder_problem(&common.data, &error)))
    };
    match action {
        Action::Stat(common) => ("stat", folder(common, stat(&common.data))),
        Action::Verify(common) => ("verify", folder(common, verify(&common.data, stop))),
        Action::Prune { common, keep, bodies_before } => {
            let keep = keep.map(|keep| keep as usize);
            ("prune", folder(common, prune(&common.data, keep, *bodies_before, stop)))
        }
        Action::Rollback { common, to } => ("rollback", folder(common, rollback(&common.data, *to))),
        Action::Snapshot { common, out, version } => {
            let done = snapshot(&common.data, out, *version, stop);
            ("snapshot", (of(common), told(out, &common.data, done)))
        }
        Action::Restore { file, data, json } => {
            let options = options(crate::args::resolve_threads(0), 1);
            let done = braid_db::restore_unless(file, data, options, stop);
            ("restore", ((data.clone(), *json), told(file, data, done)))
        }
        Action::Proof { common, address, slots, block } => {
            ("proof", folder(common, proof(&common.data, *address, slots, *block)))
        }
    }
}

/// A slot in hexadecimal, after `0x`, or decimal.
fn slot(text: &str) -> Result<U256, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err("must be a number, in decimal or, after 0x, in hexadecimal".to_owned());
    }
    U256::from_str_radix(digits, u64::from(radix)).map_err(|error| error.to_string())
}

/// A proof as it is; else a line for each thing.
fn text(action: &str, result: &Value) -> String {
    match result {
        Value::Object(things) if action != "proof" => things
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => format!("{}: {text}\n", name.replace('_', " ")),
                Value::Null => format!("{}: unknown\n", name.replace('_', " ")),
                value => format!("{}: {value}\n", name.replace('_', " ")),
            })
            .collect(),
        result => serde_json::to_string_pretty(result).unwrap_or_default() + "\n",
    }
}

fn open(data: &Path, keep: usize) -> Result<DataFolder, DbError> {
    DataFolder::open(data, options(crate::args::resolve_threads(0), keep))
}

/// Bodies that are removed together, in one transaction.
const BODIES: u64 = 1 << 14;

/// All versions that there are are kept by who only looks.
const ALL: usize = 1 << 16;

fn stat(data: &Path) -> Result<Value, DbError> {
    let reader = DataReader::open(data, DiskOptions::default())?;
    let versions = reader.versions()?;
    let latest = versions.last();
    let archive = match reader.archive_stat() {
        Ok(archive) => Some(archive),
        Err(DbError::ArchiveBusy { .. }) => None,
        Err(error) => return Err(error),
    };
    let header = match (latest, archive) {
        (Some((latest, _)), Some(_)) => reader.header(*latest)?,
        _ => None,
    };
    // After a snapshot, bodies and receipts begin with the next block.
    let bodies_from = archive
        .filter(|archive| archive.headers > 0)
        .and_then(|archive| archive.bodies_from.or_else(|| latest.map(|(latest, _)| latest + 1)));
    let genesis = if archive.is_some() { reader.header(0)?.map(|header| header.hash_slow()) } else { None };
    Ok(json!({
        "versions": versions.len(),
        "oldest": versions.first().map(|(version, _)| version),
        "latest": latest.map(|(version, _)| version),
        "state_root": latest.map(|(_, root)| root),
        "block_hash": header.as_ref().map(|header| header.hash_slow()),
        "block_time": header.as_ref().map(|header| header.timestamp),
        "genesis": genesis,
        "headers": archive.map(|archive| archive.headers),
        "headers_from": archive.and_then(|archive| archive.headers_from),
        "bodies": archive.map(|archive| archive.bodies),
        "bodies_from": bodies_from,
        "codes": archive.map(|archive| archive.codes),
        "state_bytes": std::fs::metadata(data.join("state")).map_or(0, |file| file.len()),
        "archive_bytes": archive.map(|archive| archive.file_bytes),
        "writing": archive.is_none(),
    }))
}

/// Whether a file that is there may only be read.
fn unwritable(file: &Path) -> bool {
    let opened = OpenOptions::new().write(true).open(file);
    let kind = opened.err().map(|error| error.kind());
    matches!(kind, Some(ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied))
}

fn verify(data: &Path, stop: &AtomicBool) -> Result<Value, DbError> {
    let (latest, (state, blocks, codes)) = if unwritable(&data.join("state")) {
        let reader = DataReader::open(data, DiskOptions::default())?;
        (reader.versions()?.last().copied(), reader.verify_unless(stop)?)
    } else {
        let folder = open(data, ALL)?;
        (folder.latest(), folder.verify_unless(stop)?)
    };
    Ok(json!({
        "versions": state.versions,
        "nodes": state.nodes,
        "accounts": state.accounts,
        "slots": state.slots,
        "bytes": state.bytes,
        "blocks": blocks,
        "codes": codes,
        "latest": latest.map(|(latest, _)| latest),
        "state_root": latest.map(|(_, root)| root),
    }))
}

fn prune(
    data: &Path,
    keep: Option<usize>,
    bodies_before: Option<u64>,
    stop: &AtomicBool,
) -> Result<Value, DbError> {
    let mut folder = open(data, ALL)?;
    go_on(stop)?;
    let (versions, _) = folder.prune(keep, None)?;
    let mut bodies = 0;
    if let Some(before) = bodies_before {
        // What is kept in spite of `before` is the folder's to say; beyond its blocks there is nothing to go to.
        let before = before.min(folder.latest().map_or(0, |(latest, _)| latest + 1));
        let mut to = folder.stat()?.1.bodies_from.unwrap_or(before);
        while to < before {
            go_on(stop)?;
            to = to.saturating_add(BODIES).min(before);
            bodies += folder.prune(None, Some(to))?.1;
        }
    }
    let left = folder.store().versions().count();
    Ok(json!({ "versions_gone": versions, "versions": left, "bodies_gone": bodies }))
}

/// An error if told to stop.
fn go_on(stop: &AtomicBool) -> Result<(), DbError> {
    // Relaxed: the flag carries no data; a late look only delays the stop.
    if stop.load(Ordering::Relaxed) { Err(DbError::Cancelled) } else { Ok(()) }
}

fn snapshot(
    data: &Path,
    out: &Path,
    version: Option<u64>,
    stop: &AtomicBool,
) -> Result<SnapshotStat, SnapshotError> {
    DataReader::open(data, DiskOptions::default())?.snapshot_unless(version, LEASE, out, stop)
}

/// What was written to or restored from `file`, or what is wrong with it or the folder `data`.
fn told(file: &Path, data: &Path, done: Result<SnapshotStat, SnapshotError>) -> Result<Value, Problem> {
    let named = file.display().to_string();
    match done {
        Ok(stat) => Ok(json!({
            "file": named,
            "version": stat.header.version,
            "state_root": stat.header.root,
            "accounts": stat.totals.accounts,
            "slots": stat.totals.slots,
            "codes": stat.totals.codes,
            "blocks": stat.totals.blocks,
            "block_hash": stat.block_hash,
            "bytes": stat.bytes,
        })),
        Err(SnapshotError::Folder(error)) => Err(folder_problem(data, &error)),
        Err(error) => {
            let message = error.to_string();
            let at_fault = match &error {
                SnapshotError::Io { path, .. }
                | SnapshotError::Exists { path }
                | SnapshotError::Place { path, .. } => path.display().to_string(),
                _ => named,
            };
            let message = if names(&message, &at_fault) { message } else { format!("{at_fault}: {message}") };
            Err(Problem { kind: error.kind().to_owned(), file: Some(at_fault), item: None, message })
        }
    }
}

fn rollback(data: &Path, to: u64) -> Result<Value, DbError> {
    let mut folder = open(data, ALL)?;
    let before = folder.latest().ok_or(DbError::Empty)?.0;
    folder.rollback(to)?;
    let (latest, root) = folder.latest().ok_or(DbError::Empty)?;
    Ok(json!({ "latest": latest, "state_root": root, "blocks_gone": before.saturating_sub(latest) }))
}

/// The form of eth_getProof, and what it is a proof of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    version: u64,
    /// Of the version's block; null without one, or while another process writes.
    block_hash: Option<B256>,
    state_root: B256,
    address: Address,
    account_proof: Vec<Bytes>,
    balance: U256,
    code_hash: B256,
    nonce: String,
    storage_hash: B256,
    storage_proof: Vec<Slot>,
}

#[derive(Serialize)]
struct Slot {
    key: B256,
    value: U256,
    proof: Vec<Bytes>,
}

fn proof(data: &Path, address: Address, slots: &[U256], block: Option<u64>) -> Result<Value, DbError> {
    let reader = DataReader::open(data, DiskOptions::default())?;
    let view = reader.view(block, LEASE)?;
    let proved = view.proof(address, slots)?;
    proved.verify(view.root()).map_err(|error| DbError::Damaged {
        what: "proof",
        number: view.version(),
        reason: error.to_string(),
    })?;
    let slot =
        |slot: &SlotProof| Slot { key: B256::from(slot.slot), value: slot.value, proof: slot.proof.clone() };
    let account = proved.account.unwrap_or_default();
    let header = reader.header(view.version()).ok().flatten();
    let header = header.filter(|header| header.state_root == view.root());
    let form = Proof {
        version: view.version(),
        block_hash: header.map(|header| header.hash_slow()),
        state_root: view.root(),
        address,
        account_proof: proved.proof.clone(),
        balance: account.balance,
        code_hash: if proved.account.is_some() { account.code_hash } else { KECCAK256_EMPTY },
        nonce: format!("{:#x}", account.nonce),
        storage_hash: proved.storage_root(),
        storage_proof: proved.slots.iter().map(slot).collect(),
    };
    serde_json::to_value(&form)
        .map_err(|error| DbError::Archive { doing: "writing", reason: error.to_string() })
}
