//! Building a tree from rows that arrive in order.

use super::join::{Subtree, join};
use super::node::{Branch, Cell, Leaf, Node};
use super::{Tree, TreeError, Value};
use crate::digest::row_hash;
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

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.tree.rows() + self.leaf.len() as u64
    }

    /// Adds a row; its key has to have the tree's length and come after all before.
    pub fn push(&mut self, key: &[u8], value: Value, version: u64) -> Result<(), TreeError> {
        check_key(key, self.tree.key_length())?;
        if let Some(last) = self.leaf.len().checked_sub(1) {
            let last = self.leaf.keys.get(last);
            if last >= key {
                return Err(TreeError::NotAscending {
                    previous: readable(last),
                    next: readable(key),
                });
            }
        }
        if self.leaf.len() == FILL {
            self.flush();
        }
        if self.leaf.len() == 0 {
            self.leaf = Leaf::with_room(self.tree.key_length(), FILL);
        }
        let hash = row_hash(key, version, &value);
        self.leaf.insert(
            self.leaf.len(),
            key,
            Cell {
                value,
                version,
                hash,
            },
        );
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
