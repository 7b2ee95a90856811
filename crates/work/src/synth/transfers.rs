//! Ether from account to account.

use super::{
    Workload,
    generate::{GWEI, Generated},
    yard::{TRANSFER_GAS, Yard},
    zipf::Zipf,
};
use alloy_primitives::{Address, Bytes, TxKind};

/// Who pays whom.
pub(super) struct Pairs {
    /// How many transactions in a hundred pay the first account.
    pub(super) hot: u64,
    /// How popular others are.
    pub(super) zipf: Zipf,
}

impl Pairs {
    /// Among groups of `count` accounts.
    pub(super) fn new(workload: &Workload, count: u64) -> Self {
        Pairs { hot: workload.at("hot"), zipf: Zipf::new(count, workload.at("zipf")) }
    }

    /// Two different accounts of a group: one that pays, and one that is paid.
    pub(super) fn pick(&self, yard: &mut Yard, group: &[Address]) -> (Address, Address) {
        let from = yard.rng.below(group.len() as u64) as usize;
        let to = if yard.rng.percent(self.hot) { 0 } else { self.zipf.pick(&mut yard.rng) % group.len() };
        let to = if to == from { (to + 1) % group.len() } else { to };
        (group[from], group[to])
    }
}

/// The block.
pub(super) fn block(workload: &Workload) -> Generated {
    let mut yard = Yard::bare(workload);
    let accounts = yard.people("account", workload.at("accounts"));
    let pairs = Pairs::new(workload, accounts.len() as u64);
    for _ in 0..yard.count {
        let (from, to) = pairs.pick(&mut yard, &accounts);
        let value = 1 + yard.rng.below(GWEI);
        yard.send(from, TxKind::Call(to), value, Bytes::new(), TRANSFER_GAS);
    }
    yard.finish()
}
