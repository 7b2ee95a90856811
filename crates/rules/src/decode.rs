//! Blocks from their consensus encoding.

use crate::{Item, RuleError, SignedTx};
use alloy_consensus::{Header, TxType, Typed2718};
use alloy_eips::{
    eip2718::{Decodable2718, Encodable2718},
    eip4895::Withdrawal,
};
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Encodable};

/// A decoded block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its header.
    pub header: Header,
    /// Hash of the header.
    pub hash: B256,
    /// Its transactions, in order; blobs by hash only.
    pub txs: Vec<SignedTx>,
    /// Its ommers.
    pub ommers: Vec<Header>,
    /// Its withdrawals (EIP-4895); `None` if the body ends before them.
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// Bytes of its encoding.
    pub size: usize,
}

impl Block {
    /// Types of the transactions.
    pub fn types(&self) -> impl Iterator<Item = u8> + '_ {
        self.txs.iter().map(Typed2718::ty)
    }

    /// Decodes the RLP of a block (Yellow Paper, 4.4.3; EIP-2718, EIP-4895). Encodings that are not
    /// canonical are refused.
    ///
    /// # Errors
    /// [`RuleError::Rlp`], which names the item.
    pub fn decode(rlp: &[u8]) -> Result<Block, RuleError> {
        let mut rest = rlp;
        let mut fields = list(&mut rest).map_err(|reason| bad(Item::Block, reason))?;
        if !rest.is_empty() {
            return Err(bad(Item::Block, "bytes after its end"));
        }
        let header_rlp = item(&mut fields).map_err(|reason| bad(Item::Header, reason))?;
        let header = header(header_rlp).map_err(|reason| bad(Item::Header, reason))?;
        let txs = each(&mut fields, Item::Transactions, Item::Transaction, transaction)?;
        let ommers = each(&mut fields, Item::Ommers, Item::Ommer, self::header)?;
        let withdrawals = match fields.is_empty() {
            true => None,
            false => Some(each(&mut fields, Item::Withdrawals, Item::Withdrawal, exact::<Withdrawal>)?),
        };
        if !fields.is_empty() {
            return Err(bad(Item::Block, "more than header, transactions, ommers, withdrawals"));
        }
        Ok(Block { header, hash: keccak256(header_rlp), txs, ommers, withdrawals, size: rlp.len() })
    }
}

/// Decodes a transaction from its EIP-2718 form, as in a block: blobs by hash only.
///
/// # Errors
/// What is wrong with it, in words.
pub fn tx(bytes: &[u8]) -> Result<SignedTx, String> {
    let mut rest = bytes;
    let tx = SignedTx::decode_2718(&mut rest).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("bytes after its end".into());
    }
    if tx.encoded_2718() != bytes {
        return Err("an encoding that is not canonical".into());
    }
    Ok(tx)
}

/// The EIP-2718 form of the transaction at `index` in the RLP of a block, whether or not it decodes.
pub fn tx_bytes(block: &[u8], index: usize) -> Option<&[u8]> {
    let mut fields = list(&mut &*block).ok()?;
    item(&mut fields).ok()?;
    let mut txs = list(&mut fields).ok()?;
    for _ in 0..index {
        item(&mut txs).ok()?;
    }
    let tx = item(&mut txs).ok()?;
    match tx.first()? {
        first if *first >= alloy_rlp::EMPTY_LIST_CODE => Some(tx),
        _ => alloy_rlp::Header::decode_bytes(&mut &*tx, false).ok(),
    }
}

fn bad(item: Item, reason: impl Into<String>) -> RuleError {
    RuleError::Rlp { item, reason: reason.into() }
}

/// Takes a list from the front of `rlp`: its payload.
fn list<'a>(rlp: &mut &'a [u8]) -> Result<&'a [u8], String> {
    alloy_rlp::Header::decode_bytes(rlp, true).map_err(|error| error.to_string())
}

/// Takes an item from the front of `rlp`: all of its encoding.
fn item<'a>(rlp: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let start = *rlp;
    let header = alloy_rlp::Header::decode(rlp).map_err(|error| error.to_string())?;
    let length = (start.len() - rlp.len()).saturating_add(header.payload_length);
    let (item, rest) = start.split_at_checked(length).ok_or("an item longer than its list")?;
    *rlp = rest;
    Ok(item)
}

/// Takes a list from the front of `rlp` and decodes each item of it.
fn each<T>(
    rlp: &mut &[u8],
    all: Item,
    of: impl Fn(usize) -> Item,
    decode: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Vec<T>, RuleError> {
    let mut items = list(rlp).map_err(|reason| bad(all, reason))?;
    let mut decoded = Vec::new();
    while !items.is_empty() {
        let one = item(&mut items).and_then(&decode);
        decoded.push(one.map_err(|reason| bad(of(decoded.len()), reason))?);
    }
    Ok(decoded)
}

fn exact<T: Decodable + Encodable>(rlp: &[u8]) -> Result<T, String> {
    let decoded: T = alloy_rlp::decode_exact(rlp).map_err(|error| error.to_string())?;
    match alloy_rlp::encode(&decoded) == rlp {
        true => Ok(decoded),
        false => Err("an encoding that is not canonical".into()),
    }
}

/// Decodes a header.
///
/// # Errors
/// What is wrong with it, in words.
pub fn header(rlp: &[u8]) -> Result<Header, String> {
    exact(rlp)
}

/// A transaction in a block: a list if legacy, a string that holds an EIP-2718 envelope otherwise.
fn transaction(rlp: &[u8]) -> Result<SignedTx, String> {
    if rlp.first().is_some_and(|first| *first >= alloy_rlp::EMPTY_LIST_CODE) {
        return tx(rlp);
    }
    let mut rest = rlp;
    let envelope = alloy_rlp::Header::decode_bytes(&mut rest, false).map_err(|error| error.to_string())?;
    let tx = tx(envelope)?;
    match tx.tx_type() {
        TxType::Legacy => Err("a legacy transaction in a string".into()),
        _ => Ok(tx),
    }
}
