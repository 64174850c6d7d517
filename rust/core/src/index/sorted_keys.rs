//! A sorted column of keys of one length, searched by eight bytes at a time.

use std::cmp::Ordering;

use super::column::{Column, View};
use super::lanes::Plain;

/// Where fewer keys than this have equal prefixes, they are compared whole, one after the other.
const RUN: usize = 16;

/// Strictly ascending keys of one length, with columns of integers to search in.
///
/// Eight bytes of each key are kept as an integer, so that a search touches whole keys only where those eight bytes tie.
/// Where many keys tie they have a column of their own over the bytes in which they differ, and so on.
#[derive(Debug)]
pub(super) struct SortedKeys {
    width: usize,
    bytes: Box<[u8]>,
    root: Option<Prefixes>,
}

/// Eight bytes of some neighbouring keys, which share all bytes before those.
#[derive(Debug)]
struct Prefixes {
    /// Where the eight bytes begin.
    skip: usize,
    column: Column,
    /// The long runs of equal prefixes, each by its first key in here.
    runs: Box<[(usize, Prefixes)]>,
}

/// What a search that goes through the root by itself has to know of it.
#[derive(Debug)]
pub(super) struct Entrance<'a> {
    /// The integers of the root.
    pub(super) column: View<'a>,
    /// Where the bytes begin that they stand for; before them the keys have [`SortedKeys::head`].
    pub(super) skip: usize,
    /// Whether those are the last of the keys' bytes, so that equal integers mean equal keys.
    pub(super) exact: bool,
    /// Whether many of the integers are equal.
    pub(super) runs: bool,
}

impl SortedKeys {
    /// A column of the keys in `bytes`, `width` bytes each, which have to ascend strictly; `crowd` as for [`Column`].
    pub(super) fn new(bytes: Vec<u8>, width: usize, crowd: usize) -> Self {
        debug_assert!(bytes.len().is_multiple_of(width));
        let root = (!bytes.is_empty()).then(|| Prefixes::new(&bytes, width, 0, crowd));
        Self {
            width,
            bytes: bytes.into(),
            root,
        }
    }

    /// Key `position`, which has to exist.
    #[inline(always)]
    pub(super) fn get(&self, position: usize) -> &[u8] {
        &self.bytes[position * self.width..][..self.width]
    }

    /// The way in for a search that walks many of these at once; none if there are no keys.
    pub(super) fn entrance(&self) -> Option<Entrance<'_>> {
        self.root.as_ref().map(|root| Entrance {
            column: root.column.view(),
            skip: root.skip,
            exact: root.skip + 8 >= self.width,
            runs: !root.runs.is_empty(),
        })
    }

    /// The bytes that all keys start with, before those of the root's integers.
    #[inline(always)]
    pub(super) fn head(&self) -> &[u8] {
        &self.bytes[..self.root.as_ref().map_or(0, |root| root.skip)]
    }

    /// How many keys are at or below `key`, which may be shorter than the column's: it is padded with zeros.
    ///
    /// For one key at a time: what every machine has is as fast there as the choice of something better.
    #[inline]
    pub(super) fn rank(&self, key: &[u8]) -> usize {
        let rank = |root: &Prefixes| root.rank(key, 0, &self.bytes, self.width);
        self.root.as_ref().map_or(0, rank)
    }

    /// How many keys are below `key`.
    pub(super) fn rank_below(&self, key: &[u8]) -> usize {
        let rank = self.rank(key);
        rank - usize::from(rank > 0 && compare(key, self.get(rank - 1)).is_eq())
    }

    /// The rank of `key`, whose eight bytes are also those of some keys, the last of them before `upper`.
    #[inline(never)]
    pub(super) fn settle(&self, key: &[u8], upper: usize) -> usize {
        self.root.as_ref().map_or(0, |root| {
            root.settle(key, 0, upper, &self.bytes, self.width)
        })
    }

    /// Bytes of memory, without the struct itself.
    pub(super) fn nbytes(&self) -> usize {
        self.bytes.len() + self.root.as_ref().map_or(0, Prefixes::nbytes)
    }
}

impl Prefixes {
    /// Of the keys in `bytes`, at least one, that share their first `shared` bytes.
    fn new(bytes: &[u8], width: usize, shared: usize, crowd: usize) -> Self {
        // Bytes that all share are left out only where it helps: what is not left out need not be compared.
        let plain = Self::at(bytes, width, shared);
        if plain.is_sorted_by(|left, right| left < right) {
            return Self::of(shared, plain, Vec::new(), crowd);
        }
        let last = &bytes[bytes.len() - width..];
        let skip = shared_bytes(&bytes[..width], last).min(width.saturating_sub(8));
        let values = Self::at(bytes, width, skip);
        let mut runs = Vec::new();
        let mut low = 0;
        for run in values.chunk_by(|left, right| left == right) {
            if run.len() >= RUN {
                let keys = &bytes[low * width..][..run.len() * width];
                let shared = (skip + 8).min(width.saturating_sub(8));
                runs.push((low, Self::new(keys, width, shared, crowd)));
            }
            low += run.len();
        }
        Self::of(skip, values, runs, crowd)
    }

    fn of(skip: usize, values: Vec<i64>, runs: Vec<(usize, Self)>, crowd: usize) -> Self {
        Self {
            skip,
            column: Column::new(values, crowd),
            runs: runs.into(),
        }
    }

    fn at(bytes: &[u8], width: usize, skip: usize) -> Vec<i64> {
        bytes
            .chunks_exact(width)
            .map(|key| prefix_at(key, skip))
            .collect()
    }

    /// How many of the keys, the first of which is key `base` of `bytes`, are at or below `key`.
    #[inline]
    fn rank(&self, key: &[u8], base: usize, bytes: &[u8], width: usize) -> usize {
        if self.skip > 0 {
            match compare_head(key, &bytes[base * width..][..self.skip]) {
                Ordering::Less => return 0,
                Ordering::Greater => return self.column.view().len(),
                Ordering::Equal => {}
            }
        }
        let prefix = prefix_at(key, self.skip);
        let upper = self.column.view().rank::<Plain>(prefix);
        if upper == 0 || self.column.view().get(upper - 1) != prefix || self.skip + 8 >= width {
            return upper;
        }
        self.settle(key, base, upper, bytes, width)
    }

    /// [`SortedKeys::settle`] in here.
    fn settle(
        &self,
        key: &[u8],
        base: usize,
        mut upper: usize,
        bytes: &[u8],
        width: usize,
    ) -> usize {
        let after = self.runs.partition_point(|(low, _)| *low < upper);
        if let Some((low, run)) = self.runs[..after].last()
            && upper <= low + run.column.view().len()
        {
            return low + run.rank(key, base + low, bytes, width);
        }
        while upper > 0 && compare(key, &bytes[(base + upper - 1) * width..][..width]).is_lt() {
            upper -= 1;
        }
        upper
    }

    fn nbytes(&self) -> usize {
        let runs = self.runs.iter().map(|(_, run)| run.nbytes()).sum::<usize>();
        self.column.nbytes() + size_of_val(&*self.runs) + runs
    }
}

/// Orders `key`, padded with zeros, against `whole`, which is at least as long.
#[inline]
pub(super) fn compare(key: &[u8], whole: &[u8]) -> Ordering {
    let (head, rest) = whole.split_at(key.len());
    key.cmp(head).then_with(|| {
        if rest.iter().all(|byte| *byte == 0) {
            Ordering::Equal
        } else {
            Ordering::Less
        }
    })
}

/// Orders what `key`, padded with zeros, starts with against `head`.
#[inline]
pub(super) fn compare_head(key: &[u8], head: &[u8]) -> Ordering {
    compare(&key[..head.len().min(key.len())], head)
}

/// Eight bytes of `key` from `at` on as an integer of the same order; what is missing counts as zeros.
///
/// Integers are signed, as that is what machines compare many of at once.
#[inline(always)]
pub(super) fn prefix_at(key: &[u8], at: usize) -> i64 {
    let tail = key.get(at..).unwrap_or_default();
    let unsigned = match tail.first_chunk::<8>() {
        Some(eight) => u64::from_be_bytes(*eight),
        None => short_prefix(tail),
    };
    (unsigned ^ 1 << 63) as i64
}

#[cold]
fn short_prefix(tail: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..tail.len()].copy_from_slice(tail);
    u64::from_be_bytes(eight)
}

/// How many leading bytes two keys share.
fn shared_bytes(left: &[u8], right: &[u8]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(keys: &[&[u8]]) -> SortedKeys {
        SortedKeys::new(keys.concat(), keys[0].len(), 4)
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
        assert_eq!(SortedKeys::new(Vec::new(), 2, 4).rank(b"aa"), 0);
    }

    #[test]
    fn looks_past_a_shared_head_and_past_ties() {
        let keys = column(&[
            b"user:000000000001",
            b"user:000000000005",
            b"user:200000000000",
        ]);
        assert_eq!(keys.head(), b"user:");
        assert_eq!(keys.rank(b"tser:000000000001"), 0);
        assert_eq!(keys.rank(b"user:000000000000"), 0);
        assert_eq!(keys.rank(b"user:000000000004"), 1);
        assert_eq!(keys.rank(b"user:000000000005"), 2);
        assert_eq!(keys.rank(b"user:100000000000"), 2);
        assert_eq!(keys.rank(b"vser:000000000001"), 3);
    }

    #[test]
    fn long_runs_of_equal_prefixes_are_searched_by_what_follows() {
        // Two tenants, each with a long name, and under it runs of runs.
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for tenant in ["a-long-tenant-name", "b-long-tenant-name"] {
            for group in 0..3 {
                keys.extend((0..40).map(|i| format!("{tenant}/{group:012}/{i:012}").into_bytes()));
            }
        }
        let sorted = SortedKeys::new(keys.concat(), keys[0].len(), 4);
        let mut asked: Vec<Vec<u8>> = keys.clone();
        asked.extend(
            keys.iter()
                .map(|key| [&key[..key.len() - 1], b"\0"].concat()),
        );
        asked.extend(
            keys.iter()
                .map(|key| [&key[..key.len() - 1], b"\xff"].concat()),
        );
        asked.extend(
            keys.iter()
                .flat_map(|key| [key[..20].to_vec(), key[..1].to_vec()]),
        );
        asked.extend(
            keys.iter()
                .map(|key| [&key[..20], &[0xff; 20][..]].concat()),
        );
        for key in asked {
            let expected = keys.partition_point(|other| compare(&key, other).is_ge());
            assert_eq!(sorted.rank(&key), expected, "{}", key.escape_ascii());
        }
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
