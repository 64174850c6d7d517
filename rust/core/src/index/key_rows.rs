//! Many keys in one piece of memory.

/// A batch of keys of one width, each `stride` bytes after the one before.
#[derive(Debug, Clone, Copy)]
pub struct KeyRows<'a> {
    bytes: &'a [u8],
    len: usize,
    stride: usize,
    width: usize,
}

impl<'a> KeyRows<'a> {
    /// Keys side by side. What is left over after the last whole key is not part of it; a `width` of 0 holds no key.
    pub fn new(bytes: &'a [u8], width: usize) -> Self {
        Self {
            bytes,
            len: bytes.len().checked_div(width).unwrap_or(0),
            stride: width,
            width,
        }
    }

    /// `len` keys of `width` bytes whose starts are `stride` bytes apart, as in a column of records; none if `bytes`
    /// is too short for them.
    pub fn strided(bytes: &'a [u8], len: usize, stride: usize, width: usize) -> Option<Self> {
        let needed = match len.checked_sub(1) {
            Some(last) => last.checked_mul(stride)?.checked_add(width)?,
            None => 0,
        };
        (needed <= bytes.len()).then_some(Self {
            bytes,
            len,
            stride,
            width,
        })
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes a key.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Key `position`.
    ///
    /// # Panics
    /// If there is no such key.
    #[inline]
    pub fn get(&self, position: usize) -> &'a [u8] {
        &self.bytes[position * self.stride..][..self.width]
    }

    /// The keys in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let rows = *self;
        (0..rows.len).map(move |position| rows.get(position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_side_by_side_or_in_records() {
        let rows: Vec<_> = KeyRows::new(b"aabbcc", 2).iter().collect();
        assert_eq!(rows, [b"aa", b"bb", b"cc"]);
        let records = KeyRows::strided(b"aa-bb-cc", 3, 3, 2).unwrap();
        assert_eq!(records.iter().collect::<Vec<_>>(), rows);
        assert!(KeyRows::strided(b"aa-bb-cc", 4, 3, 2).is_none());
        assert!(KeyRows::strided(b"", 0, 3, 2).unwrap().is_empty());
        assert!(KeyRows::new(b"", 0).is_empty());
    }
}
