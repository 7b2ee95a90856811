//! Seeded mutations, for where no coverage guides.

use braid_testkit::Rng;

/// What decoders trip over: limits of numbers, quotes, empty and huge things.
const WORDS: [&str; 24] = [
    "0",
    "1",
    "-1",
    "0x",
    "0x0",
    "0x00",
    "255",
    "256",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "0xffffffffffffffff",
    "0x10000000000000000",
    "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "1e400",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "\"\\ud800\"",
    "é",
    "&",
    "=",
];

/// One to four changes of `seed_file`, which follow from `seed`: bytes flipped, copied, cut out, repeated,
/// replaced by numbers on the edge, or taken from `other`. At most `most` bytes come out.
pub fn mutate(seed_file: &[u8], other: &[u8], seed: u64, most: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = seed_file.to_vec();
    for _ in 0..1 + rng.below(4) {
        change(&mut bytes, other, &mut rng);
        bytes.truncate(most);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let place = |rng: &mut Rng, len: usize| rng.below(len as u64 + 1) as usize;
    let span = |rng: &mut Rng, len: usize, most: u64| {
        let from = place(rng, len);
        from..(from + rng.below(most) as usize).min(len)
    };
    match rng.below(8) {
        0 if !bytes.is_empty() => {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
        1 if !bytes.is_empty() => {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'0'][rng.below(8) as usize];
        }
        2 => drop(bytes.drain(span(rng, bytes.len(), 40))),
        3 => {
            let (part, at) = (bytes[span(rng, bytes.len(), 40)].to_vec(), place(rng, bytes.len()));
            bytes.splice(at..at, part);
        }
        4 => {
            let (part, at) = (other[span(rng, other.len(), 80)].to_vec(), place(rng, bytes.len()));
            bytes.splice(at..at, part);
        }
        5 => {
            let (at, word) = (place(rng, bytes.len()), WORDS[rng.below(WORDS.len() as u64) as usize]);
            bytes.splice(at..at, word.bytes());
        }
        6 => {
            // A whole token: what stands between quotes, or is a number.
            let start = place(rng, bytes.len());
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric();
            let from = bytes[..start].iter().rposition(|byte| !is_part(byte)).map_or(0, |at| at + 1);
            let to =
                start + bytes[start..].iter().position(|byte| !is_part(byte)).unwrap_or(bytes.len() - start);
            let word = WORDS[rng.below(WORDS.len() as u64) as usize];
            bytes.splice(from..to, word.bytes());
        }
        _ => bytes.truncate(place(rng, bytes.len())),
    }
}
