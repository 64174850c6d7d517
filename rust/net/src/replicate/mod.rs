//! Copies of partitions between workers: a consistent snapshot, then the log, in one stream.

mod entries;
mod follower;
mod source;

use std::sync::atomic::{AtomicU64, Ordering};

pub use entries::{EntriesError, read_entries, write_entries};
pub use follower::Follower;
pub(crate) use source::serve;

/// Messages that may wait between the source and the transport.
pub(crate) const MESSAGES_AHEAD: usize = 4;

/// The largest frame of HTTP/2 that a follower takes, in bytes. A connection that asks for frames of this size is how
/// a source knows a follower before its first request.
pub(crate) const FRAME_BYTES: u32 = 1 << 20;

/// HTTP/2 windows of a follower's connection, in bytes: what may be under way.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// The largest message of a follow stream that is decoded, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 16 << 20;

/// What was sent to followers and taken from sources, since the start.
#[derive(Debug, Default)]
pub struct ReplicationCounters {
    /// Streams that a follower opened here.
    pub streams_served: AtomicU64,
    /// Chunks of snapshots sent.
    pub chunks_sent: AtomicU64,
    /// Bytes of those.
    pub chunk_bytes_sent: AtomicU64,
    /// Log entries sent.
    pub entries_sent: AtomicU64,
    /// Streams opened to a source.
    pub streams_opened: AtomicU64,
    /// Streams to a source that broke and were tried again.
    pub streams_broken: AtomicU64,
    /// Chunks of snapshots installed.
    pub chunks_installed: AtomicU64,
    /// Bytes of those.
    pub chunk_bytes_installed: AtomicU64,
    /// Log entries applied.
    pub entries_applied: AtomicU64,
}

impl ReplicationCounters {
    /// All of them by name.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            (
                "replication_streams_served_total",
                read(&self.streams_served),
            ),
            ("replication_chunks_sent_total", read(&self.chunks_sent)),
            (
                "replication_chunk_bytes_sent_total",
                read(&self.chunk_bytes_sent),
            ),
            ("replication_entries_sent_total", read(&self.entries_sent)),
            (
                "replication_streams_opened_total",
                read(&self.streams_opened),
            ),
            (
                "replication_streams_broken_total",
                read(&self.streams_broken),
            ),
            (
                "replication_chunks_installed_total",
                read(&self.chunks_installed),
            ),
            (
                "replication_chunk_bytes_installed_total",
                read(&self.chunk_bytes_installed),
            ),
            (
                "replication_entries_applied_total",
                read(&self.entries_applied),
            ),
        ]
    }
}

fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}
