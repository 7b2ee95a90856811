//! Reading what [`format`](super::format) says, from anybody.

use super::{
    blocks::{Following, SnapshotBlock},
    error::SnapshotError,
    format::{
        ACCOUNT, BLOCK, CODE, CODE_MAX, END, FORMAT, HEADER, MARK, PACKED_MAX, PART_HEAD, PLAIN_MAX, RLP_MAX,
        SHORT_END, SLOT, SnapshotHeader, SnapshotItem, SnapshotTotals, WITHOUT_BLOCKS, checksum, within,
    },
};
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use std::io::{ErrorKind, Read};

/// Reads a snapshot, record by record. Has one part in memory at a time, of at most 4 MiB.
pub struct SnapshotDecoder<R> {
    from: R,
    header: SnapshotHeader,
    format: u32,
    id: u32,
    /// Number of the part that comes next.
    next: u64,
    plain: Vec<u8>,
    at: usize,
    unpacker: zstd::bulk::Decompressor<'static>,
    totals: SnapshotTotals,
    blocks: Following,
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
        let (format, known) = (u32_at(&bytes, 8), FORMAT);
        if !(WITHOUT_BLOCKS..=FORMAT).contains(&format) || u32_at(&bytes, 12) != 0 {
            return Err(SnapshotError::Format { is: format, known });
        }
        let header = SnapshotHeader { version: u64_at(&bytes, 16), root: B256::from_slice(&bytes[24..56]) };
        let unpacker =
            zstd::bulk::Decompressor::new().map_err(|error| SnapshotError::Read(error.to_string()))?;
        Ok(SnapshotDecoder {
            from,
            header,
            format,
            id,
            next: 0,
            plain: Vec::new(),
            at: 0,
            unpacker,
            totals: SnapshotTotals::default(),
            blocks: Following::new(header),
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

    /// Hash of the last block that was read.
    pub fn block_hash(&self) -> Option<B256> {
        self.blocks.hash()
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
        if tag == BLOCK && self.format > WITHOUT_BLOCKS {
            return self.block().map(Some);
        }
        self.blocks.finish()?;
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
        let (len, with_blocks) = match self.format {
            WITHOUT_BLOCKS => (SHORT_END, false),
            _ => (END, true),
        };
        if bytes.len() != len {
            return Err(self.damaged("its end has another length"));
        }
        self.blocks.finish()?;
        let [accounts, slots, codes] = [0, 8, 16].map(|at| u64_at(bytes, at));
        let blocks = if with_blocks { u64_at(bytes, 24) } else { 0 };
        if (SnapshotTotals { accounts, slots, codes, blocks }) != self.totals {
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

    /// RLP with its length before it, if there is any: what encodes to just that.
    fn rlp<T: Decodable + Encodable>(&mut self, what: &str) -> Result<Option<T>, SnapshotError> {
        let len = u32::from_le_bytes(self.take_array()?) as usize;
        within("length of a header, or of ommers", len, RLP_MAX)?;
        if len == 0 {
            return Ok(None);
        }
        let bytes = self.take(len)?;
        let decoded = alloy_rlp::decode_exact::<T>(bytes);
        match decoded.map(|value| (alloy_rlp::encode(&value) == bytes, value)) {
            Ok((true, value)) => Ok(Some(value)),
            Ok((false, _)) => Err(self.damaged(format!("{what}: not the encoding of what it says"))),
            Err(error) => Err(self.damaged(format!("{what}: {error}"))),
        }
    }

    fn block(&mut self) -> Result<SnapshotItem, SnapshotError> {
        if self.account.is_some() || self.code.is_some() {
            return Err(self.damaged("a block after accounts"));
        }
        let total_difficulty = self.number()?;
        let header = self.rlp::<Header>("header")?;
        let header = header.ok_or_else(|| self.damaged("a block without a header"))?;
        let ommers = self.rlp::<Vec<Header>>("ommers")?;
        if ommers.as_ref().is_some_and(Vec::is_empty) {
            return Err(self.damaged("no ommers, told twice"));
        }
        let block = SnapshotBlock { header, total_difficulty, ommers: ommers.unwrap_or_default() };
        self.blocks.follow(&block)?;
        self.totals.blocks += 1;
        Ok(SnapshotItem::Block(Box::new(block)))
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
        within("length of a code", len, CODE_MAX)?;
        let code = Bytes::copy_from_slice(self.take(len)?);
        if keccak256(&code) != hash || code.is_empty() {
            return Err(self.damaged(format!("code {hash} has another hash")));
        }
        self.code = Some(hash);
        self.totals.codes += 1;
        Ok(SnapshotItem::Code { hash, code })
    }
}
