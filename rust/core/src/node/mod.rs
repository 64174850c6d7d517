//! Everything a worker holds. Synchronous, with locks of its own; no sockets, no clock: the network around it feeds it
//! requests, streams and the time.
//!
//! Locks, in the order in which they are taken: the routes, `adding`, each keyspace's `holding`, partitions in key order,
//! the operator's term. Requests take one partition's lock and nothing else.

mod action;
mod changes;
mod context;
mod durable;
mod following;
mod keyspace_store;
mod lease;
mod membership;
mod observe;
mod place;
mod refusal;
mod replication;
mod reshape;
mod routes;
mod scan;
mod settings;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use crate::log::Wake;
pub use following::{FollowError, FollowSpec, FollowStream, Followed};
pub use keyspace_store::{KeyspaceStore, Outcome};
pub use lease::LeaseMark;
pub use observe::{Counters, Held, PartitionLoad};
pub use refusal::Refusal;
pub use replication::{LogReader, Next, SnapshotPlan, SourceState};
pub use routes::{KeyspaceRoutes, Loss, Route, RoutesUpdate, RoutesWake, RoutesWatch};
pub use scan::{Page, Scan, ScanOutcome};
pub use settings::{SettingError, Settings};

use context::Context;
use membership::Membership;
use routes::Routes;

use crate::index::RangeMap;
use crate::sync::atomic::AtomicU64;
use crate::sync::{ArcSwap, Mutex};

/// What a worker holds.
pub struct Node {
    context: Arc<Context>,
    stores: ArcSwap<BTreeMap<Arc<str>, Arc<KeyspaceStore>>>,
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
            stores: ArcSwap::default(),
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
    pub fn keyspace(&self, name: &str) -> Option<Arc<KeyspaceStore>> {
        self.stores.load().get(name).cloned()
    }

    /// The same, made if it is not there.
    fn keyspace_of(&self, name: &str, key_length: usize) -> Result<Arc<KeyspaceStore>, Refusal> {
        let _adding = self.adding.lock();
        if let Some(store) = self.keyspace(name) {
            if store.key_length == key_length {
                return Ok(store);
            }
            if store.holds_any() {
                let text = format!(
                    "worker {} holds partitions of an earlier keyspace {name} with keys of {} bytes, not {key_length}: \
                     a key length never changes",
                    self.name(),
                    store.key_length
                );
                return Err(Refusal::Invalid(text));
            }
            // Nothing is left of a keyspace of this name that was deleted.
        }
        let slots =
            RangeMap::new(key_length).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let store = Arc::new(KeyspaceStore::new(&self.context, name, key_length, slots));
        let mut stores = BTreeMap::clone(&self.stores.load());
        stores.insert(Arc::clone(&store.name), Arc::clone(&store));
        self.stores.store(Arc::new(stores));
        Ok(store)
    }
}
