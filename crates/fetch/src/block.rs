//! A block and its receipts, and the headers before it.

use crate::{
    FetchError,
    answer::{HeaderAnswer, ReceiptAnswer},
    rpc::{Call, Client, decode},
};
use alloy_consensus::Header;
use alloy_primitives::B256;
use braid_work::ExpectedReceipt;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

/// What is kept of a block: what its hash covers, and what is needed to check that.
const BLOCK_FIELDS: [&str; 25] = [
    "hash",
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "transactions",
    "uncles",
    "withdrawals",
];

/// What is kept of a transaction.
const TX_FIELDS: [&str; 20] = [
    "hash",
    "type",
    "from",
    "chainId",
    "nonce",
    "gas",
    "gasPrice",
    "maxFeePerGas",
    "maxPriorityFeePerGas",
    "maxFeePerBlobGas",
    "to",
    "value",
    "input",
    "accessList",
    "blobVersionedHashes",
    "authorizationList",
    "r",
    "s",
    "v",
    "yParity",
];

/// A block as the node told it; nothing is checked yet.
#[derive(Debug)]
pub(crate) struct Told {
    /// `block.json`, reduced to what is checked.
    pub(crate) json: Vec<u8>,
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) has_uncles: bool,
    /// Hashes of its transactions, as listed.
    pub(crate) tx_hashes: Vec<Option<B256>>,
    /// `None` if the node has none of use.
    pub(crate) receipts: Option<Vec<ExpectedReceipt>>,
}

/// A block number as nodes want it.
pub(crate) fn tag(number: u64) -> String {
    format!("{number:#x}")
}

const GET_BLOCK: &str = "eth_getBlockByNumber";
const GET_RECEIPTS: &str = "eth_getBlockReceipts";

/// Asks for block `number` and its receipts.
pub(crate) fn ask(client: &mut Client<'_>, number: u64) -> Result<Told, FetchError> {
    let calls = [
        Call { method: GET_BLOCK, params: json!([tag(number), true]) },
        Call { method: GET_RECEIPTS, params: json!([tag(number)]) },
    ];
    let mut answers = client.ask(&calls)?.into_iter();
    let (Some(block), Some(receipts)) = (answers.next(), answers.next()) else {
        return Err(bad(".", "no answer"));
    };
    let receipts = match receipts {
        Ok(raw) => decode::<Option<Vec<ReceiptAnswer>>>(GET_RECEIPTS, &raw)?,
        // The header covers them: those of the node only make a difference easier to find.
        Err(FetchError::NoMethod { .. } | FetchError::Rpc { .. }) => None,
        Err(error) => return Err(error),
    };
    let block: Option<Map<String, Value>> = decode(GET_BLOCK, &block?)?;
    let mut told = told(block.ok_or(FetchError::NoBlock { number })?, number)?;
    let receipts = receipts.map(|all| all.into_iter().map(ReceiptAnswer::expected).collect::<Option<_>>());
    told.receipts = receipts.flatten();
    Ok(told)
}

/// Hash of the block that now has this number, if there is one.
pub(crate) fn hash_of(client: &mut Client<'_>, number: u64) -> Result<Option<B256>, FetchError> {
    let block: Option<Map<String, Value>> = client.call(GET_BLOCK, json!([tag(number), false]))?;
    block.map(|block| hash(&block, "hash")).transpose()
}

fn bad(at: &str, reason: &str) -> FetchError {
    FetchError::Answer { method: GET_BLOCK, at: at.into(), reason: reason.into() }
}

fn hash(block: &Map<String, Value>, field: &str) -> Result<B256, FetchError> {
    let text = block.get(field).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| bad(field, "not a hash"))
}

fn told(mut block: Map<String, Value>, number: u64) -> Result<Told, FetchError> {
    block.retain(|field, _| BLOCK_FIELDS.contains(&field.as_str()));
    if block.get("number").and_then(Value::as_str) != Some(&tag(number)) {
        return Err(bad("number", "another block than was asked for"));
    }
    let mut tx_hashes = Vec::new();
    let txs = block.get_mut("transactions").and_then(Value::as_array_mut);
    for tx in txs.ok_or_else(|| bad("transactions", "not a list"))? {
        let tx = tx.as_object_mut().ok_or_else(|| bad("transactions", "not a list of transactions"))?;
        tx.retain(|field, _| TX_FIELDS.contains(&field.as_str()));
        tx_hashes.push(tx.get("hash").and_then(Value::as_str).and_then(|text| text.parse().ok()));
    }
    let has_uncles = block.get("uncles").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let (hash, parent_hash) = (hash(&block, "hash")?, hash(&block, "parentHash")?);
    let json = serde_json::to_vec(&block).map_err(|error| bad(".", &error.to_string()))?;
    Ok(Told { json, hash, parent_hash, has_uncles, tx_hashes, receipts: None })
}

/// The headers before a block, each proven by the hash in the one after it.
#[derive(Debug)]
pub(crate) struct Ancestors {
    /// Number of the block.
    block: u64,
    /// Number and hash of the next one to prove; `None` past the genesis.
    next: Option<(u64, B256)>,
    proven: BTreeMap<u64, (B256, Header)>,
    /// Headers that may be among them, by the hash that they have.
    offered: HashMap<B256, Header>,
}

impl Ancestors {
    /// Those of the block with this number and parent.
    pub(crate) fn new(block: u64, parent_hash: B256) -> Self {
        let next = block.checked_sub(1).map(|parent| (parent, parent_hash));
        Ancestors { block, next, proven: BTreeMap::new(), offered: HashMap::new() }
    }

    /// Takes headers that came along, for when they are needed.
    pub(crate) fn offer(&mut self, headers: impl IntoIterator<Item = HeaderAnswer>) {
        self.offered.extend(headers.into_iter().map(|one| (one.hash, one.header)));
    }

    /// The parent.
    pub(crate) fn parent(&mut self, client: &mut Client<'_>) -> Result<&Header, FetchError> {
        let number = self.block.saturating_sub(1);
        self.prove(client, number)?;
        let missing = || FetchError::NoBlock { number };
        self.proven.get(&number).map(|(_, header)| header).ok_or_else(missing)
    }

    /// Hashes of all blocks from `first` to the parent.
    pub(crate) fn hashes(
        &mut self,
        client: &mut Client<'_>,
        first: u64,
    ) -> Result<BTreeMap<u64, B256>, FetchError> {
        self.prove(client, first)?;
        Ok(self.proven.range(first..).map(|(number, (hash, _))| (*number, *hash)).collect())
    }

    fn prove(&mut self, client: &mut Client<'_>, first: u64) -> Result<(), FetchError> {
        while let Some((number, hash)) = self.next.filter(|(number, _)| *number >= first) {
            if !self.offered.contains_key(&hash) {
                self.fetch(client, first, number)?;
            }
            let header = self.offered.remove(&hash).filter(|header| header.number == number);
            let header = header.ok_or_else(|| FetchError::Check {
                number: self.block,
                check: "ancestors",
                reason: format!("the node's block {number} does not have the hash {hash} that is recorded"),
            })?;
            self.next = number.checked_sub(1).map(|before| (before, header.parent_hash));
            self.proven.insert(number, (hash, header));
        }
        Ok(())
    }

    fn fetch(&mut self, client: &mut Client<'_>, first: u64, last: u64) -> Result<(), FetchError> {
        let call = |number| Call { method: GET_BLOCK, params: json!([tag(number), false]) };
        let calls: Vec<Call> = (first..=last).map(call).collect();
        for answer in client.ask(&calls)? {
            // A header that is missing shows where it is needed.
            if let Some(header) = decode::<Option<HeaderAnswer>>(GET_BLOCK, &answer?)? {
                self.offer([header]);
            }
        }
        Ok(())
    }
}
