//! Every path that the processor has against alloy's hash of one message.

use alloy_primitives::{B256, keccak256};
use braid_keccak::{Path, keccak256_by, keccak256_many};
use braid_testkit::Rng;

fn message(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.bits() as u8).collect()
}

fn holds(path: Path, messages: &[Vec<u8>], told: &str) {
    let mut hashes = vec![B256::repeat_byte(0xee); messages.len()];
    keccak256_by(path, messages, &mut hashes);
    for (at, (message, hash)) in messages.iter().zip(&hashes).enumerate() {
        assert_eq!(*hash, keccak256(message), "{path:?}, message {at} of {} bytes, {told}", message.len());
    }
}

#[test]
fn every_length_in_every_place() {
    let paths: Vec<Path> = Path::available().collect();
    eprintln!("paths of this processor: {paths:?}");
    let mut rng = Rng::new(1);
    let messages: Vec<Vec<u8>> = (0..=700).map(|len| message(&mut rng, len)).collect();
    for path in paths {
        holds(path, &messages, "all");
        for count in 1..=17 {
            messages.windows(count).step_by(3).for_each(|few| holds(path, few, "a few"));
        }
    }
}

#[test]
fn mixtures_of_lengths() {
    let repeat = std::env::var("BRAID_SEED").ok().map(|seed| seed.parse().expect("BRAID_SEED is a number"));
    for seed in repeat.map_or(0..400u64, |seed| seed..seed + 1) {
        let mut rng = Rng::new(seed);
        let (count, short) = (rng.below(200), rng.chance(50));
        let lengths = [0, 1, 20, 32, 135, 136, 137, 271, 272, 273, 532, 4000];
        let messages: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let len = match short {
                    true => rng.below(140) as usize,
                    false => lengths[rng.below(lengths.len() as u64) as usize],
                };
                message(&mut rng, len)
            })
            .collect();
        for path in Path::available() {
            holds(path, &messages, &format!("repeat with BRAID_SEED={seed}"));
        }
    }
}

#[test]
fn none_and_one_and_any_type() {
    keccak256_many::<&[u8]>(&[], &mut []);
    let mut hash = [B256::ZERO];
    keccak256_many(&["abc"], &mut hash);
    assert_eq!(hash, [keccak256("abc")]);
}

#[test]
#[should_panic(expected = "a place for each hash")]
fn a_place_is_missing() {
    keccak256_many(&["abc", "def"], &mut [B256::ZERO]);
}
