//! The access list of a block as its engine leaves it, and the list that comes of it.

use super::{
    Split,
    book::{Book, NoteAt, NotePool},
    gather::Gatherer,
    notes::Notes,
};
use crate::{AccountState, EvmKey, EvmValue};
use alloy_eips::eip7928::BlockAccessList;
use alloy_primitives::{B256, Bytes, KECCAK256_EMPTY, U256};
use alloy_rlp::Header;
use braid_core::{Reader, State, StoreError};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use revm::bytecode::Bytecode;

/// Most parts: a part is all addresses that begin with certain bytes.
const MAX_PARTS: usize = 256;

/// What the transactions of a block touched and changed (EIP-7928), in the memory in which the workers
/// noted it. With the state before the block it is the block's access list, as [`Self::list`] or
/// [`Self::rlp`]: always the same, whatever engine ran the block.
///
/// Whoever executes a block pays for the notes alone. Putting them in order, and working out balances from
/// the changes that transactions made without reading them, is for who wants the list.
#[derive(Debug, Default)]
pub struct AccessRecord {
    /// Index in the list and note of each transaction, in block order.
    pub(super) entries: Vec<(u32, NoteAt)>,
    /// By writer.
    pub(super) notes: Vec<Notes>,
    pool: NotePool,
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        self.notes.drain(..).for_each(|notes| self.pool.put(notes));
    }
}

impl AccessRecord {
    /// Of the transactions of `entries`, whose workers are gone.
    pub(crate) fn new(entries: Vec<(u32, NoteAt)>, book: &Book) -> Self {
        let (notes, pool) = book.close();
        AccessRecord { entries, notes, pool }
    }

    /// The list, given the state before the block.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn list<S: State<EvmKey, EvmValue>>(&self, pre: &S) -> Result<BlockAccessList, StoreError> {
        let mut gatherer = self.pool.gatherer();
        gatherer.gather(self, &self.codes(), &(0..=u8::MAX), pre)?;
        let list = gatherer.list();
        self.pool.put_gatherer(gatherer);
        Ok(list)
    }

    /// The list in RLP, given the state before the block: what [`access_list_rlp`](super::access_list_rlp)
    /// makes of [`Self::list`], at a fraction of the cost.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn rlp<S: State<EvmKey, EvmValue>>(&self, pre: &S) -> Result<Bytes, StoreError> {
        self.rlp_in_parts(pre, 1, &mut |count, work| (0..count).for_each(work))
    }

    /// As [`Self::rlp`], in `parts` parts (at most 256), which `split` runs. What comes of it does not depend
    /// on them.
    ///
    /// # Errors
    /// As [`Self::rlp`].
    pub fn rlp_in_parts<S: State<EvmKey, EvmValue>>(
        &self,
        pre: &S,
        parts: usize,
        split: &mut Split<'_>,
    ) -> Result<Bytes, StoreError> {
        let (parts, codes) = (parts.clamp(1, MAX_PARTS), self.codes());
        let done: Vec<_> = (0..parts).map(|_| Mutex::new(Ok(Gatherer::default()))).collect();
        split(parts, &|part| {
            let first = |part: usize| part * (usize::from(u8::MAX) + 1) / parts;
            let bytes = first(part) as u8..=(first(part + 1) - 1) as u8;
            let mut gatherer = self.pool.gatherer();
            let gathered = gatherer.gather(self, &codes, &bytes, pre);
            gatherer.encode();
            *done[part].lock() = gathered.map(|()| gatherer);
        });
        let done = done.into_iter().map(Mutex::into_inner).collect::<Result<Vec<Gatherer>, _>>()?;
        let payload_length = done.iter().map(|part| part.encoded().len()).sum();
        let mut out = Vec::with_capacity(payload_length + 9);
        Header { list: true, payload_length }.encode(&mut out);
        for part in done {
            out.extend_from_slice(part.encoded());
            self.pool.put_gatherer(part);
        }
        Ok(out.into())
    }

    /// Codes that were deployed in the block.
    fn codes(&self) -> Codes<'_> {
        let all = self.notes.iter().flat_map(Notes::codes);
        Codes(all.map(|(hash, code)| (*hash, code)).collect())
    }
}

/// Deployed codes by hash. Only looked up.
#[derive(Debug)]
pub(super) struct Codes<'a>(HashMap<B256, &'a Bytecode, RandomState>);

impl Codes<'_> {
    /// A code that was deployed, or stood before the block.
    pub(super) fn get<R: Reader<EvmKey, EvmValue>>(
        &self,
        hash: B256,
        reader: &mut R,
    ) -> Result<Bytes, StoreError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytes::new());
        }
        if let Some(code) = self.0.get(&hash) {
            return Ok(code.original_bytes());
        }
        match reader.get(&EvmKey::Code(hash))? {
            Some(EvmValue::Code(code)) => Ok(code.original_bytes()),
            _ => Err(StoreError::Missing { what: "code", item: hash.to_string() }),
        }
    }
}

/// A record; that of nothing, if there is none.
pub(super) fn record(value: Option<&EvmValue>) -> AccountState {
    match value {
        Some(EvmValue::Account(account)) => *account,
        _ => AccountState::default(),
    }
}

/// A word; zero, if there is none.
pub(super) fn word(value: Option<&EvmValue>) -> U256 {
    match value {
        Some(EvmValue::Slot(value)) => *value,
        _ => U256::ZERO,
    }
}
