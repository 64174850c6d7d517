//! Taking a row out.

use std::sync::Arc;

use super::Summary;
use super::node::{Cell, MIN, Node};

/// Takes the row of `key`, which has to be there, out of `node`; also gives what to subtract from the node's sum.
///
/// The node itself may end up with fewer entries than it should have: that is its parent's to mend.
pub(super) fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<(Cell, Summary)> {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => {
            let cell = leaf.remove(leaf.find(key).ok()?);
            let change = leaf.summary_of(&cell);
            Some((cell, change))
        }
        Node::Inner(inner) => {
            let at = inner.branch_of(key);
            let branch = &mut inner.branches[at];
            let (cell, change) = remove(&mut branch.node, key)?;
            branch.sum -= change;
            if branch.node.len() < MIN {
                inner.mend(at.saturating_sub(1));
            }
            Some((cell, change))
        }
    }
}
