//! State from `debug_executionWitness`: trie nodes below the parent's state root.

use crate::{
    FetchError,
    answer::WitnessAnswer,
    block::{Ancestors, tag},
    origin::Origin,
    rpc::Client,
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use braid_evm::AccountState;
use braid_store::trie::{PartialTrie, TrieError, TrieNodes};
use braid_work::Witness;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

const METHOD: &str = "debug_executionWitness";

/// The state of a witness. Its answers are proven: every node is reached by hash from the parent's state
/// root, and the parent by hash from the block.
pub(crate) struct WitnessOrigin<'c, 'a> {
    client: &'c mut Client<'a>,
    number: u64,
    ancestors: Ancestors,
    root: B256,
    nodes: TrieNodes,
    codes: HashMap<B256, Bytes>,
    storage_roots: BTreeMap<Address, B256>,
}

/// Asks for the witness of block `number`.
pub(crate) fn ask<'c, 'a>(
    client: &'c mut Client<'a>,
    number: u64,
    parent_hash: B256,
) -> Result<(WitnessOrigin<'c, 'a>, Witness), FetchError> {
    let answer: Option<WitnessAnswer> = client.call(METHOD, json!([tag(number)]))?;
    let incomplete = |reason: &str| FetchError::Incomplete { number, reason: reason.into() };
    let answer = answer.ok_or_else(|| incomplete("the node has none"))?;
    let mut ancestors = Ancestors::new(number, parent_hash);
    ancestors.offer(answer.headers.unwrap_or_default());
    let root = ancestors.parent(client)?.state_root;
    let mut nodes = answer.state.0;
    // The same case whatever the order in which a node lists them.
    nodes.sort_unstable();
    nodes.dedup();
    let witness = Witness { pre_state_root: root, nodes };
    let codes = answer.codes.0.into_iter().map(|code| (keccak256(&code), code)).collect();
    let nodes = witness.nodes.iter().cloned().collect();
    let storage_roots = BTreeMap::new();
    Ok((WitnessOrigin { client, number, ancestors, root, nodes, codes, storage_roots }, witness))
}

impl WitnessOrigin<'_, '_> {
    fn error(&self, of: Address, error: &TrieError) -> FetchError {
        let (number, reason) = (self.number, format!("account {of}: {error}"));
        match error {
            TrieError::Blinded { .. } => FetchError::Incomplete { number, reason },
            TrieError::Malformed { .. } => FetchError::Check { number, check: "witness", reason },
        }
    }
}

impl Origin for WitnessOrigin<'_, '_> {
    fn account(&mut self, address: Address) -> Result<Option<AccountState>, FetchError> {
        let trie = PartialTrie::new(self.root, &self.nodes);
        let found = trie.get(keccak256(address)).map_err(|error| self.error(address, &error))?;
        let Some(rlp) = found else { return Ok(None) };
        let account = TrieAccount::decode(&mut rlp.as_slice()).map_err(|error| FetchError::Check {
            number: self.number,
            check: "witness",
            reason: format!("account {address}: {error}"),
        })?;
        self.storage_roots.insert(address, account.storage_root);
        Ok(Some(AccountState {
            exists: true,
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            generation: 0,
            has_storage: account.storage_root != EMPTY_ROOT_HASH,
        }))
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, FetchError> {
        let root = self.storage_roots.get(&address).copied().unwrap_or(EMPTY_ROOT_HASH);
        let trie = PartialTrie::new(root, &self.nodes);
        let key = keccak256(slot.to_be_bytes::<32>());
        let found = trie.get(key).map_err(|error| self.error(address, &error))?;
        let Some(rlp) = found else { return Ok(U256::ZERO) };
        U256::decode(&mut rlp.as_slice()).map_err(|error| FetchError::Check {
            number: self.number,
            check: "witness",
            reason: format!("slot {slot:#x} of {address}: {error}"),
        })
    }

    /// Of the witness; or by `eth_getCode`, for an account that is in the state without its code being
    /// run.
    fn code(&mut self, address: Address, hash: B256) -> Result<Bytes, FetchError> {
        match self.codes.get(&hash) {
            Some(code) => Ok(code.clone()),
            None => {
                let parent = tag(self.number.saturating_sub(1));
                self.client.call("eth_getCode", json!([address, parent]))
            }
        }
    }

    fn block_hashes(&mut self, first: u64) -> Result<BTreeMap<u64, B256>, FetchError> {
        self.ancestors.hashes(self.client, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, discover::discover, origin::Recorder, rpc::Manners};
    use braid_core::Control;
    use braid_evm::EvmValue;
    use braid_profiles::{Engine, LeanEngine};
    use std::{sync::atomic::AtomicBool, time::Duration};

    /// The real witnesses come without their parents' headers, so that the root is taken from the case.
    #[test]
    fn real_witnesses_lead_to_the_real_roots() {
        let Some(data) = braid_testkit::data() else { return };
        let cancel = AtomicBool::new(false);
        // Nobody is there: a witness with all codes needs no other answers.
        let endpoint = Endpoint::new("http://127.0.0.1:1", &[]).expect("an endpoint");
        let manners = Manners { rate: None, retries: 0, timeout: Duration::from_secs(1), max_bytes: 1 };
        let mut client = Client::new(endpoint, manners, &cancel);
        let mut roots = 0;
        let folders = ["ethereum/mainnet", "ethereum/holesky"].map(|name| data.join(name));
        for source in folders.iter().flat_map(|folder| braid_work::load(folder).expect("cases")) {
            let mut case = source.load().expect("a case");
            let Some(witness) = case.expect.witness.clone() else { continue };
            let number = u64::try_from(case.input.env.number).expect("a number");
            let pre = case.state().expect("a state").clone();
            let code = |(_, value): (_, &EvmValue)| match value {
                EvmValue::Code(code) => Some((code.hash_slow(), code.original_bytes())),
                _ => None,
            };
            let origin = WitnessOrigin {
                client: &mut client,
                number,
                ancestors: Ancestors::new(number, B256::ZERO),
                root: witness.pre_state_root,
                nodes: witness.nodes.iter().cloned().collect(),
                codes: pre.store.iter().filter_map(code).collect(),
                storage_roots: BTreeMap::new(),
            };
            let recorder = Recorder::new(number, Box::new(origin));
            let mut input = case.input.clone();
            let found =
                discover(number, &mut input, &recorder, &cancel).unwrap_or_else(|error| panic!("{error}"));
            let pre = found.touched.pre_state(number, input.block_hashes.clone()).expect("a state");
            let ran = LeanEngine.execute(&input, &pre, &Control::default());
            let done = ran.unwrap_or_else(|error| panic!("{number}: {error}")).into_block(&pre);
            case.pre = Some(std::sync::Arc::new(pre));
            let checks = braid_work::verify(&case, &done);
            assert!(checks.passed() && checks.state_root == Some(true), "{number}: {checks}");
            roots += 1;
        }
        assert!(roots >= 12, "only {roots} witnesses");
    }
}
