//! What blobs cost, and the excess that moves their price.

use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7840::BlobParams};

/// Largest ratio of excess blob gas to update fraction for which the price (its exponential) is computed:
/// e^50 wei is 5000 ether per blob gas, far above anything payable, and still fits the arithmetic.
const MAX_PRICE_EXPONENT: u128 = 50;

/// Price of blob gas in wei (EIP-4844); `None` if it is beyond anything payable, or the parameters are
/// none.
pub fn price(params: &BlobParams, excess: u64) -> Option<u128> {
    let priced = params.update_fraction > 0
        && u128::from(excess) / params.update_fraction < MAX_PRICE_EXPONENT
        && params.update_fraction <= u128::from(u64::MAX);
    priced.then(|| params.calc_blob_fee(excess))
}

/// Excess blob gas of a block, by the parameters in force in it, after a parent with this excess, blob
/// gas used and base fee (EIP-4844; the reserve price of EIP-7918 where the parameters have a base
/// cost). One that would not fit is the largest number that does.
pub fn next_excess(params: &BlobParams, excess: u64, used: u64, base_fee: u64) -> u64 {
    let (excess_before, used) = (u128::from(excess), u128::from(used));
    let target = u128::from(params.target_blob_count) * u128::from(DATA_GAS_PER_BLOB);
    if excess_before + used < target {
        return 0;
    }
    let next = match is_reserved(params, excess, base_fee) && params.max_blob_count > 0 {
        true => {
            let above = params.max_blob_count.saturating_sub(params.target_blob_count);
            excess_before + used * u128::from(above) / u128::from(params.max_blob_count)
        }
        false => excess_before + used - target,
    };
    u64::try_from(next).unwrap_or(u64::MAX)
}

/// EIP-7918: whether a blob is cheaper than the execution gas that stands for it.
fn is_reserved(params: &BlobParams, excess: u64, base_fee: u64) -> bool {
    let reserve = u128::from(params.blob_base_cost) * u128::from(base_fee);
    // A price beyond anything payable is above every reserve: 2^13 * 2^64 wei.
    price(params, excess).is_some_and(|price| price.saturating_mul(u128::from(DATA_GAS_PER_BLOB)) < reserve)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: u64 = DATA_GAS_PER_BLOB;

    #[test]
    fn excess_is_what_stands_above_the_target() {
        let cancun = BlobParams::cancun();
        assert_eq!(next_excess(&cancun, 0, 3 * BLOB, 7), 0);
        assert_eq!(next_excess(&cancun, 0, 5 * BLOB, 7), 2 * BLOB);
        assert_eq!(next_excess(&cancun, BLOB, BLOB, u64::MAX), 0);
        assert_eq!(next_excess(&BlobParams::prague(), BLOB, 6 * BLOB, 7), BLOB);
        assert_eq!(next_excess(&cancun, u64::MAX, u64::MAX, 7), u64::MAX);
    }

    #[test]
    fn below_the_reserve_price_the_excess_does_not_fall() {
        // EIP-7918: 2^13 gas at 17 wei are more than 2^17 blob gas at 1 wei; at 16 wei as much.
        let osaka = BlobParams::osaka();
        assert_eq!(next_excess(&osaka, 6 * BLOB, 6 * BLOB, 16), 6 * BLOB);
        assert_eq!(next_excess(&osaka, 6 * BLOB, 6 * BLOB, 17), 8 * BLOB);
        assert_eq!(next_excess(&BlobParams::prague(), 6 * BLOB, 6 * BLOB, 17), 6 * BLOB);
    }

    #[test]
    fn prices_are_of_what_can_be_paid() {
        let osaka = BlobParams::osaka();
        assert_eq!(price(&osaka, 0), Some(1));
        assert!(price(&osaka, 50 * 5_007_716 - 1).is_some_and(|price| price > 1u128 << 70));
        assert_eq!(price(&osaka, 50 * 5_007_716), None);
        assert_eq!(price(&BlobParams { update_fraction: 0, ..osaka }, 0), None);
    }
}
