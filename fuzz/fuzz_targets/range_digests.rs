//! Range digests with checksums that fit: nothing panics, and what is taken is what an encoder would have sent.

#![no_main]

use dstk_core::digest::{decode, differing, encode, range_digests};
use dstk_core::key::Bounds;
use dstk_fuzz::{KEY_LENGTHS, body, sealed, tree, write_seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: write_seeds("range_digests", seeds()), |data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let key_length = KEY_LENGTHS[usize::from(choice) % 4];
    let bytes = sealed(b"dkd1", rest);
    let Ok(digests) = decode(&bytes, key_length) else {
        return;
    };
    assert_eq!(encode(&digests, key_length), bytes);
    let tree = tree(key_length, 100);
    for (start, end) in differing(&tree, &digests) {
        assert!(end.is_none_or(|end| start < end), "a range that differs has keys");
    }
});

fn seeds() -> Vec<Vec<u8>> {
    let seed = |(choice, key_length)| {
        let bounds = Bounds::all(key_length).expect("a key length");
        let digests = range_digests(&tree(key_length, 100), &bounds, 30);
        [&[choice], body(&encode(&digests, key_length))].concat()
    };
    (0..).zip(KEY_LENGTHS).map(seed).collect()
}
