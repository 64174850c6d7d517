//! Splits and merges of one partition while clients write to it over loopback: how long each flip's critical section
//! is, and how long a writer waits for its answer around it and at rest. One JSON object on standard output, times in
//! milliseconds.
//!
//! `cargo run --release -p dstk-net --example flips [rows] [repeats]`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dstk_core::node::{KeyspaceRoutes, Node, Route, RoutesUpdate, Settings};
use dstk_net::operation::Condition;
use dstk_net::settings::{ClientSettings, WorkerSettings};
use dstk_net::{Client, Worker};

/// As in the extension, which is what workers run.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const KEYSPACE: &str = "default";
const KEY_LENGTH: usize = 16;
const VALUE_BYTES: usize = 100;
const WRITERS: u64 = 16;
/// Between two writes of a writer. All together they leave the processors idle most of the time, so that a wait shows
/// the flip and not the queue for a processor.
const THINK: Duration = Duration::from_millis(1);
const MIDDLE: [u8; KEY_LENGTH] = {
    let mut key = [0; KEY_LENGTH];
    key[0] = 0x80;
    key
};
/// Between two flips; what ends in the last third of it is at rest.
const PAUSE: Duration = Duration::from_millis(90);
const WINDOW: Duration = Duration::from_millis(30);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let repeats: u64 = arguments.next().map_or(Ok(25), |text| text.parse())?;
    let node = Node::new("w0", "w0/1", Settings::default());
    let worker = Worker::new(node, WorkerSettings::default())?;
    let address = worker.listen("127.0.0.1:0")?.to_string();
    let now = || worker.now();
    let node = worker.node();
    node.serve(KEYSPACE, "p", 1, KEY_LENGTH, b"", b"", false, now())?;
    node.apply_routes(&routes(&address))?;
    let runtime = dstk_net::client::runtime()?;
    let client = runtime.block_on(Client::connect(
        &[address],
        KEYSPACE,
        ClientSettings::default(),
    ))?;
    let filling: Vec<_> = (0..64)
        .map(|lane| {
            let client = client.clone();
            runtime.spawn(async move {
                for number in (lane..rows).step_by(64) {
                    client
                        .put(key(number, rows), vec![7; VALUE_BYTES], Condition::NONE)
                        .await?;
                }
                Ok::<_, dstk_net::error::ClientError>(())
            })
        })
        .collect();
    for lane in filling {
        runtime.block_on(lane)??;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            runtime.spawn(async move {
                let mut waits = Vec::with_capacity(1 << 20);
                let (mut number, mut written) = (writer, 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    number = number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let began = Instant::now();
                    client
                        .put(
                            key(number % rows, rows),
                            vec![7; VALUE_BYTES],
                            Condition::NONE,
                        )
                        .await?;
                    let waited = began.elapsed();
                    written += 1;
                    if waited > Duration::from_micros(200) {
                        waits.push((began, waited));
                    }
                    tokio::time::sleep(THINK).await;
                }
                Ok::<_, dstk_net::error::ClientError>((waits, written))
            })
        })
        .collect();
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let (mut splits, mut merges, mut flips) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..repeats {
        let epoch = 1 + 2 * turn;
        flips.push(Instant::now());
        let halves = node.split(
            KEYSPACE,
            "p",
            epoch,
            epoch + 1,
            &[&MIDDLE],
            &["low", "high"],
            &now,
        )?;
        splits.extend(
            halves
                .first()
                .map(|state| milliseconds(Duration::from_nanos(state.last_pause))),
        );
        std::thread::sleep(PAUSE);
        let parts = [("low", epoch + 1), ("high", epoch + 1)];
        flips.push(Instant::now());
        let whole = node.merge(KEYSPACE, &parts, "p", epoch + 2, b"", b"", &now)?;
        merges.push(milliseconds(Duration::from_nanos(whole.last_pause)));
        std::thread::sleep(PAUSE);
    }
    stop.store(true, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let (mut waits, mut written) = (Vec::new(), 0);
    for writer in writing {
        let (waited, count) = runtime.block_on(writer)??;
        waits.extend(waited);
        written += count;
    }
    let longest = |from: Duration| -> Vec<f64> {
        flips
            .iter()
            .map(|flip| {
                let (start, end) = (*flip + from, *flip + from + WINDOW);
                let touching = waits
                    .iter()
                    .filter(|(at, wait)| *at <= end && *at + *wait >= start);
                touching
                    .map(|(_, wait)| milliseconds(*wait))
                    .fold(0.0, f64::max)
            })
            .collect()
    };
    println!(
        "{{\"split\": {splits:?}, \"merge\": {merges:?}, \"around\": {:?}, \"rest\": {:?}, \
         \"writes_per_second\": {:.0}}}",
        longest(Duration::ZERO),
        longest(PAUSE - WINDOW),
        written as f64 / seconds,
    );
    client.close(|| {});
    worker.stop(Duration::from_secs(5));
    Ok(())
}

fn routes(address: &str) -> RoutesUpdate {
    let route = Route {
        partition: "p".into(),
        start: vec![],
        end: vec![],
        epoch: 1,
        owner: "w0".into(),
    };
    RoutesUpdate {
        full: true,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KEYSPACE.into(),
            key_length: KEY_LENGTH,
            routes: vec![route],
            withdrawn: vec![],
            losses: None,
        }],
        workers: vec![("w0".into(), address.to_owned())],
    }
}

/// The key of that number, evenly spread over the keyspace.
fn key(number: u64, rows: u64) -> Vec<u8> {
    let mut key = vec![0; KEY_LENGTH];
    key[..8].copy_from_slice(&(number * (u64::MAX / rows)).to_be_bytes());
    key
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
