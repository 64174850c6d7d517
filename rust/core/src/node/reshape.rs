//! Split and merge: partitions take the place of others in one critical section, however many rows they have.

use std::sync::Arc;

use super::Node;
use super::keyspace_store::{Holding, KeyspaceStore, REMEMBERED, Reshape, not_here};
use super::refusal::Refusal;
use super::slot::{PartitionSlot, bounds, disconnected, refuse_all_but_primary};
use crate::disk::{Journal, Position, Record};
use crate::key::{Bounds, pad};
use crate::partition::{Load, Nanos, Partition, PartitionState, Rates, Role};
use crate::sync::atomic::Ordering;
use crate::tree::Tree;

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
            refuse_all_but_primary(&parent, &held, parent_epoch)?;
            refuse_fenced(&parent, &held)?;
            let started = clock();
            let rates = held
                .load
                .rates(started, self.context.settings.load_half_life_seconds);
            let total = held.tree.rows();
            let mut trees = vec![held.tree.clone()];
            for bounds in &pieces[1..] {
                let rest = trees.last_mut().map(|tree| tree.split_off(&bounds.start));
                trees.extend(rest);
            }
            let children: Vec<_> = names
                .iter()
                .zip(pieces)
                .zip(trees)
                .map(|((name, bounds), tree)| {
                    let share = match total {
                        0 => 1.0 / names.len() as f64,
                        total => tree.rows() as f64 / total as f64,
                    };
                    let load = Load::new(started, rates.share(share));
                    let log = self.context.log();
                    let (room, sequence) = (&self.context.room, held.sequence);
                    let child =
                        Partition::new(Role::Primary, epoch, sequence, tree, log, load, room);
                    PartitionSlot::new(&store.name, name, bounds, child)
                })
                .collect();
            let next = store.replaced(&[&parent], &children)?;
            // Before anybody can write to the children, and after the last write to their parent.
            if let Some(journal) = &held.journal {
                write_split(journal, epoch, &children);
            }
            held.share.set(0);
            children
                .iter()
                .for_each(|slot| slot.partition.lock().count());
            store.slots.store(next);
            held.tree = Tree::new(store.key_length);
            holding.retired += held.load.counts;
            self.context
                .resumed(held.disconnect("the partition was split"));
            parent.changed.notify_all();
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
            for ((slot, part), (_, part_epoch)) in slots.iter().zip(&held).zip(parts) {
                refuse_all_but_primary(slot, part, *part_epoch)?;
                refuse_fenced(slot, part)?;
            }
            let started = clock();
            let mut load = Load::new(started, Rates::default());
            let mut tree = Tree::new(store.key_length);
            let mut sequence = 0;
            for part in &mut held {
                load.add_rates(
                    part.load
                        .rates(started, self.context.settings.load_half_life_seconds),
                );
                sequence = sequence.max(part.sequence + 1);
                // Bounds of held partitions never overlap, so their rows ascend.
                tree = Tree::join(tree, part.tree.clone())
                    .map_err(|error| Refusal::Invalid(error.to_string()))?;
            }
            let log = self.context.log();
            let room = &self.context.room;
            let whole = Partition::new(Role::Primary, epoch, sequence, tree, log, load, room);
            let journals: Vec<_> = held
                .iter()
                .filter_map(|part| part.journal.as_ref())
                .collect();
            if !journals.is_empty() && journals.len() < held.len() {
                let text =
                    "some of the parts are written down and some are not: they cannot be one";
                return Err(Refusal::Invalid(text.into()));
            }
            let whole = [PartitionSlot::new(&store.name, partition, bounds, whole)];
            let next = store.replaced(&slots, &whole)?;
            // Before anybody can write to the whole, and after the last write to its parts.
            whole[0].partition.lock().journal = write_merge(&journals, partition, epoch, sequence);
            held.iter_mut().for_each(|part| part.share.set(0));
            whole[0].partition.lock().count();
            store.slots.store(next);
            for (slot, part) in slots.iter().zip(&mut held) {
                holding.retired += part.load.counts;
                self.context
                    .resumed(part.disconnect("the partition was merged into another"));
                part.tree = Tree::new(store.key_length);
                slot.changed.notify_all();
            }
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

/// The ranges that `keys` cut `bounds` into.
fn pieces(bounds: &Bounds, keys: &[&[u8]], names: &[&str]) -> Result<Vec<Bounds>, Refusal> {
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
    Ok(pieces)
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

fn refuse_fenced(slot: &PartitionSlot, held: &Partition) -> Result<(), Refusal> {
    if held.fenced.is_none() {
        return Ok(());
    }
    Err(slot.wrong_role(held.role, "it is fenced for a move; unfence it first"))
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
