//! Difficulty of proof of work, from Frontier to Gray Glacier.

use crate::Fork;
use alloy_primitives::U256;

/// Least difficulty of a block (Yellow Paper, 4.4.4: D0).
pub const MIN_DIFFICULTY: u64 = 131_072;

/// The difficulty changes by multiples of this fraction of the parent's.
const BOUND_DIVISOR: u64 = 2048;

/// Most steps of `BOUND_DIVISOR` by which the difficulty falls at once, from Homestead on.
const MAX_STEPS_DOWN: u64 = 99;

/// The bomb doubles once in so many blocks.
const BOMB_PERIOD: u64 = 100_000;

/// Difficulty that a block of `fork` must have, with this `number` and `timestamp` (in seconds), after a
/// parent with that difficulty, time and presence of ommers. Yellow Paper, 4.4.4; EIP-2 from Homestead
/// on, EIP-100 from Byzantium on. Zero from the Merge on (EIP-3675). One that would not fit into 256
/// bits is the largest number that does, which no chain ever comes to.
pub fn next(
    fork: Fork,
    parent_difficulty: U256,
    parent_timestamp: u64,
    parent_has_ommers: bool,
    timestamp: u64,
    number: u64,
) -> U256 {
    if fork >= Fork::Paris {
        return U256::ZERO;
    }
    let step = parent_difficulty / U256::from(BOUND_DIVISOR);
    let elapsed = timestamp.saturating_sub(parent_timestamp);
    let (up, down) = match fork {
        Fork::Frontier if elapsed < 13 => (1, 0),
        Fork::Frontier => (0, 1),
        _ if fork >= Fork::Byzantium => (if parent_has_ommers { 2 } else { 1 }, elapsed / 9),
        _ => (1, elapsed / 10),
    };
    let adjusted = match up >= down {
        true => parent_difficulty.saturating_add(step.saturating_mul(U256::from(up - down))),
        false => {
            let steps = (down - up).min(MAX_STEPS_DOWN);
            parent_difficulty.saturating_sub(step.saturating_mul(U256::from(steps)))
        }
    };
    // The bomb counts towards the minimum (execution specs; some clients apply it before).
    adjusted.saturating_add(bomb(fork, number)).max(U256::from(MIN_DIFFICULTY))
}

/// The part that grows exponentially with the number of the block (Yellow Paper, 4.4.4: epsilon).
fn bomb(fork: Fork, number: u64) -> U256 {
    match number.saturating_sub(bomb_delay(fork)) / BOMB_PERIOD {
        0 | 1 => U256::ZERO,
        period => match usize::try_from(period - 2) {
            Ok(exponent) if exponent < U256::BITS => U256::ONE << exponent,
            _ => U256::MAX,
        },
    }
}

/// Blocks by which the bomb is late: EIP-649, EIP-1234, EIP-2384, EIP-3554, EIP-4345, EIP-5133.
fn bomb_delay(fork: Fork) -> u64 {
    match fork {
        _ if fork >= Fork::GrayGlacier => 11_400_000,
        _ if fork >= Fork::ArrowGlacier => 10_700_000,
        _ if fork >= Fork::London => 9_700_000,
        _ if fork >= Fork::MuirGlacier => 9_000_000,
        _ if fork >= Fork::Constantinople => 5_000_000,
        _ if fork >= Fork::Byzantium => 3_000_000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fork: Fork, parent: u64, elapsed: u64, ommers: bool, number: u64) -> u64 {
        next(fork, U256::from(parent), 1000, ommers, 1000 + elapsed, number).to::<u64>()
    }

    /// Two million: a step is 976.
    const PARENT: u64 = 2_000_000;

    #[test]
    fn each_formula_moves_by_its_steps() {
        for (fork, elapsed, ommers, expected) in [
            (Fork::Frontier, 12, false, PARENT + 976),
            (Fork::Frontier, 13, false, PARENT - 976),
            (Fork::Frontier, 10_000, false, PARENT - 976),
            (Fork::Homestead, 9, false, PARENT + 976),
            (Fork::Homestead, 10, false, PARENT),
            (Fork::Homestead, 39, true, PARENT - 2 * 976),
            (Fork::Homestead, 10_000, false, PARENT - 99 * 976),
            (Fork::Byzantium, 8, false, PARENT + 976),
            (Fork::Byzantium, 8, true, PARENT + 2 * 976),
            (Fork::Byzantium, 9, false, PARENT),
            (Fork::GrayGlacier, 10_000, true, PARENT - 99 * 976),
        ] {
            assert_eq!(of(fork, PARENT, elapsed, ommers, 1), expected, "{fork:?} {elapsed} {ommers}");
        }
    }

    #[test]
    fn it_does_not_fall_below_the_least_and_vanishes_at_the_merge() {
        assert_eq!(of(Fork::London, MIN_DIFFICULTY, 1000, false, 1), MIN_DIFFICULTY);
        assert_eq!(of(Fork::Frontier, MIN_DIFFICULTY, 1000, false, 1), MIN_DIFFICULTY);
        assert_eq!(of(Fork::Paris, PARENT, 1, false, 1), 0);
    }

    #[test]
    fn the_bomb_ticks_where_its_delay_ends() {
        for (fork, delay) in [
            (Fork::Homestead, 0),
            (Fork::Byzantium, 3_000_000),
            (Fork::Petersburg, 5_000_000),
            (Fork::Istanbul, 5_000_000),
            (Fork::Berlin, 9_000_000),
            (Fork::London, 9_700_000),
            (Fork::ArrowGlacier, 10_700_000),
            (Fork::GrayGlacier, 11_400_000),
        ] {
            let calm = of(fork, PARENT, 9, false, delay + 199_999);
            assert_eq!(of(fork, PARENT, 9, false, delay + 200_000), calm + 1, "{fork:?}");
            assert_eq!(of(fork, PARENT, 9, false, delay + 1_200_000), calm + 1024, "{fork:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_the_largest_number() {
        assert_eq!(next(Fork::Homestead, U256::MAX, 0, false, 1, 1), U256::MAX);
        assert_eq!(next(Fork::Homestead, U256::from(PARENT), 0, false, 1, u64::MAX), U256::MAX);
        assert_eq!(of(Fork::Homestead, PARENT, 9, false, 0), PARENT + 976);
        // A time before the parent's counts as none.
        assert_eq!(next(Fork::Homestead, U256::from(PARENT), 9, false, 0, 1), U256::from(PARENT + 976));
    }
}
