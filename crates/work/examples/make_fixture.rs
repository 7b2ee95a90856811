//! Writes the cases that tests damage, `tests/fixtures/50000` and `tests/fixtures/environment`:
//! `cargo run -p braid-work --example make_fixture -- [FOLDER]`.
//!
//! They are of no chain: keys, addresses and hashes come from the names below, so that each run writes the
//! same bytes. The block is under mainnet's Frontier rules; its hash, transactions root, gas, bloom and end
//! state are right, the other roots and its seal are the hashes of names.

use alloy_consensus::{
    Block, BlockBody, Header, SignableTransaction, TxLegacy,
    crypto::secp256k1::{recover_signer, sign_message},
    proofs::calculate_transaction_root,
};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B64, B256, Bytes, Signature, U256, keccak256};
use alloy_rlp::Encodable;
use braid_work::SignedTx;
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

const GWEI: u64 = 1_000_000_000;
const ETHER: u64 = 1_000_000_000 * GWEI;

const TO: Address = Address::repeat_byte(0xb1);
const MINER: Address = Address::repeat_byte(0xb2);
const CONTRACT: Address = Address::repeat_byte(0xb3);
const DELEGATE: Address = Address::repeat_byte(0xb4);

fn main() -> Result<(), Box<dyn Error>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let fixtures = std::env::args_os().nth(1).map_or(fixtures, PathBuf::from);
    write(&fixtures.join("50000"), &case()?)?;
    write(&fixtures.join("environment"), &environment()?)
}

fn write(folder: &Path, files: &[(&str, String)]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (name, text) in files {
        fs::write(folder.join(name), format!("{text}\n"))?;
    }
    Ok(())
}

fn named(name: &str) -> B256 {
    keccak256(format!("braid fixture: {name}"))
}

/// Signs with the key of `who`; gives its address too.
fn sign(who: &str, hash: B256) -> Result<(Signature, Address), Box<dyn Error>> {
    let signature = sign_message(named(who), hash)?;
    Ok((signature, recover_signer(&signature, hash)?))
}

/// A Frontier block whose one transaction, signed without a chain id, sends 123 wei.
fn case() -> Result<[(&'static str, String); 4], Box<dyn Error>> {
    let tx = TxLegacy {
        chain_id: None,
        nonce: 0,
        gas_price: u128::from(50 * GWEI),
        gas_limit: 21_000,
        to: TO.into(),
        value: U256::from(123),
        input: Bytes::new(),
    };
    let (signature, sender) = sign("sender", tx.signature_hash())?;
    let signed = SignedTx::Legacy(tx.into_signed(signature));
    let header = Header {
        parent_hash: named("parent"),
        beneficiary: MINER,
        state_root: named("state"),
        transactions_root: calculate_transaction_root(std::slice::from_ref(&signed)),
        receipts_root: named("receipts"),
        difficulty: U256::from(1_000_000_000_000_u64),
        number: 50_000,
        gas_limit: 21_003,
        gas_used: 21_000,
        timestamp: 1_440_000_000,
        extra_data: Bytes::from_static(b"braid"),
        mix_hash: named("mix"),
        nonce: B64::from_slice(&named("nonce")[..8]),
        ..Header::default()
    };
    let fee = 21_000 * 50 * GWEI;
    let pre_state = format!(
        r#"{{
 "{sender:?}": {{
  "balance": "{:#x}",
  "nonce": 0,
  "storage": {{}}
 }},
 "{MINER:?}": {{
  "balance": "{ETHER:#x}",
  "nonce": 0,
  "storage": {{}}
 }}
}}"#,
        3 * ETHER
    );
    let post_state = format!(
        r#"{{
 "{TO:?}": {{
  "balance": "0x7b",
  "nonce": 0
 }},
 "{sender:?}": {{
  "balance": "{:#x}",
  "nonce": 1
 }},
 "{MINER:?}": {{
  "balance": "{:#x}",
  "nonce": 0
 }}
}}"#,
        3 * ETHER - fee - 123,
        ETHER + fee
    );
    let meta = r#"{
 "number": 50000,
 "chain_id": 1,
 "scope": "transactions_only"
}"#;
    Ok([
        ("block.json", block_json(header, signed, sender)),
        ("pre_state.json", pre_state),
        ("post_state.json", post_state),
        ("meta.json", meta.to_owned()),
    ])
}

/// The block as `eth_getBlockByNumber` lists it.
fn block_json(header: Header, signed: SignedTx, sender: Address) -> String {
    let (hash, tx_hash, signature) = (header.hash_slow(), *signed.tx_hash(), *signed.signature());
    let (r, s, v) = (signature.r(), signature.s(), 27 + u64::from(signature.v()));
    let body = BlockBody { transactions: vec![signed], ommers: Vec::new(), withdrawals: None };
    let block = Block { header, body };
    let size = block.length();
    let Header {
        parent_hash,
        ommers_hash,
        state_root,
        transactions_root,
        receipts_root,
        logs_bloom,
        difficulty,
        number,
        gas_limit,
        gas_used,
        timestamp,
        extra_data,
        mix_hash,
        nonce,
        ..
    } = block.header;
    format!(
        r#"{{
 "hash": "{hash}",
 "parentHash": "{parent_hash}",
 "sha3Uncles": "{ommers_hash}",
 "miner": "{MINER:?}",
 "stateRoot": "{state_root}",
 "transactionsRoot": "{transactions_root}",
 "receiptsRoot": "{receipts_root}",
 "logsBloom": "{logs_bloom}",
 "difficulty": "{difficulty:#x}",
 "number": "{number:#x}",
 "gasLimit": "{gas_limit:#x}",
 "gasUsed": "{gas_used:#x}",
 "timestamp": "{timestamp:#x}",
 "totalDifficulty": "{difficulty:#x}",
 "extraData": "{extra_data}",
 "mixHash": "{mix_hash}",
 "nonce": "{nonce}",
 "uncles": [],
 "transactions": [
  {{
   "hash": "{tx_hash}",
   "nonce": "0x0",
   "blockHash": "{hash}",
   "blockNumber": "{number:#x}",
   "transactionIndex": "0x0",
   "from": "{sender:?}",
   "to": "{TO:?}",
   "value": "0x7b",
   "gasPrice": "{:#x}",
   "gas": "0x5208",
   "input": "0x",
   "r": "{r:#x}",
   "s": "{s:#x}",
   "v": "{v:#x}",
   "type": "0x0"
  }}
 ],
 "size": "{size:#x}"
}}"#,
        50 * GWEI
    )
}

/// A block environment with inline code, storage, a block hash, and every list of a transaction.
fn environment() -> Result<[(&'static str, String); 3], Box<dyn Error>> {
    let authorization = Authorization { chain_id: U256::ONE, address: DELEGATE, nonce: 9 };
    let (signature, _) = sign("authority", authorization.signature_hash())?;
    let authorization: SignedAuthorization = authorization.into_signed(signature);
    let (parity, r, s) = (authorization.y_parity(), authorization.r(), authorization.s());
    let caller = Address::from_word(named("caller"));
    let block = format!(
        r#"{{
 "number": 23000000,
 "coinbase": "{MINER:?}",
 "timestamp": 1750000000,
 "gas_limit": 36000000,
 "basefee": 7,
 "difficulty": "0x0",
 "prevrandao": "{}",
 "excess_blob_gas": 655360,
 "chain_id": 1,
 "spec_id": "Prague",
 "block_hashes": {{"22999999": "{}"}}
}}"#,
        named("randao"),
        named("block hash")
    );
    let txs = format!(
        r#"[
 {{
  "tx_type": 4,
  "caller": "{caller:?}",
  "to": "{CONTRACT:?}",
  "nonce": 12,
  "value": "0x0",
  "data": "0x01020304",
  "gas_limit": 400000,
  "gas_price": 60000000000,
  "gas_priority_fee": 500,
  "chain_id": 1,
  "blob_hashes": [],
  "max_fee_per_blob_gas": 0,
  "access_list": [{{"address": "{CONTRACT:?}", "storage_keys": ["{}"]}}],
  "authorization_list": [
   {{
    "chain_id": "0x1",
    "nonce": 9,
    "y_parity": {parity},
    "address": "{DELEGATE:?}",
    "r": "{r:#x}",
    "s": "{s:#x}"
   }}
  ]
 }}
]"#,
        named("storage key")
    );
    let pre_state = format!(
        r#"{{
 "{CONTRACT:?}": {{"balance": "0x0", "nonce": 1, "code": "0x60806040", "storage": {{"0x1": "0x2", "0x3": "0x0"}}}},
 "{caller:?}": {{"balance": "{:#x}", "nonce": 12, "code": null, "storage": {{}}}}
}}"#,
        2 * ETHER
    );
    Ok([("block.json", block), ("txs.json", txs), ("pre_state.json", pre_state)])
}
