//! Senders recovered ahead by several threads, on the transactions of 31 blocks of mainnet under headers made
//! for the test: full blocks, so that pieces of several blocks are on the way at a time.

use alloy_consensus::{Block, BlockBody, EMPTY_OMMER_ROOT_HASH, Header, Signed, proofs};
use alloy_eips::eip1559::BaseFeeParams;
use alloy_primitives::{Address, Signature, U256};
use alloy_rlp::Encodable;
use alloy_trie::EMPTY_ROOT_HASH;
use braid_rules::SignedTx;
use braid_testkit::{Rng, data};
use braid_work::{Chain, chain, load};
use std::{ops::ControlFlow, path::PathBuf};

const GAS_LIMIT: u64 = 30_000_000;

/// Under Paris, so that headers need no seal.
const GENESIS: &str = r#"{
    "config": {
        "chainId": 1, "homesteadBlock": 0, "eip150Block": 0, "eip158Block": 0, "byzantiumBlock": 0,
        "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 0,
        "terminalTotalDifficulty": 0
    },
    "timestamp": "0x1", "gasLimit": "0x1c9c380", "difficulty": "0x0", "alloc": {}
}"#;

/// Transactions of each block, with their senders.
fn real() -> Option<Vec<Vec<(SignedTx, Address)>>> {
    let file = data()?.join("ethereum/chain/mainnet-15000001-15000031.json.zst");
    let of_block = |case: braid_work::Case| {
        let senders = case.input.txs.iter().map(|tx| tx.caller);
        case.raw.unwrap().txs.into_iter().zip(senders).collect()
    };
    Some(load(&file).unwrap().iter().map(|source| of_block(source.load().unwrap())).collect())
}

/// The same transaction under a signature that no key makes.
fn unsigned(tx: SignedTx) -> SignedTx {
    let none = Signature::new(U256::ZERO, U256::ZERO, false);
    match tx {
        SignedTx::Legacy(tx) => Signed::new_unhashed(tx.into_parts().0, none).into(),
        SignedTx::Eip2930(tx) => Signed::new_unhashed(tx.into_parts().0, none).into(),
        SignedTx::Eip1559(tx) => Signed::new_unhashed(tx.into_parts().0, none).into(),
        later => panic!("{later:?} in 2022"),
    }
}

/// A folder with a chain of such blocks, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, blocks: &[Vec<(SignedTx, Address)>]) -> Self {
        let mut parent = Header {
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            state_root: EMPTY_ROOT_HASH,
            gas_limit: GAS_LIMIT,
            timestamp: 1,
            base_fee_per_gas: Some(1_000_000_000),
            ..Header::default()
        };
        let mut rlp = Vec::new();
        for txs in blocks {
            let transactions: Vec<SignedTx> = txs.iter().map(|(tx, _)| tx.clone()).collect();
            let header = Header {
                parent_hash: parent.hash_slow(),
                number: parent.number + 1,
                timestamp: parent.timestamp + 12,
                gas_used: GAS_LIMIT / 2,
                transactions_root: proofs::calculate_transaction_root(&transactions),
                base_fee_per_gas: parent.next_block_base_fee(BaseFeeParams::ethereum()),
                ..parent
            };
            let body = BlockBody { transactions, ommers: Vec::new(), withdrawals: None };
            Block { header: header.clone(), body }.encode(&mut rlp);
            parent = header;
        }
        let path = std::env::temp_dir().join(format!("braid-ahead-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("genesis.json"), GENESIS).unwrap();
        std::fs::write(path.join("chain.rlp"), rlp).unwrap();
        Folder(path)
    }

    fn open(&self) -> Chain {
        chain(self.0.to_str().unwrap()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Senders of each block that is handed out, and the error at the end.
fn recovered(chain: &Chain, threads: usize) -> (Vec<Vec<Address>>, Option<String>) {
    let (mut senders, mut failed) = (Vec::new(), None);
    chain.for_each_block(threads, &mut |block| {
        match block {
            Ok(block) => senders.push(block.input.txs.iter().map(|tx| tx.caller).collect()),
            Err(error) => failed = Some(error.to_string()),
        }
        ControlFlow::Continue(())
    });
    (senders, failed)
}

#[test]
fn real_transactions_have_their_senders() {
    let Some(blocks) = real() else { return };
    let folder = Folder::new("real", &blocks);
    let chain = folder.open();
    let expected: Vec<Vec<Address>> =
        blocks.iter().map(|txs| txs.iter().map(|(_, sender)| *sender).collect()).collect();
    assert!(expected.iter().flatten().count() > 6_000);
    for threads in [1, 2, 3, 7] {
        assert_eq!(recovered(&chain, threads), (expected.clone(), None), "{threads} threads");
    }
}

/// Of several transactions without a sender the first counts, in whatever order they are found; and nothing
/// after its block is told of, not even a block that is none.
#[test]
fn the_first_transaction_without_a_sender_counts() {
    let Some(blocks) = real() else { return };
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    for seed in repeat.map_or(0..6u64, |seed| seed..seed + 1) {
        let mut random = Rng::new(seed);
        let mut damaged = blocks.clone();
        let mut first = (usize::MAX, usize::MAX);
        for _ in 0..1 + random.below(6) {
            let block = random.below(damaged.len() as u64 - 1) as usize;
            let tx = random.below(damaged[block].len() as u64) as usize;
            damaged[block][tx].0 = unsigned(damaged[block][tx].0.clone());
            first = first.min((block, tx));
        }
        let folder = Folder::new(&format!("broken-{seed}"), &damaged);
        let file = folder.0.join("chain.rlp");
        let mut rlp = std::fs::read(&file).unwrap();
        let last = rlp.len() - 1;
        rlp[last] ^= 1;
        std::fs::write(&file, rlp).unwrap();
        let chain = folder.open();
        for threads in [1, 2, 5] {
            let told = format!("{threads} threads; repeat with BRAID_SEED={seed}");
            let (senders, failed) = recovered(&chain, threads);
            assert_eq!(senders.len(), first.0, "{told}");
            let (failed, tx) = (failed.unwrap(), format!("{:?}", damaged[first.0][first.1].0.hash()));
            assert!(failed.contains(&tx), "{told}: {failed}");
        }
    }
}
