//! The bounds of a node, one place for each.

use std::path::PathBuf;

/// What a node may take; every field has its unit in its name or description.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest value a put may carry, in bytes; at most [`MAX_VALUE_BYTES`](crate::tree::MAX_VALUE_BYTES).
    pub value_limit_bytes: usize,
    /// The biggest batch the data server takes, in bytes of keys and values.
    pub batch_limit_bytes: usize,
    /// Rows of a scan's page at most.
    pub scan_max_rows: usize,
    /// Bytes of keys and values of a scan's page at most; a page holds one row at least.
    pub scan_max_bytes: usize,
    /// Requests held behind a partition's fence at most.
    pub hold_max_requests: usize,
    /// Bytes of keys and values of the requests held behind a partition's fence at most.
    pub hold_max_bytes: usize,
    /// How long a request is held at most, in seconds.
    pub hold_seconds: f64,
    /// Memory that a partition's log takes for its followers before it is spilled, in bytes. While the disk is slower
    /// than the writers it may take twice that.
    pub log_memory_bytes: u64,
    /// What a partition's log takes on disk at most, in bytes; above that the slowest follower is told to begin anew.
    pub spill_bytes: u64,
    /// Where the log is spilled to; none: nowhere, what does not fit in memory ends the follower's stream.
    pub spill_dir: Option<PathBuf>,
    /// Followers that read from this node at the same time at most.
    pub max_readers: usize,
    /// Half-life of the load averages, in seconds.
    pub load_half_life_seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            value_limit_bytes: 1 << 20,
            batch_limit_bytes: 4 << 20,
            scan_max_rows: 10_000,
            scan_max_bytes: 1 << 20,
            hold_max_requests: 10_000,
            hold_max_bytes: 64 << 20,
            hold_seconds: 5.0,
            log_memory_bytes: 64 << 20,
            spill_bytes: 1 << 30,
            spill_dir: None,
            max_readers: 64,
            load_half_life_seconds: 10.0,
        }
    }
}
