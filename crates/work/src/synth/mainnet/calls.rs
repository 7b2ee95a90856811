//! Calls of contracts, and creations.

use super::{
    super::{
        asm::Asm,
        contracts::{APPLICATION, COLLECTION, call_data, entry, word},
        generate::{GWEI, TIMESTAMP},
        mint, token,
    },
    Mainnet,
};
use alloy_primitives::{Address, Bytes, TxKind, U256};

/// Gas of calls by no common interface: (per thousand of them, at most), in between linear. With the other
/// classes this gives the gas of June 2022.
const GAS: [(u64, u64); 10] = [
    (0, 28_000),
    (120, 42_000),
    (240, 58_000),
    (420, 105_000),
    (570, 160_000),
    (780, 218_000),
    (920, 340_000),
    (980, 520_000),
    (996, 1_300_000),
    (1000, 3_000_000),
];
/// Above what any call of a token costs.
const TOKEN_GAS: u64 = 100_000;
// Gas of an application's call that does nothing, of one entry that is read, of one that is changed, of one
// that is new, of moving a token, of a round.
const BASE: u64 = 25_500;
const READ: u64 = 2_300;
const CHANGE: u64 = 5_250;
const NEW: u64 = 22_350;
const MOVE: u64 = 19_000;
const ROUND: u64 = 127;

/// The value at a place in a table.
fn look_up(table: &[(u64, u64)], place: u64) -> u64 {
    let after = table.partition_point(|(at, _)| *at <= place).clamp(1, table.len() - 1);
    let ((left, low), (right, high)) = (table[after - 1], table[after]);
    low + (high - low) * (place - left) / (right - left)
}

impl Mainnet {
    fn token(&mut self) -> usize {
        self.popularity.tokens.pick(&mut self.yard.rng)
    }

    /// Who receives a token: someone whom many pay, a holder, or one who holds none yet.
    fn receiver(&mut self, token: usize) -> Address {
        let many = self.chance(self.era.hot[0]);
        let to = match many {
            true => self.popular[self.popularity.receivers.pick(&mut self.yard.rng)],
            false => self.person(),
        };
        if many || self.chance(550) {
            self.tokens[token].fund(&mut self.yard, to);
        }
        to
    }

    /// How much: more than anyone has, if it is to fail.
    fn amount(&mut self, fails: bool) -> U256 {
        if fails { U256::from(1) << 128 } else { U256::from(1 + self.yard.rng.below(GWEI)) }
    }

    pub(super) fn transfer(&mut self, from: Address, fails: bool) {
        let token = self.token();
        let to = self.receiver(token);
        let data = token::transfer(to, self.amount(fails));
        self.tokens[token].fund(&mut self.yard, from);
        self.yard.send(from, TxKind::Call(self.tokens[token].at), 0, data, TOKEN_GAS);
    }

    pub(super) fn transfer_from(&mut self, spender: Address, fails: bool) {
        let token = self.token();
        let (owner, to) = (self.person(), self.receiver(token));
        let data = token::transfer_from(owner, to, self.amount(fails));
        self.tokens[token].fund(&mut self.yard, owner);
        self.tokens[token].allow(&mut self.yard, owner, spender);
        self.yard.send(spender, TxKind::Call(self.tokens[token].at), 0, data, TOKEN_GAS);
    }

    pub(super) fn approve(&mut self, from: Address) {
        let token = self.token();
        let data = token::approve(self.router, U256::MAX);
        self.yard.send(from, TxKind::Call(self.tokens[token].at), 0, data, TOKEN_GAS);
    }

    pub(super) fn create(&mut self, from: Address) {
        let code = if self.chance(500) { &COLLECTION } else { &APPLICATION };
        let init = Asm::default().op(code).deployer();
        self.yard.send(from, TxKind::Create, 0, init, 2_000_000);
    }

    /// A mint, or an application's call.
    pub(super) fn other(&mut self, from: Address, fails: bool) {
        if !fails && self.chance(self.era.mints) {
            let at = self.yard.rng.below(self.collections.len() as u64) as usize;
            let count = 1 + self.yard.rng.below(2);
            return mint::mint(&mut self.yard, self.collections[at], from, count);
        }
        let at = self.applications[self.popularity.contracts.pick(&mut self.yard.rng)];
        // Large inputs and much gas go together.
        let place = self.yard.rng.below(1000);
        let (target, payload) = (look_up(&GAS, place), look_up(self.era.payload, place));
        let payload = self.payload(payload);
        let spent = BASE + 8 * payload.len() as u64;
        let moves = target > spent + MOVE && self.chance(450);
        let left = target.saturating_sub(spent + if moves { MOVE } else { 0 });
        let (reads, changes) = ((left / 40_000).min(10), (left / 50_000).min(6));
        let new = u64::from(left > 2 * NEW && self.chance(400));
        let work = left.saturating_sub(reads * READ + changes * CHANGE + new * NEW) / ROUND;
        // A few keys are everyone's. Counters at the end of the range are new.
        let shared = self.chance(self.era.hot[1]);
        let key = if shared { 64 * self.yard.rng.below(3) } else { 64 * (self.next() + 1000) };
        for index in key..key + changes {
            self.yard.slot(at, entry(1, U256::from(index)), U256::from(1 + index % 5));
        }
        let mut token = U256::ZERO;
        if moves {
            let chosen = self.token();
            let asset = &mut self.tokens[chosen];
            token = word(asset.at);
            asset.fund(&mut self.yard, from);
            asset.fund(&mut self.yard, Address::from_word((word(at) + U256::from(key & 7)).into()));
            asset.allow(&mut self.yard, from, at);
        }
        let deadline = if fails { TIMESTAMP - 1 } else { TIMESTAMP + 600 };
        let numbers = [key, reads, changes + new, work].map(U256::from);
        let [a, b, c, d] = numbers;
        let length = U256::from(payload.len());
        let head = [a, b, c, d, token, U256::from(deadline), U256::from(224), length];
        let signature = "execute(uint256,uint256,uint256,uint256,address,uint256,bytes)";
        let data = [&call_data(signature, &head)[..], &payload[..]].concat();
        let limit = (target + target / 4).max(spent * 3 + 100_000);
        self.yard.send(from, TxKind::Call(at), 0, Bytes::from(data), limit);
    }

    /// Bytes of which three quarters are zero, as in most inputs.
    fn payload(&mut self, length: u64) -> Vec<u8> {
        let words = length.div_ceil(32);
        let word = |_| U256::from(self.yard.rng.next()).to_be_bytes::<32>();
        (0..words).flat_map(word).collect()
    }
}
