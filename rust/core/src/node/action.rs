//! The operator's actions on one partition. Each is idempotent and refuses what is older than what is held; see
//! `proto/dstk/v1/control.proto` for what the epochs mean.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::following::{FollowSpec, Followed};
use super::keyspace_store::{Holding, KeyspaceStore, not_here};
use super::place::{Named, opened};
use super::refusal::Refusal;
use super::slot::{PartitionSlot, bounds, refuse_all_but_primary};
use crate::disk::{Position, Record};
use crate::epoch::sequence_before;
use crate::faults::{Point, reach};
use crate::key::Bounds;
use crate::partition::{
    Following, Load, Nanos, Partition, PartitionState, Proxying, Rates, Role, Verdict,
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
                    store.add(&mut holding, partition, bounds.clone(), |slot| {
                        let tree = Tree::new(key_length);
                        let load = Load::new(now, Rates::default());
                        let (sequence, log) = (sequence_before(epoch), self.context.log());
                        let journal =
                            disk.map(|disk| opened(disk, slot, Role::Primary, epoch, sequence, ""));
                        let room = &self.context.room;
                        let held =
                            Partition::new(Role::Primary, epoch, sequence, tree, log, load, room);
                        Ok(held.journaled(journal))
                    })?
                }
            };
            let mut held = slot.partition.lock();
            slot.refuse_older(held.epoch, epoch)?;
            if held.role != Role::Primary {
                return Err(slot.wrong_role(held.role, "promote it, or drop or release it first"));
            }
            refuse_other_bounds(&slot, &bounds)?;
            refuse_other_durability(&slot, &held, durable)?;
            if held.epoch != epoch {
                held.confirm(epoch);
            }
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
    /// `Limit` when there is no room;    /// `Stale`; `WrongRole` when it is primary here or the range overlaps another partition's; `Invalid`.
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
        let mut holding = store.holding.lock();
        let slot = match holding.names.get(partition) {
            Some(slot) => Arc::clone(slot),
            None => store.add(&mut holding, partition, bounds.clone(), |slot| {
                let tree = Tree::new(key_length);
                let load = Load::new(now, Rates::default());
                let (log, room) = (self.context.log(), &self.context.room);
                let mut held = Partition::new(Role::Loading, epoch, 0, tree, log, load, room);
                held.share.promise(size).map_err(Refusal::Limit)?;
                let journal = disk.map(|disk| opened(disk, slot, Role::Loading, epoch, 0, source));
                Ok(held.journaled(journal))
            })?,
        };
        let mut held = slot.partition.lock();
        slot.refuse_older(held.epoch, epoch)?;
        if held.role == Role::Primary {
            return Err(slot.wrong_role(held.role, "it has nothing to follow"));
        }
        refuse_other_bounds(&slot, &bounds)?;
        refuse_other_durability(&slot, &held, durable)?;
        let runs = held
            .following
            .as_ref()
            .is_some_and(|following| following.is_from(source, source_address, source_incarnation));
        if runs && held.epoch == epoch {
            let (state, settled) = (slot.state(&held, now), held.settled_at());
            drop((held, holding));
            self.settle(partition, settled)?;
            return Ok(Followed { state, start: None });
        }
        held.share.promise(size).map_err(Refusal::Limit)?;
        // Rows of the range that the old stream was loading are kept, whatever comes of them: digests tell.
        held.stream_failed("followed anew");
        let generation = self.context.generation();
        let following = Following::new(generation, source, source_address, source_incarnation);
        if let (Role::Proxy, Some(journal)) = (held.role, &mut held.journal) {
            // It has nothing left of what it was: on disk it begins anew.
            let (id, disk) = (journal.id, Arc::clone(&journal.disk));
            journal.turn(&Record::Gone { id });
            let named = Named {
                keyspace: &slot.keyspace,
                name: &slot.name,
                bounds: &slot.bounds,
            };
            held.journal = Some(opened(&disk, &named, Role::Loading, epoch, 0, source));
            held.sequence = 0;
        }
        (held.role, held.epoch) = (Role::Loading, epoch);
        held.following = Some(following);
        held.proxying = None;
        held.write_turn(source, "");
        slot.changed.notify_all();
        let start = FollowSpec {
            keyspace: Arc::clone(&slot.keyspace),
            partition: Arc::clone(&slot.name),
            epoch,
            key_length,
            source: source.into(),
            source_address: source_address.into(),
            source_incarnation: source_incarnation.into(),
            generation,
        };
        let (state, settled) = (slot.state(&held, now), held.settled_at());
        drop((held, holding));
        self.settle(partition, settled)?;
        Ok(Followed {
            state,
            start: Some(start),
        })
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
        self.with(keyspace, partition, |slot, held| {
            refuse_all_but_primary(slot, held, epoch)?;
            if token <= held.fence_token {
                let text = format!(
                    "fence token {token} of partition {} is not above {}, which was granted already: look again",
                    slot.name, held.fence_token
                );
                return Err(Refusal::Stale(text));
            }
            if held.fenced.is_none() {
                held.fenced = Some(now);
                held.log.wake();
            }
            held.fence_token = token;
            Ok(slot.state(held, now))
        })
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
        self.with(keyspace, partition, |slot, held| {
            refuse_all_but_primary(slot, held, epoch)?;
            if token == 0 {
                return Ok(slot.state(held, now));
            }
            if held.fenced.is_some() && token < held.fence_token {
                let text = format!(
                    "fence {} of partition {} stands, which is later than {token}",
                    held.fence_token, slot.name
                );
                return Err(Refusal::Stale(text));
            }
            held.fence_token = held.fence_token.max(token);
            if let Some(since) = held.fenced.take() {
                held.last_pause = now.saturating_sub(since);
                self.context.resumed(held.run_held());
                held.log.wake();
            }
            Ok(slot.state(held, now))
        })
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
        slot.refuse_older(held.epoch, epoch)?;
        let waits = |held: &mut Partition| match &held.following {
            Some(following) if following.progress.error.is_empty() => {
                held.role == Role::Loading || held.sequence < sequence
            }
            _ => false,
        };
        slot.changed.wait_while_for(&mut held, waits, timeout);
        let now = held.proxying.as_ref().map_or(0, |proxying| proxying.last);
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
        let state = self.with(keyspace, partition, |slot, held| {
            slot.refuse_older(held.epoch, epoch)?;
            let following = match (held.role, &held.following) {
                (Role::Primary, _) if held.epoch == epoch => return Ok(slot.state(held, now)),
                (Role::Loading | Role::Following, Some(following)) => following,
                (role, _) => return Err(slot.wrong_role(role, "only a follower can be promoted")),
            };
            if epoch == held.epoch {
                let text = format!(
                    "epoch {epoch} is the one that partition {} follows its source in: promote it at a higher one",
                    slot.name
                );
                return Err(Refusal::Stale(text));
            }
            let held_digest = held.tree.digest();
            if !following.progress.caught_up || held.sequence != sequence || held_digest != digest {
                let text = format!(
                    "partition {} is {} with {} applied and digest {held_digest:016x}, not yet {sequence} with {digest:016x}",
                    slot.name, held.role, held.sequence
                );
                return Err(Refusal::NotReady(text));
            }
            (held.role, held.epoch) = (Role::Primary, epoch);
            held.following = None;
            held.share.end_promise();
            held.write_turn("", "");
            self.context.resumed(held.run_held());
            slot.changed.notify_all();
            Ok(slot.state(held, now))
        })?;
        self.publish_own(&state, &self.context.name);
        Ok(state)
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
        let mut rows = None;
        let state = self.with(keyspace, partition, |slot, held| {
            slot.refuse_older(held.epoch, epoch)?;
            match held.role {
                Role::Primary if epoch == held.epoch => {
                    return Err(
                        slot.wrong_role(held.role, "it becomes proxy at a higher epoch only")
                    );
                }
                Role::Primary | Role::Proxy => {}
                role => return Err(slot.wrong_role(role, "only a primary becomes proxy")),
            }
            let last = held.proxying.as_ref().map_or(now, |proxying| proxying.last);
            let (to, address) = (Arc::<str>::from(to), Arc::<str>::from(to_address));
            let target = slot.target(epoch, &to, &address);
            (held.role, held.epoch) = (Role::Proxy, epoch);
            held.write_turn(&to, &address);
            held.proxying = Some(Proxying { to, address, last });
            if let Some(since) = held.fenced.take() {
                held.last_pause = now.saturating_sub(since);
            }
            held.log.end("the partition has moved");
            self.context
                .resumed(held.resume_held(&Verdict::Forward(target)));
            let empty = Tree::new(slot.bounds.key_length());
            rows = Some(std::mem::replace(&mut held.tree, empty));
            held.count();
            Ok(slot.state(held, now))
        })?;
        rows.into_iter().for_each(drop_in_background);
        self.publish_own(&state, &state.proxy_to);
        Ok(state)
    }

    /// Forgets a partition that is proxy; fine when it is not held.
    ///
    /// # Errors
    /// `Stale`, `WrongRole`.
    pub fn release(&self, keyspace: &str, partition: &str, epoch: u64) -> Result<(), Refusal> {
        self.forget(
            keyspace,
            partition,
            epoch,
            &[Role::Proxy],
            "only a proxy is released",
        )
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
        let roles = [Role::Loading, Role::Following];
        self.forget(
            keyspace,
            partition,
            epoch,
            &roles,
            "only what loads or follows is dropped",
        )
    }

    fn forget(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        roles: &[Role],
        rule: &str,
    ) -> Result<(), Refusal> {
        let Some(store) = self.keyspace(keyspace) else {
            return Ok(());
        };
        let mut holding = store.holding.lock();
        let Some(slot) = holding.names.get(partition).cloned() else {
            return Ok(());
        };
        let mut held = slot.partition.lock();
        slot.refuse_older(held.epoch, epoch)?;
        if !roles.contains(&held.role) {
            return Err(slot.wrong_role(held.role, rule));
        }
        let next = store.replaced(&[&slot], &[])?;
        if let Some(journal) = &mut held.journal {
            let id = journal.id;
            journal.turn(&Record::Gone { id });
        }
        let settled = held.settled_at();
        store.slots.store(next);
        holding.names.remove(partition);
        holding.leave(&slot.name, epoch);
        holding.retired += held.load.counts;
        self.context
            .resumed(held.disconnect("the partition is no longer held"));
        let rows = std::mem::replace(&mut held.tree, Tree::new(store.key_length));
        slot.changed.notify_all();
        drop((held, holding));
        drop_in_background(rows);
        self.settle(partition, settled)
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

    fn with<T>(
        &self,
        keyspace: &str,
        partition: &str,
        act: impl FnOnce(&PartitionSlot, &mut Partition) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let store = self.store(keyspace, partition)?;
        let (done, settled) = {
            let holding = store.holding.lock();
            let slot = holding.get(keyspace, partition)?;
            let mut held = slot.partition.lock();
            (act(slot, &mut held)?, held.settled_at())
        };
        self.settle(partition, settled)?;
        Ok(done)
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

impl Partition {
    /// Stays primary, in a later epoch. Somebody else may have served the ones between, so it goes on above all that they
    /// gave out; followers begin anew.
    fn confirm(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.sequence = self.sequence.max(sequence_before(epoch));
        self.log.end("confirmed in a later epoch: follow anew");
        self.write_turn("", "");
        if let Some(journal) = &mut self.journal {
            journal.begin_anew();
        }
    }

    /// Writes its role and epoch down, with the worker that it has to do with.
    fn write_turn(&mut self, peer: &str, address: &str) {
        if let Some(journal) = &mut self.journal {
            let id = journal.id;
            journal.turn(&Record::Turn {
                id,
                role: self.role as u8,
                epoch: self.epoch,
                peer,
                address,
            });
        }
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

fn refuse_other_durability(
    slot: &PartitionSlot,
    held: &Partition,
    durable: bool,
) -> Result<(), Refusal> {
    if held.journal.is_some() == durable {
        return Ok(());
    }
    let text = format!(
        "partition {} is {} here: the durability of a keyspace never changes",
        slot.name,
        if durable {
            "in memory alone"
        } else {
            "written down"
        }
    );
    Err(Refusal::Invalid(text))
}

fn refuse_other_bounds(slot: &PartitionSlot, bounds: &Bounds) -> Result<(), Refusal> {
    if *slot.bounds == *bounds {
        return Ok(());
    }
    let text = format!(
        "partition {} covers {} here, not {bounds}: ranges never change",
        slot.name, slot.bounds
    );
    Err(Refusal::Invalid(text))
}
