//! The suite that every scheduler passes: [`suite!`](crate::suite!).

use crate::{Case, Family, Rng, Telling, check, check_hinted, check_slow, check_told};
use braid_core::Scheduler;

/// Thread counts that the suite tries.
pub const THREADS: [u16; 5] = [1, 2, 3, 4, 8];

/// Seeds tried per family and thread count, unless `BRAID_SEEDS` says otherwise.
pub fn seeds() -> u64 {
    std::env::var("BRAID_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40)
}

/// The round to begin with: what `BRAID_SEED` names, so that it repeats a failure at once.
fn first_round() -> u64 {
    std::env::var("BRAID_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// Compares random blocks of one family with the oracle, several per scheduler so that recycled tables
/// are tried as well. `make` gets a thread count and a seed for perturbation.
///
/// # Panics
/// If anything differs; the message names the case.
pub fn equals_serial<S: Scheduler>(make: impl Fn(u16, u64) -> S, family: Family) {
    let first = first_round();
    for threads in THREADS {
        for round in (0..seeds() / 4).map(|round| first.wrapping_add(round)) {
            let scheduler = make(threads, round.wrapping_add(1));
            for block in 0..4 {
                let case = Case::random(family, round.wrapping_mul(4).wrapping_add(block));
                if let Err(difference) = check(&scheduler, case) {
                    let name = scheduler.name();
                    panic!(
                        "{name} on {threads} threads, {case:?}: {difference}\nrepeat with BRAID_SEED={round}"
                    );
                }
            }
        }
    }
}

/// Compares random blocks with the oracle on a state whose reads take their time and come in in any order.
///
/// # Panics
/// If anything differs; the message names the case.
pub fn equals_serial_slowly<S: Scheduler>(make: impl Fn(u16, u64) -> S) {
    let first = first_round();
    for threads in THREADS {
        for round in (0..seeds() / 8).map(|round| first.wrapping_add(round)) {
            let scheduler = make(threads, round.wrapping_add(1));
            for (family, at) in Family::ALL.into_iter().zip(0..) {
                let seed = round.wrapping_mul(Family::ALL.len() as u64).wrapping_add(at);
                let case = Case::random(family, seed);
                if let Err(difference) = check_slow(&scheduler, case, seed) {
                    let name = scheduler.name();
                    panic!(
                        "{name} on {threads} threads, {case:?}: {difference}
repeat with BRAID_SEED={round}"
                    );
                }
            }
        }
    }
}

/// Compares random blocks with the oracle on machines that tell, truly or not, what transactions touch, with
/// hints that bind, guesses, and none.
///
/// # Panics
/// If anything differs; the message names the case.
pub fn equals_serial_told<S: Scheduler>(make: impl Fn(u16, u64) -> S, binding_percent: u64) {
    let first = first_round();
    for threads in THREADS {
        for round in (0..seeds() / 4).map(|round| first.wrapping_add(round)) {
            let scheduler = make(threads, round.wrapping_add(1));
            for (family, at) in Family::ALL.into_iter().zip(0..) {
                let seed = round.wrapping_mul(Family::ALL.len() as u64).wrapping_add(at);
                let telling = Telling::random(binding_percent, seed);
                let case = Case::random(family, seed);
                if let Err(difference) = check_told(&scheduler, case, telling) {
                    let name = scheduler.name();
                    panic!(
                        "{name} on {threads} threads, {telling:?}, {case:?}: {difference}\n\
                         repeat with BRAID_SEED={round}"
                    );
                }
            }
        }
    }
}

/// Compares random blocks with the oracle that come with hints which have nothing to do with them.
///
/// # Panics
/// If anything differs; the message names the case.
pub fn survives_nonsense<S: Scheduler>(make: impl Fn(u16, u64) -> S) {
    for (threads, seed) in
        THREADS.into_iter().flat_map(|threads| (0..seeds() / 4).map(move |seed| (threads, seed)))
    {
        let case = Case::random(Family::Mixed, seed);
        let hints = Telling::nonsense(case, seed);
        let scheduler = make(threads, seed + 1);
        if let Err(difference) = check_hinted(&scheduler, case, &hints) {
            panic!("{} on {threads} threads, {case:?}: {difference}\nhints {seed}", scheduler.name());
        }
    }
}

/// A block large enough that many transactions are in flight, with few locations.
///
/// # Panics
/// If anything differs; the message names the case.
pub fn large_blocks<S: Scheduler>(make: impl Fn(u16, u64) -> S) {
    let mut rng = Rng::new(7);
    for threads in [2, 8] {
        let scheduler = make(threads, rng.bits());
        for family in Family::ALL {
            let case = Case {
                family,
                seed: rng.bits(),
                txs: 600,
                keys: 20 + rng.below(300),
                hot_percent: 20,
                error_permille: 0,
            };
            if let Err(difference) = check(&scheduler, case) {
                panic!("{} on {threads} threads, {case:?}: {difference}", scheduler.name());
            }
        }
    }
}

/// Instantiates the suite as a module of tests: `suite!(occ, |threads, seed| ...)`.
#[macro_export]
macro_rules! suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            use $crate::{Family, suite};

            #[test]
            fn programs() {
                suite::equals_serial($make, Family::Programs);
            }

            #[test]
            fn counters() {
                suite::equals_serial($make, Family::Counters);
            }

            #[test]
            fn objects() {
                suite::equals_serial($make, Family::Objects);
            }

            #[test]
            fn ranges() {
                suite::equals_serial($make, Family::Ranges);
            }

            #[test]
            fn actors() {
                suite::equals_serial($make, Family::Actors);
            }

            #[test]
            fn chain() {
                suite::equals_serial($make, Family::Chain);
            }

            #[test]
            fn mixed() {
                suite::equals_serial($make, Family::Mixed);
            }

            #[test]
            fn coins() {
                suite::equals_serial($make, Family::Coins);
            }

            #[test]
            fn guesses() {
                suite::equals_serial_told($make, 0);
            }

            #[test]
            fn bound() {
                suite::equals_serial_told($make, 100);
            }

            #[test]
            fn some_bound() {
                suite::equals_serial_told($make, 80);
            }

            #[test]
            fn nonsense() {
                suite::survives_nonsense($make);
            }

            #[test]
            fn slow_reads() {
                suite::equals_serial_slowly($make);
            }

            #[test]
            fn large_blocks() {
                suite::large_blocks($make);
            }
        }
    };
}
