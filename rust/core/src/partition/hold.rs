//! Requests held behind a fence.

use std::sync::Arc;

use super::operation::Reply;
use crate::key::Bounds;

/// Where a range is served, for forwarding and for hints to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the partition.
    pub partition: Arc<str>,
    /// The range it covers.
    pub bounds: Arc<Bounds>,
    /// Epoch in which `worker` serves it.
    pub epoch: u64,
    /// Name of the worker.
    pub worker: Arc<str>,
    /// Its data address, `host:port`; empty when it is not known.
    pub address: Arc<str>,
}

/// How a held request goes on.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// An [`Op`](super::Op) was carried out when the fence was lifted, in the order of arrival.
    Done(Reply),
    /// Ask again: a scan whose fence was lifted, or the partition is no longer here.
    Retry,
    /// The partition is served there now. Held requests get this in the order of arrival, before any later request
    /// is answered with [`Outcome::Forward`](crate::node::Outcome::Forward).
    Forward(Target),
    /// Not applied, and may be tried again: the reason.
    Unavailable(String),
}

/// What waits for a held request's verdict.
pub trait Waiter: Send {
    /// Takes the verdict. Called under the partition's lock so that the order of arrival is kept: it must neither
    /// block nor call the node; pushing to a channel is what it is for.
    fn resume(self: Box<Self>, verdict: Verdict);
}
