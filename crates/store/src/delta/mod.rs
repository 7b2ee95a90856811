//! The same versions in another layout: pages of a trie that are written as what changed in them.
//!
//! After the DMM-Tree of LETUS (Tian et al., "LETUS: A Log-Structured Efficient Trusted Universal BlockChain Storage",
//! SIGMOD 2024), which Pharos Store describes as its own. [`DeltaStore`] and the store of [`disk`](crate::disk) are
//! both [`Layout`](crate::Layout)s, so that bytes and reads of the two can be compared.
//!
//! 1. A *page* is the part of a trie between two depths of two nibbles: it has an entry for each of the up to 256 ways
//!    on at which there is anything. An entry is a leaf, or a page further below, with what a parent would say of it.
//! 2. A version of a page is a *record*: a base, which has all entries, or a delta, which has those that changed, and
//!    the place of the record before. After [`DeltaOptions::chain`] deltas, or when deltas have become longer than a
//!    base, a base is written again. So what is read for a page is bounded, and what is written for a change is an
//!    entry on each level and not a node of sixteen children.
//! 3. An entry names the record of its page by its place in the file. LETUS names it by version and number of the
//!    page, and looks that up in a B-tree of its own. An entry changes whenever its page does, so the place is known
//!    where the version would be written, and there is no index to be written and read.
//! 4. Values are in a log: the value record of an account also has the root of its storage. A leaf's entry has the
//!    place of its value, and its hash, so that a page is hashed without a look at values.
//! 5. A commit appends records and values with one checksum over all, after a head with the root, and syncs once.
//!    Records have checksums of their own. Two superblocks tell in turn how many commits were durable before.
//!    So a store opens at the last version that was acknowledged or the next, and a damaged one does not open.
//!
//! It keeps all versions: there is no pruning, no roll-back, no proof and no reader in another process. It is there to
//! be measured; what is used is [`disk`](crate::disk).

mod log;
mod page;
mod store;
mod tree;

pub use store::{DeltaOptions, DeltaStore, DeltaView};
