//! Holds what an archive has of blocks against their headers.
//!
//! Receipts are kept as from Byzantium on (EIP-658), and nothing in an archive says where in a chain that is. So their
//! root must be the header's once it was that of an earlier block with transactions, or once the header, or the type of a
//! transaction, is of a later fork. Before, all is compared that does not need the roots of states.

use crate::{DbError, archive::Archive, error::go_on};
use alloy_consensus::{
    BlockBody, Header, ReceiptEnvelope, TxReceipt, Typed2718, proofs::calculate_ommers_root,
};
use alloy_primitives::{B256, U256};
use braid_rules::{SignedTx, outcome};
use std::sync::atomic::AtomicBool;

/// Looks at blocks up to the last of these versions, and at the roots of versions, unless told to stop; how many blocks.
pub(crate) fn blocks(archive: &Archive, versions: &[(u64, B256)], stop: &AtomicBool) -> Result<u64, DbError> {
    let (Some(from), Some((latest, _))) = (archive.headers_from()?, versions.last()) else { return Ok(0) };
    let bodies_from = archive.bodies_from()?;
    let mut chain = Chain { archive, bodies_from, parent: None, byzantium: false };
    let mut blocks = 0;
    for number in Some(0).filter(|_| from > 0).into_iter().chain(from..=*latest) {
        go_on(stop)?;
        chain.block(number)?;
        blocks += 1;
    }
    for (number, root) in versions {
        let header = archive.header(*number)?.filter(|header| header.state_root != *root);
        if header.is_some() {
            let reason = format!("its state root is not {root}, that of the version");
            return Err(DbError::Damaged { what: "header", number: *number, reason });
        }
    }
    Ok(blocks)
}

/// Number, hash and total difficulty of a block.
type Parent = (u64, B256, U256);

struct Chain<'a> {
    archive: &'a Archive,
    /// From which block on there must be bodies.
    bodies_from: Option<u64>,
    parent: Option<Parent>,
    /// Whether receipts are known to have a status from here on.
    byzantium: bool,
}

fn damaged(what: &'static str, number: u64, reason: &str) -> DbError {
    DbError::Damaged { what, number, reason: reason.to_owned() }
}

impl Chain<'_> {
    /// Looks at all there is of the block that comes next.
    fn block(&mut self, number: u64) -> Result<(), DbError> {
        let header = self.archive.header(number)?.ok_or(DbError::Missing { what: "header", number })?;
        // Nothing leads from block 0 to those that do not follow it.
        let parent = self.parent.filter(|(parent, ..)| parent + 1 == number);
        if header.number != number || parent.is_some_and(|(_, hash, _)| hash != header.parent_hash) {
            return Err(damaged("header", number, "it does not follow its parent"));
        }
        let hash = header.hash_slow();
        if self.archive.number(&hash)? != Some(number) {
            return Err(damaged("header", number, "its hash leads elsewhere"));
        }
        let total = self.archive.total_difficulty(number)?;
        let before = parent.map(|(.., total)| total).or((number == 0).then_some(U256::ZERO));
        if before.is_some_and(|before| before.saturating_add(header.difficulty) != total) {
            return Err(damaged("total difficulty", number, "it is not its parent's and the block's own"));
        }
        self.parent = Some((number, hash, total));
        let kept = self.bodies_from.is_some_and(|from| from <= number);
        match self.archive.body(number)? {
            Some(body) => {
                check_body(&header, &body)?;
                self.receipts(&header, &body.transactions)
            }
            None if kept => Err(DbError::Missing { what: "body", number }),
            None => {
                let ommers = self.archive.ommers(number)?;
                if !ommers.is_empty() && calculate_ommers_root(&ommers) != header.ommers_hash {
                    return Err(damaged("list of ommers", number, "it is not what the header says"));
                }
                Ok(())
            }
        }
    }

    /// Looks at the receipts of a block that has these transactions.
    fn receipts(&mut self, header: &Header, txs: &[SignedTx]) -> Result<(), DbError> {
        let (what, number) = ("list of receipts", header.number);
        let rlp = self.archive.receipts(number)?.ok_or(DbError::Missing { what, number })?;
        let receipts: Vec<ReceiptEnvelope> =
            alloy_rlp::decode_exact(&rlp[..]).map_err(|error| damaged(what, number, &error.to_string()))?;
        if !receipts.iter().map(Typed2718::ty).eq(txs.iter().map(Typed2718::ty)) {
            return Err(damaged(what, number, "it is of other transactions"));
        }
        if outcome::logs_bloom(&receipts) != header.logs_bloom {
            return Err(damaged(what, number, "its bloom is not the header's"));
        }
        // A block without transactions has the same root before Byzantium, and says nothing.
        let told = header.base_fee_per_gas.is_some()
            || header.difficulty.is_zero()
            || txs.iter().any(|tx| tx.ty() > 0)
            || txs.is_empty();
        match outcome::receipts_root(&receipts) == header.receipts_root {
            true => {
                self.byzantium |= !txs.is_empty();
                Ok(())
            }
            false if told || self.byzantium => Err(damaged(what, number, "its root is not the header's")),
            false => check_early(header, &receipts),
        }
    }
}

fn check_body(header: &Header, body: &BlockBody<SignedTx>) -> Result<(), DbError> {
    let withdrawals = body.withdrawals.as_ref().map(|all| outcome::withdrawals_root(all));
    if outcome::encoded_root(&body.transactions) != header.transactions_root
        || calculate_ommers_root(&body.ommers) != header.ommers_hash
        || withdrawals != header.withdrawals_root
    {
        return Err(damaged("body", header.number, "it is not what the header says"));
    }
    Ok(())
}

/// What receipts of before Byzantium have in common with those that the header's root is of.
fn check_early(header: &Header, receipts: &[ReceiptEnvelope]) -> Result<(), DbError> {
    let wrong = |reason| Err(damaged("list of receipts", header.number, reason));
    let blooms = outcome::blooms(receipts.iter().map(|receipt| receipt.logs()));
    if !receipts.iter().map(TxReceipt::bloom).eq(blooms) {
        return wrong("a bloom is not that of its logs");
    }
    // Every transaction costs some.
    let mut gas = receipts.iter().map(TxReceipt::cumulative_gas_used);
    if !gas.clone().is_sorted_by(|one, next| one < next) || gas.next_back() != Some(header.gas_used) {
        return wrong("its gas does not add up to the header's");
    }
    Ok(())
}
