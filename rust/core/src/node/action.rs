//! The operator's actions on one partition. Each is idempotent and refuses what is older than what is held; see
//! `proto/dstk/v1/control.proto` for what the epochs mean.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::following::{FollowSpec, Followed};
use super::keyspace_store::{Holding, KeyspaceStore, not_here};
use super::place::opened;
use super::refusal::Refusal;
use super::slot::{Partition, bounds};
use crate::disk::{Disk, Position};
use crate::epoch::sequence_before;
use crate::faults::{Point, reach};
use crate::key::Bounds;
use crate::partition::{
    Beginning, Command, Load, Nanos, Owner, PartitionState, Rates, Source, State, Stream,
};
use crate::tree::{Tree, drop_in_background};

impl Node {
    /// Serves the range as primary: as it is held when it is, else empty. A higher epoch than the one held is taken
    /// over, which is how an operator confirms a primary. `durable`: changes are written down, and an answer means that
    /// they are on disk.
    ///
    /// # Errors
    /// `Stale`, also when it was let go in this epoch or a later one, or the routes know a later owner; `WrongRole` when
    /// it is held in another role or the range overlaps another partition's; `Invalid`.
    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    pub fn serve(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        key_length: usize,
        start: &[u8],
        end: &[u8],
        durable: bool,
        now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        let bounds = bounds(key_length, start, end)?;
        let disk = self.context.disk_for(durable)?;
        let store = self.keyspace_of(keyspace, key_length)?;
        let (state, settled) = {
            let mut holding = store.holding.lock();
            let slot = match holding.names.get(partition) {
                Some(slot) => Arc::clone(slot),
                None => {
                    refuse_late(&store, &holding, partition, &bounds, epoch)?;
                    store.add(&mut holding, partition, bounds.clone(), |name, bounds| {
                        let beginning = Beginning {
                            name,
                            bounds,
                            state: State::Primary { fence: None },
                            epoch,
                            sequence: sequence_before(epoch),
                        };
                        Ok(self.begin(keyspace, beginning, disk, now))
                    })?
                }
            };
            let mut held = slot.partition.lock();
            let command = Command::Serve {
                epoch,
                bounds: &bounds,
                durable,
            };
            let changes = held.apply(command, now)?;
            self.context.carry_out(&slot, &mut held, changes);
            (slot.state(&held, now), held.settled_at())
        };
        self.settle(partition, settled)?;
        Ok(state)
    }

    /// Begins to follow `source`, whose epoch is given. When the answer has a stream to start, whatever stream there
    /// was before can no longer touch the partition; what it had loaded stays. `size`: bytes that its rows take, which
    /// are kept free for it; 0: not known before the stream says it.
    ///
    /// # Errors
    /// `Limit` when there is no room; `Stale`; `WrongRole` when it is primary here or the range overlaps another partition's; `Invalid`.
    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    pub fn follow(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        key_length: usize,
        start: &[u8],
        end: &[u8],
        source: &str,
        source_address: &str,
        source_incarnation: &str,
        durable: bool,
        size: u64,
        now: Nanos,
    ) -> Result<Followed, Refusal> {
        let bounds = bounds(key_length, start, end)?;
        if *source == *self.context.name {
            let text = format!("worker {source} cannot follow itself: name another source");
            return Err(Refusal::Invalid(text));
        }
        let disk = self.context.disk_for(durable)?;
        let store = self.keyspace_of(keyspace, key_length)?;
        let generation = self.context.generation();
        let source = Source {
            name: source,
            address: source_address,
            incarnation: source_incarnation,
        };
        let (state, settled, starts) = {
            let mut holding = store.holding.lock();
            match holding.names.get(partition) {
                Some(slot) => {
                    let mut held = slot.partition.lock();
                    let command = Command::Follow {
                        epoch,
                        bounds: &bounds,
                        durable,
                        source,
                        size,
                        generation,
                    };
                    let changes = held.apply(command, now)?;
                    let starts = changes.start;
                    self.context.carry_out(slot, &mut held, changes);
                    (slot.state(&held, now), held.settled_at(), starts)
                }
                None => {
                    let slot = store.add(&mut holding, partition, bounds, |name, bounds| {
                        let beginning = Beginning {
                            name,
                            bounds,
                            state: State::loading(Stream::new(generation, source)),
                            epoch,
                            sequence: 0,
                        };
                        let mut held = self.begin(keyspace, beginning, None, now);
                        held.share.promise(size).map_err(Refusal::Limit)?;
                        let journal = disk.map(|disk| opened(disk, keyspace, &held));
                        Ok(held.journaled(journal))
                    })?;
                    let (state, settled) = slot.settling_state(now);
                    (state, settled, true)
                }
            }
        };
        self.settle(partition, settled)?;
        let start = starts.then(|| FollowSpec {
            keyspace: Arc::clone(&state.keyspace),
            partition: Arc::clone(&state.partition),
            epoch,
            key_length,
            source: source.name.into(),
            source_address: source.address.into(),
            source_incarnation: source.incarnation.into(),
            generation,
        });
        Ok(Followed { state, start })
    }

    /// An empty partition.
    fn begin(
        &self,
        keyspace: &str,
        beginning: Beginning<Tree>,
        disk: Option<&Arc<Disk>>,
        now: Nanos,
    ) -> Partition {
        let tree = Tree::new(beginning.bounds.key_length());
        let load = Load::new(now, Rates::default());
        let (log, room) = (self.context.log(), &self.context.room);
        let held = Partition::new(beginning, tree, log, load, room);
        let journal = disk.map(|disk| opened(disk, keyspace, &held));
        held.journaled(journal)
    }

    /// Holds new requests; the log ends at the sequence in the answer. A fence is named by a `token`, which is granted
    /// once: where there is a fence already, it has the new one from then on. Whoever was granted one knows that no call
    /// of anybody else, however late, lifts the fence unseen.
    ///
    /// # Errors
    /// `NotHere`, `Stale`, also when the token is not above all that were seen, `NotReady` when the worker has not been told of this epoch yet, `WrongRole`.
    pub fn fence(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        token: u64,
        now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        self.command(keyspace, partition, Command::Fence { epoch, token }, now)
    }

    /// Carries out what was held, in order, then all that comes, where the fence is of `token` or an earlier one. Token 0,
    /// which no fence has, lifts none and is no error.
    ///
    /// # Errors
    /// As [`Node::fence`]; `Stale` also when a later fence stands.
    pub fn unfence(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        token: u64,
        now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        self.command(keyspace, partition, Command::Unfence { epoch, token }, now)
    }

    /// Waits until the follower has applied `sequence`, or no longer follows, or its stream has ended, or `timeout`
    /// has passed: the answer tells which. Blocks.
    ///
    /// # Errors
    /// `NotHere`, `Stale`.
    pub fn await_applied(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        sequence: u64,
        timeout: Duration,
    ) -> Result<PartitionState, Refusal> {
        let slot = Arc::clone(
            self.store(keyspace, partition)?
                .holding
                .lock()
                .get(keyspace, partition)?,
        );
        let mut held = slot.partition.lock();
        let command = Command::AwaitApplied { epoch, sequence };
        if held.apply(command, 0)?.wait {
            let waits = |held: &mut Partition| held.is_to_apply(sequence);
            slot.changed.wait_while_for(&mut held, waits, timeout);
        }
        let now = match &held.state {
            State::Proxy { last, .. } => *last,
            _ => 0,
        };
        let (state, settled) = (slot.state(&held, now), held.settled_at());
        drop(held);
        self.settle(partition, settled)?;
        Ok(state)
    }

    /// Makes a follower primary, with exactly `sequence` applied and this digest. What was held here meanwhile is
    /// carried out, in order.
    ///
    /// # Errors
    /// `NotHere`, `Stale`, `WrongRole`, `NotReady`.
    pub fn promote(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        sequence: u64,
        digest: u64,
        now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        let command = Command::Promote {
            epoch,
            sequence,
            digest,
        };
        self.command(keyspace, partition, command, now)
    }

    /// Stops being primary: what was held is passed on, in order, then all that comes. The rows are let go.
    ///
    /// # Errors
    /// `NotHere`, `Stale`, `WrongRole`, `Invalid` when it would pass requests on to itself.
    pub fn proxy(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        to: &str,
        to_address: &str,
        now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        if *to == *self.context.name {
            let text = format!("worker {to} cannot be proxy for itself: name the new primary");
            return Err(Refusal::Invalid(text));
        }
        let command = Command::Proxy {
            epoch,
            to,
            address: to_address,
        };
        self.command(keyspace, partition, command, now)
    }

    /// Forgets a partition that is proxy; fine when it is not held.
    ///
    /// # Errors
    /// `Stale`, `WrongRole`.
    pub fn release(&self, keyspace: &str, partition: &str, epoch: u64) -> Result<(), Refusal> {
        self.forget(keyspace, partition, Command::Release { epoch })
    }

    /// Forgets a partition that loads or follows; fine when it is not held.
    ///
    /// # Errors
    /// `Stale`, `WrongRole`: never a primary or a proxy.
    pub fn drop_partition(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
    ) -> Result<(), Refusal> {
        self.forget(keyspace, partition, Command::Drop { epoch })
    }

    /// A command after which a partition is not held; fine when it is not held before.
    fn forget(&self, keyspace: &str, partition: &str, command: Command<'_>) -> Result<(), Refusal> {
        match self.command(keyspace, partition, command, 0) {
            Ok(_) | Err(Refusal::NotHere(_)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Has a partition take a step, and does what is to be done then.
    fn command(
        &self,
        keyspace: &str,
        partition: &str,
        command: Command<'_>,
        now: Nanos,
    ) -> Result<PartitionState, Refusal> {
        let store = self.store(keyspace, partition)?;
        let (state, settled, rest) = {
            let mut holding = store.holding.lock();
            let slot = Arc::clone(holding.get(keyspace, partition)?);
            let mut held = slot.partition.lock();
            let changes = held.apply(command, now)?;
            let forget = changes.forget;
            let rest = self.context.carry_out(&slot, &mut held, changes);
            if let Some(epoch) = forget {
                store.slots.store(store.replaced(&[&slot], &[])?);
                holding.names.remove(partition);
                holding.leave(&slot.name, epoch);
                holding.retired += held.load.counts;
            }
            (slot.state(&held, now), held.settled_at(), rest)
        };
        rest.rows.into_iter().for_each(drop_in_background);
        self.settle(partition, settled)?;
        match rest.publish {
            Some(Owner::Here) => self.publish_own(&state, &self.context.name),
            Some(Owner::Other(worker)) => self.publish_own(&state, &worker),
            None => {}
        }
        Ok(state)
    }

    /// Blocks until what an action has done to `partition` is on disk, which is up to `position`; 0: it is nothing.
    pub(super) fn settle(&self, partition: &str, position: Position) -> Result<(), Refusal> {
        let disk = self.context.disk.as_ref().filter(|_| position > 0);
        if let Some(disk) = disk
            && let Err(error) = reach(Point::BeforeSettle, partition)
        {
            // What has been done is not known to be on disk, and can not be taken back: as when the log itself fails.
            disk.wal.fail(&error.to_string());
        }
        self.context.settle(position)
    }

    pub(super) fn store(
        &self,
        keyspace: &str,
        partition: &str,
    ) -> Result<Arc<KeyspaceStore>, Refusal> {
        self.keyspace(keyspace)
            .ok_or_else(|| not_here(keyspace, partition))
    }
}

/// A serve of what is not held, from empty, that was under way for so long that its time is over.
fn refuse_late(
    store: &KeyspaceStore,
    holding: &Holding,
    partition: &str,
    bounds: &Bounds,
    epoch: u64,
) -> Result<(), Refusal> {
    if let Some(left) = holding.left_at(partition).filter(|left| epoch <= *left) {
        let text = format!(
            "partition {partition} was let go in epoch {left}; the action is of epoch {epoch}: look again"
        );
        return Err(Refusal::Stale(text));
    }
    if let Some(route) = store
        .route(&bounds.start)
        .filter(|route| route.epoch > epoch)
    {
        let text = format!(
            "{} is served by {} in epoch {}, as the routes say; the action is of epoch {epoch}: look again",
            route.partition, route.worker, route.epoch
        );
        return Err(Refusal::Stale(text));
    }
    Ok(())
}
