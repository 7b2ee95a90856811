//! The forms of a node's answers.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, Log, U256, keccak256};
use alloy_rlp::Decodable;
use braid_work::ExpectedReceipt;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt};

/// Byte strings that nodes list, or put under their hashes (which are of no use: they are computed).
#[derive(Debug, Default)]
pub(crate) struct Blobs(pub(crate) Vec<Bytes>);

struct BlobsVisitor;

impl<'de> Visitor<'de> for BlobsVisitor {
    type Value = Blobs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or map of byte strings")
    }

    fn visit_unit<E>(self) -> Result<Blobs, E> {
        Ok(Blobs::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Blobs, A::Error> {
        let mut blobs = Vec::new();
        while let Some(blob) = list.next_element()? {
            blobs.push(blob);
        }
        Ok(Blobs(blobs))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Blobs, A::Error> {
        let mut blobs = Vec::new();
        while let Some((_, blob)) = map.next_entry::<B256, Bytes>()? {
            blobs.push(blob);
        }
        Ok(Blobs(blobs))
    }
}

impl<'de> Deserialize<'de> for Blobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlobsVisitor)
    }
}

/// What `debug_executionWitness` answers: reth lists RLP everywhere, geth has headers as objects, early
/// versions had maps by hash. The preimages of keys that some add are not needed.
#[derive(Debug, Deserialize)]
pub(crate) struct WitnessAnswer {
    #[serde(default)]
    pub(crate) state: Blobs,
    #[serde(default)]
    pub(crate) codes: Blobs,
    #[serde(default)]
    pub(crate) headers: Option<Vec<HeaderAnswer>>,
}

/// A header, with the hash that it really has.
#[derive(Debug)]
pub(crate) struct HeaderAnswer {
    pub(crate) hash: B256,
    pub(crate) header: Header,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderForm {
    Rlp(Bytes),
    Json(Box<Header>),
}

impl<'de> Deserialize<'de> for HeaderAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match HeaderForm::deserialize(deserializer)? {
            HeaderForm::Rlp(rlp) => {
                let header = Header::decode(&mut rlp.as_ref()).map_err(serde::de::Error::custom)?;
                Ok(HeaderAnswer { hash: keccak256(&rlp), header })
            }
            HeaderForm::Json(header) => Ok(HeaderAnswer { hash: header.hash_slow(), header: *header }),
        }
    }
}

/// One transaction of `debug_traceBlockByNumber` with `prestateTracer`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TracedTx {
    pub(crate) tx_hash: Option<B256>,
    pub(crate) result: Option<BTreeMap<Address, Option<TracedAccount>>>,
    pub(crate) error: Option<String>,
}

/// An account before a transaction, as far as the transaction touched it. What is left out is zero.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TracedAccount {
    #[serde(default)]
    pub(crate) balance: Option<U256>,
    #[serde(default)]
    pub(crate) nonce: Option<U256>,
    #[serde(default)]
    pub(crate) code: Option<Bytes>,
    #[serde(default)]
    pub(crate) storage: Option<BTreeMap<U256, U256>>,
}

/// A receipt of `eth_getBlockReceipts`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptAnswer {
    status: Option<U256>,
    cumulative_gas_used: U256,
    #[serde(default)]
    logs: Vec<LogAnswer>,
}

#[derive(Debug, Deserialize)]
struct LogAnswer {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

impl ReceiptAnswer {
    /// The receipt; `None` for one without a status, as blocks before Byzantium have.
    pub(crate) fn expected(self) -> Option<ExpectedReceipt> {
        let log = |log: LogAnswer| Log::new_unchecked(log.address, log.topics, log.data);
        Some(ExpectedReceipt {
            success: self.status? == U256::ONE,
            cumulative_gas_used: u64::try_from(self.cumulative_gas_used).unwrap_or(u64::MAX),
            logs: self.logs.into_iter().map(log).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witnesses_of_all_forms_are_read() {
        let header = Header { number: 7, ..Header::default() };
        let (rlp, hash) = (Bytes::from(alloy_rlp::encode(&header)), header.hash_slow());
        let json = serde_json::to_value(&header).expect("a header is JSON");
        for headers in [serde_json::json!([rlp]), serde_json::json!([json])] {
            let answer =
                serde_json::json!({"state": ["0x01"], "codes": null, "keys": ["0x"], "headers": headers});
            let witness: WitnessAnswer = serde_json::from_value(answer).expect("a witness");
            assert_eq!((witness.state.0.len(), witness.codes.0.len()), (1, 0));
            let headers = witness.headers.expect("headers");
            assert_eq!((headers[0].hash, headers[0].header.number), (hash, 7));
        }
        let by_hash = serde_json::json!({"state": {B256::ZERO.to_string(): "0x01"}, "codes": {}});
        let witness: WitnessAnswer = serde_json::from_value(by_hash).expect("a witness of maps");
        assert_eq!(witness.state.0, [Bytes::from_static(&[1])]);
    }

    #[test]
    fn traced_accounts_may_leave_out_anything() {
        let json = r#"{"txHash":null,"result":{"0x0000000000000000000000000000000000000001":
            {"balance":"0x0a","nonce":3,"code":"0x60","codeHash":"0x00","storage":{"0x00":"0x000f"}},
            "0x0000000000000000000000000000000000000002":{},"0x0000000000000000000000000000000000000003":null}}"#;
        let traced: TracedTx = serde_json::from_str(json).expect("a traced transaction");
        let accounts = traced.result.expect("a result");
        let first = accounts[&Address::with_last_byte(1)].as_ref().expect("an account");
        assert_eq!((first.balance, first.nonce), (Some(U256::from(10)), Some(U256::from(3))));
        assert_eq!(first.storage.as_ref().and_then(|all| all.get(&U256::ZERO)), Some(&U256::from(15)));
    }

    #[test]
    fn receipts_without_status_expect_nothing() {
        let receipt = |json: &str| serde_json::from_str::<ReceiptAnswer>(json).expect("a receipt").expected();
        assert!(receipt(r#"{"root":"0x","cumulativeGasUsed":"0x5208","logs":[]}"#).is_none());
        let expected =
            receipt(r#"{"status":"0x1","cumulativeGasUsed":"0x5208","logs":[]}"#).expect("a status");
        assert!(expected.success && expected.cumulative_gas_used == 21_000);
    }
}
