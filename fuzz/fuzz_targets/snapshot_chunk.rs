//! Snapshot chunks, compressed or not, with checksums that fit: nothing panics, and what is taken is what an encoder
//! would have sent.
//!
//! The first byte says which key length, and whether what follows is a whole chunk, a body or a compressed body.

#![no_main]

use dstk_core::snapshot::{ChunkDecoder, ChunkEncoder, Compression, MAX_CHUNK_BYTES};
use dstk_core::tree::{Tree, TreeBuilder};
use dstk_fuzz::{KEY_LENGTHS, body, sealed, tree, write_seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: write_seeds("snapshot_chunk", seeds()), |data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let key_length = KEY_LENGTHS[usize::from(choice) % 4];
    let chunk = match choice / 4 % 4 {
        0 => rest.to_vec(),
        1 => sealed(b"dkc1", rest),
        2 => sealed(b"dkz1", rest),
        // A body that has been compressed well, so that what is wrong is inside.
        _ => {
            let block = lz4_flex::block::compress(rest);
            sealed(b"dkz1", &[&(rest.len() as u32).to_le_bytes()[..], &block].concat())
        }
    };
    let Some(tree) = load(&chunk, key_length) else {
        return;
    };
    let plain = encoded(&tree, Compression::None);
    if choice / 4 % 4 == 1 {
        assert_eq!(plain, chunk, "a body that is taken has one form");
    }
    assert_eq!(load(&plain, key_length).map(|tree| tree.total()), Some(tree.total()));
    let packed = encoded(&tree, Compression::Lz4);
    assert!(packed.len() <= plain.len());
    assert_eq!(load(&packed, key_length).map(|tree| tree.total()), Some(tree.total()));
});

/// The tree of a chunk, if it is one.
fn load(chunk: &[u8], key_length: usize) -> Option<Tree> {
    let mut decoder = ChunkDecoder::new(key_length);
    let decoded = decoder.decode(chunk).ok()?;
    let mut builder = TreeBuilder::new(key_length);
    decoded
        .append_to(&mut builder)
        .expect("a chunk's keys ascend");
    let tree = builder.finish();
    tree.verify().expect("the tree is sound");
    assert_eq!(
        (tree.rows(), tree.bytes()),
        (decoded.rows() as u64, decoded.bytes())
    );
    assert_eq!(tree.first_key(), Some(decoded.first_key()));
    assert_eq!(tree.last_key(), Some(decoded.last_key()));
    Some(tree)
}

/// The one chunk that a tree of one chunk's rows gives.
fn encoded(tree: &Tree, compression: Compression) -> Vec<u8> {
    let mut encoder = ChunkEncoder::with_chunk_bytes(tree.clone(), &[], None, MAX_CHUNK_BYTES)
        .compressed(compression);
    let chunk = encoder.next().expect("it has rows");
    assert_eq!(encoder.next(), None, "they fit in one chunk");
    chunk
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (choice, key_length) in (0..).zip(KEY_LENGTHS) {
        let tree = tree(key_length, 60);
        let plain = encoded(&tree, Compression::None);
        let packed = encoded(&tree, Compression::Lz4);
        for (form, bytes) in [
            (0, &plain[..]),
            (4, body(&plain)),
            (8, body(&packed)),
            (12, body(&plain)),
        ] {
            seeds.push([&[choice + form], bytes].concat());
        }
    }
    seeds
}
