//! Routes as they are pushed to a node, in plain data.

/// `dstk.v1.RoutesUpdate`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutesUpdate {
    /// Replaces everything known before.
    pub full: bool,
    /// What changed, by keyspace.
    pub keyspaces: Vec<KeyspaceRoutes>,
    /// Data addresses of workers, `host:port`; an empty address means that the worker is gone.
    pub workers: Vec<(String, String)>,
}

/// `dstk.v1.KeyspaceRoutes`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyspaceRoutes {
    /// Name of the keyspace.
    pub keyspace: String,
    /// Length of its keys, in bytes.
    pub key_length: usize,
    /// Ranges with their owners.
    pub routes: Vec<Route>,
    /// Partitions that are gone without a successor, with their last epoch.
    pub withdrawn: Vec<(String, u64)>,
}

/// `dstk.v1.Route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Name of the partition.
    pub partition: String,
    /// Lowest key of the range; shorter than the key length means padded with zero bytes.
    pub start: Vec<u8>,
    /// Lowest key above the range; empty: no end.
    pub end: Vec<u8>,
    /// Epoch in which the owner serves it.
    pub epoch: u64,
    /// Name of the worker; empty: nobody.
    pub owner: String,
}
