//! Deposit requests from the logs of the deposit contract (EIP-6110).

use alloy_primitives::{Address, B256, Log, U256, b256};

/// Keccak-256 of `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 = b256!("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// Where the data of an event has each field (public key, withdrawal credentials, amount, signature,
/// index) and how long it is: EIP-6110 takes this layout of the ABI, and no other.
const FIELDS: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];

/// Length of the data.
const DATA_LENGTH: usize = 576;

const WORD: usize = 32;

/// The deposits of `logs` to `contract`, one request after the other, without the type byte.
///
/// # Errors
/// If an event does not have the layout, in words. The block is invalid then.
pub(crate) fn deposits<'a>(
    contract: Address,
    logs: impl IntoIterator<Item = &'a Log>,
) -> Result<Vec<u8>, String> {
    let mut requests = Vec::new();
    for log in logs {
        if log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT) {
            append(&log.data.data, &mut requests)?;
        }
    }
    Ok(requests)
}

fn append(data: &[u8], requests: &mut Vec<u8>) -> Result<(), String> {
    if data.len() != DATA_LENGTH {
        return Err(format!("a deposit event with {} bytes of data", data.len()));
    }
    let word = |at: usize| U256::from_be_slice(&data[at..at + WORD]);
    for (index, (at, length)) in FIELDS.into_iter().enumerate() {
        if word(index * WORD) != U256::from(at) || word(at) != U256::from(length) {
            return Err(format!("field {index} of a deposit event is not at {at} with {length} bytes"));
        }
        requests.extend_from_slice(&data[at + WORD..at + WORD + length]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Vec<u8> {
        let mut data = vec![0; DATA_LENGTH];
        for (index, (at, length)) in FIELDS.into_iter().enumerate() {
            data[index * WORD + 30..][..2].copy_from_slice(&(at as u16).to_be_bytes());
            data[at + 31] = length as u8;
            data[at + WORD..][..length].fill(index as u8 + 1);
        }
        data
    }

    fn requests(data: Vec<u8>) -> Result<Vec<u8>, String> {
        let contract = Address::repeat_byte(1);
        let ours = Log::new_unchecked(contract, vec![DEPOSIT_EVENT], data.clone().into());
        let others = [
            Log::new_unchecked(Address::ZERO, vec![DEPOSIT_EVENT], data.clone().into()),
            Log::new_unchecked(contract, vec![B256::ZERO], data.clone().into()),
            Log::new_unchecked(contract, vec![], data.into()),
        ];
        assert_eq!(deposits(contract, &others), Ok(Vec::new()));
        deposits(contract, [&ours])
    }

    #[test]
    fn an_event_gives_its_fields() {
        let expected: Vec<u8> =
            FIELDS.iter().zip(1u8..).flat_map(|((_, length), byte)| vec![byte; *length]).collect();
        assert_eq!(requests(event()), Ok(expected));
    }

    #[test]
    fn another_layout_is_refused() {
        assert!(requests(event()[..DATA_LENGTH - 1].to_vec()).is_err());
        assert!(requests([&event()[..], &[0]].concat()).is_err());
        for (index, (at, _)) in FIELDS.into_iter().enumerate() {
            for byte in [index * WORD, index * WORD + 31, at, at + 31] {
                let mut data = event();
                data[byte] ^= 1;
                assert!(requests(data).is_err(), "byte {byte}");
            }
        }
    }
}
