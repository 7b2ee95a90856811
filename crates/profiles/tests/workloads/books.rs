//! Order books: held against a book that is kept here.

use super::{
    chain::{Chain, address, argument, entry, word},
    common::engine,
    seeded,
};
use alloy_primitives::{Address, U256};
use braid_evm::Status;
use std::collections::{BTreeMap, VecDeque};

/// An order that rests or rested.
struct Order {
    owner: Address,
    bid: bool,
    price: u64,
    left: u128,
}

/// A book by the letter of what a limit order is.
#[derive(Default)]
struct Book {
    orders: Vec<Order>,
    /// By side (bids second) and price, in order of time.
    levels: [BTreeMap<u64, VecDeque<usize>>; 2],
    /// Changes of deposits by trader: base, quote.
    deposits: BTreeMap<Address, [i128; 2]>,
    trades: usize,
    cancelled: usize,
}

impl Book {
    fn give(&mut self, who: Address, which: usize, amount: i128) {
        self.deposits.entry(who).or_default()[which] += amount;
    }

    fn best(&mut self, bids: bool) -> Option<u64> {
        let levels = &mut self.levels[usize::from(bids)];
        let orders = &self.orders;
        levels.values_mut().for_each(|queue| queue.retain(|order| orders[*order].left > 0));
        levels.retain(|_, queue| !queue.is_empty());
        if bids { levels.keys().next_back().copied() } else { levels.keys().next().copied() }
    }

    fn place(&mut self, owner: Address, bid: bool, price: u64, amount: u128) {
        let mut left = amount;
        let cost = if bid { amount * u128::from(price) } else { amount };
        self.give(owner, usize::from(bid), -(cost as i128));
        while left > 0 {
            let Some(best) = self.best(!bid) else { break };
            if (bid && best > price) || (!bid && best < price) {
                break;
            }
            let maker = self.levels[usize::from(!bid)][&best][0];
            let traded = left.min(self.orders[maker].left);
            let (other, quote) = (self.orders[maker].owner, (traded * u128::from(best)) as i128);
            let (buyer, seller) = if bid { (owner, other) } else { (other, owner) };
            self.give(buyer, 0, traded as i128);
            self.give(seller, 1, quote);
            if bid {
                self.give(owner, 1, (traded * u128::from(price - best)) as i128);
            }
            self.orders[maker].left -= traded;
            left -= traded;
            self.trades += 1;
        }
        self.orders.push(Order { owner, bid, price, left });
        if left > 0 {
            let queue = self.levels[usize::from(bid)].entry(price).or_default();
            queue.push_back(self.orders.len() - 1);
        }
    }

    fn cancel(&mut self, id: usize) {
        let order = &mut self.orders[id];
        let (owner, bid, left) = (order.owner, order.bid, order.left as i128);
        let back = if bid { left * i128::from(order.price) } else { left };
        order.left = 0;
        self.cancelled += usize::from(left > 0);
        self.give(owner, usize::from(bid), back);
    }
}

fn check(text: &str, markets: u64, seed: u64) -> (usize, usize) {
    let chain = Chain::run(&seeded(text, seed), &mut engine("serial", 1));
    let failed = chain.block.results.iter().position(|result| result.status != Status::Success);
    assert_eq!(failed, None, "{text} BRAID_SEED={seed}");
    let (mut trades, mut cancelled) = (0, 0);
    for market in (0..markets).map(|index| address("market", index)) {
        let mut book = Book::default();
        for tx in chain.case.input.txs.iter().filter(|tx| tx.kind.to() == Some(&market)) {
            if tx.data.len() == 36 {
                book.cancel(argument(&tx.data, 0).to::<usize>() - 1);
            } else {
                let bid = argument(&tx.data, 0) == U256::from(1);
                book.place(tx.caller, bid, argument(&tx.data, 1).to(), argument(&tx.data, 2).to());
            }
        }
        assert_eq!(chain.after(market, U256::ZERO), U256::from(book.orders.len()), "{text}");
        for (index, order) in book.orders.iter().enumerate() {
            let left = chain.after(market, entry(4, U256::from(index + 1)));
            assert_eq!(left, U256::from(order.left), "{text} BRAID_SEED={seed}: order {index}");
        }
        for (who, changes) in &book.deposits {
            for (mapping, change) in [6, 7].into_iter().zip(changes) {
                let slot = entry(mapping, word(*who));
                let before: u128 = chain.before(market, slot).to();
                let after = U256::from(before.strict_add_signed(*change));
                assert_eq!(chain.after(market, slot), after, "{text} BRAID_SEED={seed}: {who} {mapping}");
            }
        }
        // The bits of the levels.
        for (slot, bids) in [(1_u64, true), (2, false)] {
            book.best(bids);
            let levels = book.levels[usize::from(bids)].keys();
            let bits = levels.fold(U256::ZERO, |bits, price| bits | U256::from(1) << *price);
            assert_eq!(chain.after(market, U256::from(slot)), bits, "{text} BRAID_SEED={seed}: levels");
        }
        (trades, cancelled) = (trades + book.trades, cancelled + book.cancelled);
    }
    (trades, cancelled)
}

#[test]
fn markets_match_as_a_book_does() {
    for seed in super::schedule_seeds(3) {
        let (trades, cancelled) = check("orderbook?txs=400&traders=12&cancels=35&ticks=3", 1, seed);
        assert!(trades > 50 && cancelled > 20, "{trades} trades, {cancelled} cancelled");
        check("orderbook?txs=400&traders=30&markets=5&zipf=1", 5, seed);
    }
}
