//! Blocks like those of mainnet: classes of transactions, their gas, who sends them, and where to.
//!
//! Shares are per thousand transactions. Those of `era=2022` are from the 31 consecutive blocks from
//! 15,000,001 on, those of `era=2026` from ten consecutive ones of June 2026.

mod calls;
mod dress;

use super::{
    Workload, WorkloadError,
    contracts::{APPLICATION, COLLECTION, PAIR},
    generate::{GWEI, Generated, address},
    mint,
    swaps::{self, Pool},
    token::Token,
    yard::{TRANSFER_GAS, Yard},
    zipf::Zipf,
};
use alloy_primitives::{Address, Bytes, TxKind};

/// Gas of a transaction, about, by era.
pub(super) const GAS: [u64; 2] = [66_000, 55_000];
/// Which value of the parameter `era` is 2022.
pub(super) const ERA_2022: u64 = 0;

/// What a transaction is, as far as `to` and selector tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Plain,
    Transfer,
    TransferFrom,
    Approve,
    Router,
    Other,
    Create,
}

const CLASSES: [Class; 7] = [
    Class::Plain,
    Class::Transfer,
    Class::TransferFrom,
    Class::Approve,
    Class::Router,
    Class::Other,
    Class::Create,
];

/// What blocks of a time are like.
struct Era {
    /// Shares of the classes, in the order of [`CLASSES`].
    classes: [u64; 7],
    /// Transactions of types 0 (legacy), 1 (access list), 3 (blobs) and 4 (EIP-7702); the others are of type 2.
    types: [u64; 4],
    /// By senders that have sent before in the block.
    again: u64,
    /// By the largest sender; among those.
    largest: u64,
    /// That fail.
    failing: u64,
    /// Exponents of the popularity of tokens, and of other contracts.
    zipf: [u64; 2],
    /// Calls by no common interface that mint. Per thousand of those.
    mints: u64,
    /// Tokens that go to who receives many; calls of applications about what all share. Per thousand of those.
    hot: [u64; 2],
    /// Bytes of payload of calls by no common interface: (per thousand of them, at most), in between linear.
    payload: &'static [(u64, u64)],
}

const ERAS: [Era; 2] = [
    Era {
        classes: [391, 138, 124, 28, 40, 278, 1],
        types: [90, 2, 0, 0],
        again: 190,
        largest: 140,
        failing: 28,
        zipf: [2700, 1700],
        mints: 150,
        hot: [150, 150],
        payload: &[(0, 0), (600, 0), (850, 700), (970, 2000), (1000, 8000)],
    },
    Era {
        classes: [487, 249, 8, 31, 30, 193, 2],
        types: [160, 2, 4, 8],
        again: 100,
        largest: 40,
        failing: 28,
        zipf: [3000, 2100],
        mints: 60,
        hot: [350, 600],
        payload: &[(0, 0), (340, 64), (600, 500), (870, 2200), (970, 8000), (1000, 24_000)],
    },
];

const TOKENS: u64 = 60;
const POOLS: u64 = 40;
const APPLICATIONS: u64 = 150;
const COLLECTIONS: u64 = 10;
/// Accounts that many pay, such as those of exchanges.
const POPULAR: u64 = 150;

/// A block under construction.
struct Mainnet {
    era: &'static Era,
    yard: Yard,
    tokens: Vec<Token>,
    pools: Vec<Pool>,
    router: Address,
    applications: Vec<Address>,
    collections: Vec<Address>,
    popular: Vec<Address>,
    popularity: Popularity,
    /// The largest sender.
    exchange: Address,
    /// Others that have sent.
    senders: Vec<Address>,
    /// Accounts, keys and so on that were given out.
    fresh: u64,
    /// Transactions with blobs that the block may yet have.
    blobs: u64,
}

struct Popularity {
    tokens: Zipf,
    pools: Zipf,
    contracts: Zipf,
    popular: Zipf,
    receivers: Zipf,
}

/// The block.
pub(super) fn block(workload: &Workload) -> Result<Generated, WorkloadError> {
    let era = &ERAS[(workload.at("era") as usize).min(1)];
    let mut mainnet = Mainnet::new(era, Yard::bare(workload))?;
    for _ in 0..workload.at("txs") {
        mainnet.step();
    }
    let Mainnet { mut yard, tokens, pools, .. } = mainnet;
    let pooled = pools.iter().flat_map(|pool| &pool.tokens);
    tokens.iter().chain(pooled).for_each(|token| token.finish(&mut yard));
    Ok(yard.finish())
}

impl Mainnet {
    fn new(era: &'static Era, mut yard: Yard) -> Result<Self, WorkloadError> {
        let router = swaps::router(&mut yard);
        let codes = [&PAIR, &APPLICATION, &COLLECTION].map(|code| yard.code(code));
        let mut tokens = Vec::new();
        for index in 0..TOKENS {
            tokens.push(Token::deploy(&mut yard, "token", index)?);
        }
        let mut pools = Vec::new();
        for index in 0..POOLS {
            let pair = [
                Token::deploy(&mut yard, "pooled token", 2 * index)?,
                Token::deploy(&mut yard, "pooled token", 2 * index + 1)?,
            ];
            pools.push(Pool::new(&mut yard, router, codes[0], index, pair));
        }
        let applications: Vec<Address> =
            (0..APPLICATIONS).map(|index| address("application", index)).collect();
        applications.iter().for_each(|at| yard.deploy(*at, codes[1], &[]));
        let collections =
            (0..COLLECTIONS).map(|index| mint::collection(&mut yard, codes[2], index)).collect();
        let popular = yard.people("popular", POPULAR);
        let exchange = yard.people("exchange", 1)[0];
        let popularity = Popularity {
            tokens: Zipf::new(TOKENS, era.zipf[0]),
            pools: Zipf::new(POOLS, 600),
            contracts: Zipf::new(APPLICATIONS, era.zipf[1]),
            popular: Zipf::new(POPULAR, 800),
            receivers: Zipf::new(POPULAR, 1300),
        };
        let blobs = dress::max_blobs();
        let (senders, fresh) = (Vec::new(), 0);
        Ok(Mainnet {
            era,
            yard,
            tokens,
            pools,
            router,
            applications,
            collections,
            popular,
            popularity,
            exchange,
            senders,
            fresh,
            blobs,
        })
    }

    /// True so many times in a thousand.
    fn chance(&mut self, thousandths: u64) -> bool {
        self.yard.rng.below(1000) < thousandths
    }

    /// A number that was not there before.
    fn next(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh
    }

    /// A new account with a balance.
    fn person(&mut self) -> Address {
        let who = address("account", self.next());
        self.yard.person(who);
        who
    }

    fn class(&mut self) -> Class {
        let mut draw = self.yard.rng.below(self.era.classes.iter().sum());
        for (class, share) in CLASSES.into_iter().zip(self.era.classes) {
            if draw < share {
                return class;
            }
            draw -= share;
        }
        Class::Plain
    }

    /// The largest sender pays out; of the others some have sent before, not long ago.
    fn sender(&mut self, class: Class) -> Address {
        let [plain, transfer, ..] = self.era.classes;
        let pays_out = class == Class::Plain || class == Class::Transfer;
        if pays_out && self.chance(self.era.largest * 1000 / (plain + transfer)) {
            return self.exchange;
        }
        let again = (self.era.again - self.era.largest) * 1000 / (1000 - self.era.largest);
        if !self.senders.is_empty() && self.chance(again) {
            let back = self.yard.rng.below(self.senders.len().min(30) as u64) as usize;
            return self.senders[self.senders.len() - 1 - back];
        }
        let who = self.person();
        self.senders.push(who);
        who
    }

    fn step(&mut self) {
        let class = self.class();
        let from = self.sender(class);
        // What may fail takes its share of failures, and that of what cannot.
        let [plain, _, _, approve, _, _, create] = self.era.classes;
        let may = !matches!(class, Class::Plain | Class::Approve | Class::Create);
        let fails = may && self.chance(self.era.failing * 1000 / (1000 - plain - approve - create));
        match class {
            Class::Plain => self.pay(from),
            Class::Transfer => self.transfer(from, fails),
            Class::TransferFrom => self.transfer_from(from, fails),
            Class::Approve => self.approve(from),
            Class::Router => {
                let at = self.popularity.pools.pick(&mut self.yard.rng);
                self.pools[at].swap(&mut self.yard, self.router, from, fails);
            }
            Class::Other => self.other(from, fails),
            Class::Create => self.create(from),
        }
        self.dress(class);
    }

    /// Ether to a popular account, to someone else, or to an account that is not there yet.
    fn pay(&mut self, from: Address) {
        let to = match self.yard.rng.below(100) {
            0..50 => self.popular[self.popularity.popular.pick(&mut self.yard.rng)],
            50..85 => self.person(),
            _ => address("account", self.next()),
        };
        let value = 1 + self.yard.rng.below(GWEI);
        self.yard.send(from, TxKind::Call(to), value, Bytes::new(), TRANSFER_GAS);
    }
}
