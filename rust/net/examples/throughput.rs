//! Operations a second over loopback: one worker, one client, both in this process.
//!
//! `cargo run --release -p dstk-net --example throughput [callers] [seconds]`; 64 callers and 3 seconds unless told
//! otherwise. Each caller has one operation under way at a time.

use std::error::Error;
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

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let callers: u64 = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let node = Node::new("w0", "w0/1", Settings::default());
    let worker = Worker::new(node, WorkerSettings::default())?;
    let address = worker.listen("127.0.0.1:0")?.to_string();
    worker
        .node()
        .serve(KEYSPACE, "p", 1, KEY_LENGTH, b"", b"", false, worker.now())?;
    let route = Route {
        partition: "p".into(),
        start: vec![],
        end: vec![],
        epoch: 1,
        owner: "w0".into(),
    };
    worker.node().apply_routes(&RoutesUpdate {
        full: true,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KEYSPACE.into(),
            key_length: KEY_LENGTH,
            routes: vec![route],
            withdrawn: vec![],
        }],
        workers: vec![("w0".into(), address.clone())],
    })?;
    let runtime = dstk_net::client::runtime()?;
    let client = runtime.block_on(Client::connect(
        &[address],
        KEYSPACE,
        ClientSettings::default(),
    ))?;
    for (what, put) in [("put", true), ("get", false)] {
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
                        if put {
                            client
                                .put(key, vec![7; VALUE_BYTES], Condition::NONE)
                                .await?;
                        } else {
                            client.get(key).await?;
                        }
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
        let rate = done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        println!(
            "{what}: {rate:.0} operations/s from {callers} callers, {VALUE_BYTES}-byte values"
        );
    }
    client.close();
    worker.stop(Duration::from_secs(5));
    Ok(())
}
