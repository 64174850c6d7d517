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

/// How a range of a chunk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Where the next range of the chunk starts: whatever ranks below that is inside.
    Next,
    /// At a key of its own.
    Key,
    /// Nowhere.
    Open,
}

/// Neighbouring ranges, never changed once built.
#[derive(Debug)]
pub(super) struct Chunk<V> {
    starts: SortedKeys,
    ends: Box<[u8]>,
    closings: Box<[End]>,
    values: Box<[V]>,
    width: usize,
}

impl<V: Clone> Chunk<V> {
    /// A chunk of `pieces`, sorted and free of overlaps, with keys of `width` bytes.
    pub(super) fn new(pieces: &[Piece<'_, V>], width: usize) -> Arc<Self> {
        let mut starts = Vec::with_capacity(pieces.len() * width);
        let mut ends = Vec::with_capacity(pieces.len() * width);
        let mut closings = Vec::with_capacity(pieces.len());
        for (position, piece) in pieces.iter().enumerate() {
            starts.extend_from_slice(piece.start);
            closings.push(match (piece.end, pieces.get(position + 1)) {
                (None, _) => End::Open,
                (Some(end), Some(next)) if end == next.start => End::Next,
                _ => End::Key,
            });
            match piece.end {
                Some(end) => ends.extend_from_slice(end),
                None => ends.resize(ends.len() + width, 0),
            }
        }
        Arc::new(Self {
            starts: SortedKeys::new(starts, width),
            ends: ends.into(),
            closings: closings.into(),
            values: pieces.iter().map(|piece| piece.value.clone()).collect(),
            width,
        })
    }
}

impl<V> Chunk<V> {
    /// How many ranges.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The starts of the ranges.
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

    /// What belongs to range `slot`.
    pub(super) fn value(&self, slot: usize) -> &V {
        &self.values[slot]
    }

    /// All ranges in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'_, &V>> {
        (0..self.len()).map(|slot| self.piece(slot))
    }

    /// The range that holds `key`, given that no range of a later chunk starts at or below it.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let slot = self.starts.rank(key).checked_sub(1)?;
        let inside = match self.closings[slot] {
            End::Next | End::Open => true,
            End::Key => compare(key, self.end_bytes(slot)).is_lt(),
        };
        inside.then_some(slot)
    }

    /// Bytes of memory, without what the values point to.
    pub(super) fn nbytes(&self) -> usize {
        size_of::<Self>()
            + self.starts.nbytes()
            + self.ends.len()
            + size_of_val(&*self.closings)
            + size_of_val(&*self.values)
    }

    fn end(&self, slot: usize) -> Option<&[u8]> {
        (self.closings[slot] != End::Open).then(|| self.end_bytes(slot))
    }

    fn end_bytes(&self, slot: usize) -> &[u8] {
        &self.ends[slot * self.width..][..self.width]
    }
}
