//! Carrying out what a partition says is to be done.

use std::sync::Arc;

use super::context::Context;
use super::place::opened;
use super::slot::{Partition, PartitionSlot};
use crate::disk::Record;
use crate::partition::{Changes, Entry, Owner, Readers, Requests, Role};
use crate::tree::Tree;

/// What is left to do without the partition's lock.
pub(super) struct Rest {
    pub(super) rows: Option<Tree>,
    pub(super) publish: Option<Owner>,
}

impl Context {
    /// Does what is to be done under the partition's lock.
    pub(super) fn carry_out(
        &self,
        slot: &PartitionSlot,
        held: &mut Partition,
        changes: Changes<Tree>,
    ) -> Rest {
        if let Some(entry) = &changes.write {
            write(slot, held, entry);
        }
        if let Readers::Ended(reason) = changes.readers {
            held.log.end(reason);
        }
        match &changes.requests {
            Requests::Kept => {}
            Requests::Run => self.resumed(held.run_held()),
            Requests::Told(verdict) => self.resumed(held.resume_held(verdict)),
        }
        if changes.readers == Readers::Woken {
            held.log.wake();
        }
        if changes.notify {
            slot.changed.notify_all();
        }
        Rest {
            rows: changes.rows,
            publish: changes.publish,
        }
    }
}

/// Writes a change down, where changes are.
fn write(slot: &PartitionSlot, held: &mut Partition, entry: &Entry) {
    let Some(journal) = &mut held.journal else {
        return;
    };
    let id = journal.id;
    match entry {
        Entry::Turn {
            role,
            epoch,
            peer,
            address,
        } => {
            journal.turn(&Record::Turn {
                id,
                role: *role as u8,
                epoch: *epoch,
                peer,
                address,
            });
        }
        Entry::Confirmed { epoch } => {
            journal.turn(&Record::Turn {
                id,
                role: Role::Primary as u8,
                epoch: *epoch,
                peer: "",
                address: "",
            });
            journal.begin_anew();
        }
        Entry::Anew => {
            journal.turn(&Record::Gone { id });
            let disk = Arc::clone(&journal.disk);
            held.journal = Some(opened(&disk, &slot.keyspace, held));
        }
        Entry::Gone => {
            journal.turn(&Record::Gone { id });
        }
        Entry::Loaded { sequence, digest } => {
            journal.load(&Record::Loaded {
                id,
                sequence: *sequence,
                digest: *digest,
            });
        }
        Entry::Emptied => {
            journal.load(&Record::DropRange {
                id,
                start: &held.bounds.start,
                end: held.bounds.end().unwrap_or_default(),
            });
        }
    }
}
