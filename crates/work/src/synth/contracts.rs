//! The contracts that are written in Yul, assembled, and how they are called.

use super::yul;
use alloy_primitives::{Address, Bytes, U256, keccak256};
use std::sync::LazyLock;

macro_rules! contract {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Bytes> = LazyLock::new(|| {
            let program = yul::compile(include_str!(concat!("contracts/", $file)));
            program.unwrap_or_else(|error| panic!("{}: {error}", $file)).code()
        });
    };
}

contract!(
    /// A pool of two tokens.
    PAIR,
    "pair.yul"
);
contract!(
    /// Swaps along pools.
    ROUTER,
    "router.yul"
);
contract!(
    /// Tokens with an owner each.
    COLLECTION,
    "collection.yul"
);
contract!(
    /// A market with an order book.
    MARKET,
    "market.yul"
);
contract!(
    /// Computation.
    COMPUTE,
    "compute.yul"
);
contract!(
    /// A bit of everything.
    APPLICATION,
    "application.yul"
);

/// The input of a call: the selector of this signature, then the arguments, one word each.
pub(super) fn call_data(signature: &str, arguments: &[U256]) -> Bytes {
    let mut data = keccak256(signature)[..4].to_vec();
    data.extend(arguments.iter().flat_map(|word| word.to_be_bytes::<32>()));
    data.into()
}

/// An address as an argument.
pub(super) fn word(address: Address) -> U256 {
    U256::from_be_bytes(address.into_word().0)
}

/// Slot of a mapping's entry in Solidity's layout: keccak256 of key and the mapping's slot.
pub(super) fn entry(mapping: u64, key: U256) -> U256 {
    pair_slot(key, U256::from(mapping))
}

/// keccak256 of two words, as a slot.
pub(super) fn pair_slot(first: U256, second: U256) -> U256 {
    U256::from_be_bytes(keccak256([first.to_be_bytes::<32>(), second.to_be_bytes::<32>()].concat()).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_contracts_assemble_within_the_limit_of_code() {
        for code in [&PAIR, &ROUTER, &COLLECTION, &MARKET, &COMPUTE, &APPLICATION] {
            // EIP-170.
            assert!((100..24_576).contains(&code.len()), "{}", code.len());
        }
    }

    #[test]
    fn selectors_are_those_of_the_standards() {
        // Of EIP-20, and of Uniswap v2's router and pair as deployed on mainnet.
        let cases = [
            ("transfer(address,uint256)", "0xa9059cbb"),
            ("swapExactTokensForTokens(uint256,uint256,address[],address,uint256)", "0x38ed1739"),
            ("swap(uint256,uint256,address,bytes)", "0x022c0d9f"),
        ];
        for (signature, selector) in cases {
            assert_eq!(call_data(signature, &[]).to_string(), selector);
        }
    }
}
