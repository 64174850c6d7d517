//! A sorted column of keys of one length, searched by eight bytes at a time.

use std::cmp::Ordering;
use std::hint::select_unpredictable;

/// Strictly ascending keys of one length, with a column of integers to search in.
///
/// The first bytes that all keys share (`skip` of them) are looked at once; the eight bytes after them are kept as
/// big-endian integers, so that a search touches whole keys only where those eight bytes tie.
#[derive(Debug, Clone)]
pub(crate) struct SortedKeys {
    width: usize,
    skip: usize,
    bytes: Box<[u8]>,
    prefixes: Box<[u64]>,
}

impl SortedKeys {
    /// A column of the keys in `bytes`, `width` bytes each, which have to ascend strictly.
    pub(crate) fn new(bytes: Vec<u8>, width: usize) -> Self {
        debug_assert!(bytes.len().is_multiple_of(width));
        let skip = match bytes.len().checked_sub(width) {
            Some(last) => shared(&bytes[..width], &bytes[last..]).min(width.saturating_sub(8)),
            None => 0,
        };
        let prefixes = bytes
            .chunks_exact(width)
            .map(|key| prefix_at(key, skip))
            .collect();
        Self {
            width,
            skip,
            bytes: bytes.into(),
            prefixes,
        }
    }

    /// How many keys.
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Key `position`, which has to exist.
    pub(crate) fn get(&self, position: usize) -> &[u8] {
        &self.bytes[position * self.width..][..self.width]
    }

    /// How many keys are at or below `key`, which may be shorter than the column's: it is padded with zeros.
    #[inline]
    pub(crate) fn rank(&self, key: &[u8]) -> usize {
        if self.prefixes.is_empty() {
            return 0;
        }
        if self.skip > 0 {
            let head = &key[..self.skip.min(key.len())];
            match compare(head, &self.bytes[..self.skip]) {
                Ordering::Less => return 0,
                Ordering::Greater => return self.len(),
                Ordering::Equal => {}
            }
        }
        let prefix = prefix_at(key, self.skip);
        let upper = rank_of(&self.prefixes, prefix);
        if upper == 0 || self.prefixes[upper - 1] != prefix || self.skip + 8 >= self.width {
            return upper;
        }
        self.rank_among_ties(key, prefix, upper)
    }

    /// How many keys are below `key`.
    pub(crate) fn rank_below(&self, key: &[u8]) -> usize {
        let rank = self.rank(key);
        rank - usize::from(rank > 0 && compare(key, self.get(rank - 1)).is_eq())
    }

    /// Bytes of memory, without the struct itself.
    pub(crate) fn nbytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.prefixes)
    }

    /// The rank of `key` where its eight bytes are also those of some keys, the last of them before `upper`.
    fn rank_among_ties(&self, key: &[u8], prefix: u64, upper: usize) -> usize {
        let mut low = match upper.checked_sub(2) {
            Some(before) if self.prefixes[before] == prefix => {
                self.prefixes.partition_point(|other| *other < prefix)
            }
            _ => upper - 1,
        };
        let mut high = upper;
        while low < high {
            let middle = low.midpoint(high);
            if compare(key, self.get(middle)).is_lt() {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// Orders `key`, padded with zeros, against `whole`, which is at least as long.
#[inline]
pub(crate) fn compare(key: &[u8], whole: &[u8]) -> Ordering {
    let (head, rest) = whole.split_at(key.len());
    key.cmp(head).then_with(|| {
        if rest.iter().all(|byte| *byte == 0) {
            Ordering::Equal
        } else {
            Ordering::Less
        }
    })
}

/// Eight bytes of `key` from `at` on as an integer of the same order; what is missing counts as zeros.
#[inline]
fn prefix_at(key: &[u8], at: usize) -> u64 {
    let tail = key.get(at..).unwrap_or_default();
    if let Some(eight) = tail.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    let mut eight = [0; 8];
    eight[..tail.len()].copy_from_slice(tail);
    u64::from_be_bytes(eight)
}

/// How many of the ascending `values` are at or below `value`: a binary search whose steps are moves, not jumps.
#[inline]
fn rank_of(values: &[u64], value: u64) -> usize {
    let mut low = 0;
    let mut size = values.len();
    while size > 1 {
        let half = size / 2;
        low = select_unpredictable(values[low + half] <= value, low + half, low);
        size -= half;
    }
    low + usize::from(values[low] <= value)
}

/// How many leading bytes two keys share.
fn shared(left: &[u8], right: &[u8]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(keys: &[&[u8]]) -> SortedKeys {
        SortedKeys::new(keys.concat(), keys[0].len())
    }

    #[test]
    fn counts_keys_at_or_below() {
        let keys = column(&[b"bb", b"dd", b"ff"]);
        let ranks: Vec<_> = [b"aa", b"bb", b"bc", b"dd", b"zz"]
            .iter()
            .map(|key| keys.rank(*key))
            .collect();
        assert_eq!(ranks, [0, 1, 1, 2, 3]);
        assert_eq!(keys.rank_below(b"dd"), 1);
        assert_eq!(keys.rank_below(b"de"), 2);
        assert_eq!(SortedKeys::new(Vec::new(), 2).rank(b"aa"), 0);
    }

    #[test]
    fn looks_past_a_shared_head_and_past_ties() {
        let keys = column(&[
            b"user:000000000001",
            b"user:000000000005",
            b"user:200000000000",
        ]);
        assert_eq!(keys.skip, 5);
        assert_eq!(keys.rank(b"tser:000000000001"), 0);
        assert_eq!(keys.rank(b"user:000000000000"), 0);
        assert_eq!(keys.rank(b"user:000000000004"), 1);
        assert_eq!(keys.rank(b"user:000000000005"), 2);
        assert_eq!(keys.rank(b"user:100000000000"), 2);
        assert_eq!(keys.rank(b"vser:000000000001"), 3);
    }

    #[test]
    fn a_short_key_counts_as_padded_with_zeros() {
        let keys = column(&[
            b"a\0\0\0\0\0\0\0\0\0",
            b"a\0\0\0\0\0\0\0\0\x01",
            b"b\0\0\0\0\0\0\0\0\0",
        ]);
        assert_eq!(keys.rank(b""), 0);
        assert_eq!(keys.rank(b"a"), 1);
        assert_eq!(keys.rank(b"b"), 3);
        assert_eq!(keys.rank_below(b"b"), 2);
    }
}
