//! Fsynced writes a second over loopback, and a bare loop that appends and fsyncs groups of the same size.
//!
//! `cargo run --release -p dstk-net --example durable_writes DIR [callers] [seconds]`: one worker with a data directory
//! in DIR, and one client, both in this process; each caller has one put under way at a time. Then, in a file of the
//! same directory that is full of zeros like those of the log, the loop. One JSON object on standard output.

mod common;

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dstk_core::node::{Node, Settings};
use dstk_net::Worker;

use common::{Verb, measure, serving};

const LOOP_BYTES: u64 = 64 << 20;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("name a directory")?);
    let callers: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let node = Node::open("w0", "w0/1", Settings::default(), &dir.join("data"))?;
    let (worker, client) = serving(node, true)?;
    let before = log_counters(&worker);
    let (writes, rate) = measure(&client, Verb::Put, callers, seconds)?;
    let after = log_counters(&worker);
    client.close(|| {});
    worker.stop(Duration::from_secs(5));
    let (syncs, bytes) = (after.0 - before.0, after.1 - before.1);
    let group = bytes / syncs.max(1);
    let groups = appends(&dir.join("loop"), group, seconds)?;
    let of_group = writes as f64 / syncs.max(1) as f64;
    println!(
        "{{\"callers\": {callers}, \"writes_per_second\": {rate:.0}, \"syncs\": {syncs}, \"writes_per_sync\": {of_group:.1}, \
         \"bytes_per_sync\": {group}, \"bare_syncs_per_second\": {groups:.0}, \"bare_writes_per_second\": {:.0}}}",
        groups * of_group
    );
    Ok(())
}

fn log_counters(worker: &Worker) -> (u64, u64) {
    let counters = worker.counters();
    let of = |name| counters.iter().find(|(found, _)| *found == name);
    let value = |name| of(name).map_or(0, |(_, value)| *value);
    (value("wal_syncs_total"), value("wal_written_bytes_total"))
}

/// Groups of `bytes` that are appended and fsynced a second, one after the other.
fn appends(path: &Path, bytes: u64, seconds: f64) -> Result<f64, Box<dyn Error>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)?;
    let zeros = vec![0; 1 << 20];
    for at in (0..LOOP_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let group = vec![7; bytes as usize];
    let (mut at, mut groups) = (0, 0_u64);
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < seconds {
        if at + bytes > LOOP_BYTES {
            at = 0;
        }
        file.write_all_at(&group, at)?;
        file.sync_data()?;
        at += bytes;
        groups += 1;
    }
    Ok(groups as f64 / began.elapsed().as_secs_f64())
}
