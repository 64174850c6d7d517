//! Real workers on loopback, a client in front of them, and a network that can be cut.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

mod cutter;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dstk_core::node::{KeyspaceRoutes, Node, Route, RoutesUpdate, Settings};
use dstk_core::partition::PartitionState;
use dstk_net::settings::{ClientSettings, WorkerSettings};
use dstk_net::{Client, Worker};

pub use cutter::Cutter;

pub const KEYSPACE: &str = "default";
pub const KEY_LENGTH: usize = 8;

/// A worker that listens.
pub struct Pod {
    pub name: String,
    pub incarnation: String,
    pub address: String,
    pub worker: Arc<Worker>,
}

impl Pod {
    pub fn start(name: &str) -> Self {
        Self::with(name, Settings::default(), WorkerSettings::default())
    }

    pub fn with(name: &str, settings: Settings, network: WorkerSettings) -> Self {
        Self::at("127.0.0.1:0", name, settings, network)
    }

    /// A worker that no operator has spoken to, at an address that another had.
    pub fn at_address(address: &str, name: &str) -> Self {
        Self::at(
            address,
            name,
            Settings::default(),
            WorkerSettings::default(),
        )
    }

    /// A worker of `cluster`, at an address that another may have had.
    pub fn of(cluster: &str, name: &str, address: &str) -> Self {
        let pod = Self::at_address(address, name);
        pod.worker.join(cluster).unwrap();
        pod
    }

    fn at(address: &str, name: &str, settings: Settings, network: WorkerSettings) -> Self {
        let incarnation = format!("{name}-uid/1");
        let node = Node::new(name, &incarnation, settings);
        let worker = Worker::new(node, network).unwrap();
        let address = worker.listen(address).unwrap().to_string();
        Self {
            name: name.into(),
            incarnation,
            address,
            worker: Arc::new(worker),
        }
    }

    pub fn node(&self) -> &Arc<Node> {
        self.worker.node()
    }

    pub fn serve(&self, partition: &str, epoch: u64, start: &str, end: &str) -> PartitionState {
        let (start, end) = (start.as_bytes(), end.as_bytes());
        self.node()
            .serve(
                KEYSPACE,
                partition,
                epoch,
                KEY_LENGTH,
                start,
                end,
                false,
                self.worker.now(),
            )
            .unwrap()
    }

    pub fn state(&self, partition: &str) -> PartitionState {
        self.node()
            .states(Some(&[partition]), self.worker.now())
            .unwrap()
            .remove(0)
    }

    pub fn counter(&self, name: &str) -> u64 {
        let found = self
            .worker
            .counters()
            .into_iter()
            .find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    pub fn follow(
        &self,
        partition: &str,
        epoch: u64,
        start: &str,
        end: &str,
        source: &Self,
        address: &str,
    ) {
        self.worker
            .follow(
                KEYSPACE,
                partition,
                epoch,
                KEY_LENGTH,
                start.as_bytes(),
                end.as_bytes(),
                &source.name,
                address,
                &source.incarnation,
                false,
                0,
            )
            .unwrap();
    }
}

/// One range of the table: partition, start, end, epoch, owner.
pub type Range<'a> = (&'a str, &'a str, &'a str, u64, &'a str);

/// The whole routing table, as the operator would push it.
pub fn table(workers: &[(&str, &str)], ranges: &[Range<'_>]) -> RoutesUpdate {
    let route = |(partition, start, end, epoch, owner): &Range<'_>| Route {
        partition: (*partition).into(),
        start: start.as_bytes().to_vec(),
        end: end.as_bytes().to_vec(),
        epoch: *epoch,
        owner: (*owner).into(),
    };
    RoutesUpdate {
        full: true,
        keyspaces: vec![KeyspaceRoutes {
            keyspace: KEYSPACE.into(),
            key_length: KEY_LENGTH,
            routes: ranges.iter().map(route).collect(),
            withdrawn: Vec::new(),
            losses: None,
        }],
        workers: workers
            .iter()
            .map(|(name, address)| ((*name).into(), (*address).into()))
            .collect(),
    }
}

/// Tells the workers who serves what.
pub fn push(pods: &[&Pod], ranges: &[Range<'_>]) {
    let workers: Vec<_> = pods
        .iter()
        .map(|pod| (pod.name.as_str(), pod.address.as_str()))
        .collect();
    for pod in pods {
        pod.node().apply_routes(&table(&workers, ranges)).unwrap();
    }
}

/// Waits until `holds`; panics after a generous time.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn key(text: &str) -> Vec<u8> {
    let mut key = text.as_bytes().to_vec();
    key.resize(KEY_LENGTH, 0);
    key
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub fn connect(runtime: &tokio::runtime::Runtime, addresses: &[&str]) -> Client {
    let addresses: Vec<String> = addresses.iter().map(|address| (*address).into()).collect();
    runtime
        .block_on(Client::connect(
            &addresses,
            KEYSPACE,
            ClientSettings::default(),
        ))
        .unwrap()
}

/// Moves a partition as the operator would, up to and without the release at the source.
pub fn move_partition(partition: &str, start: &str, end: &str, epoch: u64, from: &Pod, to: &Pod) {
    to.follow(partition, epoch, start, end, from, &from.address);
    eventually("the destination has caught up", || {
        let follow = to.state(partition).follow.expect("it follows");
        follow.caught_up && follow.lag < 100
    });
    let fenced = from
        .node()
        .fence(KEYSPACE, partition, epoch, 1, from.worker.now())
        .unwrap();
    let wait = Duration::from_secs(60);
    let applied = to
        .node()
        .await_applied(KEYSPACE, partition, epoch, fenced.sequence, wait)
        .unwrap();
    assert_eq!(
        (applied.sequence, applied.digest),
        (fenced.sequence, fenced.digest)
    );
    push(&[from, to], &[(partition, start, end, epoch + 1, &to.name)]);
    let now = to.worker.now();
    to.node()
        .promote(
            KEYSPACE,
            partition,
            epoch + 1,
            fenced.sequence,
            fenced.digest,
            now,
        )
        .unwrap();
    let now = from.worker.now();
    from.node()
        .proxy(KEYSPACE, partition, epoch + 1, &to.name, &to.address, now)
        .unwrap();
}
