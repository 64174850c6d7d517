//! A column of keys: sorted, of one length, one after the other in one buffer.

use std::hint::select_unpredictable;

/// Room is made for so many entries at a time: a leaf's slack stays a few rows, instead of doubling.
const GROW_ENTRIES: usize = 4;

#[derive(Clone)]
pub(super) struct Keys {
    length: usize,
    bytes: Vec<u8>,
}

impl Keys {
    pub(super) fn new(length: usize) -> Self {
        Self {
            length,
            bytes: Vec::new(),
        }
    }

    pub(super) fn key_length(&self) -> usize {
        self.length
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.length
    }

    pub(super) fn get(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.length..][..self.length]
    }

    /// The keys from `first` up to and without `end`, one after the other.
    pub(super) fn slice(&self, first: usize, end: usize) -> &[u8] {
        &self.bytes[first * self.length..end * self.length]
    }

    pub(super) fn reserve(&mut self, entries: usize) {
        self.bytes.reserve_exact(entries * self.length);
    }

    pub(super) fn extend(&mut self, keys: &[u8]) {
        self.bytes.extend_from_slice(keys);
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        let (old, at) = (self.bytes.len(), at * self.length);
        if self.bytes.capacity() - old < self.length {
            self.reserve(GROW_ENTRIES);
        }
        self.bytes.extend_from_slice(key);
        if at < old {
            self.bytes.copy_within(at..old, at + self.length);
            self.bytes[at..at + self.length].copy_from_slice(key);
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.bytes.drain(at * self.length..(at + 1) * self.length);
        shrink(&mut self.bytes, GROW_ENTRIES * self.length);
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.bytes.reserve_exact(other.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Takes the keys from `at` on off into a column of their own; both keep no spare room.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let bytes = self.bytes[at * self.length..].to_vec();
        self.bytes.truncate(at * self.length);
        self.bytes.shrink_to_fit();
        Self {
            length: self.length,
            bytes,
        }
    }

    /// How many keys are below `key`.
    pub(super) fn below(&self, key: &[u8]) -> usize {
        if let (16, Ok(key)) = (self.length, key.try_into()) {
            let key = u128::from_be_bytes(key);
            return count_before::<16, 4>(&self.bytes, |other| u128::from_be_bytes(*other) < key);
        }
        if let (8, Ok(key)) = (self.length, key.try_into()) {
            let key = u64::from_be_bytes(key);
            return count_before::<8, 8>(&self.bytes, |other| u64::from_be_bytes(*other) < key);
        }
        partition_point(self.len(), |at| self.get(at) < key)
    }

    /// How many keys are at or below `key`.
    pub(super) fn up_to(&self, key: &[u8]) -> usize {
        if let (16, Ok(key)) = (self.length, key.try_into()) {
            let key = u128::from_be_bytes(key);
            return count_before::<16, 4>(&self.bytes, |other| u128::from_be_bytes(*other) <= key);
        }
        if let (8, Ok(key)) = (self.length, key.try_into()) {
            let key = u64::from_be_bytes(key);
            return count_before::<8, 8>(&self.bytes, |other| u64::from_be_bytes(*other) <= key);
        }
        partition_point(self.len(), |at| self.get(at) <= key)
    }
}

/// How many of the sorted keys of `N` bytes `before` is true for.
///
/// Counts among the first keys of all blocks of `BLOCK` keys (one cache line), then inside one block. A binary search
/// compares fewer keys, but each of its loads waits for the one before; here all cache misses are under way at once.
fn count_before<const N: usize, const BLOCK: usize>(
    keys: &[u8],
    before: impl Fn(&[u8; N]) -> bool,
) -> usize {
    let keys = keys.as_chunks::<N>().0;
    let blocks: usize = keys
        .iter()
        .step_by(BLOCK)
        .map(|first| usize::from(before(first)))
        .sum();
    let Some(block) = blocks.checked_sub(1) else {
        return 0;
    };
    let inside = keys[block * BLOCK..].iter().take(BLOCK);
    block * BLOCK + inside.map(|key| usize::from(before(key))).sum::<usize>()
}

/// The first of `count` entries for which `before` is false, by a binary search without branches to mispredict.
fn partition_point(count: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut first, mut left) = (0, count);
    while left > 1 {
        let half = left / 2;
        first = select_unpredictable(before(first + half - 1), first + half, first);
        left -= half;
    }
    first + usize::from(left == 1 && before(first))
}

/// Room for one more item, made a few items at a time.
pub(super) fn make_room<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact(GROW_ENTRIES);
    }
}

/// Gives spare room back once it is more than twice `slack` items.
pub(super) fn shrink<T>(items: &mut Vec<T>, slack: usize) {
    if items.capacity() - items.len() > 2 * slack {
        items.shrink_to(items.len() + slack);
    }
}

/// Gives spare room for more than a few items back.
pub(super) fn give_back<T>(items: &mut Vec<T>) {
    shrink(items, GROW_ENTRIES);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(length: usize, numbers: &[u32]) -> Keys {
        let mut keys = Keys::new(length);
        for number in numbers {
            let key = key(length, *number);
            let at = keys.below(&key);
            keys.insert(at, &key);
        }
        keys
    }

    fn key(length: usize, number: u32) -> Vec<u8> {
        let mut key = vec![0; length];
        let tail = number.to_be_bytes();
        let used = length.min(4);
        key[length - used..].copy_from_slice(&tail[4 - used..]);
        key
    }

    #[test]
    fn bounds_are_found_at_every_length_and_count() {
        for length in [1, 3, 8, 16, 24] {
            for count in 0..70 {
                let odd: Vec<u32> = (0..count).map(|i| 2 * i + 1).rev().collect();
                let keys = column(length, &odd);
                assert_eq!(keys.len(), odd.len());
                for number in 0..=2 * count {
                    let below = (number / 2) as usize;
                    assert_eq!(
                        keys.below(&key(length, number)),
                        below,
                        "{number} in {count} of {length}"
                    );
                    let up_to = number.div_ceil(2) as usize;
                    assert_eq!(
                        keys.up_to(&key(length, number)),
                        up_to,
                        "{number} in {count} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_bound_of_another_length_compares_as_bytes() {
        let keys = column(16, &[1, 2, 3]);
        assert_eq!(keys.below(b""), 0);
        assert_eq!(keys.below(&[1]), 3);
        assert_eq!(keys.up_to(&[&*key(16, 2), b"x"].concat()), 2);
    }

    #[test]
    fn insert_remove_split_and_append() {
        let mut keys = column(3, &[5, 1, 3]);
        keys.remove(1);
        assert_eq!(
            (keys.len(), keys.get(0), keys.get(1)),
            (2, &*key(3, 1), &*key(3, 5))
        );
        let tail = keys.split_off(1);
        assert_eq!((keys.len(), tail.len(), tail.get(0)), (1, 1, &*key(3, 5)));
        keys.append(&tail);
        assert_eq!(keys.get(1), key(3, 5));
    }
}
