//! What copying a partition costs, one core: snapshot chunks encoded, decoded and loaded, and the diff by range digests.
//! One JSON object on standard output: times in seconds (medians of the repetitions, which take turns), sizes in bytes.
//!
//! `cargo run --release -p dstk-core --example bulk_bench [ROWS] [REPEATS]` (1,000,000 and 9 unless told)

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use dstk_core::digest::{self, differing, range_digests};
use dstk_core::key::Bounds;
use dstk_core::snapshot::{ChunkDecoder, ChunkEncoder, Compression, DEFAULT_CHUNK_BYTES};
use dstk_core::tree::{Row, Tree, TreeBuilder, drop_in_background};

use self::rows::{KEY_LENGTH, VALUE_BYTES, grown, key, record, scatter, value};

mod rows;

/// As in the extension, which is what workers run.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (rows, repeats) = (number(1_000_000), number(9));
    let grown = grown(rows, value);
    let seconds: Vec<String> = copies(&grown, repeats)
        .into_iter()
        .map(|(what, times)| format!("\"{what}\": {:.6}", median(times)))
        .collect();
    println!(
        "{{\"rows\": {rows}, \"row_bytes\": {}, \"seconds\": {{{}}}, \"lz4\": {{{}}}, \"digests\": {{{}}}, \
         \"diffs\": [{}]}}",
        KEY_LENGTH + VALUE_BYTES,
        seconds.join(", "),
        compressed(rows, repeats),
        digests(&grown, repeats),
        diffs(&grown, repeats).join(", "),
    );
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn timed<T>(act: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = act();
    (start.elapsed().as_secs_f64(), result)
}

/// Times of copying all rows, by what is done.
fn copies(grown: &Tree, repeats: u64) -> BTreeMap<&'static str, Vec<f64>> {
    let chunks: Vec<Vec<u8>> = chunks(grown).collect();
    let loaded = load(chunks.iter());
    let mut from = vec![1u8; grown.bytes() as usize];
    let mut to = vec![2u8; from.len()];
    let mut buffer = Vec::with_capacity(DEFAULT_CHUNK_BYTES);
    let mut times: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for repeat in 0..repeats {
        let mut time = |what, act: &mut dyn FnMut()| {
            times.entry(what).or_default().push(timed(act).0);
        };
        from[repeat as usize] += 1;
        time("memcpy", &mut || to.copy_from_slice(black_box(&from)));
        black_box(&to);
        for (what, tree) in [("gather", grown), ("gather, loaded", &loaded)] {
            time(what, &mut || {
                for row in tree.iter() {
                    if buffer.len() + KEY_LENGTH + VALUE_BYTES > DEFAULT_CHUNK_BYTES {
                        black_box(&buffer).len();
                        buffer.clear();
                    }
                    buffer.extend_from_slice(row.key);
                    buffer.extend_from_slice(row.value);
                }
            });
        }
        for (what, tree) in [("encode", grown), ("encode, loaded", &loaded)] {
            time(what, &mut || {
                self::chunks(tree).for_each(|chunk| drop(black_box(chunk)));
            });
        }
        time("decode", &mut || {
            chunks.iter().for_each(|chunk| read(chunk));
        });
        for (what, tree) in [
            ("encode and decode", grown),
            ("encode and decode, loaded", &loaded),
        ] {
            time(what, &mut || {
                self::chunks(tree).for_each(|chunk| read(&chunk));
            });
        }
        let mut copy = None;
        time("load", &mut || copy = Some(load(chunks.iter())));
        assert_eq!(copy.take().map(|copy| copy.total()), Some(grown.total()));
        time("encode and load", &mut || {
            copy = Some(load(self::chunks(grown)))
        });
        assert_eq!(copy.take().map(|copy| copy.total()), Some(grown.total()));
    }
    times
}

/// The chunks of a tree, one at a time.
fn chunks(tree: &Tree) -> impl Iterator<Item = Vec<u8>> {
    let mut encoder = ChunkEncoder::new(tree.clone(), &[], None);
    std::iter::from_fn(move || encoder.next())
}

/// Verifies a chunk and reads its rows, but for the bytes of the values.
fn read(chunk: &[u8]) {
    let mut decoder = ChunkDecoder::new(KEY_LENGTH);
    let rows = decoder.decode(chunk).expect("sound").iter();
    black_box(rows.fold(0, |sum, row| sum + row.version + row.value.len() as u64));
}

/// Verifies chunks and makes a tree of them.
fn load(chunks: impl Iterator<Item = impl AsRef<[u8]>>) -> Tree {
    let (mut decoder, mut builder) = (ChunkDecoder::new(KEY_LENGTH), TreeBuilder::new(KEY_LENGTH));
    for chunk in chunks {
        decoder
            .decode(chunk.as_ref())
            .expect("sound")
            .append_to(&mut builder)
            .expect("in order");
    }
    builder.finish()
}

/// Times of encoding and decoding records by lz4, and how much smaller it makes them.
fn compressed(rows: u64, repeats: u64) -> String {
    let tree = grown(rows, record);
    let encoder = || ChunkEncoder::new(tree.clone(), &[], None).compressed(Compression::Lz4);
    let mut packed = encoder();
    let chunks: Vec<Vec<u8>> = std::iter::from_fn(|| packed.next()).collect();
    let small: usize = chunks.iter().map(Vec::len).sum();
    let plain: usize = self::chunks(&tree).map(|chunk| chunk.len()).sum();
    let (mut encode, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let mut encoder = encoder();
        encode.push(
            timed(|| {
                while let Some(chunk) = encoder.next() {
                    black_box(chunk);
                }
            })
            .0,
        );
        let mut decoder = ChunkDecoder::new(KEY_LENGTH);
        let mut read = |chunk: &Vec<u8>| black_box(decoder.decode(chunk).expect("sound").rows());
        decode.push(timed(|| chunks.iter().for_each(|chunk| _ = read(chunk))).0);
    }
    format!(
        "\"times_smaller\": {:.3}, \"encode\": {:.6}, \"decode\": {:.6}",
        plain as f64 / small as f64,
        median(encode),
        median(decode)
    )
}

/// Times of the digests of all rows: with nothing of the tree in the cache, after a hundred more writes, and, to
/// compare, of hashing every row.
fn digests(tree: &Tree, repeats: u64) -> String {
    let bounds = Bounds::all(KEY_LENGTH).expect("a key length");
    let rows_a_range = digest::rows_a_range(tree.rows(), KEY_LENGTH);
    let mut changed = tree.clone();
    let mut others = vec![0u8; 256 << 20];
    let (mut cold, mut again, mut hashed, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for repeat in 0..repeats {
        others
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&others);
        let (time, digests) = timed(|| range_digests(&changed, &bounds, rows_a_range));
        cold.push(time);
        bytes = digest::encode(&digests, KEY_LENGTH).len();
        for number in 0..100 {
            let number = repeat * 100 + number;
            changed.insert(
                &key(scatter(number) % tree.rows()),
                value(number),
                tree.rows() + number + 1,
            );
        }
        again.push(timed(|| black_box(range_digests(&changed, &bounds, rows_a_range))).0);
        let hash = |row: Row<'_>| digest::row_hash(row.key, row.version, row.value);
        hashed.push(timed(|| black_box(tree.iter().map(hash).fold(0, u64::wrapping_add))).0);
    }
    format!(
        "\"rows_a_range\": {rows_a_range}, \"bytes\": {bytes}, \"cold\": {:.6}, \"after 100 writes\": {:.6}, \
         \"every row hashed\": {:.6}",
        median(cold),
        median(again),
        median(hashed)
    )
}

/// What it takes to bring a copy up to date of which a share of the rows has changed.
fn diffs(copy: &Tree, repeats: u64) -> Vec<String> {
    let rows = copy.rows();
    let mut diffs = Vec::new();
    for (share, changes) in [("1 %", rows / 100), ("0.1 %", rows / 1000)] {
        let clustered: Vec<Box<[u8]>> = (rows / 3..rows / 3 + changes)
            .filter_map(|rank| copy.key_at(rank))
            .collect();
        let scattered: Vec<Box<[u8]>> = (0..changes).map(|number| key(number).into()).collect();
        for (spread, keys) in [("clustered", clustered), ("scattered", scattered)] {
            let mut source = copy.clone();
            for (number, key) in (rows..).zip(&keys) {
                source.insert(key, value(number), number + 1);
            }
            let outcomes: Vec<Diff> = (0..repeats).map(|_| resume(copy, &source)).collect();
            let time = |of: fn(&Diff) -> f64| median(outcomes.iter().map(of).collect());
            let Diff {
                digest_bytes,
                ranges,
                chunks,
                rows_sent,
                bytes_sent,
                ..
            } = outcomes[0];
            diffs.push(format!(
                "{{\"case\": \"{share} {spread}\", \"changed\": {changes}, \"digest_bytes\": {digest_bytes}, \
                 \"ranges\": {ranges}, \"chunks\": {chunks}, \"rows_sent\": {rows_sent}, \
                 \"bytes_sent\": {bytes_sent}, \"digest\": {:.6}, \"find\": {:.6}, \"copy\": {:.6}}}",
                time(|diff| diff.digest),
                time(|diff| diff.find),
                time(|diff| diff.copy),
            ));
        }
    }
    diffs
}

struct Diff {
    digest_bytes: usize,
    ranges: usize,
    chunks: usize,
    rows_sent: usize,
    bytes_sent: usize,
    digest: f64,
    find: f64,
    copy: f64,
}

/// Brings a copy up to date, as a follower and its source do.
fn resume(copy: &Tree, source: &Tree) -> Diff {
    let bounds = Bounds::all(KEY_LENGTH).expect("a key length");
    let mut copy = copy.clone();
    let (digest, sent) = timed(|| {
        let rows_a_range = digest::rows_a_range(copy.rows(), KEY_LENGTH);
        digest::encode(&range_digests(&copy, &bounds, rows_a_range), KEY_LENGTH)
    });
    let (find, ranges) =
        timed(|| differing(source, &digest::decode(&sent, KEY_LENGTH).expect("sound")));
    let mut decoder = ChunkDecoder::new(KEY_LENGTH);
    let (mut chunks, mut rows_sent, mut bytes_sent) = (0, 0, 0);
    let start = Instant::now();
    for (start, end) in &ranges {
        let mut encoder = ChunkEncoder::new(source.clone(), start, end.as_deref());
        let mut builder = TreeBuilder::new(KEY_LENGTH);
        while let Some(chunk) = encoder.next() {
            let decoded = decoder.decode(&chunk).expect("sound");
            decoded.append_to(&mut builder).expect("in order");
            (chunks, rows_sent, bytes_sent) = (
                chunks + 1,
                rows_sent + decoded.rows(),
                bytes_sent + chunk.len(),
            );
        }
        let old = copy.replace_range(start, end.as_deref(), builder.finish());
        drop_in_background(old.expect("in the range"));
    }
    let time = start.elapsed().as_secs_f64();
    assert_eq!(copy.total(), source.total());
    Diff {
        digest_bytes: sent.len(),
        ranges: ranges.len(),
        chunks,
        rows_sent,
        bytes_sent,
        digest,
        find,
        copy: time,
    }
}
