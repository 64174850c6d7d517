//! Moves, splits and merges while clients write and read: nothing is lost, nothing fails, no row goes back in time.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{KEYSPACE, Pod, connect, eventually, key, move_partition, push, runtime};
use dstk_core::node::Settings;
use dstk_net::Client;
use dstk_net::operation::Condition;
use dstk_net::settings::WorkerSettings;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const TASKS: usize = 16;
const KEYS_A_TASK: usize = 40;

/// The last acknowledged value and version of each key.
type Acked = HashMap<Vec<u8>, (u64, u64)>;

/// Writers who each own some keys, and check all they read of them.
struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Acked>>,
}

impl Load {
    fn start(runtime: &Runtime, client: &Client) -> Self {
        let (stop, acked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let task = |task| {
            runtime.spawn(work(
                client.clone(),
                task,
                Arc::clone(&stop),
                Arc::clone(&acked),
            ))
        };
        Self {
            tasks: (0..TASKS).map(task).collect(),
            stop,
            acked,
        }
    }

    fn progress(&self, more: u64) {
        let from = self.acked.load(Ordering::Relaxed);
        eventually("the load goes on", || {
            self.acked.load(Ordering::Relaxed) >= from + more
        });
    }

    /// Stops, and reads everything once more.
    fn finish(self, runtime: &Runtime, client: &Client) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            for (key, (value, version)) in runtime.block_on(task).unwrap() {
                let row = runtime
                    .block_on(client.get(key.clone()))
                    .unwrap()
                    .expect("an acknowledged row is there");
                assert_eq!(
                    (&row.value[..], row.version),
                    (&value.to_le_bytes()[..], version)
                );
            }
        }
    }
}

async fn work(client: Client, task: usize, stop: Arc<AtomicBool>, acked: Arc<AtomicU64>) -> Acked {
    let mut known = Acked::new();
    for round in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let letter = char::from(b'a' + (task % 26) as u8);
        let key = key(&format!(
            "{letter}{task:02}{:03}",
            round as usize % KEYS_A_TASK
        ));
        match known.get(&key).copied() {
            Some((value, version)) if round % 3 == 0 => {
                let row = client
                    .get(key)
                    .await
                    .unwrap()
                    .expect("an acknowledged row is there");
                assert_eq!(
                    (&row.value[..], row.version),
                    (&value.to_le_bytes()[..], version)
                );
            }
            before => {
                let condition = match before {
                    Some((_, version)) if round % 2 == 0 => Condition::version(version),
                    _ => Condition::NONE,
                };
                let version = client
                    .put(key.clone(), round.to_le_bytes().to_vec(), condition)
                    .await
                    .unwrap();
                assert!(
                    before.is_none_or(|(_, last)| version > last),
                    "versions of a row grow"
                );
                known.insert(key, (round, version));
                acked.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    known
}

#[test]
fn a_partition_moves_to_and_fro_under_load() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    one.serve("p", 1, "", "");
    push(&[&one, &two], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&one.address, &two.address]);
    let load = Load::start(&runtime, &client);
    load.progress(500);
    let mut epoch = 1;
    for _ in 0..3 {
        for (from, to) in [(&one, &two), (&two, &one)] {
            move_partition("p", "", "", epoch, from, to);
            load.progress(300);
            epoch += 1;
            from.node().release(KEYSPACE, "p", epoch).unwrap();
            load.progress(300);
        }
    }
    load.finish(&runtime, &client);
    assert_eq!(one.state("p").epoch, 7);
}

#[test]
fn a_copy_may_be_compressed() {
    let compressed = || {
        let mut network = WorkerSettings::default();
        assert_eq!(network.set("replication_lz4", 1.0), Ok(true));
        network
    };
    let one = Pod::with("w0", Settings::default(), compressed());
    let (runtime, two) = (runtime(), Pod::start("w1"));
    one.serve("p", 1, "", "");
    push(&[&one, &two], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&one.address]);
    for number in 0..100 {
        let value = vec![b'v'; 1000];
        let put = client.put(key(&number.to_string()), value, Condition::NONE);
        runtime.block_on(put).unwrap();
    }
    move_partition("p", "", "", 1, &one, &two);
    assert_eq!(two.state("p").rows, 100);
    assert!(two.counter("replication_chunk_bytes_installed_total") < 10_000);
}

#[test]
fn stale_clients_are_proxied_in_order_for_as_long_as_it_takes() {
    let (runtime, one, two) = (runtime(), Pod::start("w0"), Pod::start("w1"));
    one.serve("p", 1, "", "");
    push(&[&one, &two], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&one.address]);
    let load = Load::start(&runtime, &client);
    load.progress(200);
    move_partition("p", "", "", 1, &one, &two);
    load.progress(200);
    load.finish(&runtime, &client);
    assert!(two.state("p").rows > 0);
}

#[test]
fn a_partition_splits_and_merges_under_load() {
    let (runtime, pod) = (runtime(), Pod::start("w0"));
    pod.serve("p", 1, "", "");
    push(&[&pod], &[("p", "", "", 1, "w0")]);
    let client = connect(&runtime, &[&pod.address]);
    let load = Load::start(&runtime, &client);
    load.progress(300);
    let clock = || pod.worker.now();
    let mut epoch = 1;
    let mut whole = "p".to_owned();
    for round in 0..5 {
        let names = [format!("left{round}"), format!("right{round}")];
        let at = key("f");
        let children = [names[0].as_str(), names[1].as_str()];
        pod.node()
            .split(
                KEYSPACE,
                &whole,
                epoch,
                epoch + 1,
                &[&at],
                &children,
                &clock,
            )
            .unwrap();
        push(
            &[&pod],
            &[
                (children[0], "", "f", epoch + 1, "w0"),
                (children[1], "f", "", epoch + 1, "w0"),
            ],
        );
        load.progress(200);
        let parts = [(children[0], epoch + 1), (children[1], epoch + 1)];
        whole = format!("whole{round}");
        pod.node()
            .merge(KEYSPACE, &parts, &whole, epoch + 2, b"", b"", &clock)
            .unwrap();
        epoch += 2;
        push(&[&pod], &[(&whole, "", "", epoch, "w0")]);
        load.progress(200);
    }
    load.finish(&runtime, &client);
}
