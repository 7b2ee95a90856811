//! The format of a snapshot. Numbers are little-endian.
//!
//! ```text
//! header   mark "BRAIDSNP", format 4, zero 4, version 8, state root 32, checksum 4
//! part     plain 4, packed 4, checksum 4, `packed` bytes of zstd that unpack to `plain` bytes
//! ...
//! end      zero 4, 24 in 4, checksum 4, accounts 8, slots 8, codes 8
//! ```
//! Checksums are CRC-32 (IEEE): the header's over what stands before it, a part's over the header's, the number of
//! the part and all of it but the checksum itself. So parts of another snapshot or in another order do not pass. A
//! part is records one after another, none across parts:
//! ```text
//! account  1, hash of the address 32, nonce 8, balance, hash of the code (none: 0; else 1 and 32 bytes)
//! slot     2, hash of the slot 32, value
//! code     3, hash 32, length 4, code
//! ```
//! Balance and value are a length and so many bytes, big-endian and without leading zeros; a value is not zero. Accounts
//! ascend, the slots of an account follow it and ascend, codes come after all accounts and ascend, each once. There is
//! one encoding of a state but for how it is parted and packed.

use super::error::SnapshotError;
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use std::io::{ErrorKind, Read, Write};

const MARK: [u8; 8] = *b"BRAIDSNP";
const FORMAT: u32 = 1;
const HEADER: usize = 60;
const PART_HEAD: usize = 12;
const END: usize = 24;
/// Longest part, unpacked.
const PLAIN_MAX: usize = 4 << 20;
/// Longest part, packed: what zstd may make of something that cannot be packed.
const PACKED_MAX: usize = PLAIN_MAX + (PLAIN_MAX >> 7) + 1024;
/// A part ends with the record that makes it this long.
const PLAIN_FULL: usize = 1 << 20;
/// Longest code. Longer than any chain admits.
const CODE_MAX: usize = 2 << 20;
const LEVEL: i32 = 3;

const ACCOUNT: u8 = 1;
const SLOT: u8 = 2;
const CODE: u8 = 3;

/// What a snapshot says of itself at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The version of the state.
    pub version: u64,
    /// Its root.
    pub root: B256,
}

/// How much there is of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// Accounts.
    pub accounts: u64,
    /// Slots.
    pub slots: u64,
    /// Codes.
    pub codes: u64,
}

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotItem {
    /// An account; its slots follow. The storage root is not in the file: it reads as that of an empty storage.
    Account {
        /// Hash of its address.
        key: B256,
        /// The account.
        account: TrieAccount,
    },
    /// A slot of the last account.
    Slot {
        /// Hash of its number.
        key: B256,
        /// Its value, which is not zero.
        value: U256,
    },
    /// Code, which has this hash.
    Code {
        /// Its hash.
        hash: B256,
        /// The code.
        code: Bytes,
    },
}

impl SnapshotHeader {
    /// The header's bytes, and its checksum.
    fn encode(&self) -> ([u8; HEADER], u32) {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MARK);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.version.to_le_bytes());
        bytes[24..56].copy_from_slice(self.root.as_slice());
        let checksum = crc32fast::hash(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, checksum)
    }
}

/// Checksum of a part.
fn checksum(header: u32, part: u64, plain: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header.to_le_bytes());
    hasher.update(&part.to_le_bytes());
    hasher.update(&plain.to_le_bytes());
    hasher.update(&(bytes.len() as u32).to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn put_number(into: &mut Vec<u8>, number: U256) {
    let bytes = number.to_be_bytes_trimmed_vec();
    into.push(bytes.len() as u8);
    into.extend_from_slice(&bytes);
}

/// Writes a snapshot: records in their order, part by part.
pub(super) struct Encoder<W> {
    to: W,
    id: u32,
    part: u64,
    plain: Vec<u8>,
    packer: zstd::bulk::Compressor<'static>,
    totals: SnapshotTotals,
    bytes: u64,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut to: W, header: SnapshotHeader) -> std::io::Result<Self> {
        let (bytes, id) = header.encode();
        to.write_all(&bytes)?;
        let packer = zstd::bulk::Compressor::new(LEVEL)?;
        let (plain, totals) = (Vec::with_capacity(PLAIN_FULL), SnapshotTotals::default());
        Ok(Encoder { to, id, part: 0, plain, packer, totals, bytes: HEADER as u64 })
    }

    pub(super) fn account(&mut self, key: &B256, account: &TrieAccount) -> std::io::Result<()> {
        self.totals.accounts += 1;
        self.plain.push(ACCOUNT);
        self.plain.extend_from_slice(key.as_slice());
        self.plain.extend_from_slice(&account.nonce.to_le_bytes());
        put_number(&mut self.plain, account.balance);
        let coded = account.code_hash != KECCAK256_EMPTY;
        self.plain.push(u8::from(coded));
        if coded {
            self.plain.extend_from_slice(account.code_hash.as_slice());
        }
        self.flush_full()
    }

    pub(super) fn slot(&mut self, key: &B256, value: U256) -> std::io::Result<()> {
        self.totals.slots += 1;
        self.plain.push(SLOT);
        self.plain.extend_from_slice(key.as_slice());
        put_number(&mut self.plain, value);
        self.flush_full()
    }

    /// The code must not be longer than [`check_code`] admits.
    pub(super) fn code(&mut self, hash: &B256, code: &[u8]) -> std::io::Result<()> {
        self.totals.codes += 1;
        self.plain.push(CODE);
        self.plain.extend_from_slice(hash.as_slice());
        self.plain.extend_from_slice(&(code.len() as u32).to_le_bytes());
        self.plain.extend_from_slice(code);
        self.flush_full()
    }

    /// Parts that were written.
    pub(super) fn parts(&self) -> u64 {
        self.part
    }

    fn flush_full(&mut self) -> std::io::Result<()> {
        if self.plain.len() >= PLAIN_FULL { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let packed = self.packer.compress(&self.plain)?;
        self.write(self.plain.len() as u32, &packed)?;
        self.plain.clear();
        Ok(())
    }

    fn write(&mut self, plain: u32, bytes: &[u8]) -> std::io::Result<()> {
        let checksum = checksum(self.id, self.part, plain, bytes);
        self.to.write_all(&plain.to_le_bytes())?;
        self.to.write_all(&(bytes.len() as u32).to_le_bytes())?;
        self.to.write_all(&checksum.to_le_bytes())?;
        self.to.write_all(bytes)?;
        self.part += 1;
        self.bytes += (PART_HEAD + bytes.len()) as u64;
        Ok(())
    }

    /// Writes the end. What there is, how many bytes were written, and where to.
    pub(super) fn finish(mut self) -> std::io::Result<(SnapshotTotals, u64, W)> {
        self.flush()?;
        let mut end = Vec::with_capacity(END);
        for count in [self.totals.accounts, self.totals.slots, self.totals.codes] {
            end.extend_from_slice(&count.to_le_bytes());
        }
        self.write(0, &end)?;
        Ok((self.totals, self.bytes, self.to))
    }
}

/// Whether a code can be in a snapshot.
pub(super) fn check_code(code: &[u8]) -> Result<(), SnapshotError> {
    if code.len() > CODE_MAX {
        let (is, limit) = (code.len() as u64, CODE_MAX as u64);
        return Err(SnapshotError::Limit { what: "length of a code", is, limit });
    }
    Ok(())
}

/// Reads a snapshot, record by record. Has one part in memory at a time, of at most 4 MiB.
pub struct SnapshotDecoder<R> {
    from: R,
    header: SnapshotHeader,
    id: u32,
    /// Number of the part that comes next.
    next: u64,
    plain: Vec<u8>,
    at: usize,
    unpacker: zstd::bulk::Decompressor<'static>,
    totals: SnapshotTotals,
    account: Option<B256>,
    slot: Option<B256>,
    code: Option<B256>,
    ended: bool,
}

impl<R> std::fmt::Debug for SnapshotDecoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotDecoder").field("header", &self.header).finish_non_exhaustive()
    }
}

/// Reads as much as there is, at most all of `into`.
fn read_up_to(from: &mut impl Read, into: &mut [u8]) -> Result<usize, SnapshotError> {
    let mut read = 0;
    while read < into.len() {
        match from.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(SnapshotError::Read(error.to_string())),
        }
    }
    Ok(read)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

impl<R: Read> SnapshotDecoder<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`SnapshotError`] if it does not begin as a snapshot does.
    pub fn new(mut from: R) -> Result<Self, SnapshotError> {
        let mut bytes = [0; HEADER];
        let read = read_up_to(&mut from, &mut bytes)?;
        if bytes[..8] != MARK {
            return Err(SnapshotError::NotOne("it does not begin with its mark"));
        }
        if read < HEADER {
            return Err(SnapshotError::Cut { part: 0 });
        }
        let id = u32_at(&bytes, 56);
        if crc32fast::hash(&bytes[..56]) != id {
            return Err(SnapshotError::NotOne("its header is damaged"));
        }
        let (is, known) = (u32_at(&bytes, 8), FORMAT);
        if is != FORMAT || u32_at(&bytes, 12) != 0 {
            return Err(SnapshotError::Format { is, known });
        }
        let header = SnapshotHeader { version: u64_at(&bytes, 16), root: B256::from_slice(&bytes[24..56]) };
        let unpacker =
            zstd::bulk::Decompressor::new().map_err(|error| SnapshotError::Read(error.to_string()))?;
        Ok(SnapshotDecoder {
            from,
            header,
            id,
            next: 0,
            plain: Vec::new(),
            at: 0,
            unpacker,
            totals: SnapshotTotals::default(),
            account: None,
            slot: None,
            code: None,
            ended: false,
        })
    }

    /// What it says of itself.
    pub fn header(&self) -> SnapshotHeader {
        self.header
    }

    /// What was read so far.
    pub fn totals(&self) -> SnapshotTotals {
        self.totals
    }

    fn damaged(&self, reason: impl Into<String>) -> SnapshotError {
        SnapshotError::Damaged { part: self.next.saturating_sub(1), reason: reason.into() }
    }

    /// The next record; `None` once all of it was read and found whole. Not to be asked again after an error.
    ///
    /// # Errors
    /// [`SnapshotError`] for anything that no snapshot has.
    pub fn next_item(&mut self) -> Result<Option<SnapshotItem>, SnapshotError> {
        if self.at == self.plain.len() && !self.ended {
            self.part()?;
        }
        if self.ended {
            return Ok(None);
        }
        let [tag] = self.take_array()?;
        match tag {
            ACCOUNT => self.account().map(Some),
            SLOT => self.slot().map(Some),
            CODE => self.code().map(Some),
            tag => Err(self.damaged(format!("a record of kind {tag}"))),
        }
    }

    /// Reads the next part, or the end.
    fn part(&mut self) -> Result<(), SnapshotError> {
        let part = self.next;
        let mut head = [0; PART_HEAD];
        if read_up_to(&mut self.from, &mut head)? < PART_HEAD {
            return Err(SnapshotError::Cut { part });
        }
        self.next += 1;
        let (plain, packed) = (u32_at(&head, 0), u32_at(&head, 4) as usize);
        let limit = if plain == 0 { END } else { PACKED_MAX };
        if packed > limit || plain as usize > PLAIN_MAX {
            let (is, limit) = (packed.max(plain as usize) as u64, limit as u64);
            return Err(SnapshotError::Limit { what: "length of a part", is, limit });
        }
        let mut bytes = vec![0; packed];
        if read_up_to(&mut self.from, &mut bytes)? < packed {
            return Err(SnapshotError::Cut { part });
        }
        if checksum(self.id, part, plain, &bytes) != u32_at(&head, 8) {
            return Err(self.damaged("its checksum differs"));
        }
        if plain == 0 {
            return self.end(&bytes);
        }
        // No more than is announced, and that is within the limit.
        let unpacked = self.unpacker.decompress(&bytes, plain as usize);
        self.plain = unpacked.map_err(|error| self.damaged(error.to_string()))?;
        self.at = 0;
        if self.plain.len() != plain as usize {
            return Err(self.damaged(format!("{} bytes, not {plain}", self.plain.len())));
        }
        Ok(())
    }

    fn end(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if bytes.len() != END {
            return Err(self.damaged("its end has another length"));
        }
        let [accounts, slots, codes] = [0, 8, 16].map(|at| u64_at(bytes, at));
        if (SnapshotTotals { accounts, slots, codes }) != self.totals {
            return Err(self.damaged("its totals are not those of what it has"));
        }
        if read_up_to(&mut self.from, &mut [0])? > 0 {
            return Err(self.damaged("something follows the end"));
        }
        self.ended = true;
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&[u8], SnapshotError> {
        let end = self.at.saturating_add(len);
        if end > self.plain.len() {
            return Err(self.damaged("a record is cut off"));
        }
        let at = std::mem::replace(&mut self.at, end);
        Ok(&self.plain[at..end])
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn number(&mut self) -> Result<U256, SnapshotError> {
        let [len] = self.take_array()?;
        if len > 32 {
            return Err(self.damaged(format!("a number of {len} bytes")));
        }
        let bytes = self.take(usize::from(len))?;
        let (number, padded) = (U256::from_be_slice(bytes), bytes.first() == Some(&0));
        if padded {
            return Err(self.damaged("a number with leading zeros"));
        }
        Ok(number)
    }

    /// A key, after the one before it.
    fn key(&mut self, before: Option<B256>) -> Result<B256, SnapshotError> {
        let key = B256::from(self.take_array::<32>()?);
        if before.is_some_and(|before| before >= key) {
            return Err(self.damaged(format!("{key} is out of order")));
        }
        Ok(key)
    }

    fn account(&mut self) -> Result<SnapshotItem, SnapshotError> {
        if self.code.is_some() {
            return Err(self.damaged("an account after codes"));
        }
        let key = self.key(self.account)?;
        let nonce = u64::from_le_bytes(self.take_array()?);
        let balance = self.number()?;
        let code_hash = match self.take_array()? {
            [0] => KECCAK256_EMPTY,
            [1] => match B256::from(self.take_array::<32>()?) {
                KECCAK256_EMPTY => return Err(self.damaged("empty code that is named")),
                hash => hash,
            },
            [other] => return Err(self.damaged(format!("code of kind {other}"))),
        };
        (self.account, self.slot) = (Some(key), None);
        self.totals.accounts += 1;
        let account = TrieAccount { nonce, balance, storage_root: EMPTY_ROOT_HASH, code_hash };
        Ok(SnapshotItem::Account { key, account })
    }

    fn slot(&mut self) -> Result<SnapshotItem, SnapshotError> {
        if self.account.is_none() || self.code.is_some() {
            return Err(self.damaged("a slot without its account"));
        }
        let key = self.key(self.slot)?;
        let value = self.number()?;
        if value.is_zero() {
            return Err(self.damaged("an empty slot"));
        }
        self.slot = Some(key);
        self.totals.slots += 1;
        Ok(SnapshotItem::Slot { key, value })
    }

    fn code(&mut self) -> Result<SnapshotItem, SnapshotError> {
        let hash = self.key(self.code)?;
        let len = u32::from_le_bytes(self.take_array()?) as usize;
        if len > CODE_MAX {
            let (is, limit) = (len as u64, CODE_MAX as u64);
            return Err(SnapshotError::Limit { what: "length of a code", is, limit });
        }
        let code = Bytes::copy_from_slice(self.take(len)?);
        if keccak256(&code) != hash || code.is_empty() {
            return Err(self.damaged(format!("code {hash} has another hash")));
        }
        self.code = Some(hash);
        self.totals.codes += 1;
        Ok(SnapshotItem::Code { hash, code })
    }
}

/// Writes a snapshot of records as [`SnapshotDecoder`] gives them, in their order; what was written. For whoever makes
/// snapshots otherwise than from a data folder, such as tests.
///
/// # Errors
/// [`SnapshotError::Limit`] for code that is too long; what `to` says.
pub fn encode_snapshot(
    to: impl Write,
    header: SnapshotHeader,
    items: impl IntoIterator<Item = SnapshotItem>,
) -> Result<SnapshotTotals, SnapshotError> {
    let failed = |error: std::io::Error| SnapshotError::Read(error.to_string());
    let mut encoder = Encoder::new(to, header).map_err(failed)?;
    for item in items {
        let done = match &item {
            SnapshotItem::Account { key, account } => encoder.account(key, account),
            SnapshotItem::Slot { key, value } => encoder.slot(key, *value),
            SnapshotItem::Code { hash, code } => {
                check_code(code)?;
                encoder.code(hash, code)
            }
        };
        done.map_err(failed)?;
    }
    encoder.finish().map(|(totals, ..)| totals).map_err(failed)
}
