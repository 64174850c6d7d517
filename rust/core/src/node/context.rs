//! What all of a node's parts share.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::refusal::Refusal;
use super::settings::Settings;
use crate::disk::{Disk, Position};
use crate::log::{Log, LogLimits, Spill};
use crate::partition::{HoldLimits, Nanos, Room};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{ArcSwap, Mutex};

/// Data addresses by the name of the worker.
pub(crate) type Addresses = BTreeMap<Arc<str>, Arc<str>>;

pub(crate) struct Context {
    pub(crate) name: Arc<str>,
    pub(crate) incarnation: Arc<str>,
    pub(crate) settings: Settings,
    pub(crate) hold_limits: HoldLimits,
    log_limits: Arc<LogLimits>,
    address: ArcSwap<Arc<str>>,
    pub(crate) addresses: ArcSwap<Addresses>,
    /// Requests held by all partitions.
    pub(crate) held: AtomicUsize,
    /// Log readers that are open.
    pub(crate) readers: AtomicUsize,
    generations: AtomicU64,
    /// Where changes are written down; none: nowhere.
    pub(crate) disk: Option<Arc<Disk>>,
    /// What its rows take and may take.
    pub(crate) room: Arc<Room>,
    /// Until when, but for a keyspace's lease, an operator has said that it knows this worker to be there: nanoseconds of
    /// the node's clock, and one; 0: never.
    pub(crate) heard: AtomicU64,
    /// How often leases ran out.
    pub(crate) lapses: AtomicU64,
    /// Highest term of an operator that was heard, and the log after the record of it; 0: it was there before.
    pub(crate) term: Mutex<(u64, Position)>,
}

impl Context {
    pub(crate) fn new(
        name: &str,
        incarnation: &str,
        settings: Settings,
        disk: Option<Disk>,
        term: u64,
    ) -> Arc<Self> {
        let log_limits = LogLimits {
            memory_bytes: settings.log_memory_bytes,
            spill_bytes: settings.spill_bytes,
            spill: settings
                .spill_dir
                .clone()
                .map(|dir| Arc::new(Spill::new(dir))),
        };
        Arc::new(Self {
            name: name.into(),
            incarnation: incarnation.into(),
            hold_limits: HoldLimits {
                requests: settings.hold_max_requests,
                bytes: settings.hold_max_bytes,
            },
            log_limits: Arc::new(log_limits),
            address: ArcSwap::from_pointee("".into()),
            addresses: ArcSwap::default(),
            held: AtomicUsize::new(0),
            readers: AtomicUsize::new(0),
            generations: AtomicU64::new(0),
            disk: disk.map(Arc::new),
            room: Room::new(name, settings.memory_limit_bytes),
            heard: AtomicU64::new(0),
            lapses: AtomicU64::new(0),
            term: Mutex::new((term, 0)),
            settings,
        })
    }

    pub(crate) fn log(&self) -> Log {
        Log::new(Arc::clone(&self.log_limits))
    }

    /// A number that no other stream of this node has.
    pub(crate) fn generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn hold_nanos(&self) -> Nanos {
        (self.settings.hold_seconds.max(0.0) * 1e9) as Nanos
    }

    pub(crate) fn set_address(&self, address: &str) {
        self.address.store(Arc::new(address.into()));
    }

    /// What the routes say, as others may reach this worker by another name than it listens on.
    pub(crate) fn worker_address(&self, worker: &str) -> Option<Arc<str>> {
        if let Some(known) = self.addresses.load().get(worker) {
            return Some(Arc::clone(known));
        }
        let own = self.address.load();
        (*worker == *self.name && !own.is_empty()).then(|| Arc::clone(&**own))
    }

    /// Where a partition of such a keyspace is written down; none: nowhere.
    pub(crate) fn disk_for(&self, durable: bool) -> Result<Option<&Arc<Disk>>, Refusal> {
        match (&self.disk, durable) {
            (_, false) => Ok(None),
            (Some(disk), true) => Ok(Some(disk)),
            (None, true) => {
                let text = format!(
                    "worker {} has no data directory: a keyspace with durability Disk takes workers that have one",
                    self.name
                );
                Err(Refusal::Invalid(text))
            }
        }
    }

    /// Blocks until the log is on disk up to `position`; 0: there is nothing to wait for.
    ///
    /// `NotReady` when that cannot be: no bound of the worker is reached, its next life can do what is asked.
    pub(crate) fn settle(&self, position: Position) -> Result<(), Refusal> {
        let Some(disk) = self.disk.as_ref().filter(|_| position > 0) else {
            return Ok(());
        };
        disk.wal.wait(position).map_err(|reason| {
            Refusal::NotReady(format!(
                "the log of worker {} cannot be written: {reason}",
                self.name
            ))
        })
    }

    /// So many requests are held no longer.
    pub(crate) fn resumed(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
    }
}
