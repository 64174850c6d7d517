//! A place for another partition.

use std::sync::Arc;

use super::keyspace_store::{Holding, KeyspaceStore};
use super::refusal::Refusal;
use super::slot::PartitionSlot;
use crate::disk::{Disk, Journal, Record};
use crate::key::Bounds;
use crate::partition::{Partition, Role};

impl KeyspaceStore {
    /// Holds another partition: the one that `partition` makes, once it is certain that there is a place for it.
    pub(super) fn add(
        &self,
        holding: &mut Holding,
        name: &str,
        bounds: Bounds,
        partition: impl FnOnce(&Named<'_>) -> Result<Partition, Refusal>,
    ) -> Result<Arc<PartitionSlot>, Refusal> {
        let slots = self.slots.load_full();
        let overlapping = slots.overlapping(&bounds.start, bounds.end());
        if let Some(other) = slots.range(overlapping).next() {
            let other = other.value;
            let role = other.partition.lock().role;
            let text = format!(
                "range {bounds} of partition {name} overlaps {}, {} here with {}: have that one gone first",
                other.name, role, other.bounds
            );
            return Err(Refusal::WrongRole(text));
        }
        let named = Named {
            keyspace: &self.name,
            name,
            bounds: &bounds,
        };
        let partition = partition(&named)?;
        let slot = PartitionSlot::new(&self.name, name, bounds, partition);
        self.slots.store(self.replaced(&[], &[Arc::clone(&slot)])?);
        holding
            .names
            .insert(Arc::clone(&slot.name), Arc::clone(&slot));
        Ok(slot)
    }
}

/// What a partition is called, before it is there.
pub(super) struct Named<'a> {
    pub(super) keyspace: &'a str,
    pub(super) name: &'a str,
    pub(super) bounds: &'a Bounds,
}

/// The journal of a partition that begins.
pub(super) fn opened(
    disk: &Arc<Disk>,
    named: &Named<'_>,
    role: Role,
    epoch: u64,
    sequence: u64,
    peer: &str,
) -> Journal {
    Journal::open(disk, |id| Record::Open {
        id,
        keyspace: named.keyspace,
        name: named.name,
        start: &named.bounds.start,
        end: named.bounds.end().unwrap_or_default(),
        role: role as u8,
        epoch,
        sequence,
        peer,
    })
}
