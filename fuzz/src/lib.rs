//! What the fuzz targets share.

use std::path::Path;
use std::sync::Arc;

use dstk_core::tree::Tree;
use xxhash_rust::xxh3::xxh3_64;

/// Key lengths that are tried: the shortest, the two that the code knows by themselves, and an odd one.
pub const KEY_LENGTHS: [usize; 4] = [1, 8, 16, 5];

/// Writes what a target starts from into its corpus, which is no part of the repository; a target calls it as it starts.
pub fn write_seeds(target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    for (number, seed) in seeds.into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)
            .expect("the corpus can be written");
    }
}

/// A tree of `rows` rows, some of which repeat others.
pub fn tree(key_length: usize, rows: u8) -> Tree {
    let rows = (0..rows).map(|number| {
        let mut key = vec![number; key_length];
        key[0] = number;
        (
            key,
            Arc::from(vec![b'v'; usize::from(number % 40)]),
            1 + u64::from(number),
        )
    });
    Tree::from_sorted(key_length, rows).expect("in order")
}

/// A frame of `tag` and `body` with the checksum that fits: damage is found by it, but not forgery.
pub fn sealed(tag: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut frame = [&tag[..], body].concat();
    let checksum = xxh3_64(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    frame
}

/// The body of a frame.
pub fn body(frame: &[u8]) -> &[u8] {
    &frame[4..frame.len() - 8]
}
