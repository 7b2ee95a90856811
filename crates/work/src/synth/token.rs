//! The token contract: its code, the layout of its storage, its calls.

use super::{WorkloadError, generate::address, yard::Yard};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::state::Bytecode;
use serde::Deserialize;
use std::sync::OnceLock;

/// Built by `contracts/build.sh` from `contracts/src/Token.sol`.
const ARTEFACT: &str = include_str!("../../../../contracts/out/Token.json");

/// Slot of `totalSupply`.
const SUPPLY_SLOT: U256 = U256::ZERO;
const BALANCES_SLOT: u64 = 1;
const ALLOWANCES_SLOT: u64 = 2;

const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
const APPROVE: [u8; 4] = [0x09, 0x5e, 0xa7, 0xb3];
const TRANSFER_FROM: [u8; 4] = [0x23, 0xb8, 0x72, 0xdd];

#[derive(Deserialize)]
struct Artefact {
    deployed_bytecode: Bytes,
}

/// Units that each holder has.
const BALANCE: u128 = 1 << 90;

/// A token in the state before the block.
pub(super) struct Token {
    pub(super) at: Address,
    supply: U256,
}

impl Token {
    /// A token that nobody holds yet.
    pub(super) fn deploy(yard: &mut Yard, role: &str, index: u64) -> Result<Self, WorkloadError> {
        let hash = yard.analysed(&code()?);
        let at = address(role, index);
        yard.deploy(at, hash, &[(SUPPLY_SLOT, U256::ONE)]);
        Ok(Token { at, supply: U256::ZERO })
    }

    /// Gives a holder enough for the whole block, unless it has that already.
    pub(super) fn fund(&mut self, yard: &mut Yard, holder: Address) {
        if !yard.has_slot(self.at, balance_slot(holder)) {
            self.give(yard, holder, BALANCE);
        }
    }

    /// Gives a holder that has none so many units.
    pub(super) fn give(&mut self, yard: &mut Yard, holder: Address, units: u128) {
        yard.slot(self.at, balance_slot(holder), U256::from(units));
        self.supply += U256::from(units);
    }

    /// Lets `spender` take all that `owner` has.
    pub(super) fn allow(&self, yard: &mut Yard, owner: Address, spender: Address) {
        yard.slot(self.at, allowance_slot(owner, spender), U256::MAX);
    }

    /// Writes the supply, once all holders are known.
    pub(super) fn finish(&self, yard: &mut Yard) {
        yard.slot(self.at, SUPPLY_SLOT, self.supply);
    }
}

/// The deployed code, analysed once.
fn code() -> Result<Bytecode, WorkloadError> {
    static CODE: OnceLock<Bytecode> = OnceLock::new();
    if let Some(code) = CODE.get() {
        return Ok(code.clone());
    }
    let broken = WorkloadError::Internal;
    let artefact: Artefact = serde_json::from_str(ARTEFACT).map_err(|error| broken(error.to_string()))?;
    let code = Bytecode::new_raw_checked(artefact.deployed_bytecode);
    let code = code.map_err(|error| broken(error.to_string()))?;
    Ok(CODE.get_or_init(|| code).clone())
}

/// Slot of a holder's balance.
fn balance_slot(holder: Address) -> U256 {
    mapping_slot(holder, B256::from(U256::from(BALANCES_SLOT)))
}

/// Slot of what `spender` may take from `owner`.
fn allowance_slot(owner: Address, spender: Address) -> U256 {
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
