//! Vectors that need no engine: RLP, tries, the path encoding of tries, difficulty.

mod difficulty;
mod rlp;
mod trie;

pub use difficulty::DifficultyCase;
pub use rlp::RlpCase;
pub use trie::{PathCase, TrieCase};

pub(crate) use difficulty::{cases as difficulty_cases, networks as difficulty_networks};
pub(crate) use rlp::cases as rlp_cases;
pub(crate) use trie::{cases as trie_cases, path_cases};

/// A vector that needs no engine.
#[derive(Clone, Debug, PartialEq)]
pub enum PlainCase {
    /// Difficulty of a block.
    Difficulty(DifficultyCase),
    /// An encoding.
    Rlp(RlpCase),
    /// Root of a trie.
    Trie(TrieCase),
    /// Path of a trie node.
    Path(PathCase),
    /// A form that is none of Braid's business; such cases are on the list of those that are not run.
    Foreign,
}

impl PlainCase {
    /// Checks it.
    ///
    /// # Errors
    /// What is not as demanded.
    pub fn check(&self) -> Result<(), String> {
        match self {
            PlainCase::Difficulty(case) => case.check(),
            PlainCase::Rlp(case) => case.check(),
            PlainCase::Trie(case) => case.check(),
            PlainCase::Path(case) => case.check(),
            PlainCase::Foreign => {
                Err("a form that is not known, nor on the list of skipped cases".to_owned())
            }
        }
    }
}
