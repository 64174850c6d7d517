//! Two trees out of one, by cutting the path to a key.
//!
//! Every node on the path falls apart into what is left of it, the next node down, and what is right of it; on the way
//! back up the pieces of each side are joined. Their heights differ by about one level each, so the joins together
//! take O(height): see "Just join for parallel ordered sets" (Blelloch, Ferizovic, Sun, 2016).

use std::sync::Arc;

use super::Summary;
use super::join::{Subtree, join};
use super::node::{Branch, Inner, Node};

/// What is below `key`, and what is not.
pub(super) fn cut(tree: Subtree, key: &[u8]) -> (Option<Subtree>, Option<Subtree>) {
    let Subtree {
        branch: Branch { sum, node },
        height,
    } = tree;
    match Arc::unwrap_or_clone(node) {
        Node::Leaf(mut leaf) => {
            let right = leaf.split_off(leaf.keys.below(key));
            let right_sum = right.summary();
            let whole = |sum: Summary, node| {
                (sum.rows > 0).then(|| Subtree {
                    branch: Branch::of(sum, node),
                    height,
                })
            };
            (
                whole(sum - right_sum, Node::Leaf(leaf)),
                whole(right_sum, Node::Leaf(right)),
            )
        }
        Node::Inner(inner) => {
            let at = inner.branch_of(key);
            let (left, middle, right) = take_apart(inner, at, height);
            let (low, high) = cut(middle, key);
            let low = match (left, low) {
                (Some((left, separator)), Some(low)) => Some(join(left, &separator, low)),
                (left, low) => left.map(|(left, _)| left).or(low),
            };
            let high = match (high, right) {
                (Some(high), Some((separator, right))) => Some(join(high, &separator, right)),
                (high, right) => high.or(right.map(|(_, right)| right)),
            };
            (low, high)
        }
    }
}

type Left = Option<(Subtree, Box<[u8]>)>;
type Right = Option<(Box<[u8]>, Subtree)>;

/// What is left of branch `at`, the branch, and what is right of it.
fn take_apart(mut inner: Inner, at: usize, height: usize) -> (Left, Subtree, Right) {
    let tree = |inner: Inner| {
        Subtree {
            branch: Branch::new(Node::Inner(inner)),
            height,
        }
        .collapsed()
    };
    let right = (at + 1 < inner.branches.len()).then(|| {
        let (separator, right) = inner.split_off(at + 1);
        (separator, tree(right))
    });
    if at == 0 {
        return (None, tree(inner), right);
    }
    let (separator, middle) = inner.split_off(at);
    (Some((tree(inner), separator)), tree(middle), right)
}
