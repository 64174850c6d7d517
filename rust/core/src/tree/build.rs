//! Building a tree from rows that arrive in order.

use super::join::{Subtree, join};
use super::node::{Branch, Cell, Leaf, Node};
use super::summary::row_hash;
use super::{Tree, TreeError, Value};
use crate::key::{check_key, readable};

/// How full leaves are built, in rows: room for a few writes before the first of them splits.
const FILL: usize = 56;

/// Builds a tree, a full leaf at a time, from rows by ascending key.
pub struct TreeBuilder {
    tree: Tree,
    leaf: Leaf,
}

impl TreeBuilder {
    /// A builder of a tree with keys of `key_length` bytes.
    ///
    /// # Panics
    /// When `key_length` is not in 1..=[`MAX_KEY_LENGTH`](crate::key::MAX_KEY_LENGTH).
    pub fn new(key_length: usize) -> Self {
        Self {
            tree: Tree::new(key_length),
            leaf: Leaf::new(key_length),
        }
    }

    /// Length of the keys, in bytes.
    pub(crate) fn key_length(&self) -> usize {
        self.tree.key_length()
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.tree.rows() + self.leaf.len() as u64
    }

    /// Adds a row; its key has to have the tree's length and come after all before.
    pub fn push(&mut self, key: &[u8], value: Value, version: u64) -> Result<(), TreeError> {
        check_key(key, self.tree.key_length())?;
        self.append(key, std::iter::once((value, version)))
    }

    /// Adds rows whose keys, one after the other in `keys`, have the tree's length and ascend; they have to come after
    /// all before, which is all that is checked. `rows` are their values and versions.
    pub(crate) fn append(
        &mut self,
        mut keys: &[u8],
        mut rows: impl Iterator<Item = (Value, u64)>,
    ) -> Result<(), TreeError> {
        let key_length = self.tree.key_length();
        if let Some(last) = self.leaf.len().checked_sub(1) {
            let (last, next) = (self.leaf.keys.get(last), &keys[..key_length]);
            if last >= next {
                return Err(TreeError::NotAscending {
                    previous: readable(last),
                    next: readable(next),
                });
            }
        }
        while !keys.is_empty() {
            if self.leaf.len() == FILL {
                self.flush();
            }
            if self.leaf.len() == 0 {
                self.leaf = Leaf::with_room(key_length, FILL);
            }
            let room = (FILL - self.leaf.len()) * key_length;
            let (fitting, rest) = keys.split_at(room.min(keys.len()));
            let cells = fitting.chunks_exact(key_length).zip(&mut rows);
            let cells = cells.map(|(key, (value, version))| Cell {
                hash: row_hash(key, version, &value),
                value,
                version,
            });
            self.leaf.extend(fitting, cells);
            keys = rest;
        }
        Ok(())
    }

    /// The rows so far, as a tree.
    pub fn finish(mut self) -> Tree {
        self.flush();
        self.tree
    }

    fn flush(&mut self) {
        let leaf = std::mem::replace(&mut self.leaf, Leaf::new(self.tree.key_length()));
        if leaf.len() == 0 {
            return;
        }
        let right = Subtree {
            branch: Branch::new(Node::Leaf(leaf)),
            height: 0,
        };
        self.tree.root = Some(match self.tree.root.take() {
            Some(left) => {
                let separator: Box<[u8]> = right.branch.first_key().into();
                join(left, &separator, right)
            }
            None => right,
        });
    }
}
