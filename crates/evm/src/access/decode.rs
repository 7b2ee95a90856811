//! Decoding an access list into tables, straight from its bytes. What is not canonical is an error, so
//! that equal lists have equal bytes.

use super::{
    error::{AccessEntry, AccessListError, AccessPart},
    listed::{Account, Change, PrescribedBlock, Slot},
};
use crate::BlockInput;
use alloy_primitives::{Address, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::{Decodable, Error as Rlp, Header};
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

impl PrescribedBlock {
    /// Decodes the access list of the block `input`, as RLP.
    ///
    /// # Errors
    /// If it is not the canonical encoding of a list, is not in order, names an index that the block does
    /// not have, or is larger than that of any block with this gas limit.
    pub fn decode(bytes: &[u8], input: &BlockInput) -> Result<PrescribedBlock, AccessListError> {
        let limits = Limits::of(input);
        if bytes.len() > limits.bytes {
            return Err(AccessListError::Size { bytes: bytes.len(), limit: limits.bytes });
        }
        let mut decoder = Decoder { block: PrescribedBlock::sized(bytes.len(), input), limits, changes: 0 };
        let mut rest = bytes;
        let encoding = |account: usize| move |reason| AccessListError::Encoding { account, reason };
        let mut all = list(&mut rest).map_err(encoding(0))?;
        while !all.is_empty() {
            let at = decoder.block.accounts.len();
            let mut account = list(&mut all).map_err(encoding(at))?;
            decoder.account(&mut account).map_err(|wrong| wrong.at(at))?;
            if !account.is_empty() {
                return Err(encoding(at)(Rlp::UnexpectedLength));
            }
        }
        if !rest.is_empty() {
            return Err(encoding(decoder.block.accounts.len())(Rlp::UnexpectedLength));
        }
        Ok(decoder.block)
    }
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

struct Decoder {
    block: PrescribedBlock,
    limits: Limits,
    changes: usize,
}

/// The content of the list at the front of `buf`, which is moved behind it.
fn list<'a>(buf: &mut &'a [u8]) -> Result<&'a [u8], Rlp> {
    Header::decode_bytes(buf, true)
}

impl Decoder {
    fn account(&mut self, buf: &mut &[u8]) -> Result<(), Wrong> {
        let address = Address::decode(buf)?;
        if self.block.accounts.last().is_some_and(|last| last.address >= address) {
            return Err(AccessListError::Order(AccessEntry { address, part: AccessPart::Account }).into());
        }
        self.items(1)?;
        let slots = self.slots(address, buf)?;
        let balances = self.changes(address, buf, AccessPart::Balance, |block| &mut block.balances)?;
        let nonces = self.changes(address, buf, AccessPart::Nonce, |block| &mut block.nonces)?;
        let (codes, deaths) = self.codes(address, buf, &nonces)?;
        self.block.add_account(Account { address, slots, balances, nonces, codes, deaths });
        Ok(())
    }

    fn items(&self, more: usize) -> Result<(), AccessListError> {
        let limit = self.limits.items;
        let all = self.block.accounts.len() + self.block.slots.len() + more;
        if all > limit { Err(AccessListError::Items { what: "accounts and slots", limit }) } else { Ok(()) }
    }

    /// Slots that change, then slots that do not; merged into one ascending row.
    fn slots(&mut self, address: Address, buf: &mut &[u8]) -> Result<Range<u32>, Wrong> {
        let account = self.block.accounts.len() as u32;
        let first = self.block.slots.len();
        let order = |slot| AccessListError::Order(AccessEntry { address, part: AccessPart::Slot(slot) });
        let mut changed = list(buf)?;
        while !changed.is_empty() {
            let mut entry = list(&mut changed)?;
            let key = U256::decode(&mut entry)?;
            if self.block.slots[first..].last().is_some_and(|last| last.key >= key) {
                return Err(order(key).into());
            }
            let part = |index| AccessPart::Storage(key, index);
            let changes = self.changes(address, &mut entry, part, |block| &mut block.words)?;
            if changes.is_empty() {
                let entry = AccessEntry { address, part: AccessPart::Slot(key) };
                return Err(AccessListError::NoChange(entry).into());
            }
            if !entry.is_empty() {
                return Err(Rlp::UnexpectedLength.into());
            }
            self.items(1)?;
            self.block.slots.push(Slot { account, key, changes });
        }
        let writes = self.block.slots.len();
        let mut reads = list(buf)?;
        while !reads.is_empty() {
            let key = U256::decode(&mut reads)?;
            if self.block.slots[writes..].last().is_some_and(|last| last.key >= key) {
                return Err(order(key).into());
            }
            self.items(1)?;
            self.block.slots.push(Slot { account, key, changes: 0..0 });
        }
        let own = &mut self.block.slots[first..];
        if writes > first && own.len() > writes - first {
            // Two ascending runs: a merge.
            own.sort_by_key(|slot| slot.key);
            if let Some(pair) = own.windows(2).find(|pair| pair[0].key == pair[1].key) {
                return Err(order(pair[0].key).into());
            }
        }
        Ok(first as u32..self.block.slots.len() as u32)
    }

    /// A row of changes by ascending index, whose values go to the end of `to`.
    fn changes<T: Decodable>(
        &mut self,
        address: Address,
        buf: &mut &[u8],
        part: impl Fn(u64) -> AccessPart,
        to: impl Fn(&mut PrescribedBlock) -> &mut Vec<Change<T>>,
    ) -> Result<Range<u32>, Wrong> {
        let first = to(&mut self.block).len();
        let mut row = list(buf)?;
        let mut last = None;
        while !row.is_empty() {
            let mut change = list(&mut row)?;
            let index = u64::decode(&mut change)?;
            let value = T::decode(&mut change)?;
            if !change.is_empty() {
                return Err(Rlp::UnexpectedLength.into());
            }
            let entry = AccessEntry { address, part: part(index) };
            if last.is_some_and(|last| last >= index) {
                return Err(AccessListError::Order(entry).into());
            }
            if index > self.limits.last {
                return Err(AccessListError::Index { entry, last: self.limits.last }.into());
            }
            last = Some(index);
            self.changes += 1;
            if self.changes > self.limits.items {
                return Err(AccessListError::Items { what: "changes", limit: self.limits.items }.into());
            }
            self.block.counts[index as usize] += 1;
            // At most the number of transactions, which has 32 bits.
            to(&mut self.block).push(Change { index: index as u32, value });
        }
        Ok(first as u32..to(&mut self.block).len() as u32)
    }

    /// Codes, and the indices at which the account is destroyed.
    fn codes(
        &mut self,
        address: Address,
        buf: &mut &[u8],
        nonces: &Range<u32>,
    ) -> Result<(Range<u32>, Range<u32>), Wrong> {
        let first = self.block.raw_codes.len();
        let row = self.changes(address, buf, AccessPart::Code, |block| &mut block.raw_codes)?;
        let deaths = self.block.deaths.len() as u32;
        let delegates = self.block.spec.is_enabled_in(SpecId::PRAGUE);
        for at in first..self.block.raw_codes.len() {
            let Change { index, value } = &self.block.raw_codes[at];
            let (index, code) = (*index, value.clone());
            let hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
            self.block.codes.push(Change { index, value: hash });
            if code.is_empty() {
                let nonces = &self.block.nonces[nonces.start as usize..nonces.end as usize];
                let nonce = nonces.iter().find(|change| change.index == index);
                if nonce.is_none_or(|change| change.value == 0) {
                    self.block.deaths.push(index);
                }
            } else {
                let delegation = delegates.then(|| Bytecode::new_raw_checked(code.clone()).ok()).flatten();
                let code = delegation.unwrap_or_else(|| Bytecode::new_legacy(code));
                self.block.code_table.insert(hash, code);
            }
        }
        Ok((row, deaths..self.block.deaths.len() as u32))
    }
}
