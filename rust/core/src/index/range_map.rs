//! A sorted, persistent map from ranges to values: a new version shares what did not change with the old one.

use std::ops::Range;
use std::sync::Arc;

use super::chunk::{Chunk, Piece};
use super::error::IndexError;
use super::key_rows::Keys;
use super::lanes::{Instructions, prefetch};
use super::locate::{ChunkDoor, ListDoor, locate, locate_one};
use super::sorted_keys::SortedKeys;
use crate::key::{Bounds, check_key_length, readable};

/// Ranges a chunk is built with, and at most holds. A change copies one chunk and the list of chunks, so the cost of a
/// change to n ranges is about `FULL + n / FULL` short copies.
const FULL: usize = 256;
/// Chunks to a bucket of the list's column: its table is read for every key, and stays near.
const CROWD: usize = 1;
/// A chunk that shrinks below this is put together with the one before it, where both fit in one.
const SPARSE: usize = 64;

/// One change to a [`RangeMap`].
#[derive(Debug, Clone)]
pub(crate) enum Edit<'a, V> {
    /// Takes out the range that starts there.
    Remove(&'a [u8]),
    /// Puts a range in where there is none.
    Add(Piece<'a, V>),
}

impl<V> Edit<'_, V> {
    fn start(&self) -> &[u8] {
        match self {
            Self::Remove(start) => start,
            Self::Add(piece) => piece.start,
        }
    }
}

/// Closed-open ranges that do not overlap, gaps allowed, each with a value. Immutable; a clone is one reference count.
#[derive(Debug)]
pub struct RangeMap<V: 'static> {
    top: Arc<Top<V>>,
}

#[derive(Debug)]
struct Top<V: 'static> {
    key_length: usize,
    /// The first start of every chunk.
    firsts: Arc<SortedKeys>,
    /// The way into the list of chunks, if there are any.
    entrance: Option<ListDoor>,
    /// The way into every chunk.
    doors: Box<[ChunkDoor<V>]>,
    len: usize,
}

impl<V: 'static> Clone for RangeMap<V> {
    fn clone(&self) -> Self {
        Self {
            top: Arc::clone(&self.top),
        }
    }
}

impl<V: Clone + 'static> RangeMap<V> {
    /// A map of keys of `key_length` bytes without a range.
    pub(crate) fn new(key_length: usize) -> Result<Self, IndexError> {
        check_key_length(key_length)?;
        Ok(Self::of_chunks(key_length, Vec::new()))
    }

    /// A map of `pieces`, whose bounds have full length and whose starts ascend.
    pub(crate) fn from_pieces(
        key_length: usize,
        pieces: &[Piece<'_, V>],
    ) -> Result<Self, IndexError> {
        check_key_length(key_length)?;
        check_order(pieces)?;
        let chunks = pieces
            .chunks(FULL)
            .map(|part| Chunk::new(part, key_length))
            .collect();
        Ok(Self::of_chunks(key_length, chunks))
    }

    /// The version after `edits`, all at once: what is removed makes room for what is added.
    ///
    /// Errors if a range to remove is not there or the result would overlap; then nothing has changed, as ever.
    pub(crate) fn edit(&self, mut edits: Vec<Edit<'_, V>>) -> Result<Self, IndexError> {
        edits.sort_by(|left, right| {
            left.start()
                .cmp(right.start())
                .then_with(|| matches!(left, Edit::Add(_)).cmp(&matches!(right, Edit::Add(_))))
        });
        let old = &self.top.doors;
        let mut chunks: Vec<Arc<Chunk<V>>> = Vec::with_capacity(old.len() + 2);
        let mut rest = edits.as_slice();
        let mut taken = 0;
        while let Some(first) = rest.first() {
            let target = self.top.firsts.rank(first.start()).saturating_sub(1);
            append(&mut chunks, &old[taken..target])?;
            let count = match old.get(target + 1) {
                Some(next) => {
                    rest.partition_point(|edit| edit.start() < next.chunk().piece(0).start)
                }
                None => rest.len(),
            };
            let merged = merge(old.get(target).map(|door| &**door.chunk()), &rest[..count])?;
            if let (Some(before), Some(piece)) = (chunks.last(), merged.first()) {
                check_neighbours(&last_piece(before), piece)?;
            }
            self.push(&mut chunks, &merged);
            rest = &rest[count..];
            taken = old.len().min(target + 1);
        }
        append(&mut chunks, &old[taken..])?;
        Ok(Self::of_chunks(self.top.key_length, chunks))
    }

    /// Appends `pieces` as chunks of a good size, together with the chunk before them if either is small.
    fn push(&self, chunks: &mut Vec<Arc<Chunk<V>>>, pieces: &[Piece<'_, V>]) {
        let width = self.top.key_length;
        let neighbour = chunks.pop_if(|last| {
            !pieces.is_empty()
                && last.len().min(pieces.len()) < SPARSE
                && last.len() + pieces.len() <= FULL
        });
        if let Some(neighbour) = neighbour {
            let joined: Vec<_> = neighbour
                .pieces()
                .map(owned)
                .chain(pieces.iter().cloned())
                .collect();
            chunks.push(Chunk::new(&joined, width));
        } else if pieces.len() > FULL {
            let parts = pieces.len().div_ceil(FULL);
            chunks.extend(
                pieces
                    .chunks(pieces.len().div_ceil(parts))
                    .map(|part| Chunk::new(part, width)),
            );
        } else if !pieces.is_empty() {
            chunks.push(Chunk::new(pieces, width));
        }
    }

    fn of_chunks(key_length: usize, chunks: Vec<Arc<Chunk<V>>>) -> Self {
        let mut firsts = Vec::with_capacity(chunks.len() * key_length);
        let mut doors = Vec::with_capacity(chunks.len());
        let mut len = 0;
        for chunk in chunks {
            firsts.extend_from_slice(chunk.starts().get(0));
            let base = len;
            len += chunk.len();
            doors.extend(ChunkDoor::new(chunk, base));
        }
        let firsts = Arc::new(SortedKeys::new(firsts, key_length, CROWD));
        Self {
            top: Arc::new(Top {
                key_length,
                entrance: ListDoor::new(&firsts),
                firsts,
                doors: doors.into(),
                len,
            }),
        }
    }
}

impl<V: 'static> RangeMap<V> {
    /// Length of the keys in bytes.
    pub fn key_length(&self) -> usize {
        self.top.key_length
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        self.top.len
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.top.len == 0
    }

    /// Bytes of memory, without what the values point to.
    pub fn nbytes(&self) -> usize {
        let top = size_of::<Top<V>>() + self.top.firsts.nbytes() + size_of_val(&*self.top.doors);
        top + self
            .top
            .doors
            .iter()
            .map(|door| door.chunk().nbytes())
            .sum::<usize>()
    }

    /// The position and the value of the range that holds `key`; none in a gap, and for a key that is too long.
    ///
    /// A key shorter than the map's stands for that key padded with zeros.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<(usize, &V)> {
        if key.len() > self.top.key_length {
            return None;
        }
        locate_one(self, key).map(|(door, slot)| (door.base + slot, &door.values()[slot]))
    }

    /// Calls `found` with the place in the batch of each of `keys`, in order, and the position of its range; keys are
    /// no wider than the map's.
    #[inline]
    pub(super) fn positions<K: Keys>(
        &self,
        keys: K,
        instructions: Instructions,
        mut found: impl FnMut(usize, Option<usize>),
    ) {
        locate(
            self,
            keys,
            instructions,
            |_, _| (),
            |at, place| found(at, place.map(|(door, slot)| door.base + slot)),
        );
    }

    /// Likewise with the value of its range.
    #[inline]
    pub(super) fn values<'a, K: Keys>(
        &'a self,
        keys: K,
        instructions: Instructions,
        mut found: impl FnMut(usize, Option<&'a V>),
    ) {
        locate(
            self,
            keys,
            instructions,
            |door, about| prefetch(door.values().as_ptr().wrapping_add(about)),
            |at, place| found(at, place.map(|(door, slot)| &door.values()[slot])),
        );
    }

    /// The way into the list of chunks, if there are any.
    #[inline(always)]
    pub(super) fn entrance(&self) -> Option<&ListDoor> {
        self.top.entrance.as_ref()
    }

    /// The way into every chunk.
    #[inline(always)]
    pub(super) fn doors(&self) -> &[ChunkDoor<V>] {
        &self.top.doors
    }

    /// Range number `position` in the order of keys.
    pub fn get(&self, position: usize) -> Option<Piece<'_, &V>> {
        if position >= self.top.len {
            return None;
        }
        let at = self.chunk_of(position)?;
        let door = &self.top.doors[at];
        Some(door.chunk().piece(position - door.base))
    }

    /// The ranges at `positions`, those beyond the last left out.
    pub fn range(&self, positions: Range<usize>) -> impl Iterator<Item = Piece<'_, &V>> {
        let at = self.chunk_of(positions.start).unwrap_or(0);
        let skipped = positions.start - self.top.doors.get(at).map_or(0, |door| door.base);
        let pieces = self
            .top
            .doors
            .get(at..)
            .unwrap_or_default()
            .iter()
            .flat_map(|door| door.chunk().pieces());
        pieces.skip(skipped).take(positions.len())
    }

    /// All ranges in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = Piece<'_, &V>> {
        self.range(0..self.top.len)
    }

    /// The positions of the ranges that share a key with `start..end`.
    pub(crate) fn overlapping(&self, start: &[u8], end: Option<&[u8]>) -> Range<usize> {
        let low = self
            .find(start)
            .map_or_else(|| self.starts_at_or_below(start), |(position, _)| position);
        let high = end.map_or(self.top.len, |end| self.starts_below(end));
        low..high.max(low)
    }

    /// What is in this version's blocks of memory that `other` does not share.
    pub(crate) fn unshared<'a>(&'a self, other: &Self) -> impl Iterator<Item = Piece<'a, &'a V>> {
        let shared: std::collections::HashSet<_> = other
            .top
            .doors
            .iter()
            .map(|door| Arc::as_ptr(door.chunk()))
            .collect();
        let own = self
            .top
            .doors
            .iter()
            .map(ChunkDoor::chunk)
            .filter(move |chunk| !shared.contains(&Arc::as_ptr(chunk)));
        own.flat_map(|chunk| chunk.pieces())
    }

    /// The number of the chunk that has range `position`, or of the last chunk.
    fn chunk_of(&self, position: usize) -> Option<usize> {
        let after = self.top.doors.partition_point(|door| door.base <= position);
        after.checked_sub(1)
    }

    fn starts_at_or_below(&self, key: &[u8]) -> usize {
        match self.top.firsts.rank(key).checked_sub(1) {
            Some(at) => {
                let door = &self.top.doors[at];
                door.base + door.chunk().starts().rank(key)
            }
            None => 0,
        }
    }

    fn starts_below(&self, key: &[u8]) -> usize {
        match self.top.firsts.rank_below(key).checked_sub(1) {
            Some(at) => {
                let door = &self.top.doors[at];
                door.base + door.chunk().starts().rank_below(key)
            }
            None => 0,
        }
    }
}

fn owned<'a, V: Clone>(piece: Piece<'a, &V>) -> Piece<'a, V> {
    Piece {
        start: piece.start,
        end: piece.end,
        value: piece.value.clone(),
    }
}

/// The last range of a chunk, which always has one.
fn last_piece<V>(chunk: &Chunk<V>) -> Piece<'_, &V> {
    chunk.piece(chunk.len() - 1)
}

/// Appends chunks as they were, given that the first of them does not overlap what is there by now.
fn append<V: 'static>(
    chunks: &mut Vec<Arc<Chunk<V>>>,
    unchanged: &[ChunkDoor<V>],
) -> Result<(), IndexError> {
    if let (Some(before), Some(after)) = (chunks.last(), unchanged.first()) {
        check_neighbours(&last_piece(before), &after.chunk().piece(0))?;
    }
    chunks.extend(unchanged.iter().map(|door| Arc::clone(door.chunk())));
    Ok(())
}

/// The ranges of `chunk` after `edits`, which are sorted by start, removals first.
fn merge<'a, V: Clone>(
    chunk: Option<&'a Chunk<V>>,
    edits: &[Edit<'a, V>],
) -> Result<Vec<Piece<'a, V>>, IndexError> {
    let mut merged = Vec::with_capacity(chunk.map_or(0, Chunk::len) + edits.len());
    let mut pieces = chunk.into_iter().flat_map(Chunk::pieces).peekable();
    for edit in edits {
        while let Some(piece) = pieces.next_if(|piece| piece.start < edit.start()) {
            merged.push(owned(piece));
        }
        match edit {
            Edit::Remove(start) => {
                if pieces.next_if(|piece| piece.start == *start).is_none() {
                    return Err(IndexError::NoSuchRange {
                        start: readable(start),
                    });
                }
            }
            Edit::Add(piece) => merged.push(piece.clone()),
        }
    }
    merged.extend(pieces.map(owned));
    for pair in merged.windows(2) {
        check_neighbours(&pair[0], &pair[1])?;
    }
    Ok(merged)
}

fn check_order<V>(pieces: &[Piece<'_, V>]) -> Result<(), IndexError> {
    for (position, pair) in pieces.windows(2).enumerate() {
        if pair[0].start >= pair[1].start {
            let (start, before) = (readable(pair[1].start), readable(pair[0].start));
            return Err(IndexError::NotAscending {
                position: position + 1,
                start,
                before,
            });
        }
        check_neighbours(&pair[0], &pair[1])?;
    }
    Ok(())
}

fn check_neighbours<V, W>(left: &Piece<'_, V>, right: &Piece<'_, W>) -> Result<(), IndexError> {
    if !left.reaches_into(right) {
        return Ok(());
    }
    Err(IndexError::Overlap {
        left: describe(left),
        right: describe(right),
    })
}

fn describe<V>(piece: &Piece<'_, V>) -> String {
    Bounds {
        start: piece.start.into(),
        end: piece.end.map(Into::into),
    }
    .to_string()
}
