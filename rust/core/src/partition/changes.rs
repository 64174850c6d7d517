//! What is to be done after a partition has changed.

use std::sync::Arc;

use super::hold::Verdict;
use crate::role::Role;

/// What the node has to do after a command, in this order, before it lets the partition's lock go; the last three
/// after that.
pub(crate) struct Changes<S> {
    /// To be written down.
    pub(crate) write: Option<Entry>,
    /// What becomes of the followers that read its log.
    pub(crate) readers: Readers,
    /// What becomes of the requests that are held.
    pub(crate) requests: Requests,
    /// Who waits for what a follower applies looks again.
    pub(crate) notify: bool,
    /// There is still something to wait for.
    pub(crate) wait: bool,
    /// A stream from the source is to be started.
    pub(crate) start: bool,
    /// It is held no longer, since this epoch.
    pub(crate) forget: Option<u64>,
    /// The routes are told who serves it.
    pub(crate) publish: Option<Owner>,
    /// Rows that are let go.
    pub(crate) rows: Option<S>,
}

impl<S> Default for Changes<S> {
    fn default() -> Self {
        Self {
            write: None,
            readers: Readers::Kept,
            requests: Requests::Kept,
            notify: false,
            wait: false,
            start: false,
            forget: None,
            publish: None,
            rows: None,
        }
    }
}

/// A change of what a partition is, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Role or epoch is another.
    Turn {
        role: Role,
        epoch: u64,
        /// A follower's source, or the worker that a proxy passes on to.
        peer: Arc<str>,
        /// Its data address.
        address: Arc<str>,
    },
    /// It is primary in a later epoch, and the next write's sequence does not follow the last one's.
    Confirmed { epoch: u64 },
    /// What it was is gone; it begins anew, empty, as it is now.
    Anew,
    /// It is held no longer.
    Gone,
    /// A copy has all of the snapshot.
    Loaded { sequence: u64, digest: u64 },
    /// A copy has let go all of its rows.
    Emptied,
}

/// What becomes of the followers that read a partition's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// They read on.
    Kept,
    /// They look: nothing may have been written, but something has happened.
    Woken,
    /// They begin anew: why.
    Ended(&'static str),
}

/// What becomes of requests that are held.
#[derive(Debug, Clone)]
pub(crate) enum Requests {
    /// They wait on.
    Kept,
    /// They are carried out.
    Run,
    /// All are told the same.
    Told(Verdict),
}

/// Who serves a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This worker.
    Here,
    /// The worker of this name.
    Other(Arc<str>),
}
