//! A model of the tree and keys of any length for it.

#![allow(dead_code, reason = "not every test needs all of this module")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use dstk_core::digest::row_hash;
use dstk_core::tree::{Row, Summary, Tree};

/// What a tree should hold.
pub type Model = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

/// One of its rows: key, value and version.
pub type Owned = (Vec<u8>, (Vec<u8>, u64));

/// The key of `number`: in order, and different in its first bytes or its last, as `key_length` allows.
pub fn key(number: u32, key_length: usize) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let used = key_length.min(4);
    let mut key = vec![0; key_length];
    let at = if key_length == 16 {
        6
    } else {
        key_length - used
    };
    key[at..at + used].copy_from_slice(&bytes[4 - used..]);
    key
}

/// Rows whose values depend on key and version.
pub fn value(number: u32, version: u64) -> Vec<u8> {
    vec![(u64::from(number) ^ version) as u8; (number as usize + version as usize) % 23]
}

/// A row as the model holds it.
pub fn owned(row: Row<'_>) -> Owned {
    (row.key.to_vec(), (row.value.to_vec(), row.version))
}

/// A tree of the model's rows.
pub fn tree_of(model: &Model, key_length: usize) -> Tree {
    let rows = model
        .iter()
        .map(|(key, (value, version))| (key, Arc::from(&**value), *version));
    Tree::from_sorted(key_length, rows).unwrap()
}

/// The model's rows in `[start, end)`.
pub fn range(model: &Model, start: &[u8], end: Option<&[u8]>) -> Vec<Owned> {
    if end.is_some_and(|end| end <= start) {
        return Vec::new();
    }
    let end = end.map_or(Bound::Unbounded, Bound::Excluded);
    let rows = model.range::<[u8], _>((Bound::Included(start), end));
    rows.map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// What rows add up to, counted one by one.
pub fn summary(rows: &[Owned]) -> Summary {
    let mut sum = Summary::default();
    for (key, (value, version)) in rows {
        sum += Summary {
            rows: 1,
            bytes: (key.len() + value.len()) as u64,
            digest: row_hash(key, *version, value),
        };
    }
    sum
}

/// Panics unless the tree keeps its own rules and holds exactly the model's rows.
pub fn assert_same(tree: &Tree, model: &Model) {
    tree.verify().unwrap();
    assert_eq!(tree.rows(), model.len() as u64);
    assert!(tree.iter().map(owned).eq(model.clone()), "rows differ");
}
