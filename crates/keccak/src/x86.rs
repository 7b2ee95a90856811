//! Permutations of eight or four states, with the vector instructions of x86-64.
//!
//! The round is that of FIPS 202, section 3.2, with theta, rho and pi in one step for each word. Both widths have the
//! same text (`permutation!`), over operations of their own.

use crate::{Lanes, RATE_WORDS, WORDS};

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
pub(crate) fn step_avx512(lanes: &mut Lanes<8>) {
    debug_assert!(has_avx512());
    // SAFETY: the only caller asks `has_avx512` before it chooses this step, and what was detected stays.
    unsafe { avx512::step(lanes) }
}

/// Takes in a block in each of four lanes. Only where [`has_avx2`].
pub(crate) fn step_avx2(lanes: &mut Lanes<4>) {
    debug_assert!(has_avx2());
    // SAFETY: the only caller asks `has_avx2` before it chooses this step, and what was detected stays.
    unsafe { avx2::step(lanes) }
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
        pub(super) fn step(lanes: &mut Lanes<$lanes>) {
            let keep = load(&lanes.keep);
            let mut a = [zero(); WORDS];
            for (word, stored) in a.iter_mut().zip(&lanes.state) {
                *word = and(load(stored), keep);
            }
            for (word, taken) in a[..RATE_WORDS].iter_mut().zip(&lanes.block) {
                *word = xor(*word, load(taken));
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
    use super::{Lanes, RATE_WORDS, ROUNDS, WORDS};
    use std::arch::x86_64::{
        __m512i, _mm512_and_si512, _mm512_loadu_si512, _mm512_rol_epi64, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
    };

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
    use super::{Lanes, RATE_WORDS, ROUNDS, WORDS};
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi32_si128, _mm256_and_si256, _mm256_andnot_si256, _mm256_loadu_si256,
        _mm256_or_si256, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_sll_epi64, _mm256_srl_epi64,
        _mm256_storeu_si256, _mm256_xor_si256,
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

    permutation!("avx2", 4);
}
