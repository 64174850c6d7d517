//! The nodes of the tree: leaves of rows, inner nodes of branches.

use std::sync::Arc;

use super::keys::{Keys, give_back, make_room};
use super::{Row, Summary, Value};

/// The most rows a leaf, or branches an inner node, has.
pub(super) const MAX: usize = 64;

/// The fewest, but for the root. Well below half, so that what was just split or joined is not at the edge again.
pub(super) const MIN: usize = 16;

/// Where a full node is cut when it grew at its upper end: rows that arrive in order leave full nodes behind.
pub(super) const APPEND_CUT: usize = MAX + 1 - MIN;

#[derive(Clone)]
pub(super) enum Node {
    Leaf(Leaf),
    Inner(Inner),
}

impl Node {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.branches.len(),
        }
    }

    fn summary(&self) -> Summary {
        match self {
            Self::Leaf(leaf) => leaf.summary(),
            Self::Inner(inner) => inner.branches.iter().map(|branch| branch.sum).sum(),
        }
    }
}

/// A value with what belongs to it. The hash is kept, so that moving a row between nodes never reads its value.
#[derive(Clone)]
pub(super) struct Cell {
    pub(super) value: Value,
    pub(super) version: u64,
    pub(super) hash: u64,
}

/// Rows: the keys in one buffer for the search, the rest beside them.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) keys: Keys,
    pub(super) cells: Vec<Cell>,
}

impl Leaf {
    pub(super) fn new(key_length: usize) -> Self {
        Self {
            keys: Keys::new(key_length),
            cells: Vec::new(),
        }
    }

    pub(super) fn with_room(key_length: usize, rows: usize) -> Self {
        let mut keys = Keys::new(key_length);
        keys.reserve(rows);
        Self {
            keys,
            cells: Vec::with_capacity(rows),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn row(&self, at: usize) -> Row<'_> {
        let cell = &self.cells[at];
        Row {
            key: self.keys.get(at),
            value: &cell.value,
            version: cell.version,
        }
    }

    /// Where `key` is, or else where it would be.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let at = self.keys.below(key);
        if at < self.len() && self.keys.get(at) == key {
            Ok(at)
        } else {
            Err(at)
        }
    }

    pub(super) fn insert(&mut self, at: usize, key: &[u8], cell: Cell) {
        self.keys.insert(at, key);
        make_room(&mut self.cells);
        self.cells.insert(at, cell);
    }

    /// Puts rows after all others; `keys` are theirs, one after the other.
    pub(super) fn extend(&mut self, keys: &[u8], cells: impl Iterator<Item = Cell>) {
        self.keys.extend(keys);
        self.cells.extend(cells);
    }

    pub(super) fn remove(&mut self, at: usize) -> Cell {
        self.keys.remove(at);
        let cell = self.cells.remove(at);
        give_back(&mut self.cells);
        cell
    }

    pub(super) fn summary_of(&self, cell: &Cell) -> Summary {
        let bytes = self.keys.key_length() + cell.value.len();
        Summary {
            rows: 1,
            bytes: bytes as u64,
            digest: cell.hash,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary_below(self.len())
    }

    /// Of the first `rows` rows.
    pub(super) fn summary_below(&self, rows: usize) -> Summary {
        self.cells[..rows]
            .iter()
            .map(|cell| self.summary_of(cell))
            .sum()
    }

    pub(super) fn append(&mut self, other: Self) {
        self.keys.append(&other.keys);
        self.cells.reserve_exact(other.cells.len());
        self.cells.extend(other.cells);
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let keys = self.keys.split_off(at);
        let cells = self.cells.drain(at..).collect();
        self.cells.shrink_to_fit();
        Self { keys, cells }
    }
}

/// A node and what is below it: shared by all snapshots that hold it.
#[derive(Clone)]
pub(super) struct Branch {
    pub(super) sum: Summary,
    pub(super) node: Arc<Node>,
}

impl Branch {
    /// A branch of `node`, whose entries are added up.
    pub(super) fn new(node: Node) -> Self {
        Self {
            sum: node.summary(),
            node: Arc::new(node),
        }
    }

    /// A branch of `node`, whose rows are known to add up to `sum`.
    pub(super) fn of(sum: Summary, node: Node) -> Self {
        Self {
            sum,
            node: Arc::new(node),
        }
    }

    /// The lowest key; the walk takes the height of the tree.
    pub(super) fn first_key(&self) -> &[u8] {
        let mut node = &*self.node;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.keys.get(0),
                Node::Inner(inner) => node = &inner.branches[0].node,
            }
        }
    }

    /// The highest key; the walk takes the height of the tree.
    pub(super) fn last_key(&self) -> &[u8] {
        let mut node = &*self.node;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.keys.get(leaf.len() - 1),
                Node::Inner(inner) => node = &inner.branches[inner.branches.len() - 1].node,
            }
        }
    }
}

/// What a node that grew too big gave off: it belongs right of the node, from the separator on.
pub(super) type Overflow = Option<(Box<[u8]>, Branch)>;

/// Branches, and between each two the separator: above every key on its left, not above any on its right.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) separators: Keys,
    pub(super) branches: Vec<Branch>,
}

impl Inner {
    pub(super) fn pair(left: Branch, separator: &[u8], right: Branch) -> Self {
        let mut separators = Keys::new(separator.len());
        separators.insert(0, separator);
        Self {
            separators,
            branches: vec![left, right],
        }
    }

    /// Which branch `key` belongs to.
    pub(super) fn branch_of(&self, key: &[u8]) -> usize {
        self.separators.up_to(key)
    }

    /// Which branch the row of rank `rank` is in; `rank` becomes its rank there.
    pub(super) fn branch_at(&self, rank: &mut u64) -> usize {
        let mut at = 0;
        while *rank >= self.branches[at].sum.rows {
            *rank -= self.branches[at].sum.rows;
            at += 1;
        }
        at
    }

    /// Puts `right` after branch `at`.
    pub(super) fn insert_after(&mut self, at: usize, separator: &[u8], right: Branch) {
        self.separators.insert(at, separator);
        make_room(&mut self.branches);
        self.branches.insert(at + 1, right);
    }

    /// Puts `left` before all others.
    pub(super) fn insert_first(&mut self, left: Branch, separator: &[u8]) {
        self.separators.insert(0, separator);
        make_room(&mut self.branches);
        self.branches.insert(0, left);
    }

    /// Gives off what is too much, from branch `at` on.
    pub(super) fn overflow(&mut self, at: usize) -> Overflow {
        if self.branches.len() <= MAX {
            return None;
        }
        let (separator, right) = self.split_off(at);
        Some((separator, Branch::new(Node::Inner(right))))
    }

    /// Takes the branches from `at` on off, and the separator before them; `at` leaves both sides one.
    pub(super) fn split_off(&mut self, at: usize) -> (Box<[u8]>, Self) {
        let separators = self.separators.split_off(at);
        let separator = self.separators.get(at - 1).into();
        self.separators.remove(at - 1);
        let branches = self.branches.drain(at..).collect();
        self.branches.shrink_to_fit();
        (
            separator,
            Self {
                separators,
                branches,
            },
        )
    }

    /// Makes branch `at` and the next one keep to [`MIN`]: as they are if they do, else as one, or evened out.
    pub(super) fn mend(&mut self, at: usize) {
        if self.branches[at].node.len() >= MIN && self.branches[at + 1].node.len() >= MIN {
            return;
        }
        let right = self.branches.remove(at + 1);
        let separator: Box<[u8]> = self.separators.get(at).into();
        self.separators.remove(at);
        let left = self.branches.remove(at);
        let (left, overflow) = merge(left, &separator, right);
        self.branches.insert(at, left);
        match overflow {
            Some((separator, right)) => self.insert_after(at, &separator, right),
            None => give_back(&mut self.branches),
        }
    }
}

/// One branch out of two neighbours of one height, or two of half the entries each where one would be too big.
fn merge(left: Branch, separator: &[u8], right: Branch) -> (Branch, Overflow) {
    let mut sum = left.sum;
    sum += right.sum;
    match (
        Arc::unwrap_or_clone(left.node),
        Arc::unwrap_or_clone(right.node),
    ) {
        (Node::Leaf(mut left), Node::Leaf(right)) => {
            left.append(right);
            if left.len() <= MAX {
                return (Branch::of(sum, Node::Leaf(left)), None);
            }
            let right = left.split_off(left.len() / 2);
            let separator = right.keys.get(0).into();
            let right = Branch::new(Node::Leaf(right));
            (
                Branch::of(sum - right.sum, Node::Leaf(left)),
                Some((separator, right)),
            )
        }
        (Node::Inner(mut left), Node::Inner(right)) => {
            left.separators.insert(left.separators.len(), separator);
            left.separators.append(&right.separators);
            left.branches.reserve_exact(right.branches.len());
            left.branches.extend(right.branches);
            let overflow = left.overflow(left.branches.len() / 2);
            if let Some((_, right)) = &overflow {
                sum -= right.sum;
            }
            (Branch::of(sum, Node::Inner(left)), overflow)
        }
        _ => unreachable!("neighbours are of one height"),
    }
}
