//! The format of a snapshot. Numbers are little-endian.
//!
//! ```text
//! header   mark "BRAIDSNP", format 4, zero 4, version 8, state root 32, checksum 4
//! part     plain 4, packed 4, checksum 4, `packed` bytes of zstd that unpack to `plain` bytes
//! ...
//! end      zero 4, 32 in 4, checksum 4, accounts 8, slots 8, codes 8, blocks 8
//! ```
//! Checksums are CRC-32 (IEEE): the header's over what stands before it, a part's over the header's, the number of
//! the part and all of it but the checksum itself. So parts of another snapshot or in another order do not pass. A
//! part is records one after another, none across parts:
//! ```text
//! account  1, hash of the address 32, nonce 8, balance, hash of the code (none: 0; else 1 and 32 bytes)
//! slot     2, hash of the slot 32, value
//! code     3, hash 32, length 4, code
//! block    4, total difficulty, length 4, RLP of the header, length 4, RLP of the ommers (nothing if there are none)
//! ```
//! Balance, value and total difficulty are a length and so many bytes, big-endian and without leading zeros; a value
//! is not zero. Blocks come first and ascend; `blocks.rs` says which there are. Accounts ascend, the slots of an
//! account follow it and ascend, codes come after all accounts and ascend, each once. There is one encoding of a
//! state and its blocks but for how it is parted and packed.
//!
//! This is format 2. Format 1, which is still read, has no blocks: its end is 24 bytes long, without their number.

use super::{blocks::SnapshotBlock, error::SnapshotError};
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256};
use alloy_rlp::Encodable;
use alloy_trie::TrieAccount;
use std::io::Write;

pub(super) const MARK: [u8; 8] = *b"BRAIDSNP";
pub(super) const FORMAT: u32 = 2;
/// The format that has no blocks.
pub(super) const WITHOUT_BLOCKS: u32 = 1;
pub(super) const HEADER: usize = 60;
pub(super) const PART_HEAD: usize = 12;
pub(super) const END: usize = 32;
/// The end of a format without blocks.
pub(super) const SHORT_END: usize = 24;
/// Longest part, unpacked.
pub(super) const PLAIN_MAX: usize = 4 << 20;
/// Longest part, packed: what zstd may make of something that cannot be packed.
pub(super) const PACKED_MAX: usize = PLAIN_MAX + (PLAIN_MAX >> 7) + 1024;
/// A part ends with the record that makes it this long.
const PLAIN_FULL: usize = 1 << 20;
/// Longest code. Longer than any chain admits.
pub(super) const CODE_MAX: usize = 2 << 20;
/// Most bytes of a header, and of all ommers of a block. More than any chain admits.
pub(super) const RLP_MAX: usize = 1 << 20;
const LEVEL: i32 = 3;

pub(super) const ACCOUNT: u8 = 1;
pub(super) const SLOT: u8 = 2;
pub(super) const CODE: u8 = 3;
pub(super) const BLOCK: u8 = 4;

/// What a snapshot says of itself at its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The version of the state.
    pub version: u64,
    /// Its root.
    pub root: B256,
}

/// How much there is of a state, and of its chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// Accounts.
    pub accounts: u64,
    /// Slots.
    pub slots: u64,
    /// Codes.
    pub codes: u64,
    /// Blocks.
    pub blocks: u64,
}

/// One record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotItem {
    /// A block.
    Block(Box<SnapshotBlock>),
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
pub(super) fn checksum(header: u32, part: u64, plain: u32, bytes: &[u8]) -> u32 {
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

/// Appends RLP, with its length before it.
fn put_rlp(into: &mut Vec<u8>, rlp: &[u8]) {
    into.extend_from_slice(&(rlp.len() as u32).to_le_bytes());
    into.extend_from_slice(rlp);
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut to: W, header: SnapshotHeader) -> std::io::Result<Self> {
        let (bytes, id) = header.encode();
        to.write_all(&bytes)?;
        let packer = zstd::bulk::Compressor::new(LEVEL)?;
        let (plain, totals) = (Vec::with_capacity(PLAIN_FULL), SnapshotTotals::default());
        Ok(Encoder { to, id, part: 0, plain, packer, totals, bytes: HEADER as u64 })
    }

    /// The block must not be longer than [`check_block`] admits.
    pub(super) fn block(&mut self, block: &SnapshotBlock) -> std::io::Result<()> {
        self.totals.blocks += 1;
        self.plain.push(BLOCK);
        put_number(&mut self.plain, block.total_difficulty);
        put_rlp(&mut self.plain, &alloy_rlp::encode(&block.header));
        let ommers = if block.ommers.is_empty() { Vec::new() } else { alloy_rlp::encode(&block.ommers) };
        put_rlp(&mut self.plain, &ommers);
        self.flush_full()
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
        let SnapshotTotals { accounts, slots, codes, blocks } = self.totals;
        for count in [accounts, slots, codes, blocks] {
            end.extend_from_slice(&count.to_le_bytes());
        }
        self.write(0, &end)?;
        Ok((self.totals, self.bytes, self.to))
    }
}

/// Whether something is not longer than it may be.
pub(super) fn within(what: &'static str, is: usize, limit: usize) -> Result<(), SnapshotError> {
    let (is, limit) = (is as u64, limit as u64);
    if is > limit { Err(SnapshotError::Limit { what, is, limit }) } else { Ok(()) }
}

/// Whether a code can be in a snapshot.
pub(super) fn check_code(code: &[u8]) -> Result<(), SnapshotError> {
    within("length of a code", code.len(), CODE_MAX)
}

/// Whether a block can be in a snapshot.
pub(super) fn check_block(block: &SnapshotBlock) -> Result<(), SnapshotError> {
    within("length of a header", block.header.length(), RLP_MAX)?;
    within("length of the ommers of a block", block.ommers.length(), RLP_MAX)
}

/// Writes a snapshot of records as [`SnapshotDecoder`](super::SnapshotDecoder) gives them, in their order; what was
/// written. For whoever makes snapshots otherwise than from a data folder, such as tests.
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
            SnapshotItem::Block(block) => {
                check_block(block)?;
                encoder.block(block)
            }
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
