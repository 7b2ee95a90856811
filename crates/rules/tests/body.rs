//! Every rule of a body, of its encoding and of its outcome lets a valid block pass, and refuses one that
//! breaks it.

mod common;

use alloy_consensus::{Header, SignableTransaction, TxLegacy, proofs};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bloom, Bytes, Log, Signature, U256};
use braid_evm::{ExecutedBlock, Status, TxResult};
use braid_rules::{Block, Fork, Item, Parts, RuleError, SignedTx, block_input, body, decode, outcome};
use common::*;

fn refuses(network: &str, kind: &str, block: &Block, break_it: impl Fn(&mut Block)) {
    let chain = chain(network);
    let fork = fork(&chain, block.header.number, block.header.timestamp);
    let check = |block: &Block| body::check(&chain, fork, block).map_err(|error| error.kind());
    assert_eq!(check(block), Ok(()), "{network}, before {kind} is broken");
    let mut broken = block.clone();
    break_it(&mut broken);
    assert_eq!(check(&broken), Err(kind), "{network}");
}

#[test]
fn roots_and_sizes() {
    let osaka = chain("Osaka");
    let block = common::block(&osaka, vec![tx(0, 0), tx(3, 2)], vec![withdrawal()]);
    refuses("Osaka", "transactions_root", &block, |block| block.txs.swap(0, 1));
    refuses("Osaka", "ommers_hash", &block, |block| block.ommers.push(Header::default()));
    refuses("Osaka", "withdrawals_root", &block, |block| block.header.withdrawals_root = Some(B256::ZERO));
    refuses("Osaka", "withdrawals_missing", &block, |block| block.withdrawals = None);
    refuses("Osaka", "blob_gas_used", &block, |block| block.header.blob_gas_used = Some(BLOB));
    refuses("Osaka", "block_size", &block, |block| block.size = body::MAX_BLOCK_SIZE + 1);
    let largest = Block { size: body::MAX_BLOCK_SIZE, ..block };
    assert_eq!(body::check(&osaka, Fork::Osaka, &largest), Ok(()));
    let paris = common::block(&chain("Paris"), vec![tx(0, 0)], vec![]);
    refuses("Paris", "withdrawals_too_early", &paris, |block| block.withdrawals = Some(vec![]));
    let prague = Block { size: usize::MAX, ..common::block(&chain("Prague"), vec![], vec![]) };
    assert_eq!(body::check(&chain("Prague"), Fork::Prague, &prague), Ok(()));
}

#[test]
fn transaction_types_come_with_their_forks() {
    for (before, from, ty, kind) in [
        ("Istanbul", "Berlin", 1, "eip2930_not_supported"),
        ("Berlin", "London", 2, "eip1559_not_supported"),
        ("Shanghai", "Cancun", 3, "eip4844_not_supported"),
        ("Cancun", "Prague", 4, "eip7702_not_supported"),
    ] {
        for (network, expected) in [(before, Err(kind)), (from, Ok(()))] {
            let chain = chain(network);
            let block = common::block(&chain, vec![tx(ty, 1)], vec![]);
            let fork = fork(&chain, 1, 12);
            let found = body::check(&chain, fork, &block).map_err(|error| error.kind());
            assert_eq!(found, expected, "type {ty} in {network}");
        }
    }
}

#[test]
fn signatures() {
    for (network, expected) in [("EIP150", Err("replay_protection_not_supported")), ("EIP158", Ok(()))] {
        let chain = chain(network);
        let block = common::block(&chain, vec![legacy(Some(1))], vec![]);
        let found = body::check(&chain, fork(&chain, 1, 12), &block).map_err(|error| error.kind());
        assert_eq!(found, expected, "{network}");
        let plain = common::block(&chain, vec![legacy(None)], vec![]);
        assert_eq!(body::check(&chain, fork(&chain, 1, 12), &plain), Ok(()));
    }
    // EIP-2: the same signer by the other `s`, which Homestead no longer takes.
    let low = Signature::new(U256::from(1), U256::from(9), false);
    let high = Signature::new(low.r(), CURVE_ORDER - low.s(), true);
    let signed = |signature| -> SignedTx { TxLegacy::default().into_signed(signature).into() };
    let sender = body::sender(Fork::Homestead, 0, &signed(low)).unwrap();
    assert_eq!(body::sender(Fork::Frontier, 0, &signed(high)), Ok(sender));
    let refused = body::senders(Fork::Homestead, &[signed(low), signed(high)]);
    assert!(matches!(refused, Err(RuleError::Signature { tx: 1, .. })), "{refused:?}");
}

/// RLP of a list of encoded items.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    let mut rlp = Vec::new();
    alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
    [rlp, payload].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

fn encoded(tx: &SignedTx) -> Vec<u8> {
    let envelope = tx.encoded_2718();
    if envelope[0] >= 0xc0 { envelope } else { string(&envelope) }
}

fn fields(block: &Block) -> Vec<Vec<u8>> {
    let txs: Vec<_> = block.txs.iter().map(encoded).collect();
    let withdrawals: Vec<_> = block.withdrawals.iter().flatten().map(alloy_rlp::encode).collect();
    let ommers: Vec<_> = block.ommers.iter().map(alloy_rlp::encode).collect();
    vec![alloy_rlp::encode(&block.header), list(&txs), list(&ommers), list(&withdrawals)]
}

#[test]
fn blocks_decode_to_what_they_encode() {
    let chain = chain("Prague");
    let txs = vec![tx(0, 0), tx(1, 0), tx(2, 0), tx(3, 2), tx(4, 0)];
    let mut block = common::block(&chain, txs, vec![withdrawal()]);
    block.ommers = vec![genesis(&chain)];
    let rlp = list(&fields(&block));
    block.size = rlp.len();
    assert_eq!(Block::decode(&rlp), Ok(block.clone()));
    for (index, signed) in block.txs.iter().enumerate() {
        assert_eq!(decode::tx_bytes(&rlp, index), Some(&signed.encoded_2718()[..]));
        assert_eq!(decode::tx(&signed.encoded_2718()).as_ref(), Ok(signed));
    }
    assert_eq!(decode::tx_bytes(&rlp, block.txs.len()), None);
    let old = list(&fields(&block)[..3]);
    assert_eq!(Block::decode(&old).map(|block| block.withdrawals), Ok(None));
}

#[test]
fn what_does_not_decode_is_named() {
    let block = common::block(&chain("Prague"), vec![tx(0, 0), tx(2, 0)], vec![withdrawal()]);
    let good = fields(&block);
    let with = |at: usize, item: Vec<u8>| {
        let mut fields = good.clone();
        fields[at] = item;
        list(&fields)
    };
    let typed = block.txs[1].encoded_2718();
    let short_header = list(&[string(&[1; 32])]);
    for (rlp, item) in [
        (vec![], Item::Block),
        ([list(&good), vec![0]].concat(), Item::Block),
        (list(&[good.clone(), vec![string(b"more")]].concat()), Item::Block),
        (list(&good[..1]), Item::Transactions),
        (with(0, short_header.clone()), Item::Header),
        (with(1, string(b"txs")), Item::Transactions),
        (with(1, list(&[encoded(&block.txs[0]), string(&typed[..30])])), Item::Transaction(1)),
        (with(1, list(std::slice::from_ref(&typed))), Item::Transaction(0)),
        (with(1, list(&[string(&block.txs[0].encoded_2718())])), Item::Transaction(0)),
        (with(1, list(&[string(&[&typed[..], &[0]].concat())])), Item::Transaction(0)),
        (with(1, list(&[string(&[5, 0xc0])])), Item::Transaction(0)),
        (with(2, string(b"")), Item::Ommers),
        (with(2, list(&[short_header])), Item::Ommer(0)),
        (with(3, list(&[list(&[string(&[1; 9])])])), Item::Withdrawal(0)),
        (with(3, string(b"no")), Item::Withdrawals),
    ] {
        match Block::decode(&rlp) {
            Err(RuleError::Rlp { item: found, .. }) => assert_eq!(found, item),
            other => panic!("{item}: {other:?}"),
        }
    }
    // Every prefix of a block is refused, and no byte string makes the decoder panic.
    let rlp = list(&good);
    for end in 0..rlp.len() {
        assert!(Block::decode(&rlp[..end]).is_err(), "{end} bytes");
        let mut other = rlp.clone();
        other[end] ^= 0x80;
        drop(Block::decode(&other));
    }
}

fn executed() -> (Header, Vec<u8>, ExecutedBlock) {
    let result = |gas_used| TxResult {
        status: Status::Success,
        gas_used,
        logs: vec![Log::new_unchecked(MINER, vec![B256::with_last_byte(1)], Bytes::new())],
        output: Bytes::new(),
        created: None,
    };
    let done = ExecutedBlock {
        results: vec![result(21_000), result(30_000)],
        gas_used: 51_000,
        requests: vec![Bytes::from_static(&[1, 2, 3])],
        ..ExecutedBlock::default()
    };
    let types = vec![0, 2];
    let receipts = outcome::receipts(outcome::landed(types.clone(), &done));
    let header = Header {
        gas_used: 51_000,
        receipts_root: proofs::calculate_receipt_root(&receipts),
        logs_bloom: outcome::logs_bloom(&receipts),
        requests_hash: Some(outcome::requests_hash(&done.requests)),
        state_root: B256::with_last_byte(9),
        ..Header::default()
    };
    (header, types, done)
}

#[test]
fn outcomes() {
    let (good, types, done) = executed();
    let check = |fork, header: &Header| {
        let root = B256::with_last_byte(9);
        outcome::check(fork, header, types.iter().copied(), &done, root).map_err(|error| error.kind())
    };
    assert_eq!(check(Fork::Prague, &good), Ok(()));
    let refuses = |kind, break_it: fn(&mut Header)| {
        let mut header = good.clone();
        break_it(&mut header);
        assert_eq!(check(Fork::Prague, &header), Err(kind));
    };
    refuses("gas_used", |header| header.gas_used += 1);
    refuses("logs_bloom", |header| header.logs_bloom = Bloom::ZERO);
    refuses("receipts_root", |header| header.receipts_root = B256::ZERO);
    refuses("requests_hash", |header| header.requests_hash = Some(B256::ZERO));
    refuses("state_root", |header| header.state_root = B256::ZERO);
    // Receipts before Byzantium hold state roots instead of a status.
    let old = Header { receipts_root: B256::ZERO, ..good };
    assert_eq!(check(Fork::SpuriousDragon, &old), Ok(()));
    assert_eq!(check(Fork::Byzantium, &old), Err("receipts_root"));
}

#[test]
fn inputs_have_all_rites_of_their_fork() {
    let input = |network: &str, excess| {
        let chain = chain(network);
        let mut block = common::block(&chain, vec![tx(0, 0)], vec![withdrawal()]);
        block.header.excess_blob_gas = block.header.excess_blob_gas.map(|_| excess);
        let senders = body::senders(Fork::Frontier, &block.txs).unwrap();
        let parts = Parts {
            header: &block.header,
            txs: &block.txs,
            senders: &senders,
            ommers: &block.ommers,
            withdrawals: block.withdrawals.as_deref().unwrap_or_default(),
        };
        let fork = fork(&chain, 1, 12);
        let without = block_input(&chain, fork, Parts { senders: &[], ..parts }, Default::default());
        assert_eq!(without.map_err(|error| error.kind()).err(), Some("senders"));
        block_input(&chain, fork, parts, Default::default())
    };
    let berlin = input("Berlin", 0).unwrap();
    let after = berlin.rites.after.unwrap();
    assert_eq!(after.rewards, [(MINER, 2_000_000_000_000_000_000)]);
    assert!(after.withdrawals.is_empty() && !after.requests && berlin.env.prevrandao.is_none());
    assert!(berlin.rites.parent_hash.is_none() && berlin.max_blob_gas.is_none());
    assert_eq!(berlin.block_hashes.get(&0), Some(&genesis(&chain("Berlin")).hash_slow()));
    let prague = input("Prague", 0).unwrap();
    let after = prague.rites.after.unwrap();
    assert_eq!((after.rewards.len(), after.requests), (0, true));
    assert_eq!(after.withdrawals, [(MINER, 3_000_000_000)]);
    assert!(prague.rites.parent_hash.is_some() && prague.rites.parent_beacon_root.is_some());
    assert_eq!(prague.max_blob_gas, Some(9 * BLOB));
    assert_eq!(input("Prague", u64::MAX).map_err(|error| error.kind()).err(), Some("blob_price"));
    assert!(prague.rites.dao_drain.is_none());
    let dao = input("HomesteadToDaoAt1", 0).unwrap().rites.dao_drain.unwrap();
    assert_eq!(dao.0.len(), 116);
}
