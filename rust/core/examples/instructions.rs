//! Work to count the instructions of, repeatably: `make check-instructions`.
//!
//! `instructions CASE ROUNDS` does the case's operations so many times over, after a preparation that is the same for any
//! number of rounds, and prints how many operations a round has. Without arguments it prints the cases.

use std::hint::black_box;
use std::sync::Arc;

use dstk_core::index::{Delta, KeyRows, RangeIndex};
use dstk_core::key::Bounds;
use dstk_core::snapshot::{ChunkDecoder, ChunkEncoder};
use dstk_core::tree::{Tree, TreeBuilder};

use self::rows::{KEY_LENGTH, grown, key, scatter, value};

mod rows;

/// As in the extension, which is what workers run; and the same whatever the system's is.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RANGES: u64 = 100_000;
const LOOKUPS: u64 = 200_000;
const SPLITS: u64 = 200;
const ROWS: u64 = 50_000;

/// A case by name: what does its operations so many times over and says how many they are, and how many times make a
/// round. A round is some 80 million instructions; what the allocator does by chance in the preparation is small beside.
type Case = (&'static str, fn(u64) -> u64, u64);

const CASES: [Case; 7] = [
    ("index find", find, 1),
    ("index apply split", split, 4),
    ("snapshot encode", encode, 8),
    ("snapshot decode", decode, 10),
    ("snapshot load", load, 2),
    ("tree get", get, 2),
    ("tree put", put, 1),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, rounds] = &arguments[..] else {
        CASES.iter().for_each(|(name, ..)| println!("{name}"));
        return;
    };
    let case = CASES.iter().find(|(known, ..)| known == name);
    let (_, run, times) = case.expect("a case; without arguments they are listed");
    let rounds: u64 = rounds.parse().expect("a number of rounds");
    println!("{}", times * run(rounds * times));
}

/// Look-ups of keys all over an index, in one batch.
fn find(times: u64) -> u64 {
    let index = index();
    let keys: Vec<u8> = (0..LOOKUPS)
        .flat_map(|number| key(RANGES + number))
        .collect();
    let mut found = vec![0; LOOKUPS as usize];
    for _ in 0..times {
        index
            .find_into(KeyRows::new(&keys, KEY_LENGTH), &mut found)
            .expect("the key length is right");
        black_box(&found);
    }
    LOOKUPS
}

/// Splits of ranges all over an index, each giving a next version of it.
fn split(times: u64) -> u64 {
    let index = index();
    let deltas: Vec<Delta> = (0..SPLITS)
        .map(|number| {
            let piece = index
                .get((scatter(number) % RANGES) as usize)
                .expect("a range");
            let mut middle: Box<[u8]> = piece.start.into();
            middle[KEY_LENGTH - 1] += 1;
            let bounds = |start: &[u8], end: Option<&[u8]>| {
                Bounds::new(start.into(), end.map(Into::into)).expect("a range")
            };
            Delta {
                remove: vec![piece.start.into()],
                add: vec![
                    (bounds(piece.start, Some(&middle)), 1),
                    (bounds(&middle, piece.end), 2),
                ],
            }
        })
        .collect();
    for _ in 0..times {
        for delta in &deltas {
            black_box(index.apply(delta).expect("it fits"));
        }
    }
    SPLITS
}

fn encode(times: u64) -> u64 {
    let tree = grown(ROWS, value);
    for _ in 0..times {
        black_box(chunks(&tree));
    }
    ROWS
}

fn decode(times: u64) -> u64 {
    let chunks = chunks(&grown(ROWS, value));
    let mut decoder = ChunkDecoder::new(KEY_LENGTH);
    for _ in 0..times {
        for chunk in &chunks {
            let rows = decoder.decode(chunk).expect("sound").iter();
            black_box(rows.fold(0, |sum, row| sum + row.version + row.value.len() as u64));
        }
    }
    ROWS
}

fn load(times: u64) -> u64 {
    let chunks = chunks(&grown(ROWS, value));
    let mut decoder = ChunkDecoder::new(KEY_LENGTH);
    for _ in 0..times {
        let mut builder = TreeBuilder::new(KEY_LENGTH);
        for chunk in &chunks {
            let decoded = decoder.decode(chunk).expect("sound");
            decoded.append_to(&mut builder).expect("in order");
        }
        black_box(builder.finish());
    }
    ROWS
}

fn get(times: u64) -> u64 {
    let tree = grown(ROWS, value);
    let keys: Vec<_> = (0..ROWS)
        .map(|number| key(scatter(number) % ROWS))
        .collect();
    for _ in 0..times {
        for key in &keys {
            black_box(tree.get(key).map(|row| row.version));
        }
    }
    ROWS
}

/// Puts under keys that are there.
fn put(times: u64) -> u64 {
    let mut tree = grown(ROWS, value);
    let keys: Vec<_> = (0..ROWS)
        .map(|number| key(scatter(number) % ROWS))
        .collect();
    let bytes = value(0);
    for time in 0..times {
        for key in &keys {
            black_box(tree.insert(key, Arc::from(&*bytes), ROWS + time + 1));
        }
    }
    ROWS
}

fn index() -> RangeIndex {
    let mut starts: Vec<_> = (0..RANGES).map(key).collect();
    starts.sort_unstable();
    let starts = KeyRows::new(starts.as_flattened(), KEY_LENGTH);
    RangeIndex::from_columns(starts, None, None, KEY_LENGTH).expect("in order")
}

fn chunks(tree: &Tree) -> Vec<Vec<u8>> {
    let mut encoder = ChunkEncoder::new(tree.clone(), &[], None);
    std::iter::from_fn(|| encoder.next()).collect()
}
