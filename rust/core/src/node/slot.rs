//! A partition's place in its node: what never changes of it, and a lock around what does.

use std::sync::Arc;

use super::refusal::Refusal;
use crate::disk::Position;
use crate::index::Piece;
use crate::key::Bounds;
use crate::partition::{Nanos, Partition, PartitionState, Role, Target};
use crate::sync::{Condvar, Mutex};

/// One partition of a node.
pub(crate) struct PartitionSlot {
    pub(crate) keyspace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) partition: Mutex<Partition>,
    /// Told whenever a follower applied something, or is none any more.
    pub(crate) changed: Condvar,
}

impl PartitionSlot {
    pub(crate) fn new(
        keyspace: &Arc<str>,
        name: &str,
        bounds: Bounds,
        partition: Partition,
    ) -> Arc<Self> {
        Arc::new(Self {
            keyspace: Arc::clone(keyspace),
            name: name.into(),
            bounds: Arc::new(bounds),
            partition: Mutex::new(partition),
            changed: Condvar::new(),
        })
    }

    /// As it goes into the index of keys.
    pub(crate) fn piece(self: &Arc<Self>) -> Piece<'_, Arc<Self>> {
        Piece {
            start: &self.bounds.start,
            end: self.bounds.end(),
            value: Arc::clone(self),
        }
    }

    /// That `worker` serves it.
    pub(crate) fn target(&self, epoch: u64, worker: &Arc<str>, address: &Arc<str>) -> Target {
        Target {
            partition: Arc::clone(&self.name),
            bounds: Arc::clone(&self.bounds),
            epoch,
            worker: Arc::clone(worker),
            address: Arc::clone(address),
        }
    }

    pub(crate) fn state(&self, partition: &Partition, now: Nanos) -> PartitionState {
        let total = partition.tree.total();
        let (proxy_to, quiet) = match &partition.proxying {
            Some(proxying) => (Arc::clone(&proxying.to), now.saturating_sub(proxying.last)),
            None => ("".into(), 0),
        };
        PartitionState {
            role: partition.role,
            epoch: partition.epoch,
            sequence: partition.sequence,
            fenced: partition.fenced.is_some(),
            fence_token: partition.fence_token,
            held: partition.held.len() as u32,
            rows: total.rows,
            bytes: total.bytes,
            size: partition.share.bytes(),
            digest: total.digest,
            follow: partition
                .following
                .as_ref()
                .map(|following| following.progress.clone()),
            quiet,
            last_pause: partition.last_pause,
            durable: partition.journal.is_some(),
            proxy_to,
            ..disconnected(&self.keyspace, &self.name, &self.bounds)
        }
    }

    /// How it is, and up to where the log has to be on disk before anybody is told.
    pub(crate) fn settling_state(&self, now: Nanos) -> (PartitionState, Position) {
        let held = self.partition.lock();
        (self.state(&held, now), held.settled_at())
    }

    /// Refuses an epoch older than the one held.
    pub(crate) fn refuse_older(&self, held: u64, epoch: u64) -> Result<(), Refusal> {
        if epoch >= held {
            return Ok(());
        }
        let text = format!(
            "partition {} is at epoch {held} here; the action is of epoch {epoch}: look again",
            self.name
        );
        Err(Refusal::Stale(text))
    }

    /// Refuses an epoch other than the one held.
    pub(crate) fn refuse_other(&self, held: u64, epoch: u64) -> Result<(), Refusal> {
        self.refuse_older(held, epoch)?;
        if epoch == held {
            return Ok(());
        }
        let text = format!(
            "partition {} is at epoch {held} here, not yet at {epoch}: have it serve at that epoch first",
            self.name
        );
        Err(Refusal::NotReady(text))
    }

    pub(crate) fn wrong_role(&self, role: Role, action: &str) -> Refusal {
        Refusal::WrongRole(format!("partition {} is {role} here: {action}", self.name))
    }
}

/// The state of what is not held.
pub(crate) fn disconnected(
    keyspace: &Arc<str>,
    name: &Arc<str>,
    bounds: &Arc<Bounds>,
) -> PartitionState {
    PartitionState {
        keyspace: Arc::clone(keyspace),
        partition: Arc::clone(name),
        bounds: Arc::clone(bounds),
        role: Role::Disconnected,
        epoch: 0,
        sequence: 0,
        fenced: false,
        fence_token: 0,
        held: 0,
        rows: 0,
        bytes: 0,
        size: 0,
        digest: 0,
        follow: None,
        quiet: 0,
        last_pause: 0,
        durable: false,
        proxy_to: "".into(),
    }
}

/// Bounds that may be shorter than the key length; an empty `end` means none.
pub(super) fn bounds(key_length: usize, start: &[u8], end: &[u8]) -> Result<Bounds, Refusal> {
    Bounds::padded(start, end, key_length).map_err(|error| Refusal::Invalid(error.to_string()))
}

/// An action that a primary alone may be asked for, in the epoch it has.
pub(super) fn refuse_all_but_primary(
    slot: &PartitionSlot,
    held: &Partition,
    epoch: u64,
) -> Result<(), Refusal> {
    slot.refuse_older(held.epoch, epoch)?;
    if held.role != Role::Primary {
        return Err(slot.wrong_role(held.role, "this takes a primary"));
    }
    slot.refuse_other(held.epoch, epoch)
}
