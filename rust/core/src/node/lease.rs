//! Leases: a worker that no operator has heard for long stops serving by itself, so that its partitions can be given to
//! others though nobody knows whether it still runs.

use std::sync::Arc;

use super::Node;
use super::keyspace_store::KeyspaceStore;
use super::refusal::Refusal;
use super::slot::PartitionSlot;
use crate::partition::{Command, Nanos};
use crate::sync::atomic::Ordering;

impl Node {
    /// Serves a keyspace only for `lease` nanoseconds after an operator was heard; 0: for ever.
    ///
    /// # Errors
    /// `Invalid` for another key length than the keyspace has.
    pub fn set_lease(
        &self,
        keyspace: &str,
        key_length: usize,
        lease: Nanos,
    ) -> Result<(), Refusal> {
        let store = self.keyspace_of(keyspace, key_length)?;
        store.lease.store(lease, Ordering::Relaxed);
        Ok(())
    }

    /// An operator has shown that it heard what this worker said at `at`: leases run from then on. It is told at `now`.
    pub fn renew(&self, at: Nanos, now: Nanos) {
        // What ran out has run out, though nobody may have looked. So has what was told to be served before anybody was
        // known to hear: it may have been given to others since.
        self.fence_lapsed(now);
        let heard = &self.context.heard;
        heard.fetch_max(at.saturating_add(1), Ordering::AcqRel);
    }

    /// Fences all partitions whose lease has run out: an operator has to lift the fence, as any other. To be called several
    /// times a second. How many they were.
    pub fn lapse(&self, now: Nanos) -> usize {
        if self.context.heard.load(Ordering::Acquire) == 0 {
            return 0;
        }
        self.fence_lapsed(now)
    }

    fn fence_lapsed(&self, now: Nanos) -> usize {
        let mut lapsed = 0;
        for store in self.stores.load().values() {
            if !store.is_leased(now) {
                let slots = store.slots.load_full();
                lapsed += slots
                    .iter()
                    .filter(|piece| self.lapse_one(piece.value, now))
                    .count();
            }
        }
        if lapsed > 0 {
            self.context.lapses.fetch_add(1, Ordering::AcqRel);
        }
        lapsed
    }

    /// Whether it served until now.
    fn lapse_one(&self, slot: &Arc<PartitionSlot>, now: Nanos) -> bool {
        let mut held = slot.partition.lock();
        let served = held.state.serves();
        if let Ok(changes) = held.apply(Command::Lapse, now) {
            self.context.carry_out(slot, &mut held, changes);
        }
        served
    }

    /// How often leases ran out.
    pub fn lapses(&self) -> u64 {
        self.context.lapses.load(Ordering::Relaxed)
    }
}

/// Whether a keyspace might be served when something was done, and how often leases had run out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseMark {
    leased: bool,
    lapses: u64,
}

impl KeyspaceStore {
    /// What [`lapsed_since`](Self::lapsed_since) compares with: to be taken before an operation is carried out.
    pub fn lease_mark(&self, now: Nanos) -> LeaseMark {
        LeaseMark {
            leased: self.is_leased(now),
            lapses: self.context.lapses.load(Ordering::Acquire),
        }
    }

    /// Whether the lease that held at `mark` has run out since, if only for a moment: then others may have served the
    /// keys, and what was read or written here then is not known to be true.
    pub fn lapsed_since(&self, mark: LeaseMark, now: Nanos) -> bool {
        let lapsed = || self.context.lapses.load(Ordering::Acquire) != mark.lapses;
        mark.leased && self.is_bounded() && (!self.is_leased(now) || lapsed())
    }

    /// Whether it is served for as long as a lease lasts, and not for ever.
    fn is_bounded(&self) -> bool {
        self.lease.load(Ordering::Relaxed) != 0
    }
}
