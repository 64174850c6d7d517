//! Calls that have not left yet.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Call, Queue, bytes_of};
use crate::settings::ConnectionSettings;

impl<C: Call> Queue<C> {
    /// Whether the worker at the other end is known to be another than `call` means.
    pub(super) fn is_stranger(&self, call: &C) -> bool {
        match (&self.found, call.meant()) {
            (Some(found), Some(meant)) => found != meant,
            _ => false,
        }
    }

    /// Learns who is at the other end. The calls that are not for it leave the queue.
    pub(super) fn meet(&mut self, found: Option<Arc<str>>) -> VecDeque<C> {
        self.found = found;
        let calls = std::mem::take(&mut self.calls);
        let (strangers, calls): (VecDeque<C>, _) =
            calls.into_iter().partition(|call| self.is_stranger(call));
        self.calls = calls;
        strangers
    }

    /// Moves the calls of the next message to `message`: those that share keyspace and hops with the first, within the
    /// limits. Few at a time while few wait, so that both ends are busy; more as more wait, so that none starves.
    pub(super) fn take_message(&mut self, settings: &ConnectionSettings, message: &mut Vec<C>) {
        let most = settings.batch_operations.max(self.calls.len() / 4);
        let Some(first) = self.calls.front() else {
            return;
        };
        let mut bytes = 0;
        let fits = |call: &&C| {
            bytes += bytes_of(*call);
            call.hops() == first.hops()
                && call.keyspace() == first.keyspace()
                && bytes <= settings.batch_limit
        };
        let count = self.calls.iter().take(most).take_while(fits).count().max(1);
        message.extend(self.calls.drain(..count));
    }
}
