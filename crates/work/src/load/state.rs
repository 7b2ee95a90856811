//! States: from JSON to what engines read, and to what verification expects.

use super::{
    codes::{Codes, analyse},
    file,
    json::{JsonAccount, JsonPostAccount, JsonWitness},
};
use crate::{PreState, Witness, WorkError};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use braid_evm::{AccountDiff, AccountInfoDiff, EvmKey, EvmValue};
use std::{collections::BTreeMap, path::Path};

/// Loads the state before a block from `path`, with code from `codes` or inline.
pub(super) fn pre_state(
    path: &Path,
    codes: Option<&Codes>,
    block_hashes: BTreeMap<u64, B256>,
) -> Result<PreState, WorkError> {
    let accounts: BTreeMap<Address, JsonAccount> = file::read_json(path)?;
    let mut pre = PreState { store: Default::default(), block_hashes };
    for (address, json) in accounts {
        let code_hash = load_code(path, codes, &mut pre, address, &json)?;
        let slots = json.storage.iter().map(|(slot, value)| (slot.0, value.0));
        pre.put_account(address, (json.balance.0, json.nonce.0, code_hash), slots);
    }
    Ok(pre)
}

/// Puts the account's code into the state; its hash.
fn load_code(
    path: &Path,
    codes: Option<&Codes>,
    pre: &mut PreState,
    account: Address,
    json: &JsonAccount,
) -> Result<B256, WorkError> {
    let inline = json.code.as_ref().filter(|code| !code.is_empty());
    let hash = match (json.code_hash, inline) {
        (Some(hash), _) => hash,
        (None, Some(code)) => keccak256(code),
        (None, None) => return Ok(KECCAK256_EMPTY),
    };
    let key = EvmKey::Code(hash);
    if hash == KECCAK256_EMPTY || pre.store.get(&key).is_some() {
        return Ok(hash);
    }
    let code = match (inline, codes) {
        (Some(code), _) => Some(analyse(path, hash, code.clone())?),
        (None, Some(codes)) => codes.get(hash)?,
        (None, None) => None,
    };
    let code = code.ok_or_else(|| WorkError::MissingCode { file: path.into(), account, hash })?;
    pre.store.set(key, Some(EvmValue::Code(code)));
    Ok(hash)
}

/// Loads the expected changes of a block, if `path` is there.
pub(super) fn post_state(path: &Path) -> Result<Option<BTreeMap<Address, AccountDiff>>, WorkError> {
    let Some(accounts) = file::read_json_if_there::<BTreeMap<Address, JsonPostAccount>>(path)? else {
        return Ok(None);
    };
    let diff = |(address, json): (Address, JsonPostAccount)| {
        let account = match (json.deleted, json.balance, json.nonce) {
            (true, _, _) => None,
            (false, Some(balance), Some(nonce)) => Some(AccountInfoDiff {
                balance: balance.0,
                nonce: nonce.0,
                code_hash: json.code_hash.unwrap_or(KECCAK256_EMPTY),
            }),
            (false, ..) => {
                return Err(WorkError::invalid(path, address.to_string(), "neither deleted nor complete"));
            }
        };
        let storage: BTreeMap<U256, U256> =
            json.storage.iter().map(|(slot, value)| (slot.0, value.0)).collect();
        Ok((address, AccountDiff { account, wiped: json.deleted || json.created, storage }))
    };
    accounts.into_iter().map(diff).collect::<Result<_, _>>().map(Some)
}

/// Loads the codes that a block deploys, if `path` is there.
pub(super) fn new_codes(path: &Path) -> Result<BTreeMap<B256, Bytes>, WorkError> {
    let codes: BTreeMap<B256, Bytes> = file::read_json_if_there(path)?.unwrap_or_default();
    for (hash, code) in &codes {
        let actual = keccak256(code);
        if actual != *hash {
            return Err(WorkError::WrongCode { file: path.into(), hash: *hash, actual });
        }
    }
    Ok(codes)
}

/// Loads the trie nodes of a block, if `path` is there.
pub(super) fn witness(path: &Path) -> Result<Option<Witness>, WorkError> {
    let json: Option<JsonWitness> = file::read_json_if_there(path)?;
    Ok(json.map(|json| Witness { pre_state_root: json.pre_state_root, nodes: json.state }))
}

/// Parses block hashes with decimal block numbers as keys.
pub(super) fn block_hashes(
    path: &Path,
    listed: BTreeMap<String, B256>,
) -> Result<BTreeMap<u64, B256>, WorkError> {
    let parse = |(number, hash): (String, B256)| match number.parse::<u64>() {
        Ok(number) => Ok((number, hash)),
        Err(error) => Err(WorkError::invalid(path, format!("block hash of `{number}`"), error.to_string())),
    };
    listed.into_iter().map(parse).collect()
}
