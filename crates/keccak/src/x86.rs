//! Permutations of eight or four states, with the vector instructions of x86-64.
//!
//! The round is that of FIPS 202, section 3.2, with theta, rho and pi in one step for each word. Both widths have the
//! same text (`permutation!`), over operations of their own.

use crate::{Block, Lanes, RATE_WORDS, WORDS};

/// Constants of iota, by round.
const ROUNDS: [u64; 24] = [
    0x0000000000000001,
    0x0000000000008082,
    0x800000000000808a,
    0x8000000080008000,
    0x000000000000808b,
    0x0000000080000001,
    0x8000000080008081,
    0x8000000000008009,
    0x000000000000008a,
    0x0000000000000088,
    0x0000000080008009,
    0x000000008000000a,
    0x000000008000808b,
    0x800000000000008b,
    0x8000000000008089,
    0x8000000000008003,
    0x8000000000008002,
    0x8000000000000080,
    0x000000000000800a,
    0x800000008000000a,
    0x8000000080008081,
    0x8000000000008080,
    0x0000000080000001,
    0x8000000080008008,
];

/// Whether the processor and the system have what [`step_avx512`] needs.
pub(crate) fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

/// Whether the processor and the system have what [`step_avx2`] needs.
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

/// Takes in a block in each of eight lanes. Only where [`has_avx512`].
pub(crate) fn step_avx512(lanes: &mut Lanes<8>, blocks: [&Block; 8]) {
    debug_assert!(has_avx512());
    // SAFETY: the only caller asks `has_avx512` before it chooses this step, and what was detected stays.
    unsafe { avx512::step(lanes, blocks) }
}

/// Takes in a block in each of four lanes. Only where [`has_avx2`].
pub(crate) fn step_avx2(lanes: &mut Lanes<4>, blocks: [&Block; 4]) {
    debug_assert!(has_avx2());
    // SAFETY: the only caller asks `has_avx2` before it chooses this step, and what was detected stays.
    unsafe { avx2::step(lanes, blocks) }
}

/// A word of a block.
#[inline]
fn word(block: &Block, at: usize) -> u64 {
    u64::from_le_bytes(block.as_chunks().0[at])
}

/// One row of the state after rho and pi, and chi on it: `$to` begins the row, `$from` are the words that come there
/// and by how much they are turned. The second index of a source is its column, whose parity theta adds.
macro_rules! row {
    ($b:ident, $a:ident, $d:ident, $to:literal, $($from:literal $column:literal $turn:literal),*) => {
        let row = [$(rol::<$turn>(xor($a[$from], $d[$column]))),*];
        $b[$to] = chi(row[0], row[1], row[2]);
        $b[$to + 1] = chi(row[1], row[2], row[3]);
        $b[$to + 2] = chi(row[2], row[3], row[4]);
        $b[$to + 3] = chi(row[3], row[4], row[0]);
        $b[$to + 4] = chi(row[4], row[0], row[1]);
    };
}

/// The permutation of all lanes, after their blocks are taken in.
macro_rules! permutation {
    ($feature:literal, $lanes:literal) => {
        #[target_feature(enable = $feature)]
        pub(super) fn step(lanes: &mut Lanes<$lanes>, blocks: [&Block; $lanes]) {
            let keep = load(&lanes.keep);
            let mut a = [zero(); WORDS];
            for (word, stored) in a.iter_mut().zip(&lanes.state) {
                *word = and(load(stored), keep);
            }
            let taken: [_; RATE_WORDS] = words(blocks);
            for (word, taken) in a.iter_mut().zip(taken) {
                *word = xor(*word, taken);
            }
            for constant in ROUNDS {
                let column = |x: usize| xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
                let c = [column(0), column(1), column(2), column(3), column(4)];
                let around = |x: usize| xor(c[(x + 4) % 5], rol::<1>(c[(x + 1) % 5]));
                let d = [around(0), around(1), around(2), around(3), around(4)];
                let mut b = [zero(); WORDS];
                row!(b, a, d, 0, 0 0 0, 6 1 44, 12 2 43, 18 3 21, 24 4 14);
                row!(b, a, d, 5, 3 3 28, 9 4 20, 10 0 3, 16 1 45, 22 2 61);
                row!(b, a, d, 10, 1 1 1, 7 2 6, 13 3 25, 19 4 8, 20 0 18);
                row!(b, a, d, 15, 4 4 27, 5 0 36, 11 1 10, 17 2 15, 23 3 56);
                row!(b, a, d, 20, 2 2 62, 8 3 55, 14 4 39, 15 0 41, 21 1 2);
                b[0] = xor(b[0], splat(constant));
                a = b;
            }
            for (word, stored) in a.iter().zip(&mut lanes.state) {
                store(stored, *word);
            }
        }
    };
}

mod avx512 {
    use super::{Block, Lanes, RATE_WORDS, ROUNDS, WORDS, word};
    use std::arch::x86_64::{
        __m512i, _mm512_and_si512, _mm512_loadu_si512, _mm512_rol_epi64, _mm512_set_epi64, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_ternarylogic_epi64,
        _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _mm512_xor_si512,
    };

    /// Eight words of a block, from one of its words on.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn row(block: &Block, from: usize) -> __m512i {
        let bytes: &[u8; 64] = block[8 * from..][..64].try_into().unwrap_or(&[0; 64]);
        // SAFETY: 64 bytes are there to be read, and the load asks for no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    /// Eight rows of eight words, as columns.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose(rows: [__m512i; 8]) -> [__m512i; 8] {
        let low = |i: usize| _mm512_unpacklo_epi64(rows[i], rows[i + 1]);
        let high = |i: usize| _mm512_unpackhi_epi64(rows[i], rows[i + 1]);
        // Of words 0, 2, 4, 6 and of 1, 3, 5, 7: two rows in turn.
        let even = quarters([low(0), low(2), low(4), low(6)]);
        let odd = quarters([high(0), high(2), high(4), high(6)]);
        [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
    }

    /// Four rows of four quarters of a register, as columns.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn quarters(rows: [__m512i; 4]) -> [__m512i; 4] {
        let [a, b, c, d] = rows;
        let (first, second) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0x88>(c, d));
        let (third, fourth) = (_mm512_shuffle_i64x2::<0xdd>(a, b), _mm512_shuffle_i64x2::<0xdd>(c, d));
        [
            _mm512_shuffle_i64x2::<0x88>(first, second),
            _mm512_shuffle_i64x2::<0x88>(third, fourth),
            _mm512_shuffle_i64x2::<0xdd>(first, second),
            _mm512_shuffle_i64x2::<0xdd>(third, fourth),
        ]
    }

    /// The words of blocks, each of all blocks.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn words(blocks: [&Block; 8]) -> [__m512i; RATE_WORDS] {
        let (first, second) =
            (transpose(blocks.map(|block| row(block, 0))), transpose(blocks.map(|block| row(block, 8))));
        let [a, b, c, d, e, f, g, h] = blocks.map(|block| word(block, 16).cast_signed());
        let mut all = [_mm512_set_epi64(h, g, f, e, d, c, b, a); RATE_WORDS];
        all[..8].copy_from_slice(&first);
        all[8..16].copy_from_slice(&second);
        all
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(words: &[u64; 8]) -> __m512i {
        // SAFETY: 64 bytes are there to be read, and the load asks for no alignment.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(words: &mut [u64; 8], value: __m512i) {
        // SAFETY: 64 bytes are there to be written, and the store asks for no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> __m512i {
        _mm512_setzero_si512()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(word: u64) -> __m512i {
        _mm512_set1_epi64(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor(a: __m512i, b: __m512i) -> __m512i {
        _mm512_xor_si512(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi64::<0x96>(a, b, c)
    }

    /// `a ^ (!b & c)`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rol<const BY: i32>(a: __m512i) -> __m512i {
        _mm512_rol_epi64::<BY>(a)
    }

    permutation!("avx512f", 8);
}

mod avx2 {
    use super::{Block, Lanes, RATE_WORDS, ROUNDS, WORDS, word};
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi32_si128, _mm256_and_si256, _mm256_andnot_si256, _mm256_loadu_si256,
        _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_sll_epi64,
        _mm256_srl_epi64, _mm256_storeu_si256, _mm256_xor_si256,
    };

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(words: &[u64; 4]) -> __m256i {
        // SAFETY: 32 bytes are there to be read, and the load asks for no alignment.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(words: &mut [u64; 4], value: __m256i) {
        // SAFETY: 32 bytes are there to be written, and the store asks for no alignment.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn zero() -> __m256i {
        _mm256_setzero_si256()
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn splat(word: u64) -> __m256i {
        _mm256_set1_epi64x(word.cast_signed())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(a: __m256i, b: __m256i) -> __m256i {
        _mm256_xor_si256(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        xor(xor(a, b), c)
    }

    /// `a ^ (!b & c)`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn chi(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
        xor(a, _mm256_andnot_si256(b, c))
    }

    /// A shift by 64 gives zero, so that a turn by nothing is right. The counts are constants, and become immediate
    /// operands.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rol<const BY: i32>(a: __m256i) -> __m256i {
        let (left, right) = (_mm_cvtsi32_si128(BY), _mm_cvtsi32_si128(64 - BY));
        _mm256_or_si256(_mm256_sll_epi64(a, left), _mm256_srl_epi64(a, right))
    }

    /// The words of blocks, each of all blocks.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(blocks: [&Block; 4]) -> [__m256i; RATE_WORDS] {
        let mut all = [zero(); RATE_WORDS];
        for (at, words) in all.iter_mut().enumerate() {
            let [a, b, c, d] = blocks.map(|block| word(block, at).cast_signed());
            *words = _mm256_set_epi64x(d, c, b, a);
        }
        all
    }

    permutation!("avx2", 4);
}
