//! A body against its header.

use crate::{
    Block, ChainSpec, Fork, RuleError, SignedTx,
    outcome::{encoded_root, withdrawals_root},
};
use alloy_consensus::{Transaction, Typed2718, proofs, transaction::SignerRecoverable};
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::Address;

/// EIP-7934: most bytes of the encoding of a block, from Osaka on: 10 MiB, less 2 MiB for the beacon block.
pub const MAX_BLOCK_SIZE: usize = (10 - 2) << 20;

/// Checks that the body of `block` is what its header says, and that `fork` knows all that is in it.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(chain: &ChainSpec, fork: Fork, block: &Block) -> Result<(), RuleError> {
    violations(chain, fork, block).into_iter().next().map_or(Ok(()), Err)
}

/// As [`check`]: all rules that it breaks.
pub fn violations(chain: &ChainSpec, fork: Fork, block: &Block) -> Vec<RuleError> {
    let types = block.txs.iter().enumerate().try_for_each(|(tx, signed)| types(fork, tx, signed));
    let checks = [
        size(fork, block),
        types,
        transactions_root(block),
        ommers_hash(block),
        withdrawals(fork, block),
        blob_gas(chain, fork, block),
    ];
    checks.into_iter().filter_map(Result::err).collect()
}

fn size(fork: Fork, block: &Block) -> Result<(), RuleError> {
    match fork >= Fork::Osaka && block.size > MAX_BLOCK_SIZE {
        true => Err(RuleError::BlockSize { got: block.size, limit: MAX_BLOCK_SIZE }),
        false => Ok(()),
    }
}

fn transactions_root(block: &Block) -> Result<(), RuleError> {
    let (got, header) = (encoded_root(&block.txs), block.header.transactions_root);
    if got == header { Ok(()) } else { Err(RuleError::TransactionsRoot { got, header }) }
}

fn ommers_hash(block: &Block) -> Result<(), RuleError> {
    let (got, header) = (proofs::calculate_ommers_root(&block.ommers), block.header.ommers_hash);
    if got == header { Ok(()) } else { Err(RuleError::OmmersHash { got, header }) }
}

/// Whether the fork knows the type of a transaction, and the form of its signature.
fn types(fork: Fork, tx: usize, signed: &SignedTx) -> Result<(), RuleError> {
    let ty = signed.ty();
    let known = match ty {
        0 => true,
        1 => fork >= Fork::Berlin,
        2 => fork >= Fork::London,
        3 => fork >= Fork::Cancun,
        4 => fork >= Fork::Prague,
        _ => false,
    };
    if !known {
        return Err(RuleError::TxType { tx, ty });
    }
    if ty == 0 && signed.chain_id().is_some() && fork < Fork::SpuriousDragon {
        return Err(RuleError::ReplayProtection { tx });
    }
    Ok(())
}

fn withdrawals(fork: Fork, block: &Block) -> Result<(), RuleError> {
    let got = block.withdrawals.is_some();
    if got != (fork >= Fork::Shanghai) {
        return Err(RuleError::Withdrawals { got });
    }
    let (Some(withdrawals), Some(header)) = (&block.withdrawals, block.header.withdrawals_root) else {
        return Ok(());
    };
    let got = withdrawals_root(withdrawals);
    if got == header { Ok(()) } else { Err(RuleError::WithdrawalsRoot { got, header }) }
}

fn blob_gas(chain: &ChainSpec, fork: Fork, block: &Block) -> Result<(), RuleError> {
    let (Some(_), Some(header)) = (chain.blob_params(fork), block.header.blob_gas_used) else {
        return Ok(());
    };
    let got = blob_gas_of(&block.txs);
    if got == header { Ok(()) } else { Err(RuleError::BlobGasUsed { got, header }) }
}

/// Blob gas of transactions (EIP-4844).
pub fn blob_gas_of(txs: &[SignedTx]) -> u64 {
    let blobs: usize = txs.iter().map(|tx| tx.blob_versioned_hashes().unwrap_or_default().len()).sum();
    (blobs as u64).saturating_mul(DATA_GAS_PER_BLOB)
}

/// Sender of the transaction at index `tx`, by its signature, which must have a low `s` from Homestead on
/// (EIP-2).
///
/// # Errors
/// [`RuleError::Signature`].
pub fn sender(fork: Fork, tx: usize, signed: &SignedTx) -> Result<Address, RuleError> {
    let recovered = match fork >= Fork::Homestead {
        true => signed.recover_signer(),
        false => signed.recover_signer_unchecked(),
    };
    recovered.map_err(|error| {
        let reason = format!("{error} (transaction {})", signed.hash());
        RuleError::Signature { tx, reason }
    })
}

/// Senders of transactions, in order.
///
/// # Errors
/// [`RuleError::Signature`] of the first that has none.
pub fn senders(fork: Fork, txs: &[SignedTx]) -> Result<Vec<Address>, RuleError> {
    txs.iter().enumerate().map(|(tx, signed)| sender(fork, tx, signed)).collect()
}
