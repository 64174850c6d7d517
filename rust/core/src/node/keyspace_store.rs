//! One keyspace of a node: which partition has a key, and single-row operations on it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::context::Context;
use super::refusal::Refusal;
use super::slot::{Partition, PartitionSlot};
use crate::index::{Edit, RangeMap};
use crate::key::{Bounds, check_key, readable};
use crate::partition::{Code, Counts, Nanos, Op, Reply, Role, State, Target, Waiter};
use crate::routing::RoutingTable;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{ArcSwap, ArcSwapOption, Mutex, MutexGuard};

/// How often a look-up that met a partition that was just replaced is repeated. Every repetition means that another
/// replacement happened in between.
pub(crate) const LOOKUPS: usize = 64;

pub(crate) const BUSY: &str =
    "the partition was replaced again and again while it was looked for: try again";

/// Reshapes and partitions let go that are remembered, a keyspace.
pub(crate) const REMEMBERED: usize = 1024;

/// A reshape that was carried out: what was asked, and what came of it.
pub(crate) struct Reshape {
    pub(super) epoch: u64,
    pub(super) gone: Vec<(Arc<str>, u64)>,
    pub(super) come: Vec<(Arc<str>, Arc<Bounds>)>,
}

/// One keyspace of a node.
pub struct KeyspaceStore {
    pub(crate) context: Arc<Context>,
    pub(crate) name: Arc<str>,
    pub(crate) key_length: usize,
    /// From keys to partitions. A partition that is in it and disconnected has been replaced: look again.
    pub(crate) slots: ArcSwap<RangeMap<Arc<PartitionSlot>>>,
    /// Taken by every action; before any partition's lock.
    pub(crate) holding: Mutex<Holding>,
    /// None until routes have been heard of.
    pub(crate) routes: ArcSwapOption<RoutingTable>,
    /// For so long after an operator was heard it is served, in nanoseconds; 0: for ever.
    pub(crate) lease: AtomicU64,
}

/// The partitions by name, and what became of those that are gone.
#[derive(Default)]
pub(crate) struct Holding {
    pub(crate) names: HashMap<Arc<str>, Arc<PartitionSlot>>,
    /// The last reshapes, so that a repeated one is recognized.
    pub(crate) reshapes: VecDeque<Reshape>,
    /// What partitions that are gone had done.
    pub(crate) retired: Counts,
    /// Partitions that were released or dropped, and in which epoch, oldest first: a serve that comes late is refused.
    pub(crate) left: VecDeque<(Arc<str>, u64)>,
}

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

/// Who answers for a key.
pub(crate) enum Found<'a> {
    /// Its partition, primary here and not fenced.
    Serving(MutexGuard<'a, Partition>),
    /// The request is held, or cannot be.
    Held(Result<(), String>),
    /// Nobody here.
    Elsewhere(Option<Target>),
    /// The partition was replaced a moment ago: look again.
    Replaced,
}

impl KeyspaceStore {
    pub(crate) fn new(
        context: &Arc<Context>,
        name: &str,
        key_length: usize,
        slots: RangeMap<Arc<PartitionSlot>>,
    ) -> Self {
        Self {
            context: Arc::clone(context),
            name: name.into(),
            key_length,
            slots: ArcSwap::from_pointee(slots),
            holding: Mutex::default(),
            routes: ArcSwapOption::empty(),
            lease: AtomicU64::new(0),
        }
    }

    /// Name of the keyspace.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it may be served at `now`: always, or as long after an operator was heard as its lease lasts.
    pub fn is_leased(&self, now: Nanos) -> bool {
        let lease = self.lease.load(Ordering::Relaxed);
        lease == 0 || {
            let heard = self.context.heard.load(Ordering::Acquire);
            heard > 0 && now < heard.saturating_add(lease)
        }
    }

    /// Whether a partition of it is held, in any role.
    pub(crate) fn holds_any(&self) -> bool {
        !self.holding.lock().names.is_empty()
    }

    /// Length of its keys, in bytes.
    pub fn key_length(&self) -> usize {
        self.key_length
    }

    /// Carries out one operation, at once or never; see [`Outcome`]. `park` is called under the partition's lock, and
    /// only when the operation is held.
    ///
    /// # Panics
    /// Never on any key or value: what is wrong with them is in the reply.
    pub fn execute(
        &self,
        op: Op<'_>,
        now: Nanos,
        park: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Outcome {
        if let Some(reply) = self.check(&op) {
            return Outcome::Done(reply);
        }
        {
            let slots = self.slots.load();
            if let Some((_, slot)) = slots.find(op.key()) {
                let mut partition = slot.partition.lock();
                if partition.state.serves() && self.is_leased(now) {
                    return Outcome::Done(partition.execute(op));
                }
            }
        }
        self.execute_elsewise(op, now, park)
    }

    /// The same for keys whose partition does not simply serve here.
    #[cold]
    fn execute_elsewise(
        &self,
        op: Op<'_>,
        now: Nanos,
        park: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Outcome {
        let mut park = Some(park);
        for _ in 0..LOOKUPS {
            let slots = self.slots.load_full();
            let Some((_, slot)) = slots.find(op.key()) else {
                let target = self.route_elsewhere(op.key());
                return target.map_or(Outcome::NotHere, Outcome::Forward);
            };
            match self.find(slot, op.key(), Some(&op), now, &mut park) {
                Found::Serving(mut partition) => return Outcome::Done(partition.execute(op)),
                Found::Held(Ok(())) => return Outcome::Parked,
                Found::Held(Err(full)) => return Outcome::Done(Reply::failed(Code::Limit, full)),
                Found::Elsewhere(Some(target)) => return Outcome::Forward(target),
                Found::Elsewhere(None) => return Outcome::NotHere,
                Found::Replaced => {}
            }
        }
        Outcome::Done(Reply::failed(Code::Unavailable, BUSY))
    }

    /// Who answers for `key`, which lies in the range of `slot`; a request (none: a scan) that meets a fence is held.
    pub(crate) fn find<'a, F: FnOnce() -> Box<dyn Waiter>>(
        &self,
        slot: &'a PartitionSlot,
        key: &[u8],
        op: Option<&Op<'_>>,
        now: Nanos,
        park: &mut Option<F>,
    ) -> Found<'a> {
        let mut partition = slot.partition.lock();
        let epoch = partition.epoch;
        let held = &mut *partition;
        let fenced = match &mut held.state {
            State::Gone => return Found::Replaced,
            State::Primary { .. } if !self.is_leased(now) => return Found::Elsewhere(None),
            State::Primary { fence } => fence.is_some(),
            State::Proxy { to, address, last } => {
                held.load.counts.forwarded += 1;
                *last = now;
                return Found::Elsewhere(Some(slot.target(epoch, to, address)));
            }
            State::Loading { stream, .. } | State::Following { stream } => {
                let source = stream.progress.source.as_str().into();
                let source = slot.target(epoch, &source, &stream.source_address);
                match self.route(key).filter(|route| route.epoch > epoch) {
                    // The move is committed and the promotion under way: it will not take long.
                    Some(route) if *route.worker == *self.context.name => {
                        if held.role() == Role::Loading {
                            return Found::Elsewhere(None);
                        }
                        true
                    }
                    Some(route) => return Found::Elsewhere(Some(route)),
                    None => {
                        held.load.counts.forwarded += 1;
                        return Found::Elsewhere(Some(source));
                    }
                }
            }
        };
        if !fenced {
            return Found::Serving(partition);
        }
        let Some(park) = park.take() else {
            return Found::Held(Ok(()));
        };
        let held = partition.hold(op.cloned(), now, self.context.hold_limits, park);
        if held.is_ok() {
            self.context.held.fetch_add(1, Ordering::Relaxed);
        }
        Found::Held(held)
    }

    /// What is wrong with an operation, whatever partition it meets.
    fn check(&self, op: &Op<'_>) -> Option<Reply> {
        if op.key().len() != self.key_length {
            let error = check_key(op.key(), self.key_length).err()?;
            return Some(Reply::failed(Code::Invalid, error.to_string()));
        }
        let limit = self.context.settings.value_limit_bytes;
        match op {
            Op::Put { key, value, .. } if value.len() > limit => {
                let text = format!(
                    "value of {} is {} bytes; at most {limit} are taken: store it in pieces",
                    readable(key),
                    value.len()
                );
                Some(Reply::failed(Code::TooLarge, text))
            }
            _ => None,
        }
    }

    /// Where the routes say that `key`, which is not held here, is served; none when that is nobody, or this worker,
    /// which then has not been told yet.
    pub(crate) fn route_elsewhere(&self, key: &[u8]) -> Option<Target> {
        self.route(key)
            .filter(|route| *route.worker != *self.context.name)
    }

    /// Where the routes say that the key is served.
    pub fn route(&self, key: &[u8]) -> Option<Target> {
        let routes = self.routes.load();
        let entry = routes.as_ref()?.lookup(key)?;
        if entry.owner.is_empty() {
            return None;
        }
        Some(Target {
            partition: Arc::clone(&entry.partition),
            bounds: Arc::new(Bounds {
                start: entry.start.clone(),
                end: entry.end.clone(),
            }),
            epoch: entry.epoch,
            worker: Arc::clone(&entry.owner),
            address: self
                .context
                .worker_address(&entry.owner)
                .unwrap_or_else(|| "".into()),
        })
    }

    /// Where the key is served as far as this worker can tell, from what it holds first, then from the routes.
    pub fn hint(&self, key: &[u8]) -> Option<Target> {
        let slots = self.slots.load();
        if let Some((_, slot)) = slots.find(key) {
            let partition = slot.partition.lock();
            let context = &self.context;
            match &partition.state {
                State::Primary { .. } => {
                    let address = context.worker_address(&context.name);
                    let address = address.unwrap_or_else(|| "".into());
                    return Some(slot.target(partition.epoch, &context.name, &address));
                }
                State::Proxy { to, address, .. } => {
                    return Some(slot.target(partition.epoch, to, address));
                }
                _ => {}
            }
        }
        self.route(key)
    }

    /// The index with partitions in the place of others; [`store`](ArcSwap::store)d, all who look for a key from then on
    /// find those.
    pub(crate) fn replaced(
        &self,
        gone: &[&Arc<PartitionSlot>],
        come: &[Arc<PartitionSlot>],
    ) -> Result<Arc<RangeMap<Arc<PartitionSlot>>>, Refusal> {
        let gone = gone.iter().map(|slot| Edit::Remove(&slot.bounds.start));
        let come = come.iter().map(|slot| Edit::Add(slot.piece()));
        let next = self.slots.load().edit(gone.chain(come).collect());
        next.map(Arc::new)
            .map_err(|error| Refusal::Invalid(error.to_string()))
    }
}

impl Holding {
    pub(crate) fn get(
        &self,
        keyspace: &str,
        partition: &str,
    ) -> Result<&Arc<PartitionSlot>, Refusal> {
        self.names
            .get(partition)
            .ok_or_else(|| not_here(keyspace, partition))
    }

    /// Notes that a partition is held no longer.
    pub(crate) fn leave(&mut self, partition: &Arc<str>, epoch: u64) {
        if self.left.len() == REMEMBERED {
            self.left.pop_front();
        }
        self.left.push_back((Arc::clone(partition), epoch));
    }

    /// The highest epoch in which it was held before it was let go; none when that is not remembered.
    pub(crate) fn left_at(&self, partition: &str) -> Option<u64> {
        let left = self.left.iter().filter(|(name, _)| **name == *partition);
        left.map(|(_, epoch)| *epoch).max()
    }
}

pub(crate) fn not_here(keyspace: &str, partition: &str) -> Refusal {
    Refusal::NotHere(format!(
        "partition {partition} of keyspace {keyspace} is not held here"
    ))
}
