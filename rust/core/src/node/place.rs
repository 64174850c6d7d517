//! A place for another partition.

use std::sync::Arc;

use super::keyspace_store::{Holding, KeyspaceStore};
use super::refusal::Refusal;
use super::slot::{Partition, PartitionSlot};
use crate::disk::{Disk, Journal, Record};
use crate::key::Bounds;

impl KeyspaceStore {
    /// Holds another partition: the one that `partition` makes of its name and range, once it is certain that there is a
    /// place for it.
    pub(super) fn add(
        &self,
        holding: &mut Holding,
        name: &str,
        bounds: Bounds,
        partition: impl FnOnce(Arc<str>, Arc<Bounds>) -> Result<Partition, Refusal>,
    ) -> Result<Arc<PartitionSlot>, Refusal> {
        let slots = self.slots.load_full();
        let overlapping = slots.overlapping(&bounds.start, bounds.end());
        if let Some(other) = slots.range(overlapping).next() {
            let other = other.value;
            let role = other.partition.lock().role();
            let text = format!(
                "range {bounds} of partition {name} overlaps {}, {} here with {}: have that one gone first",
                other.name, role, other.bounds
            );
            return Err(Refusal::WrongRole(text));
        }
        let slot = PartitionSlot::new(&self.name, partition(name.into(), Arc::new(bounds))?);
        self.slots.store(self.replaced(&[], &[Arc::clone(&slot)])?);
        holding
            .names
            .insert(Arc::clone(&slot.name), Arc::clone(&slot));
        Ok(slot)
    }
}

/// The journal of a partition that begins as it is; it is empty.
pub(super) fn opened(disk: &Arc<Disk>, keyspace: &str, held: &Partition) -> Journal {
    Journal::open(disk, |id| Record::Open {
        id,
        keyspace,
        name: &held.name,
        start: &held.bounds.start,
        end: held.bounds.end().unwrap_or_default(),
        role: held.role() as u8,
        epoch: held.epoch,
        sequence: held.sequence,
        peer: held.state.peer().0,
    })
}
