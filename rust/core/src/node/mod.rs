//! Everything a worker holds. Synchronous, with locks of its own; no sockets, no clock: the network around it feeds it
//! requests, streams and the time.
//!
//! Locks, in the order in which they are taken: the routes, `adding`, each keyspace's `holding`, partitions in key order,
//! the operator's term. Requests take one partition's lock and nothing else.

mod action;
mod cell;
mod context;
mod durable;
mod flip;
mod following;
mod lease;
mod membership;
mod observe;
mod refusal;
mod replication;
mod routes;
mod scan;
mod settings;
mod shard;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::log::Wake;
pub use following::{FollowError, FollowSpec, FollowStream, Followed};
pub use lease::LeaseMark;
pub use observe::{Counters, PartitionLoad};
pub use refusal::Refusal;
pub use replication::{LogReader, Next, SnapshotPlan, SourceState};
pub use routes::{KeyspaceRoutes, Loss, Route, RoutesUpdate, RoutesWake, RoutesWatch};
pub use scan::{Page, Scan, ScanOutcome};
pub use settings::{SettingError, Settings};
pub use shard::{Outcome, Shard};

use context::Context;
use membership::Membership;
use routes::Routes;

use crate::index::RangeMap;
use crate::sync::atomic::AtomicU64;
use crate::sync::{ArcSwap, Mutex};

/// What a worker holds.
pub struct Node {
    context: Arc<Context>,
    shards: ArcSwap<BTreeMap<Arc<str>, Arc<Shard>>>,
    /// Taken to add a keyspace.
    adding: Mutex<()>,
    routes: Routes,
    splits: AtomicU64,
    merges: AtomicU64,
    checkpoints: Arc<durable::Checkpoints>,
    membership: Membership,
}

impl Node {
    /// A node that holds nothing.
    pub fn new(name: &str, incarnation: &str, settings: Settings) -> Arc<Self> {
        Arc::new(Self::with_context(
            Context::new(name, incarnation, settings, None, 0),
            Membership::default(),
        ))
    }

    fn with_context(context: Arc<Context>, membership: Membership) -> Self {
        Self {
            context,
            shards: ArcSwap::default(),
            adding: Mutex::default(),
            routes: Routes::default(),
            splits: AtomicU64::new(0),
            merges: AtomicU64::new(0),
            checkpoints: Arc::default(),
            membership,
        }
    }

    /// Name of the worker.
    pub fn name(&self) -> &Arc<str> {
        &self.context.name
    }

    /// Which of the worker's lives this is.
    pub fn incarnation(&self) -> &Arc<str> {
        &self.context.incarnation
    }

    /// Its bounds.
    pub fn settings(&self) -> &Settings {
        &self.context.settings
    }

    /// The data address that clients reach this worker at, for hints; the server says it once it listens.
    pub fn set_address(&self, address: &str) {
        self.context.set_address(address);
    }

    /// Data address of a worker as the routes say; none when it is not known.
    pub fn worker_address(&self, worker: &str) -> Option<Arc<str>> {
        self.context.worker_address(worker)
    }

    /// A keyspace that this node holds a partition of, or has routes for.
    pub fn keyspace(&self, name: &str) -> Option<Arc<Shard>> {
        self.shards.load().get(name).cloned()
    }

    /// The same, made if it is not there.
    fn keyspace_of(&self, name: &str, key_length: usize) -> Result<Arc<Shard>, Refusal> {
        let _adding = self.adding.lock();
        if let Some(shard) = self.keyspace(name) {
            if shard.key_length == key_length {
                return Ok(shard);
            }
            if shard.holds_any() {
                let text = format!(
                    "worker {} holds partitions of an earlier keyspace {name} with keys of {} bytes, not {key_length}: \
                     a key length never changes",
                    self.name(),
                    shard.key_length
                );
                return Err(Refusal::Invalid(text));
            }
            // Nothing is left of a keyspace of this name that was deleted.
        }
        let cells =
            RangeMap::new(key_length).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let shard = Arc::new(Shard::new(&self.context, name, key_length, cells));
        let mut shards = BTreeMap::clone(&self.shards.load());
        shards.insert(Arc::clone(&shard.name), Arc::clone(&shard));
        self.shards.store(Arc::new(shards));
        Ok(shard)
    }
}
