//! One worker that serves all keys and one client, both in this process, and callers that have one operation under way
//! at a time each.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dstk_core::node::{KeyspaceRoutes, Node, Route, RoutesUpdate};
use dstk_net::error::ClientError;
use dstk_net::operation::Condition;
use dstk_net::settings::{ClientSettings, WorkerSettings};
use dstk_net::{Client, Worker};

pub const VALUE_BYTES: usize = 100;
const KEYSPACE: &str = "default";
const KEY_LENGTH: usize = 16;
const KEYS: u64 = 100_000;

/// A worker around the node that serves all keys, and a client of it.
pub fn serving(node: Arc<Node>, durable: bool) -> Result<(Worker, Client), Box<dyn Error>> {
    let worker = Worker::new(node, WorkerSettings::default())?;
    let address = worker.listen("127.0.0.1:0")?.to_string();
    let (node, now) = (worker.node(), worker.now());
    node.serve(KEYSPACE, "p", 1, KEY_LENGTH, b"", b"", durable, now)?;
    let route = Route {
        partition: "p".into(),
        start: vec![],
        end: vec![],
        epoch: 1,
        owner: "w0".into(),
    };
    node.apply_routes(&RoutesUpdate {
        full: true,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KEYSPACE.into(),
            key_length: KEY_LENGTH,
            routes: vec![route],
            withdrawn: vec![],
            losses: None,
        }],
        workers: vec![("w0".into(), address.clone())],
    })?;
    let addresses = [address];
    let connecting = Client::connect(&addresses, KEYSPACE, ClientSettings::default());
    let client = dstk_net::client::runtime()?.block_on(connecting)?;
    Ok((worker, client))
}

#[derive(Clone, Copy)]
pub enum Verb {
    Put,
    #[allow(dead_code)] // Each example is compiled with this file of its own.
    Get,
}

/// How many such operations there were in so many seconds, and a second.
pub fn measure(
    client: &Client,
    verb: Verb,
    callers: u64,
    seconds: f64,
) -> Result<(u64, f64), Box<dyn Error>> {
    let runtime = dstk_net::client::runtime()?;
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
                    let value = vec![7; VALUE_BYTES];
                    match verb {
                        Verb::Put => drop(client.put(key, value, Condition::NONE).await?),
                        Verb::Get => drop(client.get(key).await?),
                    }
                    number = number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), ClientError>(())
            })
        })
        .collect();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    stop.store(true, Ordering::Relaxed);
    for caller in calling {
        runtime.block_on(caller)??;
    }
    let done = done.load(Ordering::Relaxed);
    Ok((done, done as f64 / began.elapsed().as_secs_f64()))
}
