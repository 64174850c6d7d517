//! One tree out of two, by grafting the lower onto the edge of the higher.
//!
//! The algorithm is the join of Adams' "Implementing sets efficiently in a functional language" (1992) for balanced
//! trees, in its B-tree form: only the edge between the two heights is touched, O(difference of the heights).

use std::cmp::Ordering;
use std::sync::Arc;

use super::node::{APPEND_CUT, Branch, Inner, MAX, MIN, Node, Overflow};

/// A tree that is not empty: its root and how many levels of inner nodes are above the leaves.
#[derive(Clone)]
pub(super) struct Subtree {
    pub(super) branch: Branch,
    pub(super) height: usize,
}

impl Subtree {
    /// The tree without roots of one branch, which only lengthen the way.
    pub(super) fn collapsed(mut self) -> Self {
        while let Node::Inner(inner) = &*self.branch.node
            && let [only] = &*inner.branches
        {
            self.branch = only.clone();
            self.height -= 1;
        }
        self
    }

    /// The tree with what its root gave off, under a root above both.
    pub(super) fn grown(self, overflow: Overflow) -> Self {
        let Some((separator, right)) = overflow else {
            return self;
        };
        let mut sum = self.branch.sum;
        sum += right.sum;
        let root = Inner::pair(self.branch, &separator, right);
        Self {
            branch: Branch::of(sum, Node::Inner(root)),
            height: self.height + 1,
        }
    }
}

/// Joins two trees; `separator` is above every key of `left` and not above any of `right`.
pub(super) fn join(mut left: Subtree, separator: &[u8], mut right: Subtree) -> Subtree {
    match left.height.cmp(&right.height) {
        Ordering::Equal => {
            let mut pair = left.grown(Some((separator.into(), right.branch)));
            if let Node::Inner(root) = Arc::make_mut(&mut pair.branch.node) {
                root.mend(0);
            }
            pair.collapsed()
        }
        Ordering::Greater => {
            let levels = left.height - right.height;
            let overflow = graft_last(&mut left.branch, levels, separator, right.branch);
            left.grown(overflow)
        }
        Ordering::Less => {
            let levels = right.height - left.height;
            let overflow = graft_first(&mut right.branch, levels, left.branch, separator);
            right.grown(overflow)
        }
    }
}

/// Makes `scion` the last branch `levels` levels below `stock`, and gives what is then too much for `stock`.
fn graft_last(stock: &mut Branch, levels: usize, separator: &[u8], scion: Branch) -> Overflow {
    stock.sum += scion.sum;
    let Node::Inner(inner) = Arc::make_mut(&mut stock.node) else {
        unreachable!("a leaf has no levels below")
    };
    let last = inner.branches.len() - 1;
    if levels == 1 {
        inner.insert_after(last, separator, scion);
        inner.mend(last);
    } else if let Some((separator, right)) =
        graft_last(&mut inner.branches[last], levels - 1, separator, scion)
    {
        inner.insert_after(last, &separator, right);
    }
    relieve(stock, APPEND_CUT)
}

/// Makes `scion` the first branch `levels` levels below `stock`, and gives what is then too much for `stock`.
fn graft_first(stock: &mut Branch, levels: usize, scion: Branch, separator: &[u8]) -> Overflow {
    stock.sum += scion.sum;
    let Node::Inner(inner) = Arc::make_mut(&mut stock.node) else {
        unreachable!("a leaf has no levels below")
    };
    if levels == 1 {
        inner.insert_first(scion, separator);
        inner.mend(0);
    } else if let Some((separator, right)) =
        graft_first(&mut inner.branches[0], levels - 1, scion, separator)
    {
        inner.insert_after(0, &separator, right);
    }
    relieve(stock, MIN)
}

fn relieve(stock: &mut Branch, at: usize) -> Overflow {
    if stock.node.len() <= MAX {
        return None;
    }
    let Node::Inner(inner) = Arc::make_mut(&mut stock.node) else {
        unreachable!("a leaf has no levels below")
    };
    let overflow = inner.overflow(at);
    if let Some((_, right)) = &overflow {
        stock.sum -= right.sum;
    }
    overflow
}
