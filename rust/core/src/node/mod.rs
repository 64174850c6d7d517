//! Everything a worker holds. Synchronous, with locks of its own; no sockets, no clock: the network around it feeds it
//! requests, streams and the time.

mod refusal;
mod routes;
mod settings;

use std::sync::Arc;
use std::time::Duration;

pub use refusal::Refusal;
pub use routes::{KeyspaceRoutes, Route, RoutesUpdate};
pub use settings::Settings;

use crate::key::Bounds;
use crate::log::{Effect, LogBatch};
use crate::partition::{Nanos, Op, PartitionState, Reply, Role, Target, Waiter};
use crate::snapshot::DecodedChunk;
use crate::tree::{Tree, Value};

/// What a worker holds.
pub struct Node;

/// One keyspace of a node.
pub struct Shard;

/// What became of an [`Op`].
#[derive(Debug)]
pub enum Outcome {
    /// It ended; on success it is applied.
    Done(Reply),
    /// It is held behind a fence; the waiter gets the verdict.
    Parked,
    /// Another worker serves the key (proxied, or known from the routes).
    Forward(Target),
    /// The key is served neither here nor by anybody known: unavailable, try again.
    NotHere,
}

/// What to scan: at most `limit` rows of `[start, end)`.
#[derive(Debug, Clone)]
pub struct Scan<'a> {
    /// First key, included; shorter than the key length means padded with zero bytes.
    pub start: &'a [u8],
    /// Past the last key; empty: no end.
    pub end: &'a [u8],
    /// From `end` down to `start`.
    pub reverse: bool,
    /// Rows, at least 1; cut to the node's limit.
    pub limit: usize,
    /// Bytes of keys and values; 0: the node's limit. A page holds one row at least, whatever its size.
    pub max_bytes: usize,
}

/// One page of rows, all of one partition's consistent snapshot, in the order of the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys, one after the other.
    pub keys: Vec<u8>,
    /// Versions.
    pub versions: Vec<u64>,
    /// Values.
    pub values: Vec<Value>,
    /// Where to go on: forward, the new `start`; reverse, the new `end`. None when done.
    pub cursor: Option<Box<[u8]>>,
}

/// What became of a [`Scan`].
#[derive(Debug)]
pub enum ScanOutcome {
    /// A page; it may be empty and still have a cursor (a gap between partitions, an empty partition).
    Page(Page),
    /// The scan itself is wrong: [`Code::Invalid`](crate::partition::Code::Invalid), or a bound is reached.
    Failed(Reply),
    /// It is held behind a fence; the waiter is told [`Verdict::Retry`](crate::partition::Verdict::Retry),
    /// `Forward` or `Unavailable`.
    Parked,
    /// Another worker serves the first key to look at.
    Forward(Target),
    /// That key is served by nobody known.
    NotHere,
}

/// A stream that the network has to run: load from the source, then follow its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowSpec {
    /// Name of the keyspace.
    pub keyspace: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// Epoch of the source.
    pub epoch: u64,
    /// Length of the keys, in bytes.
    pub key_length: usize,
    /// Name of the source.
    pub source: String,
    /// Its data address, `host:port`.
    pub source_address: String,
    /// The life of the source that is meant.
    pub source_incarnation: String,
    /// Which of this partition's streams it is: calls of an older one change nothing.
    pub generation: u64,
}

/// What `follow` answers.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The partition afterwards.
    pub state: PartitionState,
    /// The stream to start; none when one runs already.
    pub start: Option<FollowSpec>,
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The partition no longer follows by this stream: dropped, promoted or followed anew. End it quietly.
    #[error("partition {0} no longer follows by this stream")]
    Superseded(String),
    /// What the stream brought does not fit or verify; the partition has noted it as its `error`.
    #[error("{0}")]
    Corrupt(String),
}

/// The follower's end of a stream: the network feeds what it receives, in order.
pub struct FollowStream;

#[allow(clippy::unused_self, missing_docs)]
impl FollowStream {
    /// What is held already, in [`digest`](crate::digest) encoding; empty: nothing.
    pub fn digests(&self) -> Result<Vec<u8>, FollowError> {
        todo!()
    }
    /// SnapshotStart.
    pub fn begin_snapshot(&self, sequence: u64, rows: u64, bytes: u64, bytes_to_send: u64) -> Result<(), FollowError> {
        todo!()
    }
    /// DropRange: rows of `[start, end)` come anew. `end` empty: no end.
    pub fn drop_range(&self, start: &[u8], end: &[u8]) -> Result<(), FollowError> {
        todo!()
    }
    /// One chunk of the range dropped last.
    pub fn install_chunk(&self, chunk: &DecodedChunk<'_>) -> Result<(), FollowError> {
        todo!()
    }
    /// SnapshotEnd: verifies rows and digest; the partition is following from here on.
    pub fn end_snapshot(&self, sequence: u64, rows: u64, digest: u64) -> Result<(), FollowError> {
        todo!()
    }
    /// LogEntries: `first` has to be the next sequence. The sequence applied, to be acknowledged.
    pub fn apply(&self, first: u64, effects: impl IntoIterator<Item = Effect>) -> Result<u64, FollowError> {
        todo!()
    }
    /// SourceState.
    pub fn source_state(&self, sequence: u64, fenced: bool) -> Result<(), FollowError> {
        todo!()
    }
    /// The stream ended: why.
    pub fn failed(&self, error: impl Into<String>) {
        todo!()
    }
}

/// What a follower is sent first: a consistent snapshot, or what differs from what it holds.
pub struct SnapshotPlan {
    /// Rows up to and with `sequence`; `Tree::clone` it for each [`ChunkEncoder`](crate::snapshot::ChunkEncoder).
    pub snapshot: Tree,
    /// Sequence of the last write in it.
    pub sequence: u64,
    /// Rows of the snapshot.
    pub rows: u64,
    /// Its bytes of keys and values.
    pub bytes: u64,
    /// Its digest.
    pub digest: u64,
    /// Ranges to send, ascending: for each, DropRange, then its chunks. All of the partition for a new follower.
    pub ranges: Vec<Bounds>,
    /// Bytes of keys and values in `ranges`.
    pub bytes_to_send: u64,
    /// The log after `sequence`.
    pub reader: LogReader,
}

/// Called (under the partition's lock, so it must neither block nor call the node) when an idle reader has something
/// new to look at: entries, a fence lifted or set, its end.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The source's end of a stream. Dropped, it lets the log go.
pub struct LogReader;

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Effects, consecutive to those before.
    Batch(LogBatch),
    /// Nothing yet; the wake-up will come.
    Empty,
    /// Nothing more will come; the follower has to begin anew: why.
    Ended(String),
}

/// Where the source of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceState {
    /// Sequence of its last write.
    pub sequence: u64,
    /// Whether new requests are held: then `sequence` is where the log ends.
    pub fenced: bool,
}

#[allow(clippy::unused_self, missing_docs)]
impl LogReader {
    /// Sets what is called when there is something new after [`Next::Empty`].
    pub fn set_wake(&mut self, wake: Wake) {
        todo!()
    }
    /// The next effects, about `max_bytes` of them and at least one. May read from the spill file: not under a lock.
    pub fn next(&mut self, max_bytes: usize) -> Next {
        todo!()
    }
    /// The follower has applied up to `sequence`.
    pub fn acknowledge(&mut self, sequence: u64) {
        todo!()
    }
    /// Where the source is now; none when it is no longer primary.
    pub fn source_state(&self) -> Option<SourceState> {
        todo!()
    }
}

/// What a partition costs.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLoad {
    /// Name of the keyspace.
    pub keyspace: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// Its epoch.
    pub epoch: u64,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Reads and writes a second, exponentially weighted.
    pub operations_per_second: f64,
    /// Bytes of keys and values read and written a second, exponentially weighted.
    pub bytes_per_second: f64,
    /// The key that halves the rows; none below two rows.
    pub median_key: Option<Box<[u8]>>,
    /// What this worker is to it.
    pub role: Role,
}

#[allow(clippy::unused_self, missing_docs, clippy::too_many_arguments)]
impl Node {
    /// A node that holds nothing.
    pub fn new(name: &str, incarnation: &str, settings: Settings) -> Arc<Self> {
        todo!()
    }
    pub fn name(&self) -> &Arc<str> {
        todo!()
    }
    pub fn incarnation(&self) -> &Arc<str> {
        todo!()
    }
    pub fn settings(&self) -> &Settings {
        todo!()
    }
    /// The data address that clients reach this worker at, for hints; the server says it once it listens.
    pub fn set_address(&self, address: &str) {
        todo!()
    }
    /// Data address of a worker as the routes say; none when it is not known.
    pub fn worker_address(&self, worker: &str) -> Option<Arc<str>> {
        todo!()
    }
    /// A keyspace that this node holds a partition of, or has routes for.
    pub fn keyspace(&self, name: &str) -> Option<Arc<Shard>> {
        todo!()
    }
    pub fn serve(
        &self, keyspace: &str, partition: &str, epoch: u64, key_length: usize, start: &[u8], end: &[u8], now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        todo!()
    }
    pub fn follow(
        &self, keyspace: &str, partition: &str, epoch: u64, key_length: usize, start: &[u8], end: &[u8],
        source: &str, source_address: &str, source_incarnation: &str, now: Nanos,
    ) -> Result<Followed, Refusal> {
        todo!()
    }
    /// The follower's end of the stream that `spec` asked for.
    pub fn follow_stream(&self, spec: &FollowSpec) -> Result<FollowStream, FollowError> {
        todo!()
    }
    pub fn fence(&self, keyspace: &str, partition: &str, epoch: u64, now: Nanos) -> Result<PartitionState, Refusal> {
        todo!()
    }
    pub fn unfence(&self, keyspace: &str, partition: &str, epoch: u64, now: Nanos) -> Result<PartitionState, Refusal> {
        todo!()
    }
    pub fn await_applied(
        &self, keyspace: &str, partition: &str, epoch: u64, sequence: u64, timeout: Duration,
    ) -> Result<PartitionState, Refusal> {
        todo!()
    }
    pub fn promote(
        &self, keyspace: &str, partition: &str, epoch: u64, sequence: u64, digest: u64, now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        todo!()
    }
    pub fn proxy(
        &self, keyspace: &str, partition: &str, epoch: u64, to: &str, to_address: &str, now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        todo!()
    }
    pub fn release(&self, keyspace: &str, partition: &str, epoch: u64) -> Result<(), Refusal> {
        todo!()
    }
    pub fn drop_partition(&self, keyspace: &str, partition: &str, epoch: u64) -> Result<(), Refusal> {
        todo!()
    }
    pub fn split(
        &self, keyspace: &str, partition: &str, parent_epoch: u64, epoch: u64, keys: &[&[u8]], names: &[&str],
        clock: &dyn Fn() -> Nanos,
    ) -> Result<Vec<PartitionState>, Refusal> {
        todo!()
    }
    pub fn merge(
        &self, keyspace: &str, parts: &[(&str, u64)], partition: &str, epoch: u64, start: &[u8], end: &[u8],
        clock: &dyn Fn() -> Nanos,
    ) -> Result<PartitionState, Refusal> {
        todo!()
    }
    /// A consistent snapshot for a follower and the log after it. `digests`: what the follower holds, as
    /// [`FollowStream::digests`] gave it.
    pub fn open_reader(&self, keyspace: &str, partition: &str, epoch: u64, digests: &[u8]) -> Result<SnapshotPlan, Refusal> {
        todo!()
    }
    /// The partitions of these names, or all.
    pub fn states(&self, partitions: Option<&[&str]>, now: Nanos) -> Vec<PartitionState> {
        todo!()
    }
    pub fn loads(&self, now: Nanos) -> Vec<PartitionLoad> {
        todo!()
    }
    /// Gives [`Verdict::Unavailable`](crate::partition::Verdict::Unavailable) to requests held longer than
    /// `hold_seconds`; to be called several times a second. How many they were.
    pub fn expire_held(&self, now: Nanos) -> usize {
        todo!()
    }
    /// Gives the same to all held requests: the worker stops.
    pub fn refuse_held(&self, reason: &str) -> usize {
        todo!()
    }
    /// Monotonic counters and gauges by name, for /metrics.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        todo!()
    }
    pub fn apply_routes(&self, update: &RoutesUpdate) -> Result<(), Refusal> {
        todo!()
    }
    /// Grows with every change of the routes.
    pub fn routes_version(&self) -> u64 {
        todo!()
    }
    /// What changed after `version` (0: everything, as a full update), and the version that this leads to. A full
    /// update as well when `version` is too long ago.
    pub fn routes_after(&self, version: u64) -> (u64, RoutesUpdate) {
        todo!()
    }
    /// Calls `wake` after every change of the routes until the returned guard is dropped; it must not block.
    pub fn watch_routes(&self, wake: Arc<dyn Fn() + Send + Sync>) -> RoutesWatch {
        todo!()
    }
}

/// Ends a subscription when it is dropped.
pub struct RoutesWatch;

#[allow(clippy::unused_self, missing_docs)]
impl Shard {
    pub fn name(&self) -> &Arc<str> {
        todo!()
    }
    pub fn key_length(&self) -> usize {
        todo!()
    }
    /// Carries out one operation, at once or never; see [`Outcome`]. `park` is called under the partition's lock, and
    /// only when the operation is held.
    pub fn execute(&self, op: Op<'_>, now: Nanos, park: impl FnOnce() -> Box<dyn Waiter>) -> Outcome {
        todo!()
    }
    pub fn scan(&self, scan: &Scan<'_>, now: Nanos, park: impl FnOnce() -> Box<dyn Waiter>) -> ScanOutcome {
        todo!()
    }
    /// Where the key is served as far as this worker can tell, from what it holds first, then from the routes.
    pub fn hint(&self, key: &[u8]) -> Option<Target> {
        todo!()
    }
    /// Where the routes say that the key is served.
    pub fn route(&self, key: &[u8]) -> Option<Target> {
        todo!()
    }
}
