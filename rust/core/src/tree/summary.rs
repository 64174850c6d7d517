//! What a set of rows adds up to.

use std::iter::Sum;
use std::ops::{AddAssign, Sub, SubAssign};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Hash of a row: `xxh3_64` of the value, seeded with that of the key, seeded with the version.
///
/// Chained by seeds because the one-shot form is several times faster on short input than the streaming one.
pub fn row_hash(key: &[u8], version: u64, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64_with_seed(key, version))
}

/// Rows, bytes and digest of a set of rows; they add up and subtract exactly, in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Wrapping sum of their [hashes](row_hash).
    pub digest: u64,
}

// All three wrap: a digest by definition, and so that a difference may be negative on its way into a sum.

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.rows = self.rows.wrapping_add(other.rows);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

impl SubAssign for Summary {
    fn sub_assign(&mut self, other: Self) {
        self.rows = self.rows.wrapping_sub(other.rows);
        self.bytes = self.bytes.wrapping_sub(other.bytes);
        self.digest = self.digest.wrapping_sub(other.digest);
    }
}

impl Sub for Summary {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self -= other;
        self
    }
}

impl Sum for Summary {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}
