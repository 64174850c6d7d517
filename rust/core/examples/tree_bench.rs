//! What the tree costs: `cargo run --release -p dstk-core --example tree_bench -- [ROWS]` (1,000,000 unless told).
//!
//! 16-byte keys in random order, 100-byte values. Times are a mean for what is done often, a median for splits and
//! joins; memory is what the process grew by, per row.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dstk_core::snapshot::{ChunkDecoder, ChunkEncoder};
use dstk_core::tree::{Tree, TreeBuilder, drop_in_background};

use self::rows::{VALUE_BYTES, key, scatter, value};

mod rows;

const SAMPLES: u64 = 200_000;
const CUTS: usize = 201;

fn main() {
    let rows: u64 = std::env::args()
        .nth(1)
        .map_or(1_000_000, |rows| rows.parse().expect("ROWS is a number"));
    println!("{rows} rows, 16-byte keys, {VALUE_BYTES}-byte values");

    let before = resident_bytes();
    let mut tree = Tree::new(16);
    let start = Instant::now();
    for i in 0..rows {
        tree.insert(&key(i), value(i), i);
    }
    report("put, new key, while growing", start.elapsed(), rows);
    println!(
        "{:34} {:9.1} B",
        "memory a row",
        (resident_bytes() - before) as f64 / rows as f64
    );

    let start = Instant::now();
    for i in 0..SAMPLES {
        black_box(tree.get(&key(scatter(i) % rows)).map(|row| row.value[0]));
    }
    report("get", start.elapsed(), SAMPLES);

    let start = Instant::now();
    for i in 0..SAMPLES {
        black_box(tree.insert(&key(rows + i), value(i), rows + i));
    }
    report("put, new key", start.elapsed(), SAMPLES);

    let start = Instant::now();
    for i in 0..SAMPLES {
        black_box(tree.insert(&key(scatter(i) % rows), value(i), 2 * rows + i));
    }
    report("put, known key", start.elapsed(), SAMPLES);

    let start = Instant::now();
    for i in 0..SAMPLES {
        black_box(tree.remove(&key(rows + i)));
    }
    report("remove", start.elapsed(), SAMPLES);

    let start = Instant::now();
    black_box(tree.iter().fold(0u64, |sum, row| {
        sum + u64::from(row.key[15]) + row.value.len() as u64 + row.version
    }));
    throughput("scan", start.elapsed(), rows);

    let start = Instant::now();
    black_box(
        tree.iter()
            .rev()
            .fold(0u64, |sum, row| sum + u64::from(row.value[0]) + row.version),
    );
    throughput("scan backwards, reading values", start.elapsed(), rows);

    let start = Instant::now();
    for i in 0..SAMPLES {
        let (low, high) = (key(i).min(key(i + 1)), key(i).max(key(i + 1)));
        black_box(tree.summary(&low, Some(&high)));
    }
    report("summary of a range", start.elapsed(), SAMPLES);

    cuts("", &mut tree, |_| None);
    cuts(", with a snapshot held", &mut tree, |tree| {
        Some(tree.clone())
    });

    let held = tree.clone();
    let start = Instant::now();
    for i in 0..SAMPLES {
        black_box(tree.insert(&key(scatter(i) % rows), value(i), 3 * rows + i));
    }
    report("put, with a snapshot held", start.elapsed(), SAMPLES);

    let start = Instant::now();
    let mut encoder = ChunkEncoder::new(tree.clone(), &[], None);
    let chunks: Vec<Vec<u8>> = std::iter::from_fn(|| encoder.next()).collect();
    throughput("snapshot encoded", start.elapsed(), rows);

    let start = Instant::now();
    let (mut decoder, mut builder) = (ChunkDecoder::new(16), TreeBuilder::new(16));
    for chunk in &chunks {
        decoder
            .decode(chunk)
            .map(|chunk| chunk.append_to(&mut builder))
            .expect("sound")
            .expect("in order");
    }
    let copy = builder.finish();
    throughput("snapshot decoded into a tree", start.elapsed(), rows);
    assert_eq!(copy.total(), tree.total());

    // The first hand-over also starts the thread.
    for (what, tree) in [
        ("drop handed over, first", copy),
        ("drop handed over", held),
    ] {
        let start = Instant::now();
        drop_in_background(tree);
        report(what, start.elapsed(), 1);
    }
}

/// Medians of splitting the tree somewhere and joining the parts again.
fn cuts(what: &str, tree: &mut Tree, hold: impl Fn(&Tree) -> Option<Tree>) {
    let (mut splits, mut joins) = (Vec::new(), Vec::new());
    for i in 0..CUTS as u64 {
        let held = hold(tree);
        let at = key(i);
        let start = Instant::now();
        let high = tree.split_off(&at);
        splits.push(start.elapsed());
        let low = std::mem::replace(tree, Tree::new(16));
        let start = Instant::now();
        *tree = Tree::join(low, high).expect("just cut");
        joins.push(start.elapsed());
        drop(held);
    }
    splits.sort();
    joins.sort();
    for (verb, times) in [("split", splits), ("join", joins)] {
        let micros = |at: usize| times[at].as_secs_f64() * 1e6;
        println!(
            "{:34} {:9.2} µs, worst {:.1} µs",
            format!("{verb}{what}"),
            micros(CUTS / 2),
            micros(CUTS - 1)
        );
    }
}

fn report(what: &str, elapsed: Duration, times: u64) {
    println!(
        "{what:34} {:9.3} µs",
        elapsed.as_secs_f64() * 1e6 / times as f64
    );
}

fn throughput(what: &str, elapsed: Duration, rows: u64) {
    println!(
        "{what:34} {:9.2} M rows/s",
        rows as f64 / elapsed.as_secs_f64() / 1e6
    );
}

/// Resident memory of this process, as Linux tells it.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS is there");
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .expect("a number of kB")
        * 1024
}
