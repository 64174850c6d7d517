//! A partition as its worker holds it, in plain data.

use std::sync::Arc;

use super::operation::Nanos;
use crate::key::Bounds;
use crate::role::Role;

/// `dstk.v1.PartitionState`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Name of the keyspace.
    pub keyspace: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// The range it covers.
    pub bounds: Arc<Bounds>,
    /// What this worker is to it.
    pub role: Role,
    /// Its epoch as this worker knows it; of a follower, the source's when it began to follow.
    pub epoch: u64,
    /// Sequence of the last write applied.
    pub sequence: u64,
    /// Whether new requests are held.
    pub fenced: bool,
    /// The highest token of a fence that this life of the worker has seen; that of the fence while there is one.
    pub fence_token: u64,
    /// How many are.
    pub held: u32,
    /// Number of rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// What its rows take, in bytes: keys, values and what is around them.
    pub size: u64,
    /// Wrapping sum of the row hashes.
    pub digest: u64,
    /// Loading and following only.
    pub follow: Option<FollowProgress>,
    /// Proxy only: time since the last request was passed on, or since it became proxy, in nanoseconds.
    pub quiet: Nanos,
    /// How long writers waited at the last fence, split or merge, in nanoseconds.
    pub last_pause: Nanos,
    /// Whether its changes are written down: what durability it has.
    pub durable: bool,
    /// Proxy only: the worker that requests are passed on to; else empty.
    pub proxy_to: Arc<str>,
}

/// How far a follower is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowProgress {
    /// Name of the worker that is followed.
    pub source: String,
    /// Rows of the snapshot received so far, by this stream.
    pub rows_copied: u64,
    /// Bytes of keys and values received so far, by this stream.
    pub bytes_copied: u64,
    /// Bytes of keys and values that this stream's snapshot sends.
    pub bytes_total: u64,
    /// Writes of the source not yet applied, as last heard.
    pub lag: u64,
    /// Whether the snapshot is applied.
    pub caught_up: bool,
    /// Why the stream ended; empty while it runs.
    pub error: String,
    /// Whether it ended because this worker has no room for the rows: it is not tried again unasked.
    pub no_room: bool,
}
