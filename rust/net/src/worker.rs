//! A worker's network: its node, data server, forwarding and replication, on threads of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dstk_core::node::{FollowSpec, Followed, Node, Refusal};
use dstk_core::partition::{Nanos, PartitionState};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::connection::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::executor::Executor;
use crate::identity::{Home, Host};
use crate::listener::{Sorted, accept};
use crate::peers::Peers;
use crate::replicate::{FRAME_BYTES, Follower, MESSAGE_BYTES, ReplicationCounters};
use crate::routes;
use crate::server::{DataService, Stopping};
use crate::settings::WorkerSettings;
use crate::threads::runtime;
use crate::wire::data_server::DataServer;

/// How long what is left may take to end once the grace of a stop is over.
const LAST_MOMENT: Duration = Duration::from_millis(200);

/// A node with the network around it. Every method may be called from any thread that runs no async code.
pub struct Worker {
    executor: Arc<Executor>,
    settings: WorkerSettings,
    home: Arc<Home>,
    stopping: Stopping,
    replication_counters: Arc<ReplicationCounters>,
    runtimes: Mutex<Option<Runtimes>>,
    servers: Mutex<Vec<JoinHandle<Result<(), tonic::transport::Error>>>>,
    requests: Handle,
    replication: Handle,
}

struct Runtimes {
    requests: Runtime,
    replication: Runtime,
}

impl Worker {
    /// Starts the threads around `node`; it does not listen yet.
    pub fn new(node: Arc<Node>, settings: WorkerSettings) -> io::Result<Self> {
        let mut settings = settings;
        settings.connection.value_limit = node.settings().value_limit_bytes;
        settings.connection.batch_limit = node.settings().batch_limit_bytes;
        let requests = runtime("dstk-data", settings.server_threads, 0)?;
        let replication = runtime(
            "dstk-copy",
            settings.replication_threads,
            settings.replication_nice,
        )?;
        let home = Arc::new(Home::of_worker(node.cluster()));
        let peers = Arc::new(Peers::new(
            settings.connection.clone(),
            requests.handle().clone(),
            Arc::clone(&home),
        ));
        let executor = Arc::new(Executor::new(node, peers, settings.clone()));
        let expiring = Arc::clone(&executor);
        let period = settings.held_check;
        requests.spawn(async move {
            let mut tick = tokio::time::interval(period);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                expiring.node().expire_held(expiring.now());
                expiring.node().make_room();
                expiring.node().lapse(expiring.now());
            }
        });
        Ok(Self {
            executor,
            settings,
            home,
            stopping: Stopping::default(),
            replication_counters: Arc::default(),
            servers: Mutex::default(),
            requests: requests.handle().clone(),
            replication: replication.handle().clone(),
            runtimes: Mutex::new(Some(Runtimes {
                requests,
                replication,
            })),
        })
    }

    /// The node: whatever needs no network is asked of it directly.
    pub fn node(&self) -> &Arc<Node> {
        self.executor.node()
    }

    /// The node's clock: nanoseconds since the worker was made. Pass this, and nothing else, as `now`.
    pub fn now(&self) -> Nanos {
        self.executor.now()
    }

    /// Belongs to `cluster` from now on: what is meant for another is refused.
    ///
    /// # Errors
    /// As [`Node::join`].
    pub fn join(&self, cluster: &str) -> Result<(), Refusal> {
        self.node().join(cluster)?;
        self.home.set(cluster);
        Ok(())
    }

    /// Listens on `address` (`host:port`, port 0: any) and serves; the bound address.
    pub fn listen(&self, address: &str) -> io::Result<SocketAddr> {
        let listener = self.requests.block_on(TcpListener::bind(address))?;
        let bound = listener.local_addr()?;
        if !bound.ip().is_unspecified() {
            self.node().set_address(&bound.to_string());
        }
        let service = DataService {
            executor: Arc::clone(&self.executor),
            host: Host {
                home: Arc::clone(&self.home),
                name: Arc::clone(self.node().name()),
            },
            stopping: self.stopping.clone(),
            replication: self.replication.clone(),
            replication_counters: Arc::clone(&self.replication_counters),
        };
        let (sorted, others, followers) = Sorted::channels();
        self.requests.spawn(accept(listener, FRAME_BYTES, sorted));
        let message_bytes = self.settings.connection.message_bytes();
        let data = DataServer::new(service.clone()).max_decoding_message_size(message_bytes);
        let keepalive = self.settings.connection.keepalive;
        // A peer that vanishes says nothing, and what is kept for it would be kept for good.
        let watched = || {
            Server::builder()
                .http2_keepalive_interval(Some(keepalive))
                .http2_keepalive_timeout(Some(keepalive))
        };
        let mut server = watched()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let others = ReceiverStream::new(others);
        let data = server
            .add_service(data)
            .serve_with_incoming_shutdown(others, self.stopping.clone().closing());
        let replication = DataServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let followers = ReceiverStream::new(followers)
            .map(|accepted| accepted.and_then(tokio::net::TcpStream::from_std));
        let replication = watched()
            .add_service(replication)
            .serve_with_incoming_shutdown(followers, self.stopping.clone().closing());
        self.servers.lock().extend([
            self.requests.spawn(data),
            self.replication.spawn(replication),
        ]);
        Ok(bound)
    }

    /// Refuses new requests as unavailable, lets running ones end for up to `grace`, closes. Blocks. Once.
    pub fn stop(&self, grace: Duration) {
        let Some(runtimes) = self.runtimes.lock().take() else {
            return;
        };
        self.executor.stop();
        self.stopping.stop();
        let servers = std::mem::take(&mut *self.servers.lock());
        let over = runtimes.requests.block_on(async {
            let quiet = tokio::time::timeout(grace, self.stopping.quiet()).await;
            self.stopping.close();
            // What was answered has to leave, even when that took all of the grace.
            let closed = tokio::time::timeout(grace.max(LAST_MOMENT), async {
                for server in servers {
                    match server.await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!(%error, "a server ended badly"),
                        Err(error) => tracing::error!(%error, "a server ended badly"),
                    }
                }
            });
            quiet.is_err() || closed.await.is_err()
        });
        if over {
            let seconds = grace.as_secs_f64();
            tracing::warn!(
                seconds,
                "requests were still running when the grace was over"
            );
        }
        runtimes.replication.shutdown_timeout(LAST_MOMENT);
        runtimes.requests.shutdown_timeout(LAST_MOMENT);
        self.node().close();
    }

    /// Follows `source`: asks the node, and runs the stream that it wants.
    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    pub fn follow(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        key_length: usize,
        start: &[u8],
        end: &[u8],
        source: &str,
        source_address: &str,
        source_incarnation: &str,
        durable: bool,
        size: u64,
    ) -> Result<PartitionState, Refusal> {
        let Followed { state, start } = self.node().follow(
            keyspace,
            partition,
            epoch,
            key_length,
            start,
            end,
            source,
            source_address,
            source_incarnation,
            durable,
            size,
            self.now(),
        )?;
        if let Some(spec) = start {
            self.run_stream(spec);
        }
        Ok(state)
    }

    fn run_stream(&self, spec: FollowSpec) {
        let follower = Follower {
            node: Arc::clone(self.node()),
            spec,
            settings: self.settings.clone(),
            home: Arc::clone(&self.home),
            counters: Arc::clone(&self.replication_counters),
        };
        self.replication.spawn(follower.run());
    }

    /// Applies a serialized `dstk.v1.RoutesUpdate` to the node's routing table.
    pub fn apply_routes(&self, update: &[u8]) -> Result<(), Refusal> {
        let update = routes::decode(update).map_err(|error| {
            Refusal::Invalid(format!(
                "no dstk.v1.RoutesUpdate in {} bytes: {error}",
                update.len()
            ))
        })?;
        self.node().apply_routes(&update)?;
        self.executor.peers().forget_broken();
        Ok(())
    }

    /// Monotonic counters and gauges of node and network, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.node().counters();
        let executor = self.executor.counters();
        all.extend([
            (
                "operations_answered_total",
                executor.answered.load(Ordering::Relaxed),
            ),
            (
                "operations_forwarded_total",
                executor.forwarded.load(Ordering::Relaxed),
            ),
            (
                "operations_held_total",
                executor.held.load(Ordering::Relaxed),
            ),
            (
                "operations_unowned_total",
                executor.unowned.load(Ordering::Relaxed),
            ),
            ("peer_connections", self.executor.peers().len() as u64),
        ]);
        all.extend(self.replication_counters.all());
        all
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtimes) = self.runtimes.lock().take() {
            self.executor.stop();
            runtimes.replication.shutdown_background();
            runtimes.requests.shutdown_background();
        }
    }
}
