//! The token contract: its code, the layout of its storage, its calls.

use crate::WorkError;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::state::Bytecode;
use serde::Deserialize;
use std::sync::OnceLock;

/// Built by `contracts/build.sh` from `contracts/src/Token.sol`.
const ARTEFACT: &str = include_str!("../../../../contracts/out/Token.json");

/// Slot of `totalSupply`.
pub(super) const SUPPLY_SLOT: U256 = U256::ZERO;
const BALANCES_SLOT: u64 = 1;
const ALLOWANCES_SLOT: u64 = 2;

const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];
const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];

#[derive(Deserialize)]
struct Artefact {
    deployed_bytecode: Bytes,
}

/// The deployed code, analysed once.
pub(super) fn code() -> Result<Bytecode, WorkError> {
    static CODE: OnceLock<Bytecode> = OnceLock::new();
    if let Some(code) = CODE.get() {
        return Ok(code.clone());
    }
    let broken = |reason: String| WorkError::Workload { workload: "erc20".into(), reason };
    let artefact: Artefact = serde_json::from_str(ARTEFACT).map_err(|error| broken(error.to_string()))?;
    let code = Bytecode::new_raw_checked(artefact.deployed_bytecode);
    let code = code.map_err(|error| broken(error.to_string()))?;
    Ok(CODE.get_or_init(|| code).clone())
}

/// Slot of a holder's balance.
pub(super) fn balance_slot(holder: Address) -> U256 {
    mapping_slot(holder, B256::from(U256::from(BALANCES_SLOT)))
}

/// Slot of what `spender` may take from `owner`.
pub(super) fn allowance_slot(owner: Address, spender: Address) -> U256 {
    let of_owner = mapping_slot(owner, B256::from(U256::from(ALLOWANCES_SLOT)));
    mapping_slot(spender, B256::from(of_owner))
}

/// Slot of a mapping's entry: keccak256 of the padded key and the mapping's slot (Solidity's layout of
/// state variables).
fn mapping_slot(key: Address, slot: B256) -> U256 {
    keccak256([key.into_word().0, slot.0].concat()).into()
}

pub(super) fn transfer(to: Address, value: U256) -> Bytes {
    call(TRANSFER, &[to.into_word(), value.into()])
}

pub(super) fn approve(spender: Address, value: U256) -> Bytes {
    call(APPROVE, &[spender.into_word(), value.into()])
}

pub(super) fn transfer_from(from: Address, to: Address, value: U256) -> Bytes {
    call(TRANSFER_FROM, &[from.into_word(), to.into_word(), value.into()])
}

fn call(selector: [u8; 4], arguments: &[B256]) -> Bytes {
    let mut data = selector.to_vec();
    data.extend(arguments.iter().flat_map(|word| word.0));
    data.into()
}
