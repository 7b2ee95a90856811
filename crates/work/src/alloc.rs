//! Whole states as genesis files, test vectors and `evm t8n` write them: `{address: account}`.

use crate::{
    PreState, WorkError,
    amount::{Amount, Word},
    load::codes::analyse,
};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use braid_evm::{EvmKey, EvmValue, ExecutedBlock};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};
use std::{collections::BTreeMap, path::Path};

/// A whole state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Alloc(pub BTreeMap<Address, AllocAccount>);

/// One account of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocAccount {
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    pub nonce: u64,
    /// Code, not its hash.
    pub code: Bytes,
    /// Slots; zero ones may be listed.
    pub storage: BTreeMap<U256, U256>,
}

#[derive(Deserialize)]
struct JsonAllocAccount {
    balance: Option<Amount<U256>>,
    nonce: Option<Amount<u64>>,
    code: Option<Bytes>,
    storage: Option<BTreeMap<Word, Word>>,
}

impl<'de> Deserialize<'de> for AllocAccount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = JsonAllocAccount::deserialize(deserializer)?;
        let slots = json.storage.unwrap_or_default().into_iter();
        Ok(AllocAccount {
            balance: json.balance.unwrap_or_default().0,
            nonce: json.nonce.unwrap_or_default().0,
            code: json.code.unwrap_or_default(),
            storage: slots.map(|(slot, value)| (slot.0, value.0)).collect(),
        })
    }
}

impl Serialize for AllocAccount {
    /// As `evm t8n` writes it: what is empty is left out, slots and values are 32 bytes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut account = serializer.serialize_struct("AllocAccount", 4)?;
        if !self.code.is_empty() {
            account.serialize_field("code", &self.code)?;
        }
        let storage: BTreeMap<B256, B256> = self
            .storage
            .iter()
            .filter(|(_, value)| !value.is_zero())
            .map(|(slot, value)| (B256::from(*slot), B256::from(*value)))
            .collect();
        if !storage.is_empty() {
            account.serialize_field("storage", &storage)?;
        }
        account.serialize_field("balance", &self.balance)?;
        if self.nonce != 0 {
            account.serialize_field("nonce", &format!("{:#x}", self.nonce))?;
        }
        account.end()
    }
}

impl Alloc {
    /// The state as engines read it.
    ///
    /// # Errors
    /// [`WorkError::Invalid`] of `file`, if code cannot be analysed (an EIP-7702 designator of a wrong
    /// length).
    pub fn pre_state(&self, file: &Path) -> Result<PreState, WorkError> {
        let mut pre = PreState::default();
        for (address, account) in &self.0 {
            let code_hash = match account.code.is_empty() {
                true => KECCAK256_EMPTY,
                false => keccak256(&account.code),
            };
            if code_hash != KECCAK256_EMPTY && pre.store.get(&EvmKey::Code(code_hash)).is_none() {
                let code = analyse(file, code_hash, account.code.clone())?;
                pre.store.set(EvmKey::Code(code_hash), Some(EvmValue::Code(code)));
            }
            let slots = account.storage.iter().map(|(slot, value)| (*slot, *value));
            pre.put_account(*address, (account.balance, account.nonce, code_hash), slots);
        }
        Ok(pre)
    }

    /// Changes this state as `block` did. The block is that of any engine on this state.
    pub fn apply(&mut self, block: &ExecutedBlock) {
        for (address, diff) in &block.diff {
            let Some(info) = &diff.account else {
                self.0.remove(address);
                continue;
            };
            let account = self.0.entry(*address).or_default();
            (account.balance, account.nonce) = (info.balance, info.nonce);
            if let Some(code) = block.codes.get(&info.code_hash) {
                account.code = code.clone();
            } else if info.code_hash == KECCAK256_EMPTY {
                account.code = Bytes::new();
            } else if keccak256(&account.code) != info.code_hash {
                // Code that an account of this state has: a block lists what it deploys only if new to it.
                let known = self.0.values().find(|other| keccak256(&other.code) == info.code_hash);
                let code = known.map(|other| other.code.clone()).unwrap_or_default();
                self.0.entry(*address).or_default().code = code;
            }
            let account = self.0.entry(*address).or_default();
            if diff.wiped {
                account.storage.clear();
            }
            account.storage.extend(&diff.storage);
            account.storage.retain(|_, value| !value.is_zero());
        }
    }
}
