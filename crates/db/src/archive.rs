//! Blocks, receipts and code, in one redb file.
//!
//! 1. What belongs to a block is here, durably, before the version of the state after it is. So a version that can
//!    be read has its block, its receipts and all code that it names; and after a crash there may be blocks here
//!    beyond the last version, which nobody asks for and the next import writes over.
//! 2. Code is kept by hash for ever: other versions may name it.
//! 3. In a folder that was made of a snapshot, blocks begin with the one after it. Of those before it there are, from
//!    the snapshot, the headers that the next block needs to know, and block 0, which says which chain it is.

use crate::{
    DbError, SnapshotBlock,
    error::go_on,
    guard,
    snapshot::{has_ommers, lacks_ommers, numbers},
};
use alloy_consensus::{BlockBody, EMPTY_OMMER_ROOT_HASH, Header};
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable;
use braid_rules::{Block, SignedTx};
use braid_store::disk::DiskError;
use braid_work::chain::Link;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageError, TableDefinition, TableError,
};
use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

pub(crate) const FILE: &str = "archive.redb";
/// Its name until it can be opened.
const DRAFT: &str = "archive.draft";
/// The last format that is known: [`WHOLE`], or [`CUT`].
const FORMAT: u64 = CUT;
/// Headers from block 0 on.
const WHOLE: u64 = 1;
/// Headers of block 0, and from a later one on; perhaps ommers of blocks that have no body.
const CUT: u64 = 2;
/// How long who wants to write waits for those who read to end, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);
/// Memory for its pages.
const CACHE_BYTES: usize = 64 << 20;

type Rows = TableDefinition<'static, u64, &'static [u8]>;
/// What is known of the file as a whole.
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// RLP of headers.
const HEADERS: Rows = TableDefinition::new("headers");
/// Difficulty of all blocks up to this one, 32 bytes, big-endian.
const TOTALS: Rows = TableDefinition::new("total_difficulties");
/// RLP of a list: transactions, ommers, withdrawals if there are any.
const BODIES: Rows = TableDefinition::new("bodies");
/// RLP of a list of receipts, as they are from Byzantium on.
const RECEIPTS: Rows = TableDefinition::new("receipts");
/// RLP of a list: ommers of blocks that have some, and have no body, or none any more.
const OMMERS: Rows = TableDefinition::new("ommers");
/// Numbers of blocks by hash.
const NUMBERS: TableDefinition<'static, [u8; 32], u64> = TableDefinition::new("numbers");
/// Code by hash.
const CODES: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("codes");

/// What goes in for one block.
pub(crate) struct Entry<'a> {
    pub(crate) block: &'a Block,
    pub(crate) total_difficulty: U256,
    /// RLP of the receipts.
    pub(crate) receipts: Vec<u8>,
}

/// What an archive has, of blocks up to the last version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveStat {
    /// Headers.
    pub headers: u64,
    /// From which block on there are all headers, if there are any. Before it there is that of block 0.
    pub headers_from: Option<u64>,
    /// Bodies.
    pub bodies: u64,
    /// From which block on there are bodies and receipts, if there are any.
    pub bodies_from: Option<u64>,
    /// Codes.
    pub codes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

enum Handle {
    Write(Database),
    Read(ReadOnlyDatabase),
}

pub(crate) struct Archive {
    /// `None` once it is being dropped.
    handle: Option<Handle>,
    path: PathBuf,
}

impl Drop for Archive {
    fn drop(&mut self) {
        let handle = self.handle.take();
        // What it writes on closing only makes the next opening faster.
        drop(guard::kept(&self.path, || {
            drop(handle);
            Ok(())
        }));
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

/// What an error of redb says of the archive at `path`.
fn failed<E: Into<redb::Error>>(path: &Path, doing: &'static str) -> impl Fn(E) -> DbError {
    move |error| {
        let damaged = |reason: String| DbError::ArchiveDamaged { path: path.into(), reason };
        match error.into() {
            redb::Error::Io(error) => match error.kind() {
                io::ErrorKind::StorageFull => DbError::Disk(DiskError::Full { doing }),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => damaged(error.to_string()),
                _ => DbError::Archive { doing, reason: error.to_string() },
            },
            redb::Error::Corrupted(reason) => damaged(reason),
            redb::Error::RepairAborted => damaged("it was not closed and cannot be put in order".to_owned()),
            // Nothing but this module writes there, and it does so as it reads.
            error @ (redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::LockPoisoned(_)) => damaged(error.to_string()),
            error => DbError::Archive { doing, reason: error.to_string() },
        }
    }
}

fn opened<T>(path: &Path, open: impl FnOnce() -> Result<T, DatabaseError>) -> Result<T, DbError> {
    let told = |error| match error {
        DatabaseError::DatabaseAlreadyOpen => DbError::ArchiveBusy { path: path.into() },
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            DbError::Archive { doing: "opening it", reason: format!("{}: no such file", path.display()) }
        }
        error => failed(path, "opening it")(error),
    };
    guard::kept(path, || open().map_err(told))
}

impl Archive {
    /// Opens the archive of a folder, which is made if it is not there and `create` says so.
    pub(crate) fn open(folder: &Path, create: bool) -> Result<Self, DbError> {
        let path = folder.join(FILE);
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        if create && !path.exists() {
            return Self::create(folder, &builder);
        }
        let since = Instant::now();
        loop {
            // The state's lock keeps other writers away, so this is somebody who reads, mostly for milliseconds.
            match opened(&path, || builder.open(&path)) {
                Err(DbError::ArchiveBusy { .. }) if since.elapsed() < PATIENCE => thread::sleep(LOOK),
                database => return Archive::on(&path, Handle::Write(database?)).known(),
            }
        }
    }

    /// Makes it under another name first: half of a file could not be opened again.
    fn create(folder: &Path, builder: &Builder) -> Result<Self, DbError> {
        let doing = "creating it";
        let (path, draft) = (folder.join(FILE), folder.join(DRAFT));
        drop(fs::remove_file(&draft));
        let archive = Archive::on(&path, Handle::Write(opened(&draft, || builder.create(&draft))?));
        archive.write(doing, |txn| {
            txn.open_table(META)?.insert("format", WHOLE)?;
            // So that reading finds tables, if only empty ones.
            drop((txn.open_table(HEADERS)?, txn.open_table(TOTALS)?, txn.open_table(BODIES)?));
            drop((txn.open_table(RECEIPTS)?, txn.open_table(NUMBERS)?, txn.open_table(CODES)?));
            Ok(())
        })?;
        let placed = fs::rename(&draft, &path);
        let synced = placed.and_then(|()| fs::File::open(folder)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| DbError::Archive { doing, reason: error.to_string() })?;
        Ok(archive)
    }

    /// Opens the archive of a folder to read.
    pub(crate) fn read_only(folder: &Path) -> Result<Self, DbError> {
        let path = folder.join(FILE);
        let database = opened(&path, || ReadOnlyDatabase::open(&path))?;
        Archive::on(&path, Handle::Read(database)).known()
    }

    fn on(path: &Path, handle: Handle) -> Self {
        Archive { handle: Some(handle), path: path.into() }
    }

    fn known(self) -> Result<Self, DbError> {
        let is = self.read(|txn| Ok(txn.open_table(META)?.get("format")?.map(|format| format.value())))?;
        match is {
            Some(is) if is <= FORMAT => Ok(self),
            is => Err(DbError::Format { is: is.unwrap_or_default(), known: FORMAT }),
        }
    }

    fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, DbError> {
        let doing = "reading";
        guard::kept(&self.path, || {
            let txn = match &self.handle {
                Some(Handle::Write(database)) => database.begin_read(),
                Some(Handle::Read(database)) => database.begin_read(),
                None => return Err(DbError::Archive { doing, reason: "it is closed".into() }),
            };
            read(&txn.map_err(failed(&self.path, doing))?).map_err(failed(&self.path, doing))
        })
    }

    /// When this returns, what was written is durable.
    fn write(
        &self,
        doing: &'static str,
        write: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), DbError> {
        self.write_around(doing, write, || Ok(()))
    }

    /// As [`Self::write`], with something else done in between: after all was read that writing needs, and before any
    /// of it counts. If that fails, nothing was written.
    fn write_around(
        &self,
        doing: &'static str,
        write: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
        between: impl FnOnce() -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let Some(Handle::Write(database)) = &self.handle else {
            return Err(DbError::Archive { doing, reason: "it is open to read".into() });
        };
        let txn = guard::kept(&self.path, || {
            let txn = database.begin_write().map_err(failed(&self.path, doing))?;
            write(&txn).map_err(failed(&self.path, doing))?;
            Ok(txn)
        })?;
        let done = between();
        // A transaction that is not committed undoes itself as it is dropped, which is redb's doing, too.
        guard::kept(&self.path, || match done {
            Ok(()) => txn.commit().map_err(failed(&self.path, doing)),
            Err(error) => {
                drop(txn);
                Err(error)
            }
        })
    }

    /// Adds blocks, and code, durably.
    pub(crate) fn add<'a>(
        &self,
        entries: &[Entry<'_>],
        codes: impl Iterator<Item = (&'a B256, &'a [u8])>,
    ) -> Result<(), DbError> {
        self.write("adding blocks", |txn| {
            let mut table = txn.open_table(CODES)?;
            for (hash, code) in codes {
                table.insert(hash.0, code)?;
            }
            let (mut headers, mut totals) = (txn.open_table(HEADERS)?, txn.open_table(TOTALS)?);
            let (mut bodies, mut receipts) = (txn.open_table(BODIES)?, txn.open_table(RECEIPTS)?);
            let mut numbers = txn.open_table(NUMBERS)?;
            for Entry { block, total_difficulty, receipts: rlp } in entries {
                let number = block.header.number;
                headers.insert(number, alloy_rlp::encode(&block.header).as_slice())?;
                totals.insert(number, total_difficulty.to_be_bytes::<32>().as_slice())?;
                bodies.insert(number, body(block).as_slice())?;
                receipts.insert(number, rlp.as_slice())?;
                numbers.insert(block.hash.0, number)?;
            }
            Ok(())
        })
    }

    /// Adds the blocks of a snapshot, durably.
    pub(crate) fn begin_with(&self, blocks: &[SnapshotBlock]) -> Result<(), DbError> {
        self.write("adding headers", |txn| {
            txn.open_table(META)?.insert("format", CUT)?;
            let (mut headers, mut totals) = (txn.open_table(HEADERS)?, txn.open_table(TOTALS)?);
            let (mut ommers, mut numbers) = (txn.open_table(OMMERS)?, txn.open_table(NUMBERS)?);
            for block in blocks {
                let number = block.header.number;
                headers.insert(number, alloy_rlp::encode(&block.header).as_slice())?;
                totals.insert(number, block.total_difficulty.to_be_bytes::<32>().as_slice())?;
                numbers.insert(block.header.hash_slow().0, number)?;
                if !block.ommers.is_empty() {
                    ommers.insert(number, alloy_rlp::encode(&block.ommers).as_slice())?;
                }
            }
            Ok(())
        })
    }

    /// The blocks of a snapshot of this version; none if it has no block.
    pub(crate) fn snapshot(&self, version: u64) -> Result<Vec<SnapshotBlock>, DbError> {
        if self.header(version)?.is_none() {
            return Ok(Vec::new());
        }
        let block = |number: u64| {
            let missing = |what| DbError::Missing { what, number };
            let header = self.header(number)?.ok_or_else(|| missing("header"))?;
            let ommers = self.near_ommers(&header, version)?;
            Ok(SnapshotBlock { header, total_difficulty: self.total_difficulty(number)?, ommers })
        };
        numbers(version).map(block).collect()
    }

    /// Removes all blocks after one. What `state` does to the state is done once it is known that they can be removed,
    /// and before they are: a version is never without its block.
    pub(crate) fn truncate(
        &self,
        last: u64,
        state: impl FnOnce() -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let remove = |txn: &redb::WriteTransaction| {
            let Some(first) = last.checked_add(1) else { return Ok(()) };
            let mut numbers = txn.open_table(NUMBERS)?;
            for header in txn.open_table(HEADERS)?.range(first..)? {
                numbers.remove(keccak256(header?.1.value()).0)?;
            }
            for table in [HEADERS, TOTALS, BODIES, RECEIPTS, OMMERS] {
                txn.open_table(table)?.retain_in(first.., |_, _| false)?;
            }
            Ok(())
        };
        self.write_around("removing blocks", remove, state)
    }

    /// Removes bodies and receipts of blocks before one; how many bodies. The ommers of blocks from `ommers_from` on
    /// stay.
    pub(crate) fn prune(&self, before: u64, ommers_from: u64) -> Result<u64, DbError> {
        let mut saved = Vec::new();
        for number in ommers_from..before {
            let header = self.header(number)?;
            if header.is_some_and(|header| header.ommers_hash != EMPTY_OMMER_ROOT_HASH) {
                saved.push((number, self.ommers(number)?));
            }
        }
        // There are none of what was removed when nobody kept them.
        saved.retain(|(_, ommers)| !ommers.is_empty());
        let mut gone = 0;
        self.write("removing bodies", |txn| {
            let mut table = txn.open_table(OMMERS)?;
            table.retain(|number, _| number >= ommers_from)?;
            if !saved.is_empty() {
                txn.open_table(META)?.insert("format", CUT)?;
            }
            for (number, ommers) in &saved {
                table.insert(number, alloy_rlp::encode(ommers).as_slice())?;
            }
            txn.open_table(RECEIPTS)?.retain_in(..before, |_, _| false)?;
            txn.open_table(BODIES)?.retain_in(..before, |_, _| {
                gone += 1;
                false
            })?;
            Ok(())
        })?;
        Ok(gone)
    }

    fn row(&self, table: Rows, number: u64) -> Result<Option<Vec<u8>>, DbError> {
        self.read(|txn| Ok(txn.open_table(table)?.get(number)?.map(|row| row.value().to_vec())))
    }

    pub(crate) fn header(&self, number: u64) -> Result<Option<Header>, DbError> {
        decode("header", number, self.row(HEADERS, number)?)
    }

    pub(crate) fn body(&self, number: u64) -> Result<Option<BlockBody<SignedTx>>, DbError> {
        decode("body", number, self.row(BODIES, number)?)
    }

    /// RLP of the receipts of a block.
    pub(crate) fn receipts(&self, number: u64) -> Result<Option<Bytes>, DbError> {
        Ok(self.row(RECEIPTS, number)?.map(Bytes::from))
    }

    /// What was found of a block up to the `latest`, or why there is nothing: what is asked for begins with block `from`.
    fn kept<T>(
        &self,
        (what, number, latest): (&'static str, u64, u64),
        row: Option<T>,
        from: Option<u64>,
    ) -> Result<Option<T>, DbError> {
        // A state that no chain led to has no blocks at all.
        if row.is_some() || self.header(0)?.is_none() {
            return Ok(row);
        }
        let from = from.unwrap_or(latest + 1);
        if number < from { Err(DbError::NotKept { what, number, from }) } else { Ok(None) }
    }

    /// As [`Self::header`], of a block up to the `latest`; an error if it is of those that a snapshot left out.
    pub(crate) fn kept_header(&self, number: u64, latest: u64) -> Result<Option<Header>, DbError> {
        self.kept(("header", number, latest), self.header(number)?, self.headers_from()?)
    }

    /// As [`Self::body`], of a block up to the `latest`; an error if it is too old.
    pub(crate) fn kept_body(&self, number: u64, latest: u64) -> Result<Option<BlockBody<SignedTx>>, DbError> {
        self.kept(("body", number, latest), self.body(number)?, self.bodies_from()?)
    }

    /// As [`Self::receipts`], of a block up to the `latest`; an error if it is too old.
    pub(crate) fn kept_receipts(&self, number: u64, latest: u64) -> Result<Option<Bytes>, DbError> {
        self.kept(("list of receipts", number, latest), self.receipts(number)?, self.bodies_from()?)
    }

    pub(crate) fn number(&self, hash: &B256) -> Result<Option<u64>, DbError> {
        self.read(|txn| Ok(txn.open_table(NUMBERS)?.get(hash.0)?.map(|number| number.value())))
    }

    /// The code with this hash, none if the hash is that of nothing.
    pub(crate) fn code(&self, hash: &B256) -> Result<Option<Bytes>, DbError> {
        if *hash == KECCAK256_EMPTY {
            return Ok(Some(Bytes::new()));
        }
        self.read(|txn| {
            Ok(txn.open_table(CODES)?.get(hash.0)?.map(|code| Bytes::copy_from_slice(code.value())))
        })
    }

    /// Ommers of a block, as far as they are known.
    pub(crate) fn ommers(&self, number: u64) -> Result<Vec<Header>, DbError> {
        if let Some(body) = self.body(number)? {
            return Ok(body.ommers);
        }
        let row = self.read(|txn| match txn.open_table(OMMERS) {
            Ok(table) => Ok(table.get(number)?.map(|row| row.value().to_vec())),
            // Only who made the folder of a snapshot made the table.
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })?;
        Ok(decode("list of ommers", number, row)?.unwrap_or_default())
    }

    /// Ommers of a block that has this header, if they are needed by the block after the `latest`.
    fn near_ommers(&self, header: &Header, latest: u64) -> Result<Vec<Header>, DbError> {
        let number = header.number;
        if !has_ommers(latest, number) {
            return Ok(Vec::new());
        }
        let (what, ommers) = ("list of ommers", self.ommers(number)?);
        match self.bodies_from()?.unwrap_or(latest + 1) {
            _ if !lacks_ommers(header, &ommers) => Ok(ommers),
            from if number < from => Err(DbError::NotKept { what, number, from }),
            _ => Err(DbError::Missing { what, number }),
        }
    }

    pub(crate) fn total_difficulty(&self, number: u64) -> Result<U256, DbError> {
        let total = self.row(TOTALS, number)?;
        let total = total.and_then(|total| U256::try_from_be_slice(&total));
        total.ok_or(DbError::Missing { what: "total difficulty", number })
    }

    /// A block as that after the `latest` needs to know it.
    pub(crate) fn link(&self, number: u64, latest: u64) -> Result<Link, DbError> {
        let header = self.header(number)?.ok_or(DbError::Missing { what: "header", number })?;
        let total_difficulty = self.total_difficulty(number)?;
        let ommers = self.near_ommers(&header, latest)?.iter().map(Header::hash_slow).collect();
        Ok(Link { hash: header.hash_slow(), header, ommers, total_difficulty })
    }

    /// From which block on there are all headers; `None` if there are none.
    pub(crate) fn headers_from(&self) -> Result<Option<u64>, DbError> {
        self.read(|txn| {
            let format = txn.open_table(META)?.get("format")?.map(|format| format.value());
            let table = txn.open_table(HEADERS)?;
            let Some(first) = table.first()?.map(|(number, _)| number.value()) else { return Ok(None) };
            if format != Some(CUT) {
                return Ok(Some(first));
            }
            let next = table.range(first + 1..)?.next().transpose()?.map(|(number, _)| number.value());
            Ok(next.filter(|next| *next > first + 1).or(Some(first)))
        })
    }

    /// From which block on there are bodies and receipts; `None` if there are none.
    pub(crate) fn bodies_from(&self) -> Result<Option<u64>, DbError> {
        self.read(|txn| Ok(txn.open_table(BODIES)?.first()?.map(|(number, _)| number.value())))
    }

    /// Looks at every code, and that there are those that are `wanted`, unless told to stop; how many there are.
    pub(crate) fn verify_codes(&self, wanted: &BTreeSet<B256>, stop: &AtomicBool) -> Result<u64, DbError> {
        let damaged = |reason| DbError::ArchiveDamaged { path: self.path.clone(), reason };
        self.read(|txn| {
            let table = txn.open_table(CODES)?;
            let mut seen = 0;
            for row in table.iter()? {
                let (hash, code) = row?;
                if let Err(stopped) = go_on(stop) {
                    return Ok(Err(stopped));
                }
                if keccak256(code.value()).0 != hash.value() {
                    let reason = format!("code {} has another hash", B256::from(hash.value()));
                    return Ok(Err(damaged(reason)));
                }
                seen += 1;
            }
            for hash in wanted {
                if table.get(hash.0)?.is_none() {
                    return Ok(Err(damaged(format!("code {hash} of an account is missing"))));
                }
            }
            Ok(Ok(seen))
        })?
    }

    pub(crate) fn stat(&self, latest: Option<u64>) -> Result<ArchiveStat, DbError> {
        // What is beyond the last version does not count.
        let beyond = latest.map_or(0, |latest| latest.saturating_add(1));
        let (headers, bodies, codes) = self.read(|txn| {
            let count = |table: Rows| {
                let table = txn.open_table(table)?;
                Ok::<u64, redb::Error>(table.len()?.saturating_sub(table.range(beyond..)?.count() as u64))
            };
            Ok((count(HEADERS)?, count(BODIES)?, txn.open_table(CODES)?.len()?))
        })?;
        let file_bytes = fs::metadata(&self.path).map_or(0, |file| file.len());
        let counts = |from: Option<u64>| from.filter(|from| *from < beyond);
        let (headers_from, bodies_from) = (counts(self.headers_from()?), counts(self.bodies_from()?));
        Ok(ArchiveStat { headers, headers_from, bodies, bodies_from, codes, file_bytes })
    }
}

fn body(block: &Block) -> Vec<u8> {
    alloy_rlp::encode(BlockBody {
        transactions: block.txs.clone(),
        ommers: block.ommers.clone(),
        withdrawals: block.withdrawals.clone().map(Into::into),
    })
}

fn decode<T: Decodable>(what: &'static str, number: u64, row: Option<Vec<u8>>) -> Result<Option<T>, DbError> {
    let decoded = row.map(|row| alloy_rlp::decode_exact(&row[..])).transpose();
    decoded.map_err(|error: alloy_rlp::Error| DbError::Damaged { what, number, reason: error.to_string() })
}
