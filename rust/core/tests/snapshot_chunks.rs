//! Snapshots cut into chunks, read back, and resumed after an interruption.

mod support;

use std::sync::Arc;

use dstk_core::digest::{self, DigestError, differing, range_digests};
use dstk_core::key::Bounds;
use dstk_core::snapshot::{
    ChunkDecoder, ChunkEncoder, Compression, DEFAULT_CHUNK_BYTES, MAX_CHUNK_BYTES, SnapshotError,
};
use dstk_core::tree::{MAX_VALUE_BYTES, Tree, TreeBuilder, TreeError};
use proptest::prelude::*;
use support::{Model, assert_same, key, owned, range, tree_of, value};

fn rows(numbers: impl IntoIterator<Item = u32>, key_length: usize) -> Model {
    numbers
        .into_iter()
        .map(|number| (key(number, key_length), (value(number, 1), 1)))
        .collect()
}

fn chunks(mut encoder: ChunkEncoder) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| encoder.next()).collect()
}

fn built(chunks: &[Vec<u8>], key_length: usize) -> Tree {
    let mut builder = TreeBuilder::new(key_length);
    let mut decoder = ChunkDecoder::new(key_length);
    for chunk in chunks {
        decoder
            .decode(chunk)
            .unwrap()
            .append_to(&mut builder)
            .unwrap();
    }
    builder.finish()
}

fn compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(vec![Compression::None, Compression::Lz4])
}

proptest! {
    #[test]
    fn what_is_encoded_decodes(
        numbers in proptest::collection::btree_set(0..5000u32, 0..2000),
        key_length in proptest::sample::select(vec![3usize, 8, 16, 1024]),
        chunk_bytes in 1..20_000usize,
        compression in compression(),
        start in 0..5000u32,
        width in proptest::option::of(0..5000u32),
    ) {
        let model = rows(numbers, key_length);
        let tree = tree_of(&model, key_length);
        let (end, start) = (width.map(|width| key(start + width, key_length)), key(start, key_length));
        let encoder = ChunkEncoder::with_chunk_bytes(tree, &start, end.as_deref(), chunk_bytes)
            .compressed(compression);
        let expected: Model = range(&model, &start, end.as_deref()).into_iter().collect();
        prop_assert_eq!(encoder.rows_left(), expected.len() as u64);
        let chunks = chunks(encoder);
        for chunk in &chunks {
            let rows = ChunkDecoder::new(key_length).decode(chunk).unwrap().rows();
            prop_assert!(chunk.len() <= chunk_bytes || rows == 1);
        }
        assert_same(&built(&chunks, key_length), &expected);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), key_length in 0..40usize) {
        prop_assert!(ChunkDecoder::new(key_length).decode(&bytes).is_err());
        prop_assert!(digest::decode(&bytes, key_length).is_err());
    }

    #[test]
    fn every_damaged_byte_is_refused(
        at in any::<proptest::sample::Index>(),
        damage in 1..=u8::MAX,
        compression in compression(),
    ) {
        let encoder = ChunkEncoder::new(tree_of(&rows(0..50, 8), 8), &[], None);
        let mut chunk = chunks(encoder.compressed(compression)).remove(0);
        prop_assert!(ChunkDecoder::new(8).decode(&chunk).is_ok());
        let at = at.index(chunk.len());
        chunk[at] ^= damage;
        let damaged = matches!(ChunkDecoder::new(8).decode(&chunk), Err(SnapshotError::Frame(_)));
        prop_assert!(damaged, "byte {at}");
    }

    #[test]
    fn hostile_contents_with_a_good_checksum_never_panic(
        at in 0..2000usize,
        patch in proptest::collection::vec(any::<u8>(), 1..9),
        cut in proptest::option::of(0..2000usize),
        compression in compression(),
    ) {
        let tree = tree_of(&rows(0..50, 8), 8);
        let encoder = ChunkEncoder::new(tree.clone(), &[], None).compressed(compression);
        let chunk = chunks(encoder).remove(0);
        if let Ok(decoded) = ChunkDecoder::new(8).decode(&forged(&chunk, at, &patch, cut)) {
            let mut builder = TreeBuilder::new(8);
            decoded.append_to(&mut builder).unwrap();
            builder.finish().verify().unwrap();
        }
        let digests = range_digests(&tree, &Bounds::all(8).unwrap(), 5);
        if let Ok(decoded) = digest::decode(&forged(&digest::encode(&digests, 8), at, &patch, cut), 8) {
            differing(&tree, &decoded);
        }
    }

    #[test]
    fn a_copy_is_resumed_by_sending_what_differs(
        have in proptest::collection::btree_set(0..4000u32, 0..1500),
        changed in proptest::collection::btree_set(0..4000u32, 0..20),
        target_rows in 1..300u64,
    ) {
        let mut model = rows(have, 16);
        let mut copy = tree_of(&model, 16);
        for number in changed {
            if model.remove(&key(number, 16)).is_none() || number % 2 == 0 {
                model.insert(key(number, 16), (value(number, 2), 2));
            }
        }
        let source = tree_of(&model, 16);
        let sent = digest::encode(&range_digests(&copy, &Bounds::all(16).unwrap(), target_rows), 16);
        let again = differing(&source, &digest::decode(&sent, 16).unwrap());
        prop_assert_eq!(again.is_empty(), source.digest() == copy.digest());
        for (start, end) in again {
            let chunks = chunks(ChunkEncoder::new(source.clone(), &start, end.as_deref()));
            let _ = copy.replace_range(&start, end.as_deref(), built(&chunks, 16)).unwrap();
        }
        assert_same(&copy, &model);
        prop_assert_eq!(copy.digest(), source.digest());
    }
}

/// The frame with its body patched and cut, and a checksum that fits.
fn forged(frame: &[u8], at: usize, patch: &[u8], cut: Option<usize>) -> Vec<u8> {
    let mut forged = frame[..frame.len() - 8].to_vec();
    if let Some(cut) = cut {
        forged.truncate(cut.max(4));
    }
    for (byte, new) in forged.iter_mut().skip(4 + at).zip(patch) {
        *byte = *new;
    }
    sealed(forged)
}

fn sealed(mut signed: Vec<u8>) -> Vec<u8> {
    let checksum = xxhash_rust::xxh3::xxh3_64(&signed);
    signed.extend_from_slice(&checksum.to_le_bytes());
    signed
}

/// A chunk by its columns, right or wrong.
fn chunk(
    key_length: u16,
    rows: u32,
    keys: &[u8],
    versions: &[u64],
    lengths: &[u32],
    values: &[u8],
) -> Vec<u8> {
    let mut chunk = b"dkc1".to_vec();
    chunk.extend_from_slice(&key_length.to_le_bytes());
    chunk.extend_from_slice(&rows.to_le_bytes());
    chunk.extend_from_slice(keys);
    versions
        .iter()
        .for_each(|version| chunk.extend_from_slice(&version.to_le_bytes()));
    lengths
        .iter()
        .for_each(|length| chunk.extend_from_slice(&length.to_le_bytes()));
    chunk.extend_from_slice(values);
    sealed(chunk)
}

#[test]
fn the_layout_is_what_the_module_says() {
    let tree = Tree::from_sorted(
        1,
        [
            (b"a", Arc::from(b"xy".as_slice()), 7),
            (b"b", Arc::from(b"".as_slice()), 9),
        ],
    );
    let sent = chunks(ChunkEncoder::new(tree.unwrap(), &[], None));
    assert_eq!(sent, [chunk(1, 2, b"ab", &[7, 9], &[2, 0], b"xy")]);
    let mut decoder = ChunkDecoder::new(1);
    let read = decoder.decode(&sent[0]).unwrap();
    assert_eq!(
        (read.rows(), read.first_key(), read.last_key()),
        (2, &b"a"[..], &b"b"[..])
    );
    let read: Vec<_> = read
        .iter()
        .map(|row| (row.key, row.value, row.version))
        .collect();
    assert_eq!(read, [(&b"a"[..], &b"xy"[..], 7), (&b"b"[..], &b""[..], 9)]);
}

#[test]
fn every_wrong_column_is_named() {
    let error = |chunk: &[u8]| ChunkDecoder::new(1).decode(chunk).unwrap_err();
    assert_eq!(
        error(&chunk(1, 0, b"", &[], &[], b"")),
        SnapshotError::Empty
    );
    assert_eq!(
        error(&chunk(2, 1, b"aa", &[1], &[0], b"")),
        SnapshotError::KeyLength {
            found: 2,
            expected: 1
        }
    );
    let wrong_order = chunk(1, 2, b"ba", &[1, 2], &[0, 0], b"");
    assert!(matches!(
        error(&wrong_order),
        SnapshotError::NotAscending { .. }
    ));
    assert!(matches!(
        error(&chunk(1, u32::MAX, b"a", &[1], &[0], b"")),
        SnapshotError::Frame(_)
    ));
    assert!(matches!(
        error(&chunk(1, 1, b"a", &[1], &[2], b"x")),
        SnapshotError::Frame(_)
    ));
    assert!(matches!(
        error(&chunk(1, 1, b"a", &[1], &[1], b"xx")),
        SnapshotError::Frame(_)
    ));
    let too_big = chunk(1, 1, b"a", &[1], &[MAX_VALUE_BYTES as u32 + 1], b"");
    assert!(matches!(error(&too_big), SnapshotError::ValueTooBig { .. }));
    assert_eq!(
        error(&vec![0; MAX_CHUNK_BYTES + 1]),
        SnapshotError::TooBig(MAX_CHUNK_BYTES + 1)
    );
}

/// A compressed chunk: the length it says it unpacks to, right or wrong, and a block.
fn packed(bytes: u32, block: &[u8]) -> Vec<u8> {
    sealed([&b"dkz1"[..], &bytes.to_le_bytes(), block].concat())
}

#[test]
fn a_chunk_is_compressed_where_that_makes_it_smaller() {
    let repeats = tree_of(&rows(0..1000, 8), 8);
    let sent = |tree: &Tree, compression| {
        chunks(ChunkEncoder::new(tree.clone(), &[], None).compressed(compression)).remove(0)
    };
    let (plain, small) = (
        sent(&repeats, Compression::None),
        sent(&repeats, Compression::Lz4),
    );
    assert!(small.len() * 2 < plain.len());
    let body = &plain[4..plain.len() - 8];
    let block = lz4_flex::block::compress(body);
    assert_eq!(small, packed(body.len() as u32, &block));
    let one = Tree::from_sorted(1, [(b"a", Arc::from(b"xyz".as_slice()), 7)]).unwrap();
    assert_eq!(sent(&one, Compression::Lz4), sent(&one, Compression::None));
}

#[test]
fn a_compressed_chunk_of_a_wrong_length_takes_no_more_memory_than_a_chunk() {
    let error = |chunk: &[u8]| ChunkDecoder::new(1).decode(chunk).unwrap_err();
    let plain = chunk(1, 1, b"a", &[1], &[200], &[b'x'; 200]);
    let body = &plain[4..plain.len() - 8];
    let (bytes, block) = (body.len() as u32, lz4_flex::block::compress(body));
    assert!(ChunkDecoder::new(1).decode(&packed(bytes, &block)).is_ok());
    assert_eq!(
        error(&packed(u32::MAX, &block)),
        SnapshotError::TooBig(u32::MAX as usize)
    );
    for wrong in [0, 1, bytes - 1, bytes + 1, MAX_CHUNK_BYTES as u32] {
        let error = error(&packed(wrong, &block));
        assert!(matches!(error, SnapshotError::Compressed { .. }), "{error}");
    }
    for cut in 0..block.len() {
        let error = error(&packed(bytes, &block[..cut]));
        assert!(matches!(error, SnapshotError::Compressed { .. }), "{error}");
    }
    // A block that says over and over that what was last is to be repeated: 255 bytes for each byte.
    let bomb = [&[0x1f, b'x', 1, 0][..], &vec![255; MAX_CHUNK_BYTES - 100]].concat();
    let error = error(&packed(MAX_CHUNK_BYTES as u32, &bomb));
    assert!(matches!(error, SnapshotError::Compressed { .. }), "{error}");
}

#[test]
fn a_row_bigger_than_a_chunk_travels_alone() {
    let big: Arc<[u8]> = vec![7; MAX_VALUE_BYTES].into();
    let tree = Tree::from_sorted(8, (0..5).map(|i| (key(i, 8), big.clone(), 1))).unwrap();
    let sent = chunks(ChunkEncoder::new(tree.clone(), &[], None));
    assert_eq!(sent.len(), 5);
    assert!(
        sent.iter()
            .all(|chunk| chunk.len() > DEFAULT_CHUNK_BYTES && chunk.len() <= MAX_CHUNK_BYTES)
    );
    assert_eq!(built(&sent, 8).total(), tree.total());
}

#[test]
fn chunks_out_of_order_are_refused() {
    let sent = chunks(ChunkEncoder::with_chunk_bytes(
        tree_of(&rows(0..100, 8), 8),
        &[],
        None,
        1000,
    ));
    let mut builder = TreeBuilder::new(8);
    let mut decoder = ChunkDecoder::new(8);
    decoder
        .decode(&sent[1])
        .unwrap()
        .append_to(&mut builder)
        .unwrap();
    let error = decoder
        .decode(&sent[0])
        .unwrap()
        .append_to(&mut builder)
        .unwrap_err();
    assert!(matches!(error, TreeError::NotAscending { .. }), "{error}");
}

#[test]
fn an_encoder_keeps_its_snapshot() {
    let mut tree = tree_of(&rows(0..1000, 8), 8);
    let encoder = ChunkEncoder::with_chunk_bytes(tree.clone(), &[], None, 2000);
    tree.remove(&key(500, 8));
    assert_same(&built(&chunks(encoder), 8), &rows(0..1000, 8));
}

#[test]
fn range_digests_tile_their_bounds() {
    let tree = tree_of(&rows(0..1000, 8), 8);
    let bounds = Bounds::new(key(100, 8).into(), Some(key(900, 8).into())).unwrap();
    let digests = range_digests(&tree, &bounds, 90);
    assert_eq!(digests.len(), 9);
    assert_eq!(
        (&digests[0].start, &digests[8].end),
        (&bounds.start, &bounds.end)
    );
    assert!(
        digests
            .windows(2)
            .all(|pair| pair[0].end.as_ref() == Some(&pair[1].start))
    );
    assert!(digests.iter().all(|range| (88..=89).contains(&range.rows)));
    assert!(differing(&tree, &digests).is_empty());
    let empty = range_digests(&Tree::new(8), &bounds, 90);
    assert_eq!((empty.len(), empty[0].rows), (1, 0));
    assert_eq!(differing(&tree, &empty), [(bounds.start, bounds.end)]);
}

#[test]
fn neighbouring_differences_come_as_one_range() {
    let mut tree = tree_of(&rows(0..1000, 8), 8);
    let digests = range_digests(&tree, &Bounds::all(8).unwrap(), 100);
    for number in [150, 250, 777] {
        tree.remove(&key(number, 8));
    }
    let bound = |number| -> Box<[u8]> { key(number, 8).into() };
    assert_eq!(
        differing(&tree, &digests),
        [
            (bound(100), Some(bound(300))),
            (bound(700), Some(bound(800)))
        ]
    );
    let rows: Vec<_> = tree
        .range(&bound(150), Some(&bound(152)))
        .map(owned)
        .collect();
    assert_eq!(rows.len(), 1);
}

#[test]
fn wrong_range_digests_are_named() {
    let tree = tree_of(&rows(0..100, 8), 8);
    let mut digests = range_digests(&tree, &Bounds::all(8).unwrap(), 30);
    assert_eq!(
        digest::decode(&digest::encode(&digests, 8), 16),
        Err(DigestError::KeyLength {
            found: 8,
            expected: 16
        })
    );
    digests.swap(0, 1);
    let error = digest::decode(&digest::encode(&digests, 8), 8).unwrap_err();
    assert!(matches!(error, DigestError::Overlap { .. }), "{error}");
}
