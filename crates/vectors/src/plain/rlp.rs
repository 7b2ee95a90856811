//! RLPTests: values and their encodings, and what is no encoding.

use super::PlainCase;
use crate::{Case, CaseKind, VectorError, json};
use alloy_primitives::{Bytes, U512};
use alloy_rlp::{Encodable, Header};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// Deepest nesting of lists that is decoded here.
const MAX_DEPTH: usize = 256;

/// What RLP encodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Bytes.
    String(Vec<u8>),
    /// Items.
    List(Vec<Item>),
}

impl Item {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Item::String(bytes) => bytes.as_slice().encode(out),
            Item::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.encode(&mut payload));
                Header { list: true, payload_length: payload.len() }.encode(out);
                out.extend(payload);
            }
        }
    }

    /// Takes an item from the front of `rlp`.
    fn decode(rlp: &mut &[u8], depth: usize) -> Result<Item, String> {
        let header = Header::decode(rlp).map_err(|error| error.to_string())?;
        let (mut payload, rest) =
            rlp.split_at_checked(header.payload_length).ok_or("an item longer than its list")?;
        *rlp = rest;
        if !header.list {
            return Ok(Item::String(payload.to_vec()));
        }
        if depth == MAX_DEPTH {
            return Err(format!("lists in lists, more than {MAX_DEPTH} deep"));
        }
        let mut items = Vec::new();
        while !payload.is_empty() {
            items.push(Item::decode(&mut payload, depth + 1)?);
        }
        Ok(Item::List(items))
    }

    /// From the JSON of a vector: strings, numbers, `#` and a decimal number, lists.
    fn of(value: &Value, depth: usize) -> Result<Item, String> {
        let number = |number: U512| Item::String(number.to_be_bytes_trimmed_vec());
        match value {
            Value::String(text) => match text.strip_prefix('#') {
                Some(digits) => digits.parse::<U512>().map(number).map_err(|error| error.to_string()),
                None => Ok(Item::String(text.as_bytes().to_vec())),
            },
            Value::Number(small) => {
                small.as_u64().map(|small| number(U512::from(small))).ok_or(format!("{small}"))
            }
            Value::Array(_) if depth == MAX_DEPTH => Err("lists too deep".to_owned()),
            Value::Array(items) => {
                items.iter().map(|item| Item::of(item, depth + 1)).collect::<Result<_, _>>().map(Item::List)
            }
            other => Err(format!("`{other}` is not what RLP encodes")),
        }
    }
}

/// What must come of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RlpDemand {
    /// This item, which must encode to the same bytes.
    Item(Item),
    /// Some item, which must encode to the same bytes.
    Valid,
    /// None.
    Invalid,
}

/// An encoding, and what must come of decoding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RlpCase {
    /// The encoding.
    pub rlp: Bytes,
    /// What must come of it.
    pub demand: RlpDemand,
}

impl RlpCase {
    pub(super) fn check(&self) -> Result<(), String> {
        let mut rest = &self.rlp[..];
        let decoded = Item::decode(&mut rest, 0).and_then(|item| match rest.len() {
            0 => Ok(item),
            left => Err(format!("{left} bytes after its end")),
        });
        let item = match (&self.demand, decoded) {
            (RlpDemand::Invalid, Err(_)) => return Ok(()),
            (RlpDemand::Invalid, Ok(item)) => return Err(format!("decoded to {item:?}, but is invalid")),
            (_, Err(error)) => return Err(format!("not decoded: {error}")),
            (RlpDemand::Valid, Ok(item)) => item,
            (RlpDemand::Item(expected), Ok(item)) if *expected == item => item,
            (RlpDemand::Item(expected), Ok(item)) => {
                return Err(format!("decoded to {item:?}, not {expected:?}"));
            }
        };
        let mut again = Vec::new();
        item.encode(&mut again);
        if again == self.rlp { Ok(()) } else { Err(format!("encoded as {}", Bytes::from(again))) }
    }
}

#[derive(Deserialize)]
struct JsonRlp {
    #[serde(rename = "in")]
    item: Value,
    out: Bytes,
}

/// The cases of a file of RLPTests.
pub(crate) fn cases(label: &Arc<str>, bytes: &[u8]) -> Result<Vec<Case>, VectorError> {
    let units: BTreeMap<String, JsonRlp> = json::parse(label, bytes)?;
    let case = |(name, unit): (String, JsonRlp)| {
        let demand = match &unit.item {
            Value::String(word) if word == "INVALID" => RlpDemand::Invalid,
            Value::String(word) if word == "VALID" => RlpDemand::Valid,
            value => {
                let item = Item::of(value, 0).map_err(|reason| VectorError::invalid(label, &name, reason))?;
                RlpDemand::Item(item)
            }
        };
        let case = PlainCase::Rlp(RlpCase { rlp: unit.out, demand });
        Ok(Case { file: label.clone(), name, kind: CaseKind::Plain(Box::new(case)) })
    };
    units.into_iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_lists_are_refused_and_shallow_ones_come_back() {
        let nested = |depth: usize| {
            let mut rlp = vec![0xc0];
            for _ in 1..depth {
                let mut outer = Vec::new();
                Header { list: true, payload_length: rlp.len() }.encode(&mut outer);
                outer.extend(rlp);
                rlp = outer;
            }
            rlp
        };
        let check = |depth| RlpCase { rlp: nested(depth).into(), demand: RlpDemand::Valid }.check();
        assert_eq!(check(MAX_DEPTH), Ok(()));
        assert!(check(MAX_DEPTH + 1).is_err() && check(100_000).is_err());
    }

    #[test]
    fn a_wrong_demand_is_noticed() {
        let case = |rlp: &'static [u8], demand| RlpCase { rlp: Bytes::from_static(rlp), demand }.check();
        let dog = || RlpDemand::Item(Item::String(b"dog".to_vec()));
        assert_eq!(case(b"\x83dog", dog()), Ok(()));
        assert!(case(b"\x83cat", dog()).is_err());
        assert!(case(b"\x83dog", RlpDemand::Invalid).is_err());
        assert!(case(b"\x83do", RlpDemand::Valid).is_err());
        assert!(case(b"\x83dogs", RlpDemand::Valid).is_err());
    }
}
