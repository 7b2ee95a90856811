//! How a rollup keeps its state with Braid: blocks on blocks that are not final, a root for each before it is on the
//! device, finality, readers of old versions, proofs for a bridge, and what is there after the process ended.
//! docs/EMBEDDING.md tells the same in words.
//!
//! `cargo run --package braid-db --example rollup`
#![allow(unreachable_pub, reason = "a test runs this file as a module")]

use alloy_primitives::{Address, B256, KECCAK256_EMPTY, TxKind, U256, keccak256};
use braid_core::Control;
use braid_db::{DataFolder, DataReader, DbError, Finished, ForkId, ForkLimits, Forks};
use braid_evm::{AccountState, BlockInput, EvmKey, EvmShared, EvmValue, execute_block};
use braid_sched::{BlockStm, Pool};
use braid_store::disk::DiskOptions;
use braid_work::PreState;
use revm::{
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    primitives::hardfork::SpecId,
};
use std::{path::Path, sync::Arc, time::Duration};

type Error = Box<dyn std::error::Error + Send + Sync>;

const CHAIN_ID: u64 = 4242;
const USERS: u64 = 1000;

/// A contract that counts its calls in slot 0.
const COUNTER: [u8; 10] = [0x60, 0x00, 0x54, 0x60, 0x01, 0x01, 0x60, 0x00, 0x55, 0x00];

fn user(n: u64) -> Address {
    Address::from_word(keccak256(n.to_be_bytes()))
}

fn counter() -> Address {
    Address::repeat_byte(0xcc)
}

/// What the chain begins with.
fn genesis() -> PreState {
    let account = |nonce, balance, code_hash| {
        EvmValue::Account(AccountState {
            exists: true,
            nonce,
            balance: U256::from(balance),
            code_hash,
            generation: 0,
            has_storage: false,
        })
    };
    let mut pre = PreState::default();
    for n in 0..USERS {
        pre.store.set(EvmKey::Account(user(n)), Some(account(0, 1_000_000_000, KECCAK256_EMPTY)));
    }
    let (hash, code) = (keccak256(COUNTER), Bytecode::new_raw(COUNTER.into()));
    pre.store.set(EvmKey::Account(counter()), Some(account(1, 0, hash)));
    pre.store.set(EvmKey::Code(hash), Some(EvmValue::Code(code)));
    pre
}

/// A block, in which users pay each other and every fourth calls the counter. `proposer` tells two of a number apart.
fn block(number: u64, proposer: u64) -> BlockInput {
    let tx = |n: u64| TxEnv {
        caller: user(n),
        nonce: number - 1,
        kind: TxKind::Call(if n.is_multiple_of(4) { counter() } else { user((n * 7 + number) % USERS) }),
        value: U256::from(n),
        gas_limit: 100_000,
        gas_price: 1,
        chain_id: Some(CHAIN_ID),
        ..TxEnv::default()
    };
    let env = BlockEnv {
        number: U256::from(number),
        timestamp: U256::from(1_000 + 2 * number),
        beneficiary: user(USERS + proposer),
        gas_limit: 30_000_000,
        prevrandao: Some(B256::ZERO),
        ..BlockEnv::default()
    };
    BlockInput::new(CHAIN_ID, SpecId::SHANGHAI, env, (0..200).map(tx).collect())
}

/// What is made once and serves all blocks.
struct Node {
    folder: DataFolder,
    /// Blocks that are not final.
    forks: Forks,
    scheduler: BlockStm,
    shared: EvmShared,
}

impl Node {
    /// Opens the chain in a folder, or begins it there. A second process is refused: `DiskError::Locked`.
    fn open(path: &Path, threads: u16) -> Result<Self, DbError> {
        // 128 versions are kept unless something else is said. Threads hash; those that execute are others.
        let options = DiskOptions { workers: usize::from(threads), ..DiskOptions::default() };
        let mut folder = DataFolder::open_or_create(path, options)?;
        if folder.latest().is_none() {
            folder.begin_bare(0, &genesis())?;
        }
        let forks = Forks::new(&folder, ForkLimits::default())?;
        let scheduler = BlockStm::new(Arc::new(Pool::new(threads)));
        Ok(Node { folder, forks, scheduler, shared: EvmShared::default() })
    }

    /// Executes a block on one that is not final, or on the last that is. Its state can be read and built on from now
    /// on, and its root is known; nothing of it is on the device.
    fn propose(&mut self, parent: Option<ForkId>, input: &BlockInput) -> Result<ForkId, Error> {
        // Cold pages can be read while other transactions run: `overlapping(64)` of the state.
        let state = PreState::over(Arc::new(self.forks.state(parent)?.clone()));
        let output = execute_block(&self.scheduler, &self.shared, input, &state, &(), &Control::default())?;
        let number = u64::try_from(input.env.number)?;
        // With a `braid_rules::Block`, the header's root is checked, and body and receipts are kept as well.
        let finished = Finished { number, block: None, done: output.into_block(&state)? };
        Ok(self.forks.add(&self.folder, parent, finished)?)
    }

    /// Makes a block and those that it is on durable, and drops what contradicts them. When this returns, a crash
    /// loses none of it.
    fn finalise(&mut self, id: ForkId) -> Result<(u64, B256), Error> {
        self.forks.choose(&mut self.folder, id)?;
        Ok(self.folder.latest().ok_or(DbError::Empty)?)
    }
}

/// The life of a chain in the folder at `path`, which is empty.
fn live(path: &Path) -> Result<(), Error> {
    let mut node = Node::open(path, 2)?;

    // Two blocks for number 2. Both have their roots, and block 3 is on one of them.
    let one = node.propose(None, &block(1, 0))?;
    let two = node.propose(Some(one), &block(2, 0))?;
    let other = node.propose(Some(one), &block(2, 1))?;
    let three = node.propose(Some(other), &block(3, 0))?;
    let (root, contradicted) = (node.forks.root(other)?, node.forks.root(two)?);
    println!("block 2: {root} or {contradicted}");
    assert_ne!(root, contradicted);

    // One is final, by then the other is gone; block 3 stays, on what is final.
    assert_eq!(node.finalise(other)?, (2, root));
    assert!(matches!(node.forks.root(two), Err(DbError::NoFork(_))));
    assert_eq!(node.forks.parent(three)?, None);
    println!("version 2 is durable");

    // Another process: it reads version 1 for as long as its lease lasts, whatever is written meanwhile.
    let reader = DataReader::open(path, DiskOptions::default())?;
    let view = reader.view(Some(1), Duration::from_secs(60))?;
    node.finalise(three)?;
    println!("version 1: the counter was called {} times", view.slot(&counter(), &U256::ZERO)?);
    assert_eq!(view.slot(&counter(), &U256::ZERO)?, U256::from(50));

    // A bridge needs nothing but the root to believe it, or that there is nobody.
    for (address, slots) in [(counter(), &[U256::ZERO, U256::ONE][..]), (user(USERS + 7), &[])] {
        let proof = view.proof(address, slots)?;
        proof.verify(view.root())?;
        let nodes = proof.proof.len() + proof.slots.iter().map(|slot| slot.proof.len()).sum::<usize>();
        println!("{address}: proved by {nodes} nodes, {} of its slots", proof.slots.len());
    }
    assert_eq!(view.root(), node.folder.store().view(1)?.root());
    drop(view);

    // The process ends, however it does, and another goes on where it was acknowledged.
    drop(node);
    let mut folder = DataFolder::open(path, DiskOptions::default())?;
    assert_eq!(folder.latest().map(|(version, _)| version), Some(3));
    // Blocks can be taken back to any version that is kept, while nobody reads later ones.
    folder.rollback(2)?;
    assert_eq!(folder.latest(), Some((2, root)));
    let (verified, ..) = folder.verify()?;
    println!("back at version 2: {} accounts, all of it looked at", verified.accounts);
    Ok(())
}

/// Runs it in a folder that is gone afterwards.
///
/// # Errors
/// What went wrong, which in an example is nothing.
pub fn main() -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    live(&folder.path().join("chain"))
}
