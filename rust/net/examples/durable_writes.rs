//! Fsynced writes a second over loopback, and a bare loop that appends and fsyncs groups of the same size.
//!
//! `cargo run --release -p dstk-net --example durable_writes DIR [callers] [seconds]`: one worker with a data directory
//! in DIR, and one client, both in this process; each caller has one put under way at a time. Then, in a file of the
//! same directory that is full of zeros like those of the log, the loop. One JSON object on standard output.

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dstk_core::node::{KeyspaceRoutes, Node, Route, RoutesUpdate, Settings};
use dstk_net::operation::Condition;
use dstk_net::settings::{ClientSettings, WorkerSettings};
use dstk_net::{Client, Worker};

const KEYSPACE: &str = "default";
const KEY_LENGTH: usize = 16;
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 100;
const LOOP_BYTES: u64 = 64 << 20;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("name a directory")?);
    let callers: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let node = Node::open("w0", "w0/1", Settings::default(), &dir.join("data"))?;
    let worker = Worker::new(node, WorkerSettings::default())?;
    let address = worker.listen("127.0.0.1:0")?.to_string();
    let now = worker.now();
    worker
        .node()
        .serve(KEYSPACE, "p", 1, KEY_LENGTH, b"", b"", true, now)?;
    worker.node().apply_routes(&RoutesUpdate {
        full: true,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KEYSPACE.into(),
            key_length: KEY_LENGTH,
            routes: vec![Route {
                partition: "p".into(),
                start: vec![],
                end: vec![],
                epoch: 1,
                owner: "w0".into(),
            }],
            withdrawn: vec![],
        }],
        workers: vec![("w0".into(), address.clone())],
    })?;
    let before = log_counters(&worker);
    let (rate, writes) = writes(&address, callers, seconds)?;
    let after = log_counters(&worker);
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

/// Puts a second, and how many there were.
fn writes(address: &str, callers: u64, seconds: f64) -> Result<(f64, u64), Box<dyn Error>> {
    let runtime = dstk_net::client::runtime()?;
    let client = runtime.block_on(Client::connect(
        &[address.to_owned()],
        KEYSPACE,
        ClientSettings::default(),
    ))?;
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let began = Instant::now();
    let calling: Vec<_> = (0..callers)
        .map(|caller| {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            runtime.spawn(async move {
                let mut number = caller;
                while !stop.load(Ordering::Relaxed) {
                    let mut key = vec![0; KEY_LENGTH];
                    key[..8].copy_from_slice(&(number % KEYS).to_be_bytes());
                    client
                        .put(key, vec![7; VALUE_BYTES], Condition::NONE)
                        .await?;
                    number = number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), dstk_net::error::ClientError>(())
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    stop.store(true, Ordering::Relaxed);
    for caller in calling {
        runtime.block_on(caller)??;
    }
    let writes = done.load(Ordering::Relaxed);
    let rate = writes as f64 / began.elapsed().as_secs_f64();
    client.close();
    Ok((rate, writes))
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
