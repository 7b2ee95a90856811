//! Fuzz targets: every decoder, and random blocks under random schedules.
//!
//! A target takes any bytes. It returns if they were handled as they should be, an error of the decoder
//! included, and panics if not. docs/FUZZING.md says how they are run: over a committed corpus and seeded
//! mutations of it by an ordinary test, and without end by libFuzzer.
#![forbid(unsafe_code)]

mod agree;
mod blocks;
mod choices;
mod code;
mod files;
mod lists;
mod mutate;
mod rlp;
mod rpc;
mod schedules;
mod stored;
mod text;
mod tools;
mod tries;

pub use choices::Choices;
pub use lists::access_lists;
pub use mutate::mutate;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// What it tries, in a line.
    pub about: &'static str,
    /// Panics if the bytes are handled wrongly.
    pub run: fn(&[u8]),
    /// Mutations that a test makes of each file of the corpus, unless told otherwise.
    pub mutations: u64,
}

const fn target(name: &'static str, about: &'static str, run: fn(&[u8]), mutations: u64) -> Target {
    Target { name, about, run, mutations }
}

/// All targets.
pub static TARGETS: &[Target] = &[
    target("block_file", "a block or a chain file, in JSON", files::block_file, 60),
    target("zst_file", "a block file, compressed", files::zst_file, 60),
    target("case_block", "block.json of a block case", files::case_block, 40),
    target("case_meta", "meta.json of a block case", files::case_meta, 20),
    target("case_hashes", "block_hashes.json of a block case", files::case_hashes, 20),
    target("case_pre_state", "pre_state.json of a block case", files::case_pre_state, 40),
    target("case_post_state", "post_state.json of a block case", files::case_post_state, 40),
    target("case_new_codes", "new_codes.json of a block case", files::case_new_codes, 20),
    target("case_witness", "witness.json of a block case", files::case_witness, 20),
    target("env_block", "block.json of an environment", files::env_block, 60),
    target("env_txs", "txs.json of an environment", files::env_txs, 60),
    target("env_pre_state", "pre_state.json of an environment", files::env_pre_state, 60),
    target("workload", "the text of a workload", text::workload, 400),
    target("network", "the name of a network", text::network, 400),
    target("range", "which blocks to fetch", text::range, 200),
    target("endpoint", "where a node is", text::endpoint, 200),
    target("alloc", "a whole state, in JSON", text::alloc, 200),
    target("block_rlp", "a block in its consensus encoding", rlp::block, 400),
    target("tx_rlp", "a transaction in its consensus encoding", rlp::tx, 400),
    target("t8n", "the standard input of a transition", tools::t8n, 60),
    target("rpc_answers", "what a node answers", rpc::answers, 20),
    target("vectors", "a file of test vectors", tools::vectors, 60),
    target("archive", "an archive of test vectors", tools::archive, 60),
    target("era1", "an archive of blocks before the Merge", stored::era1, 200),
    target("snapshot", "a snapshot, or the records of one", stored::snapshot, 400),
    target("witness_nodes", "nodes of a trie that may be none", tries::nodes, 400),
    target("trie_ops", "insertions and removals against a sorted map", tries::ops, 200),
    target("access_list", "an access list, and a block run by it", lists::access_list, 400),
    target("random_blocks", "a block of any transactions on every engine", blocks::run, 60),
    target("random_schedules", "toy transactions on every scheduler", schedules::run, 60),
];

/// The target called `name`.
pub fn target_named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
