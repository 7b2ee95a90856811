//! Swaps in pools.

use super::{
    Workload, WorkloadError,
    contracts::{PAIR, ROUTER, call_data, pair_slot, word},
    generate::{Generated, TIMESTAMP, address},
    token::Token,
    yard::Yard,
    zipf::Zipf,
};
use alloy_primitives::{Address, B256, TxKind, U256};

/// Gas of a swap, about.
pub(super) const GAS: u64 = 83_000;
/// Above what any swap costs.
const SWAP_GAS: u64 = 300_000;
/// Units of each token in a pool. A block's swaps hardly move its price.
const RESERVE: u128 = 1 << 90;
/// Most units that are swapped at once.
const MOST: u64 = 1_000_000_000_000_000_000;

/// A pool in the state before the block.
pub(super) struct Pool {
    /// The tokens, the lower address first.
    pub(super) tokens: [Token; 2],
}

impl Pool {
    /// A pool of two tokens that the router knows.
    pub(super) fn new(
        yard: &mut Yard,
        router: Address,
        pair_code: B256,
        index: u64,
        mut tokens: [Token; 2],
    ) -> Self {
        let at = address("pool", index);
        tokens.sort_by_key(|token| token.at);
        tokens.iter_mut().for_each(|token| token.give(yard, at, RESERVE));
        let [first, second] = [word(tokens[0].at), word(tokens[1].at)];
        // The last swap was a slot of time ago.
        let packed = U256::from(RESERVE) | U256::from(RESERVE) << 112 | U256::from(TIMESTAMP - 12) << 224;
        let slots = [first, second, packed, U256::from(1_u64 << 40), U256::from(1_u64 << 41), U256::ONE];
        let slots: Vec<_> =
            slots.into_iter().enumerate().map(|(at, value)| (U256::from(at), value)).collect();
        yard.deploy(at, pair_code, &slots);
        yard.slot(router, pair_slot(first, second), word(at));
        Pool { tokens }
    }

    /// Appends a swap in either direction; the trader gets what is needed for it.
    pub(super) fn swap(&mut self, yard: &mut Yard, router: Address, trader: Address, fails: bool) {
        let direction = yard.rng.below(2) as usize;
        for token in &mut self.tokens {
            token.fund(yard, trader);
        }
        self.tokens[direction].allow(yard, trader, router);
        let amount = 1 + MOST / 2 + yard.rng.below(MOST / 2);
        let least = if fails { 2 * MOST } else { amount / 2 };
        let path = [&self.tokens[direction], &self.tokens[1 - direction]].map(|token| word(token.at));
        let numbers = [amount, least, 160].map(U256::from);
        let deadline = U256::from(TIMESTAMP + 600);
        let head = [numbers[0], numbers[1], numbers[2], word(trader), deadline, U256::from(2)];
        let signature = "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)";
        let data = call_data(signature, &[&head[..], &path[..]].concat());
        yard.send(trader, TxKind::Call(router), 0, data, SWAP_GAS);
    }
}

/// The router, with no pools.
pub(super) fn router(yard: &mut Yard) -> Address {
    let (at, code) = (address("router", 0), yard.code(&ROUTER));
    yard.deploy(at, code, &[]);
    at
}

/// The block.
pub(super) fn block(workload: &Workload) -> Result<Generated, WorkloadError> {
    let mut yard = Yard::bare(workload);
    let count = workload.at("pools");
    let share = (workload.at("traders") / count).max(1);
    let router = router(&mut yard);
    let pair_code = yard.code(&PAIR);
    let mut pools = Vec::new();
    for index in 0..count {
        let tokens = [
            Token::deploy(&mut yard, "token", 2 * index)?,
            Token::deploy(&mut yard, "token", 2 * index + 1)?,
        ];
        pools.push(Pool::new(&mut yard, router, pair_code, index, tokens));
    }
    let zipf = Zipf::new(count, workload.at("zipf"));
    for _ in 0..yard.count {
        let at = zipf.pick(&mut yard.rng);
        let trader = address("trader", at as u64 * share + yard.rng.below(share));
        yard.person(trader);
        pools[at].swap(&mut yard, router, trader, false);
    }
    pools.iter().flat_map(|pool| &pool.tokens).for_each(|token| token.finish(&mut yard));
    Ok(yard.finish())
}
