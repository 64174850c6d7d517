//! How many calls of a client are under way.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Calls that have begun and whose completion has not been called yet.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    calls: AtomicUsize,
    none: Notify,
}

impl UnderWay {
    pub(super) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        if self.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none.notify_waiters();
        }
    }

    pub(super) fn count(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Ends when there are none.
    pub(super) async fn none(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}
