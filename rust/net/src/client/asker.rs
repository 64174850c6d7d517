//! Who asked for calls, and may not want to know any more how they end.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whoever waits for one call, or for many with one completion.
#[derive(Debug, Default)]
pub struct Asker {
    gone: AtomicBool,
    told: Notify,
}

impl Asker {
    /// Gives the calls up. Those that were not sent are never sent, and what they hold is freed; of those that were, the
    /// worker has them, and only their value is freed.
    pub fn give_up(&self) {
        self.gone.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Whether the calls were given up.
    pub fn has_given_up(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Ends when they are.
    pub(super) async fn given_up(&self) {
        let mut told = std::pin::pin!(self.told.notified());
        // Before the look: what is told in between is not missed.
        told.as_mut().enable();
        if !self.has_given_up() {
            told.await;
        }
    }
}
