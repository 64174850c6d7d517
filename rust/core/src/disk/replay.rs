//! What the log says happened after a checkpoint, done again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::checkpoint::Manifest;
use super::description::{Description, bounds, role};
use super::record::{PartitionId, Record};
use super::segment::Position;
use crate::epoch::sequence_before;
use crate::frame::Reader;
use crate::key::{Bounds, readable};
use crate::role::Role;
use crate::snapshot::ChunkDecoder;
use crate::tree::{Tree, TreeBuilder};

/// A partition that was found.
pub(crate) struct Held {
    pub(crate) id: PartitionId,
    pub(crate) about: Description,
    pub(crate) tree: Tree,
    /// The log before its first record that no checkpoint has.
    pub(crate) opened: Position,
    /// What the log says of it up to here is in it.
    pub(crate) position: Position,
    /// Of a follower: the range that is being loaded.
    loading: Option<(Bounds, TreeBuilder)>,
}

/// Applies records, in order, to what the checkpoint had.
pub(super) struct Replay<'a> {
    held: HashMap<PartitionId, Held>,
    manifest: &'a Manifest,
    totals: Totals,
}

/// What the records said of the whole directory.
pub(super) struct Totals {
    /// Highest operator term.
    pub(super) term: u64,
    pub(super) next_id: PartitionId,
    /// How many there were after the checkpoint.
    pub(super) records: u64,
}

impl<'a> Replay<'a> {
    /// Begins with what the checkpoint `held`.
    pub(super) fn new(manifest: &'a Manifest, held: HashMap<PartitionId, Held>) -> Self {
        let totals = Totals {
            term: manifest.term,
            next_id: manifest.next_id,
            records: 0,
        };
        Self {
            held,
            manifest,
            totals,
        }
    }

    /// The records of one block, which begin at `position`.
    pub(super) fn block(&mut self, position: Position, payload: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(payload);
        while reader.remaining() > 0 {
            let record = Record::decode(&mut reader).map_err(|error| error.to_string())?;
            let end = position + (payload.len() - reader.remaining()) as u64;
            if end > self.manifest.from {
                self.totals.records += 1;
                self.apply(&record, end)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record<'_>, end: Position) -> Result<(), String> {
        match record {
            Record::Term { term } => self.totals.term = self.totals.term.max(*term),
            Record::Open {
                id,
                keyspace,
                name,
                start,
                end: upper,
                role: number,
                epoch,
                sequence,
                peer,
            } => {
                self.totals.next_id = self.totals.next_id.max(id + 1);
                if self.is_past(*id) {
                    return Ok(());
                }
                let bounds = bounds(start, upper);
                let tree = Tree::new(bounds.key_length());
                let about = Description {
                    keyspace: (*keyspace).into(),
                    name: (*name).into(),
                    bounds: Arc::new(bounds),
                    role: role(*number).map_err(|error| error.to_string())?,
                    epoch: *epoch,
                    sequence: *sequence,
                    peer: (*peer).into(),
                    address: String::new(),
                };
                let held = Held::new(*id, about, tree, end - 1, end);
                if let Entry::Vacant(vacant) = self.held.entry(*id) {
                    vacant.insert(held);
                }
            }
            Record::Split {
                id,
                epoch,
                children,
            } => self.split(*id, *epoch, children, end)?,
            Record::Merge {
                parts,
                id,
                name,
                epoch,
                sequence,
            } => self.merge(parts, *id, name, *epoch, *sequence, end)?,
            Record::Gone { id } => {
                if self.part(*id, end)?.is_some() {
                    self.held.remove(id);
                }
            }
            Record::Put { id, .. }
            | Record::Delete { id, .. }
            | Record::Skip { id, .. }
            | Record::Turn { id, .. }
            | Record::DropRange { id, .. }
            | Record::Chunk { id, .. }
            | Record::Loaded { id, .. } => {
                if let Some(part) = self.part(*id, end)? {
                    let name = Arc::clone(&part.about.name);
                    part.apply(record)
                        .map_err(|text| format!("partition {name}: {text}"))?;
                    part.position = end;
                }
            }
        }
        Ok(())
    }

    /// Whether a partition that is not held had ended before the checkpoint.
    fn is_past(&self, id: PartitionId) -> bool {
        id < self.manifest.next_id && !self.manifest.fresh.contains(&id)
    }

    /// The partition that a record ending at `end` is for; none when the checkpoint has it already.
    fn part(&mut self, id: PartitionId, end: Position) -> Result<Option<&mut Held>, String> {
        let past = self.is_past(id);
        match self.held.get_mut(&id) {
            Some(part) => Ok((part.position < end).then_some(part)),
            None if past => Ok(None),
            None => Err(format!(
                "a record is of partition number {id}, which was never opened"
            )),
        }
    }

    fn split(
        &mut self,
        id: PartitionId,
        epoch: u64,
        children: &[(PartitionId, &str, &[u8])],
        end: Position,
    ) -> Result<(), String> {
        let highest = children.iter().map(|(child, ..)| child + 1).max();
        self.totals.next_id = self.totals.next_id.max(highest.unwrap_or(0));
        if self.part(id, end)?.is_none() {
            return Ok(());
        }
        let Some(mut parent) = self.held.remove(&id) else {
            return Ok(());
        };
        parent.finish_range()?;
        let mut rest = parent.tree;
        let mut upper = parent.about.bounds.end.clone();
        // From above: what is left below is the next child's.
        for (child, name, start) in children.iter().rev() {
            let tree = rest.split_off(start);
            let bounds = Bounds {
                start: (*start).into(),
                end: upper.replace((*start).into()),
            };
            let (keyspace, sequence) = (&parent.about.keyspace, parent.about.sequence);
            let about = primary(keyspace, name, bounds, epoch, sequence);
            self.held
                .insert(*child, Held::new(*child, about, tree, end, end));
        }
        Ok(())
    }

    fn merge(
        &mut self,
        parts: &[PartitionId],
        id: PartitionId,
        name: &str,
        epoch: u64,
        sequence: u64,
        end: Position,
    ) -> Result<(), String> {
        self.totals.next_id = self.totals.next_id.max(id + 1);
        let mut found = Vec::with_capacity(parts.len());
        for part in parts {
            if self.part(*part, end)?.is_some() {
                found.extend(self.held.remove(part));
            }
        }
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            return Ok(());
        };
        if found.len() < parts.len() {
            return Err(format!(
                "of the parts of {name} only {} are there",
                found.len()
            ));
        }
        let bounds = Bounds {
            start: first.about.bounds.start.clone(),
            end: last.about.bounds.end.clone(),
        };
        let keyspace = Arc::clone(&first.about.keyspace);
        let mut tree = Tree::new(bounds.key_length());
        for part in found {
            tree = Tree::join(tree, part.tree).map_err(|error| error.to_string())?;
        }
        let about = primary(&keyspace, name, bounds, epoch, sequence);
        self.held.insert(id, Held::new(id, about, tree, end, end));
        Ok(())
    }

    /// What there is in the end.
    pub(super) fn finish(mut self) -> Result<(Vec<Held>, Totals), String> {
        self.held.values_mut().try_for_each(Held::finish_range)?;
        let mut held: Vec<_> = self.held.into_values().collect();
        held.sort_by_key(|held| held.id);
        Ok((held, self.totals))
    }
}

/// What a split or merge makes.
fn primary(
    keyspace: &Arc<str>,
    name: &str,
    bounds: Bounds,
    epoch: u64,
    sequence: u64,
) -> Description {
    Description {
        keyspace: Arc::clone(keyspace),
        name: name.into(),
        bounds: Arc::new(bounds),
        role: Role::Primary,
        epoch,
        sequence,
        peer: String::new(),
        address: String::new(),
    }
}

impl Held {
    pub(super) fn new(
        id: PartitionId,
        about: Description,
        tree: Tree,
        opened: Position,
        position: Position,
    ) -> Self {
        Self {
            id,
            about,
            tree,
            opened,
            position,
            loading: None,
        }
    }

    fn apply(&mut self, record: &Record<'_>) -> Result<(), String> {
        match record {
            Record::Put {
                sequence,
                key,
                value,
                ..
            } => {
                self.next(*sequence)?;
                self.check(key)?;
                self.tree.insert(key, (*value).into(), *sequence);
            }
            Record::Delete { sequence, key, .. } => {
                self.next(*sequence)?;
                self.tree.remove(key);
            }
            Record::Skip { sequence, .. } => self.next(*sequence)?,
            Record::Turn {
                role: number,
                epoch,
                peer,
                address,
                ..
            } => {
                self.finish_range()?;
                let role = role(*number).map_err(|error| error.to_string())?;
                let about = &mut self.about;
                if (about.role, role) == (Role::Primary, Role::Primary) {
                    about.sequence = about.sequence.max(sequence_before(*epoch));
                }
                (about.role, about.epoch) = (role, *epoch);
                (about.peer, about.address) = ((*peer).into(), (*address).into());
                if role == Role::Proxy {
                    self.tree = Tree::new(about.bounds.key_length());
                }
            }
            Record::DropRange { start, end, .. } => {
                self.finish_range()?;
                let key_length = self.about.bounds.key_length();
                let bounds = bounds(start, end);
                self.tree
                    .replace_range(&bounds.start, bounds.end(), Tree::new(key_length))
                    .map_err(|error| error.to_string())?;
                self.about.role = Role::Loading;
                self.loading = Some((bounds, TreeBuilder::new(key_length)));
            }
            Record::Chunk { chunk, .. } => {
                let mut decoder = ChunkDecoder::new(self.about.bounds.key_length());
                let chunk = decoder.decode(chunk).map_err(|error| error.to_string())?;
                let (_, builder) = self
                    .loading
                    .as_mut()
                    .ok_or("rows came before the range that they belong to")?;
                chunk
                    .append_to(builder)
                    .map_err(|error| error.to_string())?;
            }
            Record::Loaded {
                sequence, digest, ..
            } => {
                self.finish_range()?;
                let found = self.tree.digest();
                if found != *digest {
                    return Err(format!(
                        "a copy came out with digest {found:016x}, not {digest:016x}"
                    ));
                }
                (self.about.role, self.about.sequence) = (Role::Following, *sequence);
            }
            Record::Open { .. }
            | Record::Gone { .. }
            | Record::Split { .. }
            | Record::Merge { .. }
            | Record::Term { .. } => {}
        }
        Ok(())
    }

    fn next(&mut self, sequence: u64) -> Result<(), String> {
        let last = &mut self.about.sequence;
        if sequence != *last + 1 {
            return Err(format!("write {sequence} comes after {last}"));
        }
        *last = sequence;
        Ok(())
    }

    fn check(&self, key: &[u8]) -> Result<(), String> {
        if key.len() == self.about.bounds.key_length() && self.about.bounds.contains(key) {
            return Ok(());
        }
        Err(format!(
            "key {} is not in {}",
            readable(key),
            self.about.bounds
        ))
    }

    fn finish_range(&mut self) -> Result<(), String> {
        let Some((bounds, rows)) = self.loading.take() else {
            return Ok(());
        };
        self.tree
            .replace_range(&bounds.start, bounds.end(), rows.finish())
            .map(drop)
            .map_err(|error| error.to_string())
    }
}
