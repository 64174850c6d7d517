//! The ordered store: a copy-on-write B+tree of rows with fixed-length keys.
//!
//! Nodes are reference-counted and shared between a tree and its snapshots: [`Tree::clone`] is O(1), and a writer copies
//! a node only while a snapshot holds it too. Every inner node keeps what is below each branch (rows, bytes, digest),
//! so counts stay exact through [`Tree::split_off`] and [`Tree::join`], which touch one path, and any range adds up in
//! O(log n). Two trees never share a lock: who writes a tree owns it.

mod build;
mod cut;
mod dropper;
mod insert;
mod iter;
mod join;
mod keys;
mod node;
mod prefetch;
mod remove;
mod runs;
mod summary;
mod verify;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

pub use self::build::TreeBuilder;
pub use self::dropper::drop_in_background;
pub use self::iter::Iter;
pub(crate) use self::runs::Run;
pub use self::summary::{Summary, row_hash};

use self::join::Subtree;
use self::node::{Branch, Cell, Leaf, Node};
use crate::key::{KeyError, MAX_KEY_LENGTH, readable};

/// A row's bytes, shared between the tree, its snapshots and the log.
pub type Value = Arc<[u8]>;

/// The longest value a row may have, in bytes; who takes writes from outside checks it.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

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

/// What can be wrong with an operation on trees.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// A key of the wrong length, or an empty range.
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
    /// Trees of different key lengths.
    #[error("rows with keys of {found} bytes do not go into a tree of {expected}")]
    KeyLength {
        /// Key length of the rows, in bytes.
        found: usize,
        /// Key length of the tree, in bytes.
        expected: usize,
    },
    /// Rows that lie outside the range they are meant for.
    #[error("rows from {first} to {last} are not all inside {range}, which they are to replace")]
    OutsideRange {
        /// First key of the rows.
        first: String,
        /// Last key of the rows.
        last: String,
        /// The range, readable.
        range: String,
    },
}

/// An ordered map from keys of one length to values with versions.
///
/// A clone is a consistent snapshot and costs O(1), as do the totals; every other operation is O(log n) but where it says
/// otherwise. Bounds (`start`, `end`, the key of a split) may have any length and compare byte by byte, so a shorter one
/// means itself padded with zeros. Dropping the last owner of many rows takes long: see [`drop_in_background`].
#[derive(Clone)]
pub struct Tree {
    key_length: usize,
    root: Option<Subtree>,
}

impl Tree {
    /// An empty tree of keys of `key_length` bytes.
    ///
    /// # Panics
    /// When `key_length` is not in 1..=[`MAX_KEY_LENGTH`].
    pub fn new(key_length: usize) -> Self {
        assert!(
            (1..=MAX_KEY_LENGTH).contains(&key_length),
            "{}",
            KeyError::BadKeyLength(key_length)
        );
        Self {
            key_length,
            root: None,
        }
    }

    /// A tree of rows that come by ascending key, in O(rows).
    pub fn from_sorted<K: AsRef<[u8]>>(
        key_length: usize,
        rows: impl IntoIterator<Item = (K, Value, u64)>,
    ) -> Result<Self, TreeError> {
        let mut builder = TreeBuilder::new(key_length);
        for (key, value, version) in rows {
            builder.push(key.as_ref(), value, version)?;
        }
        Ok(builder.finish())
    }

    /// Length of the keys, in bytes.
    pub fn key_length(&self) -> usize {
        self.key_length
    }

    /// Rows, bytes and digest, in O(1).
    pub fn total(&self) -> Summary {
        self.root
            .as_ref()
            .map_or_else(Summary::default, |root| root.branch.sum)
    }

    /// Number of rows, in O(1).
    pub fn rows(&self) -> u64 {
        self.total().rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Bytes of keys and values, in O(1).
    pub fn bytes(&self) -> u64 {
        self.total().bytes
    }

    /// Wrapping sum of the [hashes](row_hash) of all rows, in O(1): equal for trees of equal rows.
    pub fn digest(&self) -> u64 {
        self.total().digest
    }

    /// The row of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Row<'_>> {
        let mut node = self.node()?;
        loop {
            match node {
                Node::Inner(inner) => node = &inner.branches[inner.branch_of(key)].node,
                Node::Leaf(leaf) => return leaf.find(key).ok().map(|at| leaf.row(at)),
            }
        }
    }

    /// Puts a row; returns the value and version it replaces.
    ///
    /// # Panics
    /// When `key` has not the tree's key length.
    pub fn insert(&mut self, key: &[u8], value: Value, version: u64) -> Option<(Value, u64)> {
        assert_eq!(
            key.len(),
            self.key_length,
            "key {} has the wrong length for its tree",
            readable(key)
        );
        let cell = Cell {
            hash: row_hash(key, version, &value),
            value,
            version,
        };
        let Some(root) = &mut self.root else {
            let mut leaf = Leaf::new(self.key_length);
            leaf.insert(0, key, cell);
            self.root = Some(Subtree {
                branch: Branch::new(Node::Leaf(leaf)),
                height: 0,
            });
            return None;
        };
        let inserted = insert::insert(&mut root.branch.node, key, cell);
        root.branch.sum += inserted.change;
        if let Some((_, right)) = &inserted.overflow {
            root.branch.sum -= right.sum;
            self.root = self.root.take().map(|root| root.grown(inserted.overflow));
        }
        inserted.replaced
    }

    /// Removes the row of `key`; returns its value and version.
    pub fn remove(&mut self, key: &[u8]) -> Option<(Value, u64)> {
        // Looked up first: a key that is not there must not copy what a snapshot holds.
        self.get(key)?;
        let mut root = self.root.take()?;
        let removed = remove::remove(&mut root.branch.node, key);
        if let Some((_, change)) = &removed {
            root.branch.sum -= *change;
        }
        self.root = (root.branch.sum.rows > 0).then(|| root.collapsed());
        removed.map(|(cell, _)| (cell.value, cell.version))
    }

    /// What the rows of `[start, end)` add up to; no `end` means +∞.
    pub fn summary(&self, start: &[u8], end: Option<&[u8]>) -> Summary {
        if end.is_some_and(|end| end <= start) {
            return Summary::default();
        }
        end.map_or_else(|| self.total(), |end| self.below(end)) - self.below(start)
    }

    /// How many rows have a key below `key`.
    pub fn rank(&self, key: &[u8]) -> u64 {
        self.below(key).rows
    }

    /// The key with `rank` rows below it; none from [`rows`](Self::rows) on.
    pub fn key_at(&self, rank: u64) -> Option<Box<[u8]>> {
        self.rows_at(rank, self.rows())
            .next()
            .map(|row| row.key.into())
    }

    /// The lowest key.
    pub fn first_key(&self) -> Option<&[u8]> {
        self.root.as_ref().map(|root| root.branch.first_key())
    }

    /// The highest key.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.root.as_ref().map(|root| root.branch.last_key())
    }

    /// All rows by ascending key; `.rev()` for descending.
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(self.node(), 0, self.rows())
    }

    /// The rows of `[start, end)`; no `end` means +∞, and `end <= start` means none.
    pub fn range(&self, start: &[u8], end: Option<&[u8]>) -> Iter<'_> {
        self.rows_at(
            self.rank(start),
            end.map_or_else(|| self.rows(), |end| self.rank(end)),
        )
    }

    /// The rows of rank `first` up to and without `end`.
    pub fn rows_at(&self, first: u64, end: u64) -> Iter<'_> {
        let end = end.min(self.rows());
        Iter::new(self.node(), first.min(end), end)
    }

    /// Takes the rows at and above `key` off into a tree of their own.
    #[must_use = "the rows that were taken off are in the tree it returns"]
    pub fn split_off(&mut self, key: &[u8]) -> Self {
        let (low, high) = self
            .root
            .take()
            .map_or((None, None), |root| cut::cut(root, key));
        self.root = low;
        Self {
            key_length: self.key_length,
            root: high,
        }
    }

    /// One tree out of two; every key of `left` has to be below every key of `right`.
    ///
    /// On an error both are dropped: keep clones of what is not known to be in order.
    pub fn join(left: Self, right: Self) -> Result<Self, TreeError> {
        let key_length = left.key_length;
        if right.key_length != key_length {
            return Err(TreeError::KeyLength {
                found: right.key_length,
                expected: key_length,
            });
        }
        let root = match (left.root, right.root) {
            (Some(left), Some(right)) => {
                let (last, first) = (left.branch.last_key(), right.branch.first_key());
                if last >= first {
                    return Err(TreeError::NotAscending {
                        previous: readable(last),
                        next: readable(first),
                    });
                }
                let separator: Box<[u8]> = first.into();
                Some(join::join(left, &separator, right))
            }
            (left, right) => left.or(right),
        };
        Ok(Self { key_length, root })
    }

    /// Puts `rows` in the place of what `[start, end)` holds, and returns what it held.
    ///
    /// On an error the tree is as it was.
    pub fn replace_range(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        rows: Self,
    ) -> Result<Self, TreeError> {
        if rows.key_length != self.key_length {
            return Err(TreeError::KeyLength {
                found: rows.key_length,
                expected: self.key_length,
            });
        }
        if let Some(end) = end.filter(|end| *end <= start) {
            return Err(KeyError::EmptyRange {
                start: readable(start),
                end: readable(end),
            }
            .into());
        }
        if let (Some(first), Some(last)) = (rows.first_key(), rows.last_key())
            && (first < start || end.is_some_and(|end| last >= end))
        {
            let range = format!(
                "[{}, {})",
                readable(start),
                end.map_or("+∞".into(), readable)
            );
            return Err(TreeError::OutsideRange {
                first: readable(first),
                last: readable(last),
                range,
            });
        }
        let mut old = self.split_off(start);
        let above = end.map_or_else(|| Self::new(self.key_length), |end| old.split_off(end));
        let below = std::mem::replace(self, Self::new(self.key_length));
        *self = Self::join(Self::join(below, rows)?, above)?;
        Ok(old)
    }

    fn node(&self) -> Option<&Node> {
        self.root.as_ref().map(|root| &*root.branch.node)
    }

    /// The key of rank `rank`, and what the rows below it add up to; none from [`rows`](Self::rows) on.
    pub(crate) fn at_rank(&self, mut rank: u64) -> Option<(&[u8], Summary)> {
        let mut node = self.node().filter(|_| rank < self.rows())?;
        let mut sum = Summary::default();
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = inner.branch_at(&mut rank);
                    sum += inner.branches[..at].iter().map(|branch| branch.sum).sum();
                    node = &inner.branches[at].node;
                }
                Node::Leaf(leaf) => {
                    sum += leaf.summary_below(rank as usize);
                    return Some((leaf.keys.get(rank as usize), sum));
                }
            }
        }
    }

    /// What the rows with a key below `key` add up to.
    pub(crate) fn below(&self, key: &[u8]) -> Summary {
        let mut sum = Summary::default();
        let Some(mut node) = self.node() else {
            return sum;
        };
        loop {
            match node {
                Node::Inner(inner) => {
                    let at = inner.branch_of(key);
                    sum += inner.branches[..at].iter().map(|branch| branch.sum).sum();
                    node = &inner.branches[at].node;
                }
                Node::Leaf(leaf) => {
                    sum += leaf.summary_below(leaf.keys.below(key));
                    return sum;
                }
            }
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, height) = (
            self.total(),
            self.root.as_ref().map_or(0, |root| root.height),
        );
        f.debug_struct("Tree")
            .field("key_length", &self.key_length)
            .field("rows", &total.rows)
            .field("bytes", &total.bytes)
            .field("digest", &format_args!("{:016x}", total.digest))
            .field("height", &height)
            .finish()
    }
}
