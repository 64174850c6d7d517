//! A tree's own rules, checked node by node.

use super::join::Subtree;
use super::node::{MAX, MIN, Node};
use super::summary::row_hash;
use super::{Summary, Tree};
use crate::key::readable;

impl Tree {
    /// Checks every rule the tree keeps to, in O(rows); the error says which one is broken and where.
    ///
    /// The rules: keys ascend and lie between the separators above them, all leaves are at one depth, every node but the
    /// root has 16 to 64 entries and an inner root at least two, and every sum and hash is that of the rows.
    pub fn verify(&self) -> Result<(), String> {
        let Some(Subtree { branch, height }) = &self.root else {
            return Ok(());
        };
        let least = if *height == 0 { 1 } else { 2 };
        let sum = verify(&branch.node, *height, self.key_length, least, (None, None))?;
        if sum == branch.sum {
            Ok(())
        } else {
            Err(format!("root sum {:?}, rows give {sum:?}", branch.sum))
        }
    }
}

type Limits<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn verify(
    node: &Node,
    height: usize,
    key_length: usize,
    least: usize,
    limits: Limits,
) -> Result<Summary, String> {
    if !(least..=MAX).contains(&node.len()) {
        return Err(format!(
            "{} entries at height {height}, not {least}..={MAX}",
            node.len()
        ));
    }
    let keys = match node {
        Node::Leaf(leaf) if height == 0 && leaf.keys.len() == leaf.cells.len() => &leaf.keys,
        Node::Inner(inner) if height > 0 && inner.separators.len() + 1 == inner.branches.len() => {
            &inner.separators
        }
        _ => {
            return Err(format!(
                "wrong kind of node or uneven columns at height {height}"
            ));
        }
    };
    if keys.key_length() != key_length {
        return Err(format!(
            "keys of {} bytes in a tree of {key_length}",
            keys.key_length()
        ));
    }
    let keys: Vec<&[u8]> = (0..keys.len()).map(|at| keys.get(at)).collect();
    let outside = |key: &&&[u8]| {
        limits.0.is_some_and(|low| **key < low) || limits.1.is_some_and(|high| **key >= high)
    };
    if let Some(key) = keys.iter().find(outside) {
        return Err(format!(
            "key {} at height {height} is outside its separators",
            readable(key)
        ));
    }
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!(
            "{} before {} at height {height}",
            readable(pair[0]),
            readable(pair[1])
        ));
    }
    match node {
        Node::Leaf(leaf) => {
            let wrong =
                |at: &usize| row_hash(keys[*at], leaf.cells[*at].version, &leaf.cells[*at].value);
            if let Some(at) = (0..leaf.len()).find(|at| wrong(at) != leaf.cells[*at].hash) {
                return Err(format!("hash of row {}", readable(keys[at])));
            }
            Ok(leaf.summary())
        }
        Node::Inner(inner) => {
            let mut total = Summary::default();
            for (at, branch) in inner.branches.iter().enumerate() {
                let low = at.checked_sub(1).map_or(limits.0, |at| Some(keys[at]));
                let high = keys.get(at).copied().or(limits.1);
                let sum = verify(&branch.node, height - 1, key_length, MIN, (low, high))?;
                if sum != branch.sum {
                    return Err(format!(
                        "sum {:?} at height {height}, rows give {sum:?}",
                        branch.sum
                    ));
                }
                total += sum;
            }
            Ok(total)
        }
    }
}
