//! A data folder, open to write.
//!
//! What is durable when:
//! 1. Blocks, receipts and code of versions to come go into the archive first, and are durable there.
//! 2. Then each version of the state is committed, which makes it durable. Only from then on does its block count.
//! 3. So the last version of the state is where an import goes on. What the archive has beyond it is written over.
//! 4. A version whose root is not that of its header is never committed.

use crate::{
    ArchiveStat, DbError, LayeredState,
    ahead::{BegunVersion, PreparedAhead},
    archive::{self, Archive, Entry},
    error::of_versions,
    layers,
    snapshot::{NEAR, SnapshotBlock, WITH_OMMERS},
    verify,
};
use alloy_consensus::{BlockBody, Header};
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256};
use braid_evm::{EvmKey, EvmValue, ExecutedBlock};
use braid_rules::{Block, ChainSpec, SignedTx, outcome};
use braid_store::disk::{
    Batch, Begun, Committed, DiskOptions, DiskStat, DiskStore, Prepared, Verified, View,
};
use braid_work::{
    PreState,
    chain::{Follower, Genesis, Link},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

/// A block that was executed and held against its header, but for the state root.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its number.
    pub number: u64,
    /// The block; `None` if it has no header (a workload). Then nothing but the state is kept of it.
    pub block: Option<Arc<Block>>,
    /// What it did.
    pub done: ExecutedBlock,
}

impl Finished {
    /// The changes, as the store takes them.
    pub fn batch(&self) -> Batch {
        layers::batch(&self.done)
    }

    fn receipts(&self, block: &Block) -> Vec<u8> {
        alloy_rlp::encode(outcome::receipts(outcome::landed(block.types(), &self.done)))
    }
}

/// A data folder, open to write.
#[derive(Debug)]
pub struct DataFolder {
    store: DiskStore,
    archive: Arc<Archive>,
    path: PathBuf,
}

impl DataFolder {
    /// Opens the folder at `path`; makes one if there is none.
    ///
    /// # Errors
    /// [`DbError`]; [`Locked`](braid_store::disk::DiskError::Locked) if somebody writes there; [`DbError::NoState`] if
    /// blocks are there, and no state.
    pub fn open_or_create(path: &Path, options: DiskOptions) -> Result<Self, DbError> {
        match path.join("state").exists() {
            true => Self::open(path, options),
            // The state is there first, so this is not what a process left that died.
            false if path.join(archive::FILE).exists() => Err(DbError::NoState { path: path.into() }),
            false => {
                let store = DiskStore::create(path, options)?;
                let archive = Arc::new(Archive::open(path, true)?);
                Ok(DataFolder { store, archive, path: path.into() })
            }
        }
    }

    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// [`DbError`]; [`Locked`](braid_store::disk::DiskError::Locked) if somebody writes there.
    pub fn open(path: &Path, options: DiskOptions) -> Result<Self, DbError> {
        if !path.join("state").exists() {
            return Err(DbError::NoFolder { path: path.into() });
        }
        let store = DiskStore::open(path, options)?;
        // Without a version the process may have died before the archive was there.
        let archive = Arc::new(Archive::open(path, store.latest().is_none())?);
        Ok(DataFolder { store, archive, path: path.into() })
    }

    /// The state.
    pub fn store(&self) -> &DiskStore {
        &self.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut DiskStore {
        &mut self.store
    }

    /// Adds code, durably.
    pub(crate) fn add_codes(&self, codes: &[(B256, Bytes)]) -> Result<(), DbError> {
        if codes.is_empty() {
            return Ok(());
        }
        self.archive.add(&[], codes.iter().map(|(hash, code)| (hash, &code[..])))
    }

    /// Adds the blocks of a snapshot, durably.
    pub(crate) fn begin_with(&self, blocks: &[SnapshotBlock]) -> Result<(), DbError> {
        if blocks.is_empty() { Ok(()) } else { self.archive.begin_with(blocks) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The latest version and its root, if there is any.
    pub fn latest(&self) -> Option<(u64, B256)> {
        self.store.latest()
    }

    /// Begins with `genesis`, if the folder is empty; otherwise looks whether it began so. A folder that was made of a
    /// snapshot is of the chain that the snapshot says.
    ///
    /// # Errors
    /// [`DbError::OtherChain`]; [`DbError::NoBlocks`] for a state without a chain; [`DbError::StateRoot`] if the header of `genesis` has another root than its state.
    pub fn begin(&mut self, genesis: &Genesis) -> Result<(), DbError> {
        let given = genesis.header.hash_slow();
        if let Some((latest, _)) = self.latest() {
            let stored = self.header(0)?.ok_or(DbError::NoBlocks { latest })?.hash_slow();
            return if stored == given { Ok(()) } else { Err(DbError::OtherChain { stored, given }) };
        }
        let header = genesis.header.clone();
        let block = Block {
            hash: given,
            txs: Vec::new(),
            ommers: Vec::new(),
            withdrawals: header.withdrawals_root.map(|_| Vec::new()),
            size: 0,
            header,
        };
        let difficulty = block.header.difficulty;
        let entry = Entry {
            block: &block,
            total_difficulty: difficulty,
            receipts: alloy_rlp::encode(Vec::<u8>::new()),
        };
        self.import(0, &genesis.pre, &[entry], Some(block.header.state_root))
    }

    /// Makes a whole state the first version, which has no block.
    ///
    /// # Errors
    /// [`DbError::Order`] if there is a version.
    pub fn begin_bare(&mut self, version: u64, pre: &PreState) -> Result<(), DbError> {
        match self.latest() {
            Some((latest, _)) => Err(DbError::Order { number: version, latest }),
            None => self.import(version, pre, &[], None),
        }
    }

    fn import(
        &mut self,
        version: u64,
        pre: &PreState,
        entries: &[Entry<'_>],
        root: Option<B256>,
    ) -> Result<(), DbError> {
        let mut batch = Batch::default();
        for (address, account, slots) in pre.accounts() {
            batch.change(address, Some(account), true, slots);
        }
        let codes = pre.store.iter().filter_map(|(key, value)| match (key, value) {
            (EvmKey::Code(hash), EvmValue::Code(code)) => Some((hash, code.original_byte_slice())),
            _ => None,
        });
        self.archive.add(entries, codes)?;
        let prepared = self.store.prepare(version, &batch)?;
        if let Some(header) = root.filter(|root| *root != prepared.root()) {
            return Err(DbError::StateRoot { number: version, got: prepared.root(), header });
        }
        self.store.commit(prepared)?;
        Ok(())
    }

    /// Whether a version without a block may come next.
    ///
    /// # Errors
    /// [`DbError::HasBlocks`] if the folder follows a chain; what the archive says.
    pub fn takes_bare(&self) -> Result<(), DbError> {
        match (self.latest(), self.header(0)?) {
            (Some((latest, _)), Some(_)) => Err(DbError::HasBlocks { latest }),
            _ => Ok(()),
        }
    }

    /// Puts blocks that follow the latest version, in order, into the archive, and the code that they deployed.
    /// When this returns, that is durable; [`Self::commit`] of each makes it count.
    ///
    /// # Errors
    /// [`DbError::Order`]; [`DbError::HasBlocks`] as [`Self::takes_bare`]; what the archive says.
    pub fn record(&self, blocks: &[Finished]) -> Result<(), DbError> {
        let Some((latest, _)) = self.latest() else { return Err(DbError::Empty) };
        if blocks.iter().any(|finished| finished.block.is_none()) {
            self.takes_bare()?;
        }
        let (mut entries, mut total) = (Vec::with_capacity(blocks.len()), None);
        for (number, finished) in (latest + 1..).zip(blocks) {
            if finished.number != number {
                return Err(DbError::Order { number: finished.number, latest: number - 1 });
            }
            let Some(block) = &finished.block else { continue };
            let before = match total {
                Some(total) => total,
                None => self.archive.total_difficulty(number - 1)?,
            };
            let total_difficulty = U256::saturating_add(before, block.header.difficulty);
            total = Some(total_difficulty);
            entries.push(Entry { block, total_difficulty, receipts: finished.receipts(block) });
        }
        let codes = blocks.iter().flat_map(|finished| &finished.done.codes);
        self.archive.add(&entries, codes.map(|(hash, code)| (hash, &code[..])))
    }

    /// Makes the state after a block that was [recorded](Self::record) the latest version. When this returns, it is
    /// durable.
    ///
    /// # Errors
    /// [`DbError::StateRoot`] if the header has another root; the latest version is what it was.
    pub fn commit(&mut self, finished: &Finished) -> Result<Committed, DbError> {
        let prepared = self.prepare(finished)?;
        Ok(self.store.commit(prepared)?)
    }

    /// What [`Self::commit`] would make the latest version.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn prepare(&self, finished: &Finished) -> Result<Prepared, DbError> {
        checked(self.store.prepare(finished.number, &finished.batch())?, finished)
    }

    /// Begins the version after the latest one, before it is known what its block changes; for
    /// [`version_ahead`](crate::version_ahead).
    ///
    /// # Errors
    /// As [`DiskStore::begin`].
    pub fn begin_version(&self) -> Result<Begun, DbError> {
        Ok(self.store.begin()?)
    }

    /// As [`Self::prepare`], with what was done ahead; what it took.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub fn prepare_begun(&self, finished: &Finished, begun: BegunVersion) -> PreparedAhead {
        let (BegunVersion { begun, mut stats }, start) = (begun, Instant::now());
        let prepared = self.store.prepare_begun(begun, None, finished.number, &finished.batch())?;
        stats.after = start.elapsed();
        Ok((checked(prepared, finished)?, stats))
    }

    /// Commits what was prepared on the latest version.
    ///
    /// # Errors
    /// As [`DiskStore::commit`].
    pub fn commit_prepared(&mut self, prepared: Prepared) -> Result<Committed, DbError> {
        Ok(self.store.commit(prepared)?)
    }

    /// A version, as what engines execute on stands on.
    ///
    /// # Errors
    /// [`DbError::NoVersion`].
    pub fn state(&self, version: u64) -> Result<LayeredState, DbError> {
        let view = self.store.view(version).map_err(|error| of_versions(error, self.store.versions()))?;
        Ok(LayeredState::new(view, Some(self.archive.clone())))
    }

    /// The latest version.
    ///
    /// # Errors
    /// [`DbError::Empty`].
    pub fn view(&self) -> Result<View, DbError> {
        let (latest, _) = self.latest().ok_or(DbError::Empty)?;
        Ok(self.store.view(latest)?)
    }

    /// The latest version, if there can be a block of this number: blocks beyond that version do not count.
    fn counts(&self, number: u64) -> Option<u64> {
        self.latest().map(|(latest, _)| latest).filter(|latest| number <= *latest)
    }

    /// The header of a block; `None` if there is no such block.
    ///
    /// # Errors
    /// [`DbError::NotKept`] between block 0 and those that a snapshot told; what the archive says.
    pub fn header(&self, number: u64) -> Result<Option<Header>, DbError> {
        self.counts(number).map_or(Ok(None), |latest| self.archive.kept_header(number, latest))
    }

    /// The body of a block; `None` if there is no such block.
    ///
    /// # Errors
    /// [`DbError::NotKept`] if it was removed, or is of before the snapshot that the folder was made of; what the
    /// archive says.
    pub fn body(&self, number: u64) -> Result<Option<BlockBody<SignedTx>>, DbError> {
        self.counts(number).map_or(Ok(None), |latest| self.archive.kept_body(number, latest))
    }

    /// RLP of the list of a block's receipts, as they are from Byzantium on; `None` if there is no such block.
    ///
    /// # Errors
    /// As [`Self::body`].
    pub fn receipts(&self, number: u64) -> Result<Option<Bytes>, DbError> {
        self.counts(number).map_or(Ok(None), |latest| self.archive.kept_receipts(number, latest))
    }

    /// The number of a block by its hash; `None` if there is no such block.
    ///
    /// # Errors
    /// What the archive says.
    pub fn number(&self, hash: &B256) -> Result<Option<u64>, DbError> {
        let Some(number) = self.archive.number(hash)? else { return Ok(None) };
        // It may be of a block that was recorded and never counted, in whose place there is another.
        let header = self.counts(number).map_or(Ok(None), |_| self.archive.header(number))?;
        Ok(header.filter(|header| header.hash_slow() == *hash).map(|_| number))
    }

    /// The code with this hash.
    ///
    /// # Errors
    /// What the archive says.
    pub fn code(&self, hash: &B256) -> Result<Option<Bytes>, DbError> {
        self.archive.code(hash)
    }

    /// Block `latest`, and those before it, the last one first, as the next block needs to know them.
    fn links(&self, latest: u64) -> Result<(Link, Vec<Link>), DbError> {
        let earlier = (latest.saturating_sub(NEAR - 1)..latest).rev();
        let earlier: Result<Vec<Link>, DbError> =
            earlier.map(|number| self.archive.link(number, latest)).collect();
        Ok((self.archive.link(latest, latest)?, earlier?))
    }

    /// Follows the chain from the latest version on.
    ///
    /// # Errors
    /// [`DbError::Empty`], [`DbError::Missing`]; [`DbError::NotKept`] if the next block cannot be held against the ommers
    /// of those before it.
    pub fn follower(&self, chain: ChainSpec) -> Result<Follower, DbError> {
        let (latest, _) = self.latest().ok_or(DbError::Empty)?;
        let (link, earlier) = self.links(latest)?;
        Ok(Follower::at(chain, link, earlier))
    }

    /// Undoes all blocks after `to`. When this returns, that is durable.
    ///
    /// # Errors
    /// [`DbError::NoVersion`]; as [`DiskStore::rollback`]; what the archive says, or as [`Self::follower`] if the chain
    /// could not go on from there: then nothing is undone. If the archive fails at last, when the state is undone, it has
    /// blocks that do not count.
    pub fn rollback(&mut self, to: u64) -> Result<(), DbError> {
        let retained = self.store.versions().any(|(version, _)| version == to);
        if retained && self.archive.header(to)?.is_some() {
            self.links(to)?;
        }
        let store = &mut self.store;
        self.archive.truncate(to, || store.rollback(to).map_err(|error| of_versions(error, store.versions())))
    }

    /// Lets go of all versions but the latest `keep`, and, if asked, of bodies and receipts of blocks before
    /// `bodies_before`, but for those of the last seven: the ommers of the next block are held against theirs. As the
    /// chain may be taken back to any version that is left, the ommers of the seven blocks up to the oldest, and of all
    /// after them, stay as well. How many versions went, and how many bodies.
    ///
    /// # Errors
    /// As [`DiskStore::prune`]; what the archive says.
    pub fn prune(
        &mut self,
        keep: Option<usize>,
        bodies_before: Option<u64>,
    ) -> Result<(usize, u64), DbError> {
        let versions = keep.map_or(Ok(0), |keep| self.store.prune(keep))?;
        let with_ommers = |version: u64| (version + 1).saturating_sub(WITH_OMMERS);
        let last = self.latest().map_or(0, |(latest, _)| with_ommers(latest));
        let oldest = self.store.versions().next().map_or(0, |(oldest, _)| with_ommers(oldest));
        let bodies = bodies_before.map_or(Ok(0), |before| self.archive.prune(before.min(last), oldest))?;
        Ok((versions, bodies))
    }

    /// How it stands.
    ///
    /// # Errors
    /// What the device says.
    pub fn stat(&self) -> Result<(DiskStat, ArchiveStat), DbError> {
        Ok((self.store.stat()?, self.archive.stat(self.latest().map(|(latest, _)| latest))?))
    }

    /// Looks at every bit of the state that a retained version reaches; at all that is kept of blocks up to the last
    /// version, each held against its header, headers against their parents and against the roots of versions; at all
    /// code, and that there is that of each account. Returns what there is of the state, the number of blocks, and that
    /// of codes.
    ///
    /// What cannot be told without executing the block is whether a transaction of before Byzantium succeeded: its
    /// receipt had the root of a state instead.
    ///
    /// # Errors
    /// The first thing that is not as it was written.
    pub fn verify(&self) -> Result<(Verified, u64, u64), DbError> {
        self.verify_unless(&AtomicBool::new(false))
    }

    /// As [`Self::verify`], unless `stop` is set meanwhile.
    ///
    /// # Errors
    /// [`DbError::Cancelled`]; as [`Self::verify`].
    pub fn verify_unless(&self, stop: &AtomicBool) -> Result<(Verified, u64, u64), DbError> {
        let mut codes = BTreeSet::new();
        let verified = self.store.verify_with(stop, |account| {
            codes.extend(Some(account.code_hash).filter(|hash| *hash != KECCAK256_EMPTY));
        })?;
        let verified = verified.ok_or(DbError::Cancelled)?;
        let versions: Vec<_> = self.store.versions().collect();
        let blocks = verify::blocks(&self.archive, &versions, stop)?;
        Ok((verified, blocks, self.archive.verify_codes(&codes, stop)?))
    }
}

/// Whether the root is the header's.
pub(crate) fn checked(prepared: Prepared, finished: &Finished) -> Result<Prepared, DbError> {
    let header = finished.block.as_ref().map(|block| block.header.state_root);
    match header.filter(|header| *header != prepared.root()) {
        Some(header) => Err(DbError::StateRoot { number: finished.number, got: prepared.root(), header }),
        None => Ok(prepared),
    }
}
