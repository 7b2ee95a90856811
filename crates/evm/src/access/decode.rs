//! Decoding an access list into tables, straight from its bytes. What is not canonical is an error, so
//! that equal lists have equal bytes.
//!
//! A long list is decoded in parts, each of whole accounts, that know nothing of one another. If there is
//! anything wrong with any of them, the list is decoded again in one piece: so the error does not depend on
//! the parts.

use super::{
    error::{AccessEntry, AccessListError, AccessPart},
    listed::PrescribedBlock,
    rlp,
    table::{Account, Change, Fields, Part, Slot},
};
use crate::BlockInput;
use alloy_primitives::{Address, Bytes, KECCAK256_EMPTY, keccak256};
use alloy_rlp::{Decodable, Error as Rlp};
use parking_lot::Mutex;
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use std::ops::Range;

/// Most bytes of a list, whatever the gas limit.
const MAX_BYTES: u64 = 256 << 20;

/// Bytes that what surrounds the transactions may need.
const SYSTEM_BYTES: u64 = 16 << 20;

/// Accounts and slots that what surrounds the transactions may need: calls with 30 million gas each.
const SYSTEM_ITEMS: u64 = 150_000;

/// Accounts that a transaction touches without paying for the access.
const FREE_ITEMS: u64 = 8;

/// Most parts.
const MAX_PARTS: usize = 8;

/// Shorter lists are decoded in one piece: some twenty microseconds.
const SPLIT_BYTES: usize = 16 << 10;

/// Most memory that one list leaves to the next: that of a billion gas of transfers and more.
const KEPT_BYTES: usize = 64 << 20;

/// What a block can have at most, by its gas limit.
struct Limits {
    bytes: usize,
    items: usize,
    last: u64,
}

impl Limits {
    fn of(input: &BlockInput) -> Limits {
        // Least gas of an access to something new, halved for refunds; a change costs more.
        let cost = if input.spec.is_enabled_in(SpecId::BERLIN) { 900 } else { 20 };
        let (txs, gas) = (input.txs.len() as u64, input.env.gas_limit);
        let after = input.rites.after.as_ref();
        let credits = after.map_or(0, |after| after.rewards.len() + after.withdrawals.len());
        let drained = input.rites.dao_drain.as_ref().map_or(0, |(from, _)| from.len());
        let around = (credits + drained) as u64;
        let bytes = gas.saturating_add(SYSTEM_BYTES).saturating_add((txs + around) * 256);
        let items = (gas / cost).saturating_add(SYSTEM_ITEMS + FREE_ITEMS * txs + around);
        Limits { bytes: bytes.min(MAX_BYTES) as usize, items: items.min(MAX_BYTES) as usize, last: txs + 1 }
    }
}

/// Calls a function once with each number below the given one, in any order, maybe at the same time, and
/// returns when all calls have returned.
pub type Split<'a> = dyn FnMut(usize, &(dyn Fn(usize) + Sync)) + 'a;

impl PrescribedBlock {
    /// Decodes the access list of the block `input`, as RLP.
    ///
    /// # Errors
    /// If it is not the canonical encoding of a list, is not in order, names an index that the block does
    /// not have, or is larger than that of any block with this gas limit.
    pub fn decode(bytes: &[u8], input: &BlockInput) -> Result<PrescribedBlock, AccessListError> {
        let mut block = PrescribedBlock::default();
        block.decode_again(bytes, input, 1, &mut |count, work| (0..count).for_each(work))?;
        Ok(block)
    }

    /// As [`Self::decode`], in the memory of another list, and a long one in about `parts` parts, which
    /// `split` runs, twice. What comes of it does not depend on them.
    ///
    /// # Errors
    /// As [`Self::decode`]; then it lists nothing.
    pub fn decode_again(
        &mut self,
        bytes: &[u8],
        input: &BlockInput,
        parts: usize,
        split: &mut Split<'_>,
    ) -> Result<(), AccessListError> {
        let limits = Limits::of(input);
        if bytes.len() > limits.bytes {
            return Err(AccessListError::Size { bytes: bytes.len(), limit: limits.bytes });
        }
        if self.bytes() > KEPT_BYTES {
            *self = PrescribedBlock::default();
        }
        self.spec = input.spec;
        let parts = if bytes.len() < SPLIT_BYTES { 1 } else { parts.clamp(1, MAX_PARTS) };
        let pieces = if parts == 1 { None } else { pieces(bytes, parts) };
        let done = pieces.is_some_and(|pieces| self.decode_pieces(&pieces, &limits, split));
        if !done && let Err(error) = self.decode_whole(bytes, &limits) {
            *self = PrescribedBlock::default();
            return Err(error);
        }
        self.gather(limits.last);
        let tables = &mut self.tables;
        tables.prepare();
        match tables.count {
            1 => tables.insert(0),
            count => split(count, &|part| tables.insert(part)),
        }
        Ok(())
    }

    /// Makes room for `count` parts, and empties them.
    fn clear(&mut self, count: usize, limits: &Limits) {
        let tables = &mut self.tables;
        if tables.parts.len() < count {
            tables.parts.resize_with(count, Part::default);
        }
        tables.count = count;
        tables.parts[..count].iter_mut().for_each(|part| part.clear(limits.last));
    }

    fn decode_whole(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), AccessListError> {
        self.clear(1, limits);
        let mut rest = bytes;
        let encoding = |account: usize| move |reason| AccessListError::Encoding { account, reason };
        let mut all = rlp::list(&mut rest).map_err(encoding(0))?;
        let mut decoder = Decoder { part: &mut self.tables.parts[0], limits, spec: self.spec };
        decoder.accounts(&mut all)?;
        if !rest.is_empty() {
            return Err(encoding(decoder.part.accounts.len())(Rlp::UnexpectedLength));
        }
        Ok(())
    }

    /// Whether all `pieces` are decoded, each into its part, and nothing is wrong with them.
    fn decode_pieces(&mut self, pieces: &[&[u8]], limits: &Limits, split: &mut Split<'_>) -> bool {
        self.clear(pieces.len(), limits);
        let spec = self.spec;
        let parts = &mut self.tables.parts[..pieces.len()];
        let cells: Vec<_> = parts.iter_mut().map(|part| Mutex::new((part, false))).collect();
        split(pieces.len(), &|at| {
            let mut cell = cells[at].lock();
            let (part, done) = &mut *cell;
            *done = Decoder { part, limits, spec }.accounts(&mut { pieces[at] }).is_ok();
        });
        let done = cells.into_iter().all(|cell| cell.into_inner().1);
        let parts = self.tables.parts();
        let ordered = parts.windows(2).all(|pair| {
            let (last, first) = (pair[0].accounts.last(), pair[1].accounts.first());
            last.zip(first).is_some_and(|(last, first)| last.address < first.address)
        });
        let items: usize = parts.iter().map(Part::items).sum();
        let changes: usize = parts.iter().map(|part| part.changes).sum();
        done && ordered && items <= limits.items && changes <= limits.items
    }

    /// What there is once for all parts.
    fn gather(&mut self, last: u64) {
        self.counts.clear();
        self.counts.resize(last as usize + 1, 0);
        self.code_table.clear();
        for part in &mut self.tables.parts[..self.tables.count] {
            self.counts.iter_mut().zip(&part.counts).for_each(|(sum, count)| *sum += count);
            self.code_table.extend(part.bytecodes.drain(..));
        }
    }
}

/// Cuts a list between accounts into up to `parts` pieces of about the same length; `None` if it cannot be.
fn pieces(bytes: &[u8], parts: usize) -> Option<Vec<&[u8]>> {
    let mut rest = bytes;
    let all = rlp::list(&mut rest).ok().filter(|_| rest.is_empty())?;
    let size = all.len() / parts + 1;
    let (mut pieces, mut start, mut left) = (Vec::with_capacity(parts), all, all);
    while !left.is_empty() {
        rlp::list(&mut left).ok()?;
        let len = start.len() - left.len();
        if len >= size || left.is_empty() {
            pieces.push(&start[..len]);
            start = left;
        }
    }
    (pieces.len() > 1).then_some(pieces)
}

/// Why an account's entry is wrong.
enum Wrong {
    Encoding(Rlp),
    Other(AccessListError),
}

impl Wrong {
    fn at(self, account: usize) -> AccessListError {
        match self {
            Wrong::Encoding(reason) => AccessListError::Encoding { account, reason },
            Wrong::Other(error) => error,
        }
    }
}

impl From<Rlp> for Wrong {
    fn from(reason: Rlp) -> Self {
        Wrong::Encoding(reason)
    }
}

impl From<AccessListError> for Wrong {
    fn from(error: AccessListError) -> Self {
        Wrong::Other(error)
    }
}

struct Decoder<'a> {
    part: &'a mut Part,
    limits: &'a Limits,
    spec: SpecId,
}

impl Decoder<'_> {
    fn accounts(&mut self, all: &mut &[u8]) -> Result<(), AccessListError> {
        while !all.is_empty() {
            let at = self.part.accounts.len();
            self.account(all).map_err(|wrong| wrong.at(at))?;
        }
        Ok(())
    }

    fn account(&mut self, all: &mut &[u8]) -> Result<(), Wrong> {
        let buf = &mut rlp::list(all)?;
        let address = rlp::address(buf)?;
        if self.part.accounts.last().is_some_and(|last| last.address >= address) {
            return Err(AccessListError::Order(AccessEntry { address, part: AccessPart::Account }).into());
        }
        self.items(1)?;
        let (slots, reads) = self.slots(address, buf)?;
        let (part, limits) = (&mut *self.part, self.limits);
        let mut rows = Rows { address, limits, counts: &mut part.counts, changes: &mut part.changes };
        part.balances.clear();
        rows.decode(buf, AccessPart::Balance, rlp::word, &mut part.balances)?;
        part.nonces.clear();
        rows.decode(buf, AccessPart::Nonce, rlp::number, &mut part.nonces)?;
        let codes = rows.decode(buf, AccessPart::Code, Bytes::decode, &mut part.raw_codes)?;
        let fields = part.fields.len() as u32;
        Fields::merge(&part.balances, &part.nonces, &mut part.fields);
        let fields = fields..part.fields.len() as u32;
        let deaths = self.codes(&codes);
        if !buf.is_empty() {
            return Err(Rlp::UnexpectedLength.into());
        }
        self.part.accounts.push(Account { address, slots, reads, fields, codes, deaths });
        Ok(())
    }

    fn items(&self, more: usize) -> Result<(), AccessListError> {
        let limit = self.limits.items;
        let what = "accounts and slots";
        if self.part.items() + more > limit { Err(AccessListError::Items { what, limit }) } else { Ok(()) }
    }

    /// Slots that change, then slots that do not, and where these begin.
    fn slots(&mut self, address: Address, buf: &mut &[u8]) -> Result<(Range<u32>, u32), Wrong> {
        let account = self.part.accounts.len() as u32;
        let first = self.part.slots.len();
        let order = |slot| AccessListError::Order(AccessEntry { address, part: AccessPart::Slot(slot) });
        let mut changed = rlp::list(buf)?;
        while !changed.is_empty() {
            let mut entry = rlp::list(&mut changed)?;
            let key = rlp::word(&mut entry)?;
            if self.part.slots[first..].last().is_some_and(|last| last.key >= key) {
                return Err(order(key).into());
            }
            let (part, limits) = (&mut *self.part, self.limits);
            let mut rows = Rows { address, limits, counts: &mut part.counts, changes: &mut part.changes };
            let name = |index| AccessPart::Storage(key, index);
            let changes = rows.decode(&mut entry, name, rlp::word, &mut part.words)?;
            if changes.is_empty() {
                let entry = AccessEntry { address, part: AccessPart::Slot(key) };
                return Err(AccessListError::NoChange(entry).into());
            }
            if !entry.is_empty() {
                return Err(Rlp::UnexpectedLength.into());
            }
            self.items(1)?;
            self.part.slots.push(Slot { address, account, key, changes });
        }
        let writes = self.part.slots.len();
        let mut reads = rlp::list(buf)?;
        while !reads.is_empty() {
            let key = rlp::word(&mut reads)?;
            if self.part.slots[writes..].last().is_some_and(|last| last.key >= key) {
                return Err(order(key).into());
            }
            self.items(1)?;
            self.part.slots.push(Slot { address, account, key, changes: 0..0 });
        }
        // A slot stands in one of the two.
        let (mut left, mut right) = self.part.slots[first..].split_at(writes - first);
        while let (Some(one), Some(other)) = (left.first(), right.first()) {
            if one.key == other.key {
                return Err(order(one.key).into());
            }
            let shorter = if one.key < other.key { &mut left } else { &mut right };
            *shorter = &shorter[1..];
        }
        Ok((first as u32..self.part.slots.len() as u32, writes as u32))
    }

    /// Makes codes of the account at hand ready; the indices at which it is destroyed.
    fn codes(&mut self, codes: &Range<u32>) -> Range<u32> {
        let part = &mut *self.part;
        let deaths = part.deaths.len() as u32;
        let delegates = self.spec.is_enabled_in(SpecId::PRAGUE);
        for at in codes.start as usize..codes.end as usize {
            let Change { index, value } = &part.raw_codes[at];
            let (index, code) = (*index, value.clone());
            let hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
            part.codes.push(Change { index, value: hash });
            if code.is_empty() {
                let nonce = part.nonces.iter().find(|change| change.index == index);
                if nonce.is_none_or(|change| change.value == 0) {
                    part.deaths.push(index);
                }
            } else {
                let delegation = delegates.then(|| Bytecode::new_raw_checked(code.clone()).ok()).flatten();
                let code = delegation.unwrap_or_else(|| Bytecode::new_legacy(code));
                part.bytecodes.push((hash, code));
            }
        }
        deaths..part.deaths.len() as u32
    }
}

/// What decoding a row of changes of one account needs of its part.
struct Rows<'a> {
    address: Address,
    limits: &'a Limits,
    counts: &'a mut [u32],
    changes: &'a mut usize,
}

impl Rows<'_> {
    /// A row of changes by ascending index, which go to the end of `to`.
    fn decode<T>(
        &mut self,
        buf: &mut &[u8],
        part: impl Fn(u64) -> AccessPart,
        value: impl Fn(&mut &[u8]) -> Result<T, Rlp>,
        to: &mut Vec<Change<T>>,
    ) -> Result<Range<u32>, Wrong> {
        let first = to.len();
        let mut row = rlp::list(buf)?;
        // The least index that may follow.
        let mut least = 0;
        while !row.is_empty() {
            let mut change = rlp::list(&mut row)?;
            let index = rlp::number(&mut change)?;
            let value = value(&mut change)?;
            if !change.is_empty() {
                return Err(Rlp::UnexpectedLength.into());
            }
            let entry = || AccessEntry { address: self.address, part: part(index) };
            if index < least {
                return Err(AccessListError::Order(entry()).into());
            }
            if index > self.limits.last {
                return Err(AccessListError::Index { entry: entry(), last: self.limits.last }.into());
            }
            least = index + 1;
            *self.changes += 1;
            if *self.changes > self.limits.items {
                return Err(AccessListError::Items { what: "changes", limit: self.limits.items }.into());
            }
            self.counts[index as usize] += 1;
            // At most the number of transactions, which has 32 bits.
            to.push(Change { index: index as u32, value });
        }
        Ok(first as u32..to.len() as u32)
    }
}
