//! Why bytes are no transaction, in the words of the vectors: which field, and what is wrong with it.
//!
//! Decoding itself is alloy's. What it refuses is looked at again here, item by item, because an RLP
//! error alone does not say which rule of which field was broken.

use alloy_rlp::{Error as RlpError, Header};

/// A field of a transaction, or a part of its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called what they are")]
pub enum Field {
    /// The encoding as a whole.
    Envelope,
    ChainId,
    Nonce,
    GasPrice,
    MaxFee,
    PriorityFee,
    GasLimit,
    To,
    Value,
    Data,
    AccessList,
    AccessListAddress,
    AccessListSlot,
    BlobFee,
    BlobHashes,
    Authorizations,
    V,
    R,
    S,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// There is nothing at all.
    Empty,
    /// It ends before it should.
    Eof,
    /// Its length is not what its header says.
    Size,
    /// Its length is written with leading zeros, or longer than need be.
    SizeEncoding,
    /// A list where a string belongs.
    List,
    /// A string where a list belongs.
    String,
    /// A number with leading zeros.
    LeadingZeros,
    /// A number that its field cannot hold.
    Overflow,
    /// A fee of more than 128 bits, though not more than 256: no supply of ether pays it.
    Unpayable,
    /// More bytes than it may have.
    TooLong,
    /// Fewer bytes than it must have.
    TooShort,
    /// Fewer fields than its type has.
    TooFew,
    /// More fields than its type has.
    TooMany,
    /// A type byte that names nothing.
    Type,
    /// A transaction of a type that cannot create contracts creates one.
    Creates,
    /// A blob transaction as it is gossiped, blobs included.
    WithBlobs,
    /// The signature has no signer, or not one that the rules of the fork accept.
    Signature,
    /// It has another chain's id.
    OtherChain,
    /// Refused for a reason that was not found.
    Other,
}

/// Why bytes are no transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot be decoded: {field:?} {flaw:?}")]
pub struct TxFault {
    /// What.
    pub field: Field,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl TxFault {
    /// `flaw` of `field`.
    pub fn new(field: Field, flaw: Flaw) -> Self {
        TxFault { field, flaw }
    }

    /// Why `raw`, which cannot be decoded, cannot be.
    pub fn of(raw: &[u8]) -> TxFault {
        match find(raw) {
            Err(fault) => fault,
            Ok(()) => TxFault::new(Field::Envelope, Flaw::Other),
        }
    }
}

/// How a field is encoded.
#[derive(Clone, Copy)]
enum Form {
    /// A number of at most so many bytes.
    Number(usize),
    /// A number of at most 256 bits of which 128 are taken.
    Fee,
    /// An address, or nothing if the transaction creates a contract.
    Target { creates: bool },
    /// Any bytes.
    Bytes,
    /// A list of (address, slots).
    AccessList,
    /// A list that is left to the decoder.
    List,
}

const LEGACY: &[(Field, Form)] = &[
    (Field::Nonce, Form::Number(8)),
    (Field::GasPrice, Form::Fee),
    (Field::GasLimit, Form::Number(8)),
    (Field::To, Form::Target { creates: true }),
    (Field::Value, Form::Number(32)),
    (Field::Data, Form::Bytes),
];

const EIP2930: &[(Field, Form)] = &[
    (Field::ChainId, Form::Number(8)),
    (Field::Nonce, Form::Number(8)),
    (Field::GasPrice, Form::Fee),
    (Field::GasLimit, Form::Number(8)),
    (Field::To, Form::Target { creates: true }),
    (Field::Value, Form::Number(32)),
    (Field::Data, Form::Bytes),
    (Field::AccessList, Form::AccessList),
];

/// Fields that types 2 to 4 share, up to the access list.
const DYNAMIC: &[(Field, Form)] = &[
    (Field::ChainId, Form::Number(8)),
    (Field::Nonce, Form::Number(8)),
    (Field::PriorityFee, Form::Fee),
    (Field::MaxFee, Form::Fee),
    (Field::GasLimit, Form::Number(8)),
    (Field::To, Form::Target { creates: true }),
    (Field::Value, Form::Number(32)),
    (Field::Data, Form::Bytes),
    (Field::AccessList, Form::AccessList),
];

const SIGNATURE: &[(Field, Form)] =
    &[(Field::V, Form::Number(8)), (Field::R, Form::Number(32)), (Field::S, Form::Number(32))];

/// Fields of a type, in order.
fn fields(ty: u8) -> Option<Vec<(Field, Form)>> {
    let (first, more): (&[_], &[_]) = match ty {
        0 => (LEGACY, &[]),
        1 => (EIP2930, &[]),
        2 => (DYNAMIC, &[]),
        3 => (DYNAMIC, &[(Field::BlobFee, Form::Fee), (Field::BlobHashes, Form::List)]),
        4 => (DYNAMIC, &[(Field::Authorizations, Form::List)]),
        _ => return None,
    };
    let mut fields = [first, more, SIGNATURE].concat();
    if ty > 2 {
        fields[5].1 = Form::Target { creates: false };
    }
    Some(fields)
}

fn find(raw: &[u8]) -> Result<(), TxFault> {
    let whole = |flaw| TxFault::new(Field::Envelope, flaw);
    let Some(first) = raw.first() else { return Err(whole(Flaw::Empty)) };
    let (ty, mut rest) = match first {
        0xc0.. => (0, raw),
        0x80..=0xbf => return Err(whole(Flaw::String)),
        ty => (*ty, &raw[1..]),
    };
    let fields = fields(ty).ok_or(whole(Flaw::Type))?;
    let items = list(Field::Envelope, &mut rest)?;
    if !rest.is_empty() {
        return Err(whole(Flaw::Size));
    }
    // Where the number of fields is wrong, what stands in them says nothing.
    let (mut counted, mut count) = (items, 0);
    while !counted.is_empty() && skip(&mut counted) {
        count += 1;
    }
    if counted.is_empty() && count != fields.len() && !(ty == 3 && count == 4) {
        return Err(whole(if count < fields.len() { Flaw::TooFew } else { Flaw::TooMany }));
    }
    let mut left = items;
    if ty == 3 && left.first().is_some_and(|first| *first >= 0xc0) {
        return Err(whole(Flaw::WithBlobs));
    }
    for (field, form) in fields {
        if left.is_empty() {
            return Err(whole(Flaw::TooFew));
        }
        one(field, form, ty == 0, &mut left)?;
    }
    if left.is_empty() { Ok(()) } else { Err(whole(Flaw::TooMany)) }
}

/// Passes over an item, if there is one.
fn skip(rlp: &mut &[u8]) -> bool {
    let length = Header::decode(rlp).map(|header| header.payload_length);
    let rest = length.ok().and_then(|length| rlp.get(length..));
    rest.map(|rest| *rlp = rest).is_some()
}

fn one(field: Field, form: Form, legacy: bool, left: &mut &[u8]) -> Result<(), TxFault> {
    let fault = |flaw| Err(TxFault::new(field, flaw));
    match form {
        Form::Bytes => drop(string(field, left)?),
        Form::Number(most) => {
            let bytes = string(field, left)?;
            match bytes.len() {
                // As fillers see it: too large a number, however many zeros lead it.
                length if length > most && significant(bytes) > most => return fault(Flaw::Overflow),
                _ if bytes.first() == Some(&0) => return fault(Flaw::LeadingZeros),
                // 27 and 28, EIP-155, or (typed) parity.
                _ if field == Field::V && matches!(bytes, [1..=26 | 29..=34]) && legacy => {
                    return fault(Flaw::Signature);
                }
                _ if field == Field::V && bytes.is_empty() && legacy => return fault(Flaw::Signature),
                _ => {}
            }
        }
        Form::Fee => {
            let bytes = string(field, left)?;
            match significant(bytes) {
                33.. => return fault(Flaw::Overflow),
                _ if bytes.first() == Some(&0) => return fault(Flaw::LeadingZeros),
                17.. => return fault(Flaw::Unpayable),
                _ => {}
            }
        }
        Form::Target { creates } => match string(field, left)?.len() {
            20 => {}
            0 if creates => {}
            0 => return fault(Flaw::Creates),
            1..20 => return fault(Flaw::TooShort),
            _ => return fault(Flaw::TooLong),
        },
        Form::AccessList => {
            let mut entries = list(field, left)?;
            while !entries.is_empty() {
                access(&mut entries)?;
            }
        }
        Form::List => drop(list(field, left)?),
    }
    Ok(())
}

fn access(entries: &mut &[u8]) -> Result<(), TxFault> {
    let mut entry = list(Field::AccessList, entries)?;
    exactly(Field::AccessListAddress, 20, &mut entry)?;
    let mut slots = list(Field::AccessListSlot, &mut entry)?;
    while !slots.is_empty() {
        exactly(Field::AccessListSlot, 32, &mut slots)?;
    }
    let flaw = Flaw::TooMany;
    if entry.is_empty() { Ok(()) } else { Err(TxFault::new(Field::AccessList, flaw)) }
}

fn exactly(field: Field, length: usize, left: &mut &[u8]) -> Result<(), TxFault> {
    match string(field, left)?.len() {
        found if found > length => Err(TxFault::new(field, Flaw::TooLong)),
        found if found < length => Err(TxFault::new(field, Flaw::TooShort)),
        _ => Ok(()),
    }
}

/// Bytes without leading zeros.
fn significant(bytes: &[u8]) -> usize {
    bytes.iter().skip_while(|byte| **byte == 0).count()
}

fn string<'a>(field: Field, left: &mut &'a [u8]) -> Result<&'a [u8], TxFault> {
    Header::decode_bytes(left, false).map_err(|error| TxFault::new(field, flaw(error)))
}

fn list<'a>(field: Field, left: &mut &'a [u8]) -> Result<&'a [u8], TxFault> {
    Header::decode_bytes(left, true).map_err(|error| TxFault::new(field, flaw(error)))
}

fn flaw(error: RlpError) -> Flaw {
    match error {
        RlpError::InputTooShort => Flaw::Eof,
        RlpError::LeadingZero | RlpError::NonCanonicalSize | RlpError::NonCanonicalSingleByte => {
            Flaw::SizeEncoding
        }
        RlpError::Overflow => Flaw::Size,
        RlpError::UnexpectedList => Flaw::List,
        RlpError::UnexpectedString => Flaw::String,
        _ => Flaw::Other,
    }
}
