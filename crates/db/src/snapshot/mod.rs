//! Snapshots: the whole state of one version in one file, with the blocks that the next one needs to know, and data
//! folders made of it.
//!
//! A snapshot is written under another name and then put in place, and a folder is restored beside its place: what has
//! the name that was asked for is whole. Neither has more of the state in memory at a time than a part of it, and the
//! hashes of codes.

mod blocks;
mod decode;
mod error;
mod format;
mod part;

pub use blocks::SnapshotBlock;
pub(crate) use blocks::{NEAR, WITH_OMMERS, has_ommers, lacks_ommers, numbers};
pub use decode::SnapshotDecoder;
pub use error::SnapshotError;
pub use format::{SnapshotHeader, SnapshotItem, SnapshotTotals, encode_snapshot};

use crate::{DataFolder, DbError, error::go_on};
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY};
use blocks::Following;
use braid_store::disk::{DiskError, DiskOptions, Entry, HashedBatch, View};
use format::{Encoder, check_block, check_code};
use part::{Draft, Part, check_out};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    path::Path,
    sync::atomic::AtomicBool,
};

/// Accounts and slots that are made a version together while a folder is restored.
const BATCH: usize = 1 << 17;
/// Bytes of code that go into the archive together.
const CODES: usize = 8 << 20;

/// A snapshot as it was written or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotStat {
    /// Version and root.
    pub header: SnapshotHeader,
    /// What there is of the state, and of its chain.
    pub totals: SnapshotTotals,
    /// Hash of the version's block, if it has one.
    pub block_hash: Option<B256>,
    /// Bytes of the file.
    pub bytes: u64,
}

fn io_at(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> SnapshotError + use<> {
    let path = path.to_owned();
    move |error| SnapshotError::Io { path: path.clone(), doing, reason: error.to_string() }
}

/// Makes it durable that something in the folder of `path` has another name.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all())
}

/// Writes all of `view`, and these blocks, to `out`, which is replaced if it is a file, and must not be in the `folder`
/// that it is a snapshot of; unless told to stop.
pub(crate) fn write(
    view: &View,
    blocks: &[SnapshotBlock],
    code: impl Fn(&B256) -> Result<Option<Bytes>, DbError>,
    folder: &Path,
    out: &Path,
    stop: &AtomicBool,
) -> Result<SnapshotStat, SnapshotError> {
    check_out(folder, out)?;
    let draft = Draft::create(out)?;
    let stat = write_part(view, blocks, code, &draft, stop)?;
    // It may have taken long.
    check_out(folder, out)?;
    draft.place(out)?;
    Ok(stat)
}

fn write_part(
    view: &View,
    blocks: &[SnapshotBlock],
    code: impl Fn(&B256) -> Result<Option<Bytes>, DbError>,
    draft: &Draft,
    stop: &AtomicBool,
) -> Result<SnapshotStat, SnapshotError> {
    let failed = io_at(draft.path(), "writing a snapshot");
    let header = SnapshotHeader { version: view.version(), root: view.root() };
    let mut encoder = Encoder::new(BufWriter::new(draft.file()), header).map_err(&failed)?;
    let mut following = Following::new(header);
    for block in blocks {
        check_block(block)?;
        following.follow(block)?;
        encoder.block(block).map_err(&failed)?;
    }
    following.finish()?;
    let (mut codes, mut parts) = (BTreeSet::new(), 0);
    let folder = |error: DiskError| SnapshotError::Folder(error.into());
    for entry in view.entries() {
        go_on(stop)?;
        match entry.map_err(folder)? {
            Entry::Account { key, account } => {
                codes.extend(Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY));
                encoder.account(&key, &account)
            }
            Entry::Slot { key, value } => encoder.slot(&key, value),
        }
        .map_err(&failed)?;
        if encoder.parts() > parts {
            parts = encoder.parts();
            view.renew().map_err(folder)?;
        }
    }
    for hash in &codes {
        go_on(stop)?;
        let code = code(hash)?.ok_or(SnapshotError::MissingCode(*hash))?;
        check_code(&code)?;
        encoder.code(hash, &code).map_err(&failed)?;
    }
    let (totals, bytes, to) = encoder.finish().map_err(&failed)?;
    let mut file = to;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(&failed)?;
    Ok(SnapshotStat { header, totals, block_hash: following.hash(), bytes })
}

/// Makes a data folder of a snapshot: its version, and of the blocks up to there what those after it need to know. The
/// root is computed anew, and the blocks are held against each other and against the root.
///
/// # Errors
/// [`SnapshotError`]; then there is no folder. [`SnapshotError::Exists`] if there is one (an empty one is in nobody's
/// way), [`SnapshotError::Root`] if the state is not the one that the snapshot speaks of.
pub fn restore(file: &Path, folder: &Path, options: DiskOptions) -> Result<SnapshotStat, SnapshotError> {
    restore_unless(file, folder, options, &AtomicBool::new(false))
}

/// As [`restore`], unless `stop` is set meanwhile.
///
/// # Errors
/// [`DbError::Cancelled`] within [`SnapshotError::Folder`]; as [`restore`].
pub fn restore_unless(
    file: &Path,
    folder: &Path,
    options: DiskOptions,
    stop: &AtomicBool,
) -> Result<SnapshotStat, SnapshotError> {
    let empty = |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if folder.exists() && !empty(folder) {
        return Err(SnapshotError::Exists { path: folder.into() });
    }
    let reading = io_at(file, "reading a snapshot");
    let opened = File::open(file).map_err(&reading)?;
    let bytes = opened.metadata().map_err(&reading)?.len();
    let mut from = SnapshotDecoder::new(BufReader::new(opened))?;
    let part = Part::take(folder)?;
    // Somebody else may have made it meanwhile.
    if folder.exists() && !empty(folder) {
        return Err(SnapshotError::Exists { path: folder.into() });
    }
    fill(&mut from, part.path(), options, stop)?;
    part.place(folder)?;
    let (header, totals, block_hash) = (from.header(), from.totals(), from.block_hash());
    Ok(SnapshotStat { header, totals, block_hash, bytes })
}

fn fill(
    from: &mut SnapshotDecoder<impl io::Read>,
    part: &Path,
    options: DiskOptions,
    stop: &AtomicBool,
) -> Result<(), SnapshotError> {
    // Only the last version is to stay.
    let mut folder = DataFolder::open_or_create(part, DiskOptions { keep: 1, ..options })?;
    let SnapshotHeader { version, root } = from.header();
    let (mut batch, mut interim, mut last) = (HashedBatch::default(), 0, None);
    let (mut wanted, mut codes, mut code_bytes) = (BTreeSet::new(), Vec::new(), 0);
    let mut blocks = Vec::new();
    let disk = |error: DiskError| SnapshotError::Folder(error.into());
    while let Some(item) = from.next_item()? {
        go_on(stop)?;
        // As many versions on the way as there are numbers below the last one's: that bounds the memory.
        if batch.len() >= BATCH && interim < version {
            folder.store_mut().apply_hashed(interim, std::mem::take(&mut batch)).map_err(disk)?;
            interim += 1;
        }
        match item {
            SnapshotItem::Block(block) => blocks.push(*block),
            SnapshotItem::Account { key, account } => {
                wanted.extend(Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY));
                batch.account(key, account);
                last = Some((key, account));
            }
            SnapshotItem::Slot { key, value } => {
                // The account is named again where its slots go on in another version.
                if let Some((key, account)) = last.filter(|_| batch.is_empty()) {
                    batch.account(key, account);
                }
                batch.slot(key, value);
            }
            SnapshotItem::Code { hash, code } => {
                if !wanted.remove(&hash) {
                    return Err(SnapshotError::StrayCode(hash));
                }
                code_bytes += code.len();
                codes.push((hash, code));
                if code_bytes >= CODES {
                    folder.add_codes(&codes)?;
                    codes.clear();
                    code_bytes = 0;
                }
            }
        }
    }
    folder.add_codes(&codes)?;
    folder.begin_with(&blocks)?;
    if let Some(hash) = wanted.pop_first() {
        return Err(SnapshotError::MissingCode(hash));
    }
    let done = folder.store_mut().apply_hashed(version, batch).map_err(disk)?;
    if done.root != root {
        return Err(SnapshotError::Root { got: done.root, expected: root });
    }
    Ok(())
}
