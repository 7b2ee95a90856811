//! Orders in order books.

use super::{
    Workload,
    contracts::{MARKET, call_data, entry, word},
    generate::{Generated, address},
    yard::Yard,
    zipf::Zipf,
};
use alloy_primitives::{Address, TxKind, U256};

/// Gas of an order, about.
pub(super) const GAS: u64 = 80_000;
/// Above what any order costs: it may match many.
const CALL_GAS: u64 = 5_000_000;
/// Units of base and of quote that each trader has deposited.
const DEPOSIT: u128 = 1 << 90;
/// The price level in the middle.
const MIDDLE: u64 = 128;
/// Most units of an order.
const MOST: u64 = 1_000_000;

/// A market, and who placed which order: its orders count from one in the order of the block.
struct Market {
    at: Address,
    owners: Vec<Address>,
}

/// The block. Traders begin with deposits and an empty book; an order that was matched before its owner
/// cancels it does not make the cancellation fail.
pub(super) fn block(workload: &Workload) -> Generated {
    let mut yard = Yard::bare(workload);
    let traders = yard.people("account", workload.at("traders"));
    let code = yard.code(&MARKET);
    let deploy = |index| {
        let at = address("market", index);
        yard.deploy(at, code, &[]);
        Market { at, owners: Vec::new() }
    };
    let mut markets: Vec<Market> = (0..workload.at("markets")).map(deploy).collect();
    let zipf = Zipf::new(markets.len() as u64, workload.at("zipf"));
    let ticks = workload.at("ticks");
    for _ in 0..yard.count {
        let market = &mut markets[zipf.pick(&mut yard.rng)];
        if !market.owners.is_empty() && yard.rng.percent(workload.at("cancels")) {
            // Of a recent one.
            let back = 1 + yard.rng.below(market.owners.len().min(50) as u64) as usize;
            let order = market.owners.len() - back;
            let data = call_data("cancel(uint256)", &[U256::from(order + 1)]);
            yard.send(market.owners[order], TxKind::Call(market.at), 0, data, CALL_GAS);
            continue;
        }
        let trader = yard.pick(&traders);
        for purse in [6, 7] {
            yard.slot(market.at, entry(purse, word(trader)), U256::from(DEPOSIT));
        }
        let bid = yard.rng.below(2);
        // Most orders rest on their side of the middle, some cross it.
        let distance = yard.rng.below(ticks + 1);
        let crosses = yard.rng.percent(30);
        let price = if (bid == 1) == crosses { MIDDLE + distance } else { MIDDLE - distance };
        let amount = 1 + yard.rng.below(MOST);
        let data = call_data("place(bool,uint256,uint256)", &[bid, price, amount].map(U256::from));
        market.owners.push(trader);
        yard.send(trader, TxKind::Call(market.at), 0, data, CALL_GAS);
    }
    yard.finish()
}
