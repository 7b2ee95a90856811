//! Mints of collections.

use super::{
    Workload,
    contracts::{COLLECTION, call_data, entry, word},
    generate::{Generated, address},
    yard::Yard,
    zipf::Zipf,
};
use alloy_primitives::{Address, B256, TxKind, U256};

/// Gas of a mint, about.
pub(super) const GAS: u64 = 95_000;
/// Gas of a mint above what each token costs.
const CALL_GAS: u64 = 100_000;
/// Above what each token costs.
const TOKEN_GAS: u64 = 30_000;
/// Tokens that were minted before the block.
const MINTED: u64 = 3000;

/// Puts a collection into the state before the block.
pub(super) fn collection(yard: &mut Yard, code: B256, index: u64) -> Address {
    let (at, owner) = (address("collection", index), address("early minter", index));
    let counts = [(U256::ZERO, U256::from(MINTED)), (entry(2, word(owner)), U256::from(MINTED))];
    yard.deploy(at, code, &counts);
    at
}

/// Appends a mint of so many tokens.
pub(super) fn mint(yard: &mut Yard, collection: Address, minter: Address, count: u64) {
    let data = call_data("mint(address,uint256)", &[word(minter), U256::from(count)]);
    yard.send(minter, TxKind::Call(collection), 0, data, CALL_GAS + count * TOKEN_GAS);
}

/// The block.
pub(super) fn block(workload: &Workload) -> Generated {
    let mut yard = Yard::bare(workload);
    let minters = yard.people("account", workload.at("minters"));
    let code = yard.code(&COLLECTION);
    let count = workload.at("collections");
    let collections: Vec<Address> = (0..count).map(|index| collection(&mut yard, code, index)).collect();
    let zipf = Zipf::new(count, workload.at("zipf"));
    for _ in 0..yard.count {
        let at = collections[zipf.pick(&mut yard.rng)];
        let (minter, tokens) = (yard.pick(&minters), 1 + yard.rng.below(workload.at("most")));
        mint(&mut yard, at, minter, tokens);
    }
    yard.finish()
}
