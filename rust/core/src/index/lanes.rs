//! How many of eight sorted integers are at or below one: the step that every search here ends with.
//!
//! The instructions are chosen at run time, for a whole batch of keys at once. All choices give the same results.

/// Integers that one step looks at.
pub(super) const WIDTH: usize = 8;

/// One set of instructions.
pub(super) trait Lanes: Copy {
    /// How many of the ascending integers in `window` are at or below `value`.
    fn rank(window: &[i64; WIDTH], value: i64) -> usize;
}

/// Work that is compiled once for each set of instructions.
pub(super) trait Work {
    type Output;
    /// To be marked `#[inline(always)]`, and likewise what it calls in its loops, or it runs without the instructions.
    fn run<L: Lanes>(self) -> Self::Output;
}

/// A set of instructions that the machine may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instructions {
    /// What every machine has.
    Plain,
    /// Four integers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Eight integers at a time.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// The fastest that this machine has.
    #[inline]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self::Avx512;
            }
            if has_avx2() {
                return Self::Avx2;
            }
        }
        Self::Plain
    }

    /// All that this machine has.
    pub fn available() -> Vec<Self> {
        match Self::best() {
            Self::Plain => vec![Self::Plain],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Plain, Self::Avx2],
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Plain, Self::Avx2, Self::Avx512],
        }
    }

    /// Runs `work` with these instructions, or with the best there are if the machine lacks them.
    #[inline]
    pub(super) fn run<W: Work>(self, work: W) -> W::Output {
        match self {
            Self::Plain => work.run::<Plain>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if has_avx2() => {
                // SAFETY: the machine has what `run_avx2` names.
                unsafe { run_avx2(work) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if has_avx512() => {
                // SAFETY: the machine has what `run_avx512` names.
                unsafe { run_avx512(work) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512 => Self::best().run(work),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("popcnt")
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn has_avx512() -> bool {
    std::is_x86_feature_detected!("avx512f") && has_avx2()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn run_avx2<W: Work>(work: W) -> W::Output {
    work.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,popcnt")]
fn run_avx512<W: Work>(work: W) -> W::Output {
    work.run::<Avx512>()
}

/// A binary search whose steps are moves, not jumps.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Lanes for Plain {
    #[inline(always)]
    fn rank(window: &[i64; WIDTH], value: i64) -> usize {
        let mut low = 0;
        for half in [4, 2, 1] {
            low += half * usize::from(window[low + half - 1] <= value);
        }
        low + usize::from(window[low] <= value)
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx2 {
    #[inline(always)]
    fn rank(window: &[i64; WIDTH], value: i64) -> usize {
        use std::arch::x86_64::{
            _mm256_castsi256_pd, _mm256_cmpgt_epi64, _mm256_loadu_si256, _mm256_movemask_pd,
            _mm256_set1_epi64x,
        };
        let mut above = 0;
        for half in window.as_chunks::<4>().0 {
            // SAFETY: only `run_avx2` names this type, so the instructions are there; what is loaded is `half`, which
            // needs no alignment.
            above += unsafe {
                let values = _mm256_loadu_si256(half.as_ptr().cast());
                let greater = _mm256_cmpgt_epi64(values, _mm256_set1_epi64x(value));
                _mm256_movemask_pd(_mm256_castsi256_pd(greater)).count_ones()
            };
        }
        WIDTH - above as usize
    }
}

#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx512 {
    #[inline(always)]
    fn rank(window: &[i64; WIDTH], value: i64) -> usize {
        use std::arch::x86_64::{_mm512_cmple_epi64_mask, _mm512_loadu_epi64, _mm512_set1_epi64};
        // SAFETY: only `run_avx512` names this type, so the instructions are there; what is loaded is `window`, which
        // needs no alignment.
        let below = unsafe {
            let values = _mm512_loadu_epi64(window.as_ptr());
            _mm512_cmple_epi64_mask(values, _mm512_set1_epi64(value))
        };
        below.count_ones() as usize
    }
}

/// Starts to bring what is at `place` near, without waiting for it.
#[inline(always)]
pub(super) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program can see, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rank([i64; WIDTH], i64);

    impl Work for Rank {
        type Output = usize;
        #[inline(always)]
        fn run<L: Lanes>(self) -> usize {
            L::rank(&self.0, self.1)
        }
    }

    #[test]
    fn every_set_of_instructions_counts_alike() {
        let ascending = std::array::from_fn(|i| i as i64 * 10 - 50);
        let ties = std::array::from_fn(|i| [i64::MIN, 0, 0, i64::MAX][i / 2]);
        for values in [ascending, ties, [i64::MAX; WIDTH]] {
            for value in [
                i64::MIN,
                -51,
                -50,
                -49,
                0,
                5,
                100,
                101,
                i64::MAX - 1,
                i64::MAX,
            ] {
                let expected = values.iter().filter(|each| **each <= value).count();
                for instructions in Instructions::available() {
                    assert_eq!(instructions.run(Rank(values, value)), expected);
                }
            }
        }
    }
}
