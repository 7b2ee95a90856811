//! Block-level access lists (EIP-7928): recorded from any engine's execution, and prescribed to one that
//! needs no other knowledge of conflicts.
//!
//! A list has, for each account that the block touches, the slots it reads, and the values that slots,
//! balance, nonce and code have after each *index* at which they change: 0 is what comes before the first
//! transaction, `1..=n` are the transactions, `n + 1` is what follows the last one.
//!
//! The EIP is of a fork in which accounts that stood before a transaction are never destroyed. Lists of
//! earlier forks are recorded by the same rules, and what these leave out is derived:
//! 1. SELFDESTRUCT of an account that stood before (up to Shanghai) is its nonce becoming zero and its code
//!    becoming nothing. Its slots all become zero at that index, whatever they were, without being listed.
//!    No other change leaves an account without code and without a nonce: a delegation that ends
//!    (EIP-7702) bumps the nonce.
//! 2. An account that changed exists if it is not empty (EIP-161).
//! 3. An empty account that is in the state nevertheless goes when it is touched. Its existence can be observed
//!    by a delegation alone (EIP-7702), so in a block without any it need not be told.
//! 4. What does none of this (empty accounts with storage or beside delegations, storage without code, as
//!    only test vectors have them; forks before EIP-161) cannot be derived:
//!    [`AccessListError::Inexpressible`].

mod bases;
mod book;
mod compare;
mod decode;
mod error;
mod gather;
mod listed;
mod notes;
mod record;
mod rlp;
mod table;

pub(crate) use book::{Book, NoteAt, NotePool, NoteWriter};
pub use compare::compare_access_lists;
pub use decode::Split;
pub use error::{AccessDifference, AccessEntry, AccessListError, AccessPart, Listing};
pub use listed::PrescribedBlock;
pub(crate) use listed::Prescription;
pub(crate) use notes::Notes;
pub use record::AccessRecord;

/// Hash of a list, as headers have it.
pub use alloy_eips::eip7928::compute_block_access_list_hash as access_list_hash;
/// A list as its parts: accounts ascending.
pub use alloy_eips::eip7928::{AccountChanges, BlockAccessList};

use crate::{EvmKey, EvmOutput, EvmValue};
use alloy_primitives::{Address, Bytes, U256};
use braid_core::Write;

/// What a transaction touched besides what it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touches {
    /// Accounts, in the order of their first access.
    pub accounts: Vec<Address>,
    /// Slots, in theirs; written ones may be among them.
    pub slots: Vec<(Address, U256)>,
}

/// An output with what the transaction touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Touched {
    /// What it gives to the caller of the block.
    pub output: EvmOutput,
    /// What it touched.
    pub touches: Touches,
}

/// Which touches a machine delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None.
    #[default]
    Nothing,
    /// At least those that its view did not see: slots of accounts that were created meanwhile.
    Unseen,
    /// All.
    All,
}

/// What an execution tells of its touches besides its writes.
#[derive(Debug, Default)]
pub(crate) struct Told<'n> {
    /// Those that the machine delivers.
    pub(crate) touches: Touches,
    /// Where all of them are noted, with the changes, if a record is made.
    pub(crate) notes: Option<&'n mut Notes>,
}

impl Told<'_> {
    /// Notes the touches, and these writes, if that is wanted.
    pub(crate) fn enter(&mut self, writes: &[(EvmKey, Write<EvmValue>)]) {
        if let Some(notes) = &mut self.notes {
            notes.enter(&self.touches, writes);
        }
    }
}

/// A list as it travels with its block: RLP.
pub fn access_list_rlp(list: &[AccountChanges]) -> Bytes {
    let mut out = Vec::new();
    alloy_rlp::encode_list(list, &mut out);
    out.into()
}
