//! Split and merge: partitions take the place of others in one critical section, however many rows they have.

use std::sync::Arc;

use super::Node;
use super::keyspace_store::{Holding, KeyspaceStore, REMEMBERED, Reshape, not_here};
use super::refusal::Refusal;
use super::slot::{Partition, PartitionSlot, bounds, disconnected};
use crate::disk::{Journal, Position, Record};
use crate::index::RangeMap;
use crate::key::{Bounds, pad};
use crate::log::Log;
use crate::partition::{Command, Nanos, PartitionState, Role, Surroundings};
use crate::sync::atomic::Ordering;

impl Node {
    /// Cuts a primary at `keys` into `names`, all primary here at `epoch` with the parent's sequence; a repeated call
    /// answers with the children again. `clock` measures how long writers had to wait.
    ///
    /// # Errors
    /// `NotHere`, `Stale`, `NotReady` as [`Node::fence`]; `WrongRole` also when it is fenced; `Invalid`.
    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    pub fn split(
        &self,
        keyspace: &str,
        partition: &str,
        parent_epoch: u64,
        epoch: u64,
        keys: &[&[u8]],
        names: &[&str],
        clock: &dyn Fn() -> Nanos,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let store = self.store(keyspace, partition)?;
        let mut holding = store.holding.lock();
        if let Some(states) =
            holding.repeated(&store, &[(partition, parent_epoch)], names, epoch, clock())
        {
            drop(holding);
            return self.settled(partition, states);
        }
        let parent = Arc::clone(holding.get(keyspace, partition)?);
        let pieces = pieces(&parent.bounds, keys, names)?;
        if epoch <= parent_epoch {
            let text = format!(
                "the parts of {partition} need an epoch above its own, {parent_epoch}; {epoch} is not"
            );
            return Err(Refusal::Invalid(text));
        }
        refuse_taken(&holding, names)?;
        let children = {
            let mut held = parent.partition.lock();
            let ready = Command::Reshape {
                epoch: parent_epoch,
            };
            held.apply(ready, 0)?;
            let started = clock();
            let log = || self.context.log();
            let children = held.cut(pieces, epoch, &self.surroundings(&log, started));
            let children: Vec<_> = children
                .into_iter()
                .map(|child| PartitionSlot::new(&store.name, child))
                .collect();
            let next = store.replaced(&[&parent], &children)?;
            // Before anybody can write to the children, and after the last write to their parent.
            if let Some(journal) = &held.journal {
                write_split(journal, epoch, &children);
            }
            let gone = vec![(&parent, &mut *held)];
            let how = "the partition was split";
            self.take_place(&store, &mut holding, next, how, gone, &children);
            drop(held);
            note_pause(&children, clock().saturating_sub(started));
            children
        };
        holding.replace(&[&parent], &children);
        holding.remember(Reshape {
            epoch,
            gone: vec![(Arc::clone(&parent.name), parent_epoch)],
            come: outcome(&children),
        });
        self.splits.fetch_add(1, Ordering::Relaxed);
        drop(holding);
        self.announce(partition, &children, clock())
    }

    /// Joins the parts, which are in key order and may have gaps between them that nobody holds, into one primary at
    /// `epoch` whose sequence is above all of theirs; a repeated call answers with the whole again.
    ///
    /// # Errors
    /// As [`Node::split`].
    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    pub fn merge(
        &self,
        keyspace: &str,
        parts: &[(&str, u64)],
        partition: &str,
        epoch: u64,
        start: &[u8],
        end: &[u8],
        clock: &dyn Fn() -> Nanos,
    ) -> Result<PartitionState, Refusal> {
        let store = self.store(keyspace, partition)?;
        let bounds = bounds(store.key_length, start, end)?;
        let mut holding = store.holding.lock();
        let repeated = holding.repeated(&store, parts, &[partition], epoch, clock());
        if let Some(states) = repeated {
            drop(holding);
            let state = self.settled(partition, states)?.into_iter().next();
            return state.ok_or_else(|| not_here(keyspace, partition));
        }
        let slots = parts
            .iter()
            .map(|(name, _)| holding.get(keyspace, name).cloned())
            .collect::<Result<Vec<_>, _>>()?;
        let slots: Vec<_> = slots.iter().collect();
        refuse_unfit_parts(&store, &slots, &bounds)?;
        if let Some((name, high)) = parts.iter().find(|(_, part_epoch)| *part_epoch >= epoch) {
            let text =
                format!("the whole needs an epoch above that of {name}, {high}; {epoch} is not");
            return Err(Refusal::Invalid(text));
        }
        refuse_taken(&holding, &[partition])?;
        let whole = {
            // In key order, under the keyspace's lock: nobody else ever takes two.
            let mut held: Vec<_> = slots.iter().map(|slot| slot.partition.lock()).collect();
            for (part, (_, epoch)) in held.iter_mut().zip(parts) {
                part.apply(Command::Reshape { epoch: *epoch }, 0)?;
            }
            let started = clock();
            let log = || self.context.log();
            let around = self.surroundings(&log, started);
            let merged = held.iter_mut().map(|part| &mut **part);
            let whole = Partition::join(merged, partition, bounds, epoch, &around)
                .map_err(Refusal::Invalid)?;
            let journals: Vec<_> = held
                .iter()
                .filter_map(|part| part.journal.as_ref())
                .collect();
            if !journals.is_empty() && journals.len() < held.len() {
                let text =
                    "some of the parts are written down and some are not: they cannot be one";
                return Err(Refusal::Invalid(text.into()));
            }
            let sequence = whole.sequence;
            let whole = [PartitionSlot::new(&store.name, whole)];
            let next = store.replaced(&slots, &whole)?;
            // Before anybody can write to the whole, and after the last write to its parts.
            whole[0].partition.lock().journal = write_merge(&journals, partition, epoch, sequence);
            let how = "the partition was merged into another";
            let parts = held.iter_mut().map(|part| &mut **part);
            let gone = slots.iter().copied().zip(parts).collect();
            self.take_place(&store, &mut holding, next, how, gone, &whole);
            drop(held);
            note_pause(&whole, clock().saturating_sub(started));
            whole
        };
        holding.replace(&slots, &whole);
        holding.remember(Reshape {
            epoch,
            gone: parts
                .iter()
                .map(|(name, part_epoch)| ((*name).into(), *part_epoch))
                .collect(),
            come: outcome(&whole),
        });
        self.merges.fetch_add(1, Ordering::Relaxed);
        drop(holding);
        let mut states = self.announce(partition, &whole, clock())?;
        states.pop().ok_or_else(|| not_here(keyspace, partition))
    }

    fn surroundings<'a>(&'a self, log: &'a dyn Fn() -> Log, now: Nanos) -> Surroundings<'a> {
        Surroundings {
            room: &self.context.room,
            log,
            load_half_life_seconds: self.context.settings.load_half_life_seconds,
            now,
        }
    }

    /// Has partitions take the place of others, whose locks are held: who looks for a key from now on finds them.
    fn take_place(
        &self,
        store: &KeyspaceStore,
        holding: &mut Holding,
        next: Arc<RangeMap<Arc<PartitionSlot>>>,
        how: &'static str,
        gone: Vec<(&Arc<PartitionSlot>, &mut Partition)>,
        come: &[Arc<PartitionSlot>],
    ) {
        let mut carried_out = Vec::with_capacity(gone.len());
        for (slot, part) in gone {
            if let Ok(changes) = part.apply(Command::Replaced { how }, 0) {
                carried_out.push((slot, part, changes));
            }
        }
        come.iter().for_each(|slot| slot.partition.lock().count());
        store.slots.store(next);
        for (slot, part, changes) in carried_out {
            holding.retired += part.load.counts;
            self.context.carry_out(slot, part, changes);
        }
    }

    /// The states of new partitions, after they are on disk and the routes have been told of them.
    fn announce(
        &self,
        partition: &str,
        slots: &[Arc<PartitionSlot>],
        now: Nanos,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let states = slots.iter().map(|slot| slot.settling_state(now));
        let states = self.settled(partition, states.collect())?;
        for state in &states {
            // It may have gone on since: what it has become is told by whoever did that.
            if state.role == Role::Primary {
                self.publish_own(state, &self.context.name);
            }
        }
        Ok(states)
    }

    /// The states once they are on disk. `partition`: whose action it was.
    fn settled(
        &self,
        partition: &str,
        states: Vec<(PartitionState, Position)>,
    ) -> Result<Vec<PartitionState>, Refusal> {
        let last = states.iter().map(|(_, at)| *at).max();
        self.settle(partition, last.unwrap_or(0))?;
        Ok(states.into_iter().map(|(state, _)| state).collect())
    }
}

impl Holding {
    fn replace(&mut self, gone: &[&Arc<PartitionSlot>], come: &[Arc<PartitionSlot>]) {
        for slot in gone {
            self.names.remove(&slot.name);
        }
        for slot in come {
            self.names.insert(Arc::clone(&slot.name), Arc::clone(slot));
        }
    }

    fn remember(&mut self, reshape: Reshape) {
        if self.reshapes.len() == REMEMBERED {
            self.reshapes.pop_front();
        }
        self.reshapes.push_back(reshape);
    }

    /// What came of the same split or merge when it was asked for before; partitions that it made and that are gone
    /// again are disconnected.
    fn repeated(
        &self,
        store: &KeyspaceStore,
        gone: &[(&str, u64)],
        come: &[&str],
        epoch: u64,
        now: Nanos,
    ) -> Option<Vec<(PartitionState, Position)>> {
        let same = |reshape: &&Reshape| {
            reshape.epoch == epoch
                && reshape
                    .gone
                    .iter()
                    .map(|(name, epoch)| (&**name, *epoch))
                    .eq(gone.iter().copied())
                && reshape
                    .come
                    .iter()
                    .map(|(name, _)| &**name)
                    .eq(come.iter().copied())
        };
        let reshape = self.reshapes.iter().rev().find(same)?;
        let state = |(name, bounds): &(Arc<str>, Arc<Bounds>)| match self.names.get(name) {
            Some(slot) if slot.bounds == *bounds => slot.settling_state(now),
            _ => (disconnected(&store.name, name, bounds), 0),
        };
        Some(reshape.come.iter().map(state).collect())
    }
}

/// Writes a split down, and gives the children what they write to from now on.
fn write_split(parent: &Journal, epoch: u64, children: &[Arc<PartitionSlot>]) {
    let disk = &parent.disk;
    let ids: Vec<_> = children.iter().map(|_| disk.id()).collect();
    let named = children.iter().zip(&ids);
    let record = Record::Split {
        id: parent.id,
        epoch,
        children: named
            .map(|(slot, id)| (*id, &*slot.name, &*slot.bounds.start))
            .collect(),
    };
    let position = disk.wal.append(&record);
    for (slot, id) in children.iter().zip(ids) {
        slot.partition.lock().journal = Some(Journal::born(disk, id, position));
    }
}

/// Writes a merge down; what the whole writes to from now on, none when the parts are in memory alone.
fn write_merge(parts: &[&Journal], name: &str, epoch: u64, sequence: u64) -> Option<Journal> {
    let disk = &parts.first()?.disk;
    let id = disk.id();
    let record = Record::Merge {
        parts: parts.iter().map(|part| part.id).collect(),
        id,
        name,
        epoch,
        sequence,
    };
    Some(Journal::born(disk, id, disk.wal.append(&record)))
}

fn outcome(slots: &[Arc<PartitionSlot>]) -> Vec<(Arc<str>, Arc<Bounds>)> {
    slots
        .iter()
        .map(|slot| (Arc::clone(&slot.name), Arc::clone(&slot.bounds)))
        .collect()
}

fn note_pause(slots: &[Arc<PartitionSlot>], pause: Nanos) {
    for slot in slots {
        slot.partition.lock().last_pause = pause;
    }
}

/// The ranges that `keys` cut `bounds` into, with their names.
fn pieces(
    bounds: &Bounds,
    keys: &[&[u8]],
    names: &[&str],
) -> Result<Vec<(Arc<str>, Bounds)>, Refusal> {
    let invalid = |text: String| Refusal::Invalid(text);
    if keys.is_empty() || names.len() != keys.len() + 1 {
        let (keys, names) = (keys.len(), names.len());
        return Err(invalid(format!(
            "{keys} split keys and {names} names: give at least one key and one name more than keys"
        )));
    }
    let mut rest = bounds.clone();
    let mut pieces = Vec::with_capacity(names.len());
    for key in keys {
        let key = pad(key, bounds.key_length()).map_err(|error| invalid(error.to_string()))?;
        let (left, right) = rest
            .split(&key)
            .map_err(|error| invalid(error.to_string()))?;
        pieces.push(left);
        rest = right;
    }
    pieces.push(rest);
    let names = names.iter().map(|name| Arc::from(*name));
    Ok(names.zip(pieces).collect())
}

fn refuse_taken(holding: &Holding, names: &[&str]) -> Result<(), Refusal> {
    for (at, name) in names.iter().enumerate() {
        if name.is_empty() || holding.names.contains_key(*name) || names[..at].contains(name) {
            let text =
                format!("name {name:?} is empty or taken: choose another for the new partition");
            return Err(Refusal::Invalid(text));
        }
    }
    Ok(())
}

/// The parts ascend, begin and end where the whole does, and nobody holds anything in the gaps between them.
fn refuse_unfit_parts(
    store: &KeyspaceStore,
    parts: &[&Arc<PartitionSlot>],
    bounds: &Bounds,
) -> Result<(), Refusal> {
    let invalid = |text: String| Err(Refusal::Invalid(text));
    if parts.len() < 2 {
        return invalid(format!(
            "a merge takes two parts or more, not {}",
            parts.len()
        ));
    }
    for pair in parts.windows(2) {
        if pair[0].bounds.start >= pair[1].bounds.start {
            return invalid(format!(
                "part {} does not come before {}: order them by key",
                pair[0].name, pair[1].name
            ));
        }
    }
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if first.bounds.start != bounds.start || last.bounds.end != bounds.end {
        return invalid(format!(
            "the parts reach from {} to {}, the whole is to be {bounds}: give it their range",
            first.bounds, last.bounds
        ));
    }
    let slots = store.slots.load_full();
    let inside = slots.range(slots.overlapping(&bounds.start, bounds.end()));
    for piece in inside {
        if !parts.iter().any(|part| Arc::ptr_eq(part, piece.value)) {
            return invalid(format!(
                "partition {} with {} lies between the parts: merge it too, or move it away",
                piece.value.name, piece.value.bounds
            ));
        }
    }
    Ok(())
}
