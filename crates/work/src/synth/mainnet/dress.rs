//! Types of transactions.

use super::{
    super::generate::{BASE_FEE, TIMESTAMP, TIP},
    Class, Mainnet,
};
use crate::load::fork;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{B256, TxKind, U256, keccak256};
use revm::{context::TransactionType, primitives::hardfork::SpecId};

/// Gas of a blob (EIP-4844).
const BLOB_GAS: u64 = 1 << 17;
/// Above what an access list of one slot, or an authorization, costs.
const EXTRA_GAS: u64 = 60_000;

/// Blobs that a block of the workloads' time may have.
pub(super) fn max_blobs() -> u64 {
    let params = fork::blob_params_at(fork::MAINNET, SpecId::OSAKA, TIMESTAMP);
    params.map_or(0, |params| params.max_blob_gas_per_block() / BLOB_GAS)
}

impl Mainnet {
    /// Gives the last transaction, which is of type 2, another type, if it is one that has one.
    pub(super) fn dress(&mut self, class: Class) {
        let [legacy, listed, blobs, delegated] = self.era.types;
        // What costs gas is not for those that are to cost 21,000.
        let [plain, .., create] = self.era.classes;
        let calls = !matches!(class, Class::Plain | Class::Create);
        let among_calls = |share: u64| share * 1000 / (1000 - plain - create);
        if self.chance(legacy) {
            self.change(TransactionType::Legacy);
        } else if calls && self.chance(among_calls(listed)) {
            self.list();
        } else if calls && self.chance(among_calls(delegated)) {
            self.delegate();
        } else if class != Class::Create && self.blobs > 0 && self.chance(blobs) {
            self.blobs -= 1;
            let hash = keccak256(self.next().to_be_bytes());
            self.change(TransactionType::Eip4844);
            if let Some(tx) = self.yard.txs.last_mut() {
                // A versioned hash.
                let mut versioned = hash.0;
                versioned[0] = 1;
                tx.blob_hashes = vec![B256::from(versioned)];
                tx.max_fee_per_blob_gas = u128::from(TIP);
            }
        }
    }

    fn change(&mut self, to: TransactionType) {
        let Some(tx) = self.yard.txs.last_mut() else { return };
        tx.tx_type = to as u8;
        if matches!(to, TransactionType::Legacy | TransactionType::Eip2930) {
            tx.gas_priority_fee = None;
            tx.gas_price = u128::from(BASE_FEE + TIP);
        }
    }

    /// An access list of the callee and one of its slots.
    fn list(&mut self) {
        self.change(TransactionType::Eip2930);
        let Some(tx) = self.yard.txs.last_mut() else { return };
        if let TxKind::Call(address) = tx.kind {
            let item = AccessListItem { address, storage_keys: vec![B256::from(U256::ZERO)] };
            tx.access_list = AccessList(vec![item]);
            tx.gas_limit += EXTRA_GAS;
        }
    }

    /// An account that delegates to an application.
    fn delegate(&mut self) {
        let authority = self.person();
        let to = self.applications[0];
        self.yard.authorize(&[(authority, to, 0)]);
        if let Some(tx) = self.yard.txs.last_mut() {
            tx.gas_limit += EXTRA_GAS;
        }
    }
}
