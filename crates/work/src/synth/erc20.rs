//! Calls of tokens.

use super::{
    Workload, WorkloadError,
    generate::{GWEI, Generated, address},
    token::{self, Token},
    transfers::Pairs,
    yard::Yard,
};
use alloy_primitives::{TxKind, U256};

/// Gas of a call, about: between holders that hold something before and after.
pub(super) const GAS: u64 = 34_900;
/// Above what any call costs.
const CALL_GAS: u64 = 100_000;

/// The block.
pub(super) fn block(workload: &Workload) -> Result<Generated, WorkloadError> {
    let mut yard = Yard::bare(workload);
    let holders = yard.people("account", workload.at("holders"));
    let families = workload.at("families") as usize;
    let groups: Vec<_> = holders.chunks_exact(holders.len() / families).take(families).collect();
    let mut tokens: Vec<Token> = Vec::new();
    for index in 0..workload.at("tokens") {
        tokens.push(Token::deploy(&mut yard, "token", index)?);
    }
    for (family, group) in groups.iter().enumerate() {
        let count = tokens.len();
        let held = if families > 1 { family % count..family % count + 1 } else { 0..count };
        for token in &mut tokens[held] {
            group.iter().for_each(|holder| token.fund(&mut yard, *holder));
        }
    }
    let pairs = Pairs::new(workload, groups[0].len() as u64);
    for index in 0..yard.count {
        let any = yard.rng.below(tokens.len() as u64) as usize;
        let family = if families > 1 { yard.rng.below(families as u64) as usize } else { 0 };
        let token = &tokens[if families > 1 { family % tokens.len() } else { any }];
        let group = groups[family];
        let (from, mut to) = pairs.pick(&mut yard, group);
        if yard.rng.percent(workload.at("cold")) {
            to = address("new holder", index);
        }
        let value = U256::from(1 + yard.rng.below(GWEI));
        let (caller, data) = match yard.rng.below(100) {
            0..90 => (from, token::transfer(to, value)),
            90..95 => (from, token::approve(to, value)),
            _ => {
                let spender = yard.pick(group);
                token.allow(&mut yard, from, spender);
                (spender, token::transfer_from(from, to, value))
            }
        };
        yard.send(caller, TxKind::Call(token.at), 0, data, CALL_GAS);
    }
    tokens.iter().for_each(|token| token.finish(&mut yard));
    Ok(yard.finish())
}
