//! A partition: rows of one range, with a role, an epoch and a sequence.

mod apply;
mod changes;
mod command;
mod following;
mod hold;
mod journal;
mod load;
mod operation;
mod refused;
mod reshape;
mod room;
mod rows;
mod state;
mod storage;
mod stream;
mod view;

use std::sync::Arc;

pub use crate::role::Role;
pub(crate) use changes::{Changes, Entry, Owner, Readers, Requests};
pub(crate) use command::{Command, Source};
pub(crate) use hold::{HoldLimits, HoldQueue};
pub use hold::{Target, Verdict, Waiter};
pub(crate) use journal::Journal;
pub use journal::Position;
pub(crate) use load::{Counts, Load, Rates};
pub use operation::{Code, Nanos, Op, Reply};
pub(crate) use refused::Refused;
pub(crate) use reshape::Surroundings;
pub use room::ROW_BYTES;
pub(crate) use room::{Room, Share};
pub(crate) use state::State;
pub(crate) use storage::Storage;
pub(crate) use stream::Stream;
pub use view::{FollowProgress, PartitionState};

use crate::key::Bounds;
use crate::log::Log;

/// What changes of a partition, and what it is called; all of it behind one lock.
pub(crate) struct Partition<S: Storage, J> {
    pub(crate) name: Arc<str>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) state: State<S>,
    pub(crate) epoch: u64,
    /// Sequence of the last write applied.
    pub(crate) sequence: u64,
    pub(crate) tree: S,
    /// The highest token of a fence that was granted; that of the fence, where there is one.
    pub(crate) fence_token: u64,
    pub(crate) held: HoldQueue,
    pub(crate) log: Log,
    pub(crate) load: Load,
    pub(crate) last_pause: Nanos,
    /// Where its changes are written down; none: they are in memory alone.
    pub(crate) journal: Option<J>,
    /// What its rows are counted to take.
    pub(crate) share: Share,
}

/// What a partition begins as.
pub(crate) struct Beginning<S: Storage> {
    pub(crate) name: Arc<str>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) state: State<S>,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

impl<S: Storage, J: Journal> Partition<S, J> {
    pub(crate) fn new(
        beginning: Beginning<S>,
        tree: S,
        log: Log,
        load: Load,
        room: &Arc<Room>,
    ) -> Self {
        Self {
            // A fence that it begins with has been granted to nobody.
            fence_token: u64::from(beginning.state.fence().is_some()),
            name: beginning.name,
            bounds: beginning.bounds,
            state: beginning.state,
            epoch: beginning.epoch,
            sequence: beginning.sequence,
            tree,
            held: HoldQueue::default(),
            log,
            load,
            last_pause: 0,
            journal: None,
            share: Share::new(room),
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.state.role()
    }

    /// Counts what its rows take, after they have changed otherwise than row by row.
    pub(crate) fn count(&mut self) {
        let size = room::size(self.tree.total()) + self.loading_size();
        self.share.set(size);
    }

    /// The same with its changes written down.
    pub(crate) fn journaled(mut self, journal: Option<J>) -> Self {
        self.journal = journal;
        self
    }

    /// Up to where the log has to be on disk before anybody is told how this partition is; 0: nothing has to be.
    pub(crate) fn settled_at(&self) -> Position {
        self.journal.as_ref().map_or(0, Journal::last)
    }

    /// Holds a request (none: a scan) until the fence is lifted.
    pub(crate) fn hold(
        &mut self,
        op: Option<Op<'_>>,
        now: Nanos,
        limits: HoldLimits,
        park: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Result<(), String> {
        let queued = self.held.push(op, now, limits, park);
        match queued {
            Ok(()) => self.load.counts.held += 1,
            Err(_) => self.load.counts.held_refused += 1,
        }
        queued
    }

    /// Carries out what was held, in order; this partition is primary and not fenced. How many there were.
    pub(crate) fn run_held(&mut self) -> usize {
        let count = self.held.len();
        while let Some(held) = self.held.pop() {
            let verdict = match &held.op {
                Some(op) => Verdict::Done(self.execute(op.as_op())),
                None => Verdict::Retry,
            };
            held.waiter.resume(verdict);
        }
        count
    }

    /// Gives the same verdict to all that is held, in order. How many there were.
    pub(crate) fn resume_held(&mut self, verdict: &Verdict) -> usize {
        let count = self.held.len();
        while let Some(held) = self.held.pop() {
            held.waiter.resume(verdict.clone());
        }
        count
    }

    /// Refuses what was held at `latest` or before. How many there were.
    pub(crate) fn expire_held(&mut self, latest: Nanos, reason: &str) -> usize {
        let mut count = 0;
        while let Some(held) = self.held.pop_until(latest) {
            held.waiter.resume(Verdict::Unavailable(reason.into()));
            count += 1;
        }
        self.load.counts.held_expired += count as u64;
        count
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
