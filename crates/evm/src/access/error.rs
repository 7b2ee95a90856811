//! What is wrong with an access list.

use alloy_primitives::{Address, B256, U256};
use std::fmt;

/// Part of an account's entry in an access list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessPart {
    /// That the account is listed at all.
    Account,
    /// A slot, as one that is touched.
    Slot(U256),
    /// The value of a slot after an index.
    Storage(U256, u64),
    /// The balance after an index.
    Balance(u64),
    /// The nonce after an index.
    Nonce(u64),
    /// The code after an index.
    Code(u64),
}

/// Names one entry of an access list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// The account.
    pub address: Address,
    /// What of it.
    pub part: AccessPart,
}

impl fmt::Display for AccessEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.part {
            AccessPart::Account => write!(f, "account {address}"),
            AccessPart::Slot(slot) => write!(f, "slot {slot:#x} of {address}"),
            AccessPart::Storage(slot, at) => write!(f, "slot {slot:#x} of {address} at index {at}"),
            AccessPart::Balance(at) => write!(f, "balance of {address} at index {at}"),
            AccessPart::Nonce(at) => write!(f, "nonce of {address} at index {at}"),
            AccessPart::Code(at) => write!(f, "code of {address} at index {at}"),
        }
    }
}

/// What stands at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Nothing.
    Absent,
    /// An access without a value.
    Access,
    /// A word, or a balance in wei.
    Word(U256),
    /// A nonce.
    Nonce(u64),
    /// A code, by its hash.
    Code(B256),
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listing::Absent => f.write_str("nothing"),
            Listing::Access => f.write_str("an access"),
            Listing::Word(word) => write!(f, "{word:#x}"),
            Listing::Nonce(nonce) => write!(f, "{nonce}"),
            Listing::Code(hash) => write!(f, "code {hash}"),
        }
    }
}

/// An entry in which a block differs from its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessDifference {
    /// The first entry that differs: the first in the block, and in the order of the list where no
    /// transaction shows it.
    pub entry: AccessEntry,
    /// What the list has there.
    pub listed: Listing,
    /// What execution gives.
    pub found: Listing,
}

impl fmt::Display for AccessDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessDifference { entry, listed, found } = self;
        write!(f, "{entry}: listed is {listed}, execution gives {found}")
    }
}

/// Why a block is not what its access list says, or the list is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessListError {
    /// Not the encoding of a list. The account is the one that was being decoded, counted from zero.
    #[error("access list: account {account}: {reason}")]
    Encoding {
        /// Position of the account.
        account: usize,
        /// What is wrong with the encoding.
        reason: alloy_rlp::Error,
    },
    /// More bytes than any block with this gas limit needs.
    #[error("access list of {bytes} bytes, limit {limit}")]
    Size {
        /// Bytes.
        bytes: usize,
        /// Most that are read.
        limit: usize,
    },
    /// More accounts and slots, or more changes, than any block with this gas limit can have.
    #[error("access list with more than {limit} {what}")]
    Items {
        /// Of what.
        what: &'static str,
        /// Most that are read.
        limit: usize,
    },
    /// An entry does not come after the one before it, or is there twice.
    #[error("access list: {0} is out of order, or there twice")]
    Order(AccessEntry),
    /// A slot is listed with changes, but has none.
    #[error("access list: {0} is listed as changed, without a change")]
    NoChange(AccessEntry),
    /// An index beyond what follows the last transaction.
    #[error("access list: {entry}: the last index of this block is {last}")]
    Index {
        /// The entry.
        entry: AccessEntry,
        /// The greatest index there is.
        last: u64,
    },
    /// Execution differs from the list, first at this entry.
    #[error("access list: {0}")]
    Differs(Box<AccessDifference>),
    /// The account comes into existence, goes, or loses its storage in a way of which no access list
    /// tells, so that this block cannot be run by one; see the notes of the module. Other engines
    /// run it, and may record a list.
    #[error("what becomes of {address} at index {index} cannot be told from an access list")]
    Inexpressible {
        /// The account.
        address: Address,
        /// The index.
        index: u64,
    },
}

impl AccessListError {
    pub(crate) fn differs(address: Address, part: AccessPart, listed: Listing, found: Listing) -> Self {
        let entry = AccessEntry { address, part };
        AccessListError::Differs(Box::new(AccessDifference { entry, listed, found }))
    }
}
