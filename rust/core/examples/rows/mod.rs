//! Rows for the measurements: 16-byte keys in random order, values of 100 bytes. The same ones at every run.

#![allow(dead_code, reason = "not every example needs all of this module")]

use std::sync::Arc;

use dstk_core::tree::Tree;

/// Length of the keys, in bytes.
pub const KEY_LENGTH: usize = 16;

/// Length of the values, in bytes.
pub const VALUE_BYTES: usize = 100;

/// The key of row `number`; consecutive numbers are far apart.
pub fn key(number: u64) -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    key[..8].copy_from_slice(&scatter(number).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The value of row `number`: bytes that do not compress.
pub fn value(number: u64) -> Arc<[u8]> {
    let mut value = [0; VALUE_BYTES];
    for (at, part) in value.chunks_mut(8).enumerate() {
        let bytes = scatter(number.wrapping_mul(16) + at as u64 + 1).to_le_bytes();
        part.copy_from_slice(&bytes[..part.len()]);
    }
    value.as_slice().into()
}

/// The value of row `number`: what a service may keep, which compresses.
pub fn record(number: u64) -> Arc<[u8]> {
    let (user, at) = (
        scatter(number) % 1_000_000,
        1_700_000_000 + number % 10_000_000,
    );
    let text = format!(
        r#"{{"user": {user}, "state": "active", "updated": {at}, "tags": ["a", "b"], "note": ""}}"#
    );
    format!("{text:100}").into_bytes().into()
}

/// A tree that was written in random order, so that neighbours in it are not neighbours in memory.
pub fn grown(rows: u64, value: impl Fn(u64) -> Arc<[u8]>) -> Tree {
    let mut tree = Tree::new(KEY_LENGTH);
    for number in 0..rows {
        tree.insert(&key(number), value(number), number + 1);
    }
    tree
}

/// The finalizer of MurmurHash3: a fixed shuffle of the numbers.
pub fn scatter(number: u64) -> u64 {
    let mut mixed = number ^ (number >> 33);
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}
