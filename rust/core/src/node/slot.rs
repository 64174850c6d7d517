//! A partition's place in its node: what never changes of it, and a lock around what does.

use std::sync::Arc;

use super::refusal::Refusal;
use crate::disk::{Journal, Position};
use crate::index::Piece;
use crate::key::Bounds;
use crate::partition::{self, FollowProgress, Nanos, PartitionState, Role, State, Target};
use crate::sync::{Condvar, Mutex};
use crate::tree::Tree;

/// A partition of this node: its rows are in memory, and its changes are written down where there is a data directory.
pub(crate) type Partition = partition::Partition<Tree, Journal>;

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
    pub(crate) fn new(keyspace: &Arc<str>, partition: Partition) -> Arc<Self> {
        Arc::new(Self {
            keyspace: Arc::clone(keyspace),
            name: Arc::clone(&partition.name),
            bounds: Arc::clone(&partition.bounds),
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
        let (proxy_to, quiet) = match &partition.state {
            State::Proxy { to, last, .. } => (Arc::clone(to), now.saturating_sub(*last)),
            _ => ("".into(), 0),
        };
        let role = partition.role();
        PartitionState {
            role,
            epoch: partition.epoch,
            sequence: partition.sequence,
            fenced: partition.state.fence().is_some(),
            fence_token: partition.fence_token,
            held: partition.held.len() as u32,
            rows: total.rows,
            bytes: total.bytes,
            size: partition.share.bytes(),
            digest: total.digest,
            follow: partition.state.stream().map(|stream| FollowProgress {
                caught_up: role == Role::Following,
                ..stream.progress.clone()
            }),
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
