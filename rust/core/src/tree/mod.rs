//! The ordered store (signatures are final; the body is being written).

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::digest::row_hash;
use crate::key::KeyError;

/// A row's bytes, shared between the tree, its snapshots and the log.
pub type Value = Arc<[u8]>;

/// One row as the tree holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a Value,
    /// Sequence of the write that made it.
    pub version: u64,
}

/// What a range of rows adds up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Wrapping sum of the row hashes.
    pub digest: u64,
}

/// What can be wrong with an operation on trees.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A key of the wrong length.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Keys that had to ascend do not.
    #[error("key {next} does not come after {previous}: rows have to ascend without repeats")]
    NotAscending {
        /// The key before.
        previous: String,
        /// The offending key.
        next: String,
    },
    /// Rows that lie outside the range they are meant for.
    #[error("rows from {first} to {last} are not all inside the range they are to replace")]
    OutsideRange {
        /// First key of the rows.
        first: String,
        /// Last key of the rows.
        last: String,
    },
}

/// An ordered map of rows.
#[derive(Clone)]
pub struct Tree {
    key_length: usize,
    map: Arc<BTreeMap<Box<[u8]>, (Value, u64)>>,
}

/// Rows of a range, in order, from both ends.
pub struct Iter<'a>(std::vec::IntoIter<Row<'a>>);

impl<'a> Iterator for Iter<'a> {
    type Item = Row<'a>;
    fn next(&mut self) -> Option<Row<'a>> {
        self.0.next()
    }
}
impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}
impl ExactSizeIterator for Iter<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
}

impl Tree {
    /// An empty tree of keys of `key_length` bytes.
    pub fn new(key_length: usize) -> Self {
        Self { key_length, map: Arc::default() }
    }
    /// Length of the keys, in bytes.
    pub fn key_length(&self) -> usize {
        self.key_length
    }
    /// Rows by ascending key.
    pub fn from_sorted<K: AsRef<[u8]>>(
        key_length: usize,
        rows: impl IntoIterator<Item = (K, Value, u64)>,
    ) -> Result<Self, TreeError> {
        let mut tree = Self::new(key_length);
        for (key, value, version) in rows {
            tree.insert(key.as_ref(), value, version);
        }
        Ok(tree)
    }
    /// The row of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Row<'_>> {
        self.map.get_key_value(key).map(|(key, (value, version))| Row { key, value, version: *version })
    }
    /// Puts a row; returns what it replaces.
    pub fn insert(&mut self, key: &[u8], value: Value, version: u64) -> Option<(Value, u64)> {
        Arc::make_mut(&mut self.map).insert(key.into(), (value, version))
    }
    /// Removes a row.
    pub fn remove(&mut self, key: &[u8]) -> Option<(Value, u64)> {
        Arc::make_mut(&mut self.map).remove(key)
    }
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.map.len() as u64
    }
    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        self.total().bytes
    }
    /// Wrapping sum of the row hashes.
    pub fn digest(&self) -> u64 {
        self.total().digest
    }
    /// Rows, bytes and digest.
    pub fn total(&self) -> Summary {
        self.summary(&[], None)
    }
    /// What the rows of `[start, end)` add up to.
    pub fn summary(&self, start: &[u8], end: Option<&[u8]>) -> Summary {
        self.range(start, end).fold(Summary::default(), |sum, row| Summary {
            rows: sum.rows + 1,
            bytes: sum.bytes + (row.key.len() + row.value.len()) as u64,
            digest: sum.digest.wrapping_add(row_hash(row.key, row.version, row.value)),
        })
    }
    /// How many rows have a key below `key`.
    pub fn rank(&self, key: &[u8]) -> u64 {
        self.map.keys().filter(|have| ***have < *key).count() as u64
    }
    /// The key with `rank` rows below it.
    pub fn key_at(&self, rank: u64) -> Option<Box<[u8]>> {
        self.map.keys().nth(rank as usize).cloned()
    }
    /// The lowest key.
    pub fn first_key(&self) -> Option<&[u8]> {
        self.map.keys().next().map(|key| &**key)
    }
    /// The highest key.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.map.keys().next_back().map(|key| &**key)
    }
    /// All rows.
    pub fn iter(&self) -> Iter<'_> {
        self.range(&[], None)
    }
    /// The rows of `[start, end)`; empty when `end <= start`.
    pub fn range(&self, start: &[u8], end: Option<&[u8]>) -> Iter<'_> {
        let rows = self.map.iter().filter(|(key, _)| ***key >= *start && end.is_none_or(|end| ***key < *end));
        let rows: Vec<_> =
            rows.map(|(key, (value, version))| Row { key, value, version: *version }).collect();
        Iter(rows.into_iter())
    }
    /// Takes the rows at and above `key` off into a tree of their own.
    pub fn split_off(&mut self, key: &[u8]) -> Self {
        let right = Arc::make_mut(&mut self.map).split_off(key);
        Self { key_length: self.key_length, map: Arc::new(right) }
    }
    /// One tree out of two; every key of `left` has to be below every key of `right`.
    pub fn join(left: Self, right: Self) -> Result<Self, TreeError> {
        let mut left = left;
        for row in right.iter() {
            left.insert(row.key, row.value.clone(), row.version);
        }
        Ok(left)
    }
    /// Puts `rows` in the place of what `[start, end)` holds, which it returns.
    pub fn replace_range(&mut self, start: &[u8], end: Option<&[u8]>, rows: Self) -> Result<Self, TreeError> {
        let mut old = self.split_off(start);
        let above = match end {
            Some(end) => old.split_off(end),
            None => Self::new(self.key_length),
        };
        *self = Self::join(Self::join(self.clone(), rows)?, above)?;
        Ok(old)
    }
}

/// Frees a tree on a thread of its own, so that the caller does not wait for a big one.
pub fn drop_in_background(tree: Tree) {
    drop(tree);
}
