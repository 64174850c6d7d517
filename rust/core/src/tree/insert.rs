//! Putting a row in.

use std::sync::Arc;

use super::node::{APPEND_CUT, Branch, Cell, MAX, Node, Overflow};
use super::{Summary, Value};

/// What putting a row in did to a node.
pub(super) struct Inserted {
    pub(super) replaced: Option<(Value, u64)>,
    /// What to add to the sum of the node, its overflow included.
    pub(super) change: Summary,
    pub(super) overflow: Overflow,
}

/// Puts a row into `node`; nodes that a snapshot holds too are copied on the way.
pub(super) fn insert(node: &mut Arc<Node>, key: &[u8], cell: Cell) -> Inserted {
    match Arc::make_mut(node) {
        Node::Leaf(leaf) => {
            let mut change = leaf.summary_of(&cell);
            let at = match leaf.find(key) {
                Ok(at) => {
                    let old = std::mem::replace(&mut leaf.cells[at], cell);
                    change -= leaf.summary_of(&old);
                    return Inserted {
                        replaced: Some((old.value, old.version)),
                        change,
                        overflow: None,
                    };
                }
                Err(at) => at,
            };
            leaf.insert(at, key, cell);
            let overflow = (leaf.len() > MAX).then(|| {
                let right = leaf.split_off(if at == MAX { APPEND_CUT } else { MAX / 2 });
                (right.keys.get(0).into(), Branch::new(Node::Leaf(right)))
            });
            Inserted {
                replaced: None,
                change,
                overflow,
            }
        }
        Node::Inner(inner) => {
            let at = inner.branch_of(key);
            let branch = &mut inner.branches[at];
            let mut inserted = insert(&mut branch.node, key, cell);
            branch.sum += inserted.change;
            if let Some((separator, right)) = inserted.overflow.take() {
                branch.sum -= right.sum;
                inner.insert_after(at, &separator, right);
                inserted.overflow =
                    inner.overflow(if at + 1 == MAX { APPEND_CUT } else { MAX / 2 });
            }
            inserted
        }
    }
}
