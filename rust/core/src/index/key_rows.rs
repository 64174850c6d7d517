//! Many keys in one piece of memory.

use std::ops::Range;

/// A batch of keys of one width.
pub trait Keys: Copy + Sync {
    /// One key.
    type Key: AsRef<[u8]>;

    /// How many keys.
    fn len(&self) -> usize;

    /// Bytes a key.
    fn width(&self) -> usize;

    /// Key `position`.
    ///
    /// # Panics
    /// If there is no such key.
    fn get(&self, position: usize) -> Self::Key;

    /// The keys at `positions`.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    fn slice(&self, positions: Range<usize>) -> Self;

    /// Whether there is no key.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys as bytes, each `stride` bytes after the one before, or before it if that is negative.
#[derive(Debug, Clone, Copy)]
pub struct KeyRows<'a> {
    bytes: &'a [u8],
    first: usize,
    stride: isize,
    len: usize,
    width: usize,
}

impl<'a> KeyRows<'a> {
    /// Keys side by side. What is left over after the last whole key is not part of it; a `width` of 0 holds no key.
    pub fn new(bytes: &'a [u8], width: usize) -> Self {
        Self {
            bytes,
            first: 0,
            stride: width as isize,
            len: bytes.len().checked_div(width).unwrap_or(0),
            width,
        }
    }

    /// One key.
    #[inline(always)]
    pub(super) fn one(key: &'a [u8]) -> Self {
        Self {
            bytes: key,
            first: 0,
            stride: 0,
            len: 1,
            width: key.len(),
        }
    }

    /// `len` keys of `width` bytes, as in a column of records: the first starts at byte `first`, each other one
    /// `stride` bytes on; none if they do not all lie in `bytes`.
    pub fn strided(
        bytes: &'a [u8],
        first: usize,
        stride: isize,
        len: usize,
        width: usize,
    ) -> Option<Self> {
        let rows = Self {
            bytes,
            first,
            stride,
            len,
            width,
        };
        let steps = isize::try_from(len.saturating_sub(1)).ok()?;
        let last = first.checked_add_signed(stride.checked_mul(steps)?)?;
        let end = first.max(last).checked_add(width)?;
        (len == 0 || end <= bytes.len()).then_some(rows)
    }

    /// Their memory, if it holds nothing else between them.
    pub(super) fn side_by_side(&self) -> Option<&'a [u8]> {
        let whole = self.stride == self.width as isize;
        whole.then(|| &self.bytes[self.first..][..self.len * self.width])
    }

    /// The keys in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let rows = *self;
        (0..rows.len).map(move |position| rows.get(position))
    }
}

impl<'a> Keys for KeyRows<'a> {
    type Key = &'a [u8];

    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn width(&self) -> usize {
        self.width
    }

    #[inline(always)]
    fn get(&self, position: usize) -> &'a [u8] {
        debug_assert!(position < self.len);
        let start = self.first as isize + position as isize * self.stride;
        &self.bytes[start as usize..][..self.width]
    }

    fn slice(&self, positions: Range<usize>) -> Self {
        assert!(positions.start <= positions.end && positions.end <= self.len);
        let first = self.first as isize + positions.start as isize * self.stride;
        Self {
            first: if positions.is_empty() {
                0
            } else {
                first as usize
            },
            len: positions.len(),
            ..*self
        }
    }
}

/// Keys of eight bytes as integers: each stands for its bytes from the highest to the lowest, and so sorts as they do.
#[derive(Debug, Clone, Copy)]
pub struct IntegerKeys<'a>(pub &'a [u64]);

impl Keys for IntegerKeys<'_> {
    type Key = [u8; 8];

    #[inline(always)]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn width(&self) -> usize {
        8
    }

    #[inline(always)]
    fn get(&self, position: usize) -> [u8; 8] {
        self.0[position].to_be_bytes()
    }

    fn slice(&self, positions: Range<usize>) -> Self {
        Self(&self.0[positions])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_side_by_side_or_in_records() {
        let rows: Vec<_> = KeyRows::new(b"aabbcc", 2).iter().collect();
        assert_eq!(rows, [b"aa", b"bb", b"cc"]);
        let records = KeyRows::strided(b"aa-bb-cc", 0, 3, 3, 2).unwrap();
        assert_eq!(records.iter().collect::<Vec<_>>(), rows);
        let reversed = KeyRows::strided(b"cc-bb-aa", 6, -3, 3, 2).unwrap();
        assert_eq!(reversed.iter().collect::<Vec<_>>(), rows);
        assert_eq!(reversed.slice(1..3).iter().collect::<Vec<_>>(), rows[1..]);
        assert!(reversed.slice(3..3).is_empty());
        assert!(KeyRows::strided(b"aa-bb-cc", 0, 3, 4, 2).is_none());
        assert!(KeyRows::strided(b"aa-bb-cc", 5, -3, 3, 2).is_none());
        assert!(KeyRows::strided(b"", 0, 3, 0, 2).unwrap().is_empty());
        assert!(KeyRows::new(b"", 0).is_empty());
    }

    #[test]
    fn integers_are_keys_of_the_same_order() {
        let keys = IntegerKeys(&[1, 256]);
        assert_eq!(keys.get(1), *b"\0\0\0\0\0\0\x01\0");
        assert!(keys.get(0) < keys.get(1));
        assert_eq!(keys.slice(1..2).get(0), keys.get(1));
    }
}
