//! Routes as they are pushed to a node and passed on to its clients.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Node;
use super::context::Addresses;
use super::refusal::Refusal;
use crate::partition::PartitionState;
use crate::routing::{Change, Entry, RoutingTable};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Older versions that are kept, so that only what changed has to be passed on. A version shares nearly all of its
/// memory with the next.
const KEPT_VERSIONS: usize = 256;

/// `dstk.v1.RoutesUpdate`. Withdrawals come before routes.
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
    /// Ranges whose rows were lost, in the order of keys; none: as they were.
    pub losses: Option<Arc<[Loss]>>,
}

/// `dstk.v1.Loss`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Name of the partition.
    pub partition: String,
    /// Lowest key of the range, of full length or empty.
    pub start: Vec<u8>,
    /// Lowest key above the range; empty: no end.
    pub end: Vec<u8>,
    /// When it was found, in milliseconds of UTC.
    pub since_ms: u64,
    /// Why, in a word.
    pub reason: String,
    /// Nothing of the range is served before somebody accepts the loss.
    pub held: bool,
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

/// Calls back after a change of the routes; it must not block.
pub type RoutesWake = Arc<dyn Fn() + Send + Sync>;

/// Ends a subscription when it is dropped.
pub struct RoutesWatch {
    watchers: Arc<Watchers>,
    id: u64,
}

impl Drop for RoutesWatch {
    fn drop(&mut self) {
        self.watchers.all.lock().remove(&self.id);
    }
}

#[derive(Default)]
struct Watchers {
    all: Mutex<BTreeMap<u64, RoutesWake>>,
    next: AtomicU64,
}

/// All that the node knows of who serves what, at one version.
#[derive(Clone, Default)]
struct Known {
    tables: BTreeMap<Arc<str>, RoutingTable>,
    /// By keyspace; none: nothing was lost.
    losses: BTreeMap<Arc<str>, Arc<[Loss]>>,
    addresses: Addresses,
}

/// The routes, and how they came about.
pub(crate) struct Routes {
    /// By version; never empty.
    versions: Mutex<VecDeque<(u64, Known)>>,
    version: AtomicU64,
    watchers: Arc<Watchers>,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            versions: Mutex::new(VecDeque::from([(0, Known::default())])),
            version: AtomicU64::new(0),
            watchers: Arc::default(),
        }
    }
}

impl Node {
    /// Takes over what the operator knows: all of `update`, or nothing of it.
    ///
    /// Of a keyspace that was deleted and made anew with another key length, while partitions of the old one are held
    /// here, no route is known: what is held has to go first.
    ///
    /// # Errors
    /// `Invalid`: a route that is wrong in itself.
    pub fn apply_routes(&self, update: &RoutesUpdate) -> Result<(), Refusal> {
        let holds_another = |routes: &&KeyspaceRoutes| {
            self.keyspace(&routes.keyspace)
                .is_some_and(|store| store.key_length != routes.key_length && store.holds_any())
        };
        let others: Vec<_> = update.keyspaces.iter().filter(holds_another).collect();
        for other in &others {
            if let Some(store) = self.keyspace(&other.keyspace) {
                store.routes.store(None);
            }
        }
        self.change_routes(|known| {
            for other in &others {
                known.tables.remove(other.keyspace.as_str());
            }
            if update.full {
                known.addresses.clear();
                let named = |name: &str| {
                    update
                        .keyspaces
                        .iter()
                        .any(|routes| routes.keyspace == name)
                };
                known.losses.retain(|name, _| named(name));
                for (name, table) in &mut known.tables {
                    if !named(name) {
                        table
                            .replace_all([])
                            .map_err(|error| Refusal::Invalid(error.to_string()))?;
                    }
                }
            }
            for (worker, address) in &update.workers {
                if address.is_empty() {
                    known.addresses.remove(worker.as_str());
                } else {
                    known
                        .addresses
                        .insert(worker.as_str().into(), address.as_str().into());
                }
            }
            let mut fit = update
                .keyspaces
                .iter()
                .filter(|routes| !holds_another(routes));
            fit.try_for_each(|routes| known.apply(routes, update.full))
        })?;
        self.forget_left();
        Ok(())
    }

    /// A partition that has no route any more was deleted: one that is made anew under its name begins at epoch 1.
    fn forget_left(&self) {
        for store in self.stores.load().values() {
            let mut holding = store.holding.lock();
            if let Some(routes) = store
                .routes
                .load_full()
                .filter(|_| !holding.left.is_empty())
            {
                let shown = |name: &str| routes.entries_of(name).next().is_some();
                holding.left.retain(|(name, _)| shown(name));
            }
        }
    }

    /// Lets the routes show at once what this worker has done itself; the operator will say the same.
    pub(super) fn publish_own(&self, state: &PartitionState, owner: &Arc<str>) {
        let routes = KeyspaceRoutes {
            keyspace: state.keyspace.to_string(),
            key_length: state.bounds.key_length(),
            routes: vec![Route {
                partition: state.partition.to_string(),
                start: state.bounds.start.to_vec(),
                end: state.bounds.end().unwrap_or_default().to_vec(),
                epoch: state.epoch,
                owner: owner.to_string(),
            }],
            withdrawn: Vec::new(),
            losses: None,
        };
        // Bounds of what is held are right, so this cannot fail; and were it to, the operator's word comes anyway.
        let _ = self.change_routes(|known| {
            if known.tables.contains_key(&*state.keyspace) {
                known.apply(&routes, false)
            } else {
                Ok(())
            }
        });
    }

    /// Grows with every change of the routes; 0 until routes have been heard of.
    pub fn routes_version(&self) -> u64 {
        self.routes.version.load(Ordering::Acquire)
    }

    /// What changed after `version` (0: everything, as a full update), and the version that this leads to. A full
    /// update as well when `version` is too long ago.
    pub fn routes_after(&self, version: u64) -> (u64, RoutesUpdate) {
        let (old, (newest, new)) = {
            let versions = self.routes.versions.lock();
            let old = versions
                .iter()
                .find(|(kept, _)| *kept == version && version != 0);
            let newest = versions.back().cloned().unwrap_or_default();
            (old.map(|(_, known)| known.clone()), newest)
        };
        let update = match old {
            Some(old) => changes(&old, &new),
            None => everything(&new),
        };
        (newest, update)
    }

    /// Calls `wake` after every change of the routes until the returned guard is dropped; it must not block.
    pub fn watch_routes(&self, wake: RoutesWake) -> RoutesWatch {
        let watchers = Arc::clone(&self.routes.watchers);
        let id = watchers.next.fetch_add(1, Ordering::Relaxed);
        watchers.all.lock().insert(id, wake);
        RoutesWatch { watchers, id }
    }

    /// Makes a new version, and puts it where requests look.
    fn change_routes(
        &self,
        change: impl FnOnce(&mut Known) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        {
            let mut versions = self.routes.versions.lock();
            let (version, old) = versions.back().cloned().unwrap_or_default();
            let mut new = old.clone();
            change(&mut new)?;
            let fresh = |(name, table): &(&Arc<str>, &RoutingTable)| {
                let same = |old: &RoutingTable| {
                    old.version() == table.version() && old.key_length() == table.key_length()
                };
                !old.tables.get(*name).is_some_and(same)
            };
            let changed: Vec<_> = new.tables.iter().filter(fresh).collect();
            let as_many = new.tables.len() == old.tables.len();
            let same = new.addresses == old.addresses && new.losses == old.losses;
            if changed.is_empty() && as_many && same && version != 0 {
                return Ok(());
            }
            let stores = changed
                .iter()
                .map(|(name, table)| self.keyspace_of(name, table.key_length()));
            let stores = stores.collect::<Result<Vec<_>, _>>()?;
            self.context
                .addresses
                .store(Arc::new(new.addresses.clone()));
            for (store, (_, table)) in stores.iter().zip(&changed) {
                store.routes.store(Some(Arc::new((*table).clone())));
            }
            if versions.len() == KEPT_VERSIONS {
                versions.pop_front();
            }
            versions.push_back((version + 1, new));
            self.routes.version.store(version + 1, Ordering::Release);
        }
        let watchers: Vec<_> = self.routes.watchers.all.lock().values().cloned().collect();
        watchers.iter().for_each(|wake| wake());
        Ok(())
    }
}

impl Known {
    fn losses_of(&self, keyspace: &str) -> Arc<[Loss]> {
        self.losses.get(keyspace).cloned().unwrap_or_default()
    }

    fn apply(&mut self, routes: &KeyspaceRoutes, full: bool) -> Result<(), Refusal> {
        let invalid = |error: &dyn std::fmt::Display| {
            Refusal::Invalid(format!("routes of keyspace {}: {error}", routes.keyspace))
        };
        let table = match self.tables.get_mut(routes.keyspace.as_str()) {
            Some(table) if table.key_length() == routes.key_length => table,
            // It was deleted and made anew.
            Some(table) => {
                *table = RoutingTable::new(routes.key_length).map_err(|error| invalid(&error))?;
                table
            }
            None => {
                let table =
                    RoutingTable::new(routes.key_length).map_err(|error| invalid(&error))?;
                self.tables
                    .entry(routes.keyspace.as_str().into())
                    .or_insert(table)
            }
        };
        match &routes.losses {
            Some(losses) if !losses.is_empty() => {
                let name = routes.keyspace.as_str().into();
                self.losses.insert(name, Arc::clone(losses));
            }
            Some(_) => _ = self.losses.remove(routes.keyspace.as_str()),
            None => {}
        }
        let entries = routes.routes.iter().map(entry);
        if full {
            return table
                .replace_all(entries)
                .map(drop)
                .map_err(|error| invalid(&error));
        }
        for (partition, epoch) in &routes.withdrawn {
            table.withdraw(partition, *epoch);
        }
        for entry in entries {
            table.apply(entry).map_err(|error| invalid(&error))?;
        }
        Ok(())
    }
}

fn entry(route: &Route) -> Entry {
    Entry {
        partition: route.partition.as_str().into(),
        start: route.start.as_slice().into(),
        end: (!route.end.is_empty()).then(|| route.end.as_slice().into()),
        epoch: route.epoch,
        owner: route.owner.as_str().into(),
    }
}

fn route(entry: &Entry) -> Route {
    Route {
        partition: entry.partition.to_string(),
        start: entry.start.to_vec(),
        end: entry.end.as_deref().unwrap_or_default().to_vec(),
        epoch: entry.epoch,
        owner: entry.owner.to_string(),
    }
}

fn everything(known: &Known) -> RoutesUpdate {
    let keyspaces = known.tables.iter().map(|(name, table)| KeyspaceRoutes {
        keyspace: name.to_string(),
        key_length: table.key_length(),
        routes: table.entries().map(|entry| route(entry)).collect(),
        withdrawn: Vec::new(),
        losses: Some(known.losses_of(name)),
    });
    let workers = known
        .addresses
        .iter()
        .map(|(worker, address)| (worker.to_string(), address.to_string()));
    RoutesUpdate {
        full: true,
        keyspaces: keyspaces.collect(),
        workers: workers.collect(),
    }
}

fn changes(old: &Known, new: &Known) -> RoutesUpdate {
    let mut update = RoutesUpdate::default();
    for (name, table) in &new.tables {
        let mut routes = KeyspaceRoutes {
            keyspace: name.to_string(),
            key_length: table.key_length(),
            losses: (old.losses.get(name) != new.losses.get(name)).then(|| new.losses_of(name)),
            ..KeyspaceRoutes::default()
        };
        let before = old.tables.get(name);
        match before.filter(|before| before.key_length() == table.key_length()) {
            Some(before) if before.version() == table.version() && routes.losses.is_none() => {
                continue;
            }
            Some(before) => {
                for change in RoutingTable::diff(before, table) {
                    match change {
                        Change::Withdraw { partition, epoch } => {
                            routes.withdrawn.push((partition.to_string(), epoch));
                        }
                        Change::Apply(entry) => routes.routes.push(route(&entry)),
                        Change::SetWorker { .. } | Change::RemoveWorker { .. } => {}
                    }
                }
            }
            None => routes
                .routes
                .extend(table.entries().map(|entry| route(entry))),
        }
        update.keyspaces.push(routes);
    }
    let set = new
        .addresses
        .iter()
        .filter(|(worker, address)| old.addresses.get(*worker) != Some(*address));
    update
        .workers
        .extend(set.map(|(worker, address)| (worker.to_string(), address.to_string())));
    let gone = old
        .addresses
        .keys()
        .filter(|worker| !new.addresses.contains_key(*worker));
    update
        .workers
        .extend(gone.map(|worker| (worker.to_string(), String::new())));
    update
}
