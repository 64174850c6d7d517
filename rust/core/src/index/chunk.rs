//! Some neighbouring ranges in one block of memory.

use std::sync::Arc;

use super::sorted_keys::{SortedKeys, compare};

/// One range as it lies in a chunk, or as it is about to: bounds of full length and what belongs to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a, V> {
    /// The lowest key inside.
    pub start: &'a [u8],
    /// The lowest key above, or none for +∞.
    pub end: Option<&'a [u8]>,
    /// What belongs to the range.
    pub value: V,
}

impl<V> Piece<'_, V> {
    /// Whether `next`, which does not start lower, shares a key with this range.
    pub(super) fn reaches_into<W>(&self, next: &Piece<'_, W>) -> bool {
        self.end.is_none_or(|end| end > next.start)
    }
}

/// Starts to a bucket of a chunk's column: the table of buckets is then small beside them.
const CROWD: usize = 2;

/// Neighbouring ranges, never changed once built.
#[derive(Debug)]
pub(super) struct Chunk<V> {
    starts: SortedKeys,
    ends: Ends,
    values: Box<[V]>,
}

/// Where the ranges of a chunk end: at the next start, unless there is an end of its own.
#[derive(Debug)]
struct Ends {
    /// One bit a range: whether it has an end of its own.
    own: Box<[u64]>,
    /// Those ends, one after the other.
    bytes: Box<[u8]>,
    width: usize,
    /// Whether the last range has no end.
    open: bool,
}

impl<V: Clone> Chunk<V> {
    /// A chunk of `pieces`, at least one, sorted and free of overlaps, with keys of `width` bytes.
    pub(super) fn new(pieces: &[Piece<'_, V>], width: usize) -> Arc<Self> {
        let mut starts = Vec::with_capacity(pieces.len() * width);
        let mut own = vec![0; pieces.len().div_ceil(64)];
        let mut ends = Vec::new();
        for (position, piece) in pieces.iter().enumerate() {
            starts.extend_from_slice(piece.start);
            let next = pieces.get(position + 1).map(|next| next.start);
            if let Some(end) = piece.end.filter(|_| piece.end != next) {
                own[position / 64] |= 1 << (position % 64);
                ends.extend_from_slice(end);
            }
        }
        Arc::new(Self {
            starts: SortedKeys::new(starts, width, CROWD),
            ends: Ends {
                own: own.into(),
                bytes: ends.into(),
                width,
                open: pieces.last().is_some_and(|last| last.end.is_none()),
            },
            values: pieces.iter().map(|piece| piece.value.clone()).collect(),
        })
    }
}

impl<V> Chunk<V> {
    /// How many ranges.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The starts of the ranges.
    #[inline(always)]
    pub(super) fn starts(&self) -> &SortedKeys {
        &self.starts
    }

    /// Range `slot`, which has to exist.
    pub(super) fn piece(&self, slot: usize) -> Piece<'_, &V> {
        Piece {
            start: self.starts.get(slot),
            end: self.end(slot),
            value: &self.values[slot],
        }
    }

    /// What belongs to each range.
    pub(super) fn values(&self) -> &[V] {
        &self.values
    }

    /// All ranges in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'_, &V>> {
        (0..self.len()).map(|slot| self.piece(slot))
    }

    /// Whether any range but the last has an end of its own: a gap follows it.
    pub(super) fn has_gaps(&self) -> bool {
        let ends = self.ends.bytes.len() / self.ends.width;
        ends > usize::from(!self.ends.open)
    }

    /// Whether `key`, at or above the start of range `slot` and below the next, is below the range's end.
    #[inline]
    pub(super) fn is_below_end(&self, slot: usize, key: &[u8]) -> bool {
        self.ends
            .own(slot)
            .is_none_or(|end| compare(key, end).is_lt())
    }

    /// Bytes of memory, without what the values point to.
    pub(super) fn nbytes(&self) -> usize {
        size_of::<Self>()
            + self.starts.nbytes()
            + self.ends.bytes.len()
            + size_of_val(&*self.ends.own)
            + size_of_val(&*self.values)
    }

    fn end(&self, slot: usize) -> Option<&[u8]> {
        self.ends
            .own(slot)
            .or_else(|| (slot + 1 < self.len()).then(|| self.starts.get(slot + 1)))
    }
}

impl Ends {
    #[inline]
    fn own(&self, slot: usize) -> Option<&[u8]> {
        let (word, bit) = (slot / 64, slot % 64);
        if self.own[word] & 1 << bit == 0 {
            return None;
        }
        let words = self.own[..word].iter().map(|word| word.count_ones());
        let before = words.sum::<u32>() + (self.own[word] & ((1 << bit) - 1)).count_ones();
        Some(&self.bytes[before as usize * self.width..][..self.width])
    }
}
