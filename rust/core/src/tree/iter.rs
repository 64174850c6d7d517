//! Rows in order, from both ends.

use std::iter::FusedIterator;

use super::Row;
use super::node::{Leaf, Node};

/// The rows of a range by ascending key; from the back by descending key.
///
/// It walks by rank: at the end of a leaf it finds the next one from the root, which a leaf of about 44 rows pays for
/// many times over, so it keeps no path and allocates nothing.
#[derive(Clone)]
pub struct Iter<'a> {
    root: Option<&'a Node>,
    /// Ranks of the rows still to come.
    next: u64,
    end: u64,
    ahead: Option<(&'a Leaf, usize)>,
    behind: Option<(&'a Leaf, usize)>,
}

impl<'a> Iter<'a> {
    /// The rows of rank `next` up to and without `end`, both within the tree of `root`.
    pub(super) fn new(root: Option<&'a Node>, next: u64, end: u64) -> Self {
        Self {
            root,
            next,
            end: end.max(next),
            ahead: None,
            behind: None,
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        if self.next == self.end {
            return None;
        }
        let (leaf, at) = match self.ahead {
            Some((leaf, at)) if at < leaf.len() => (leaf, at),
            _ => locate(self.root?, self.next),
        };
        self.next += 1;
        self.ahead = Some((leaf, at + 1));
        Some(leaf.row(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }

    fn nth(&mut self, skipped: usize) -> Option<Row<'a>> {
        self.next = self.next.saturating_add(skipped as u64).min(self.end);
        self.ahead = None;
        self.next()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        let (leaf, at) = match self.behind {
            Some((leaf, after)) if after > 0 => (leaf, after - 1),
            _ => locate(self.root?, self.end),
        };
        self.behind = Some((leaf, at));
        Some(leaf.row(at))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl FusedIterator for Iter<'_> {}

/// The leaf with the row of rank `rank`, and where in it; `rank` is below the number of rows.
pub(super) fn locate(mut node: &Node, mut rank: u64) -> (&Leaf, usize) {
    loop {
        match node {
            Node::Leaf(leaf) => return (leaf, rank as usize),
            Node::Inner(inner) => {
                let at = inner.branch_at(&mut rank);
                node = &inner.branches[at].node;
            }
        }
    }
}
