//! Rows in order, a leaf at a time: for who copies many of them.

use super::node::{Cell, Inner, Leaf, Node};
use super::prefetch::prefetch;
use super::{Summary, Tree, Value};

/// Consecutive rows that lie in one leaf, with what they add up to.
pub(crate) struct Run<'a> {
    node: &'a Node,
    first: usize,
    /// Rows, bytes and digest.
    pub(crate) sum: Summary,
}

impl<'a> Run<'a> {
    fn of(leaf: &Leaf, node: &'a Node, first: usize, end: usize) -> Self {
        let sum = leaf.summary_below(end) - leaf.summary_below(first);
        Self { node, first, sum }
    }

    fn leaf(&self) -> &'a Leaf {
        match self.node {
            Node::Leaf(leaf) => leaf,
            Node::Inner(_) => unreachable!("runs are of leaves"),
        }
    }

    /// Asks for the node, which says where the rest is.
    pub(crate) fn prefetch_node(&self) {
        prefetch(std::slice::from_ref(self.node));
    }

    /// Asks for keys, versions and where the values are.
    pub(crate) fn prefetch_rows(&self) {
        prefetch(self.keys());
        prefetch(self.held());
    }

    /// Asks for the values.
    pub(crate) fn prefetch_values(&self) {
        self.held().iter().for_each(|cell| prefetch(&cell.value));
    }

    /// The first `rows` rows of the run.
    pub(crate) fn cut(&self, rows: usize) -> Self {
        Self::of(self.leaf(), self.node, self.first, self.first + rows)
    }

    /// The keys, one after the other.
    pub(crate) fn keys(&self) -> &'a [u8] {
        let keys = &self.leaf().keys;
        keys.slice(self.first, self.first + self.sum.rows as usize)
    }

    /// Versions and values, by ascending key.
    pub(crate) fn cells(&self) -> impl ExactSizeIterator<Item = (u64, &'a Value)> + use<'a> {
        self.held().iter().map(|cell| (cell.version, &cell.value))
    }

    fn held(&self) -> &'a [Cell] {
        &self.leaf().cells[self.first..][..self.sum.rows as usize]
    }
}

/// The rows of a range of ranks by leaf. What a whole leaf adds up to comes from the node above it, so that a run can be
/// counted before anything of its leaf is read.
pub(crate) struct Runs<'a> {
    tree: &'a Tree,
    next: u64,
    end: u64,
    /// The node above the leaves where the next row is, and in which of its branches.
    above: Option<(&'a Inner, usize)>,
}

impl Tree {
    /// The rows of rank `first` up to and without `end`, by leaf.
    pub(crate) fn runs_at(&self, first: u64, end: u64) -> Runs<'_> {
        let end = end.min(self.rows());
        Runs {
            tree: self,
            next: first.min(end),
            end,
            above: None,
        }
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        if self.next == self.end {
            return None;
        }
        let left = self.end - self.next;
        if let Some((inner, at)) = self.above
            && let Some(branch) = inner.branches.get(at)
            && branch.sum.rows <= left
        {
            self.above = Some((inner, at + 1));
            self.next += branch.sum.rows;
            return Some(Run {
                node: &branch.node,
                first: 0,
                sum: branch.sum,
            });
        }
        let (mut node, mut rank, mut above) = (self.tree.node()?, self.next, None);
        while let Node::Inner(inner) = node {
            let at = inner.branch_at(&mut rank);
            above = Some((inner, at + 1));
            node = &inner.branches[at].node;
        }
        self.above = above;
        let Node::Leaf(leaf) = node else { return None };
        let first = rank as usize;
        let rows = left.min((leaf.len() - first) as u64);
        self.next += rows;
        Some(Run::of(leaf, node, first, first + rows as usize))
    }
}
