//! Requests held behind a fence.

use std::collections::VecDeque;
use std::sync::Arc;

use super::operation::{Nanos, Op, Reply};
use crate::key::Bounds;
use crate::tree::Value;

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
    /// An [`Op`] was carried out when the fence was lifted, in the order of arrival.
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

/// A copy of an [`Op`] that outlives its request.
pub(crate) enum HeldOp {
    Get {
        key: Box<[u8]>,
    },
    Put {
        key: Box<[u8]>,
        value: Value,
        condition: u64,
    },
    Delete {
        key: Box<[u8]>,
        condition: u64,
    },
}

impl HeldOp {
    pub(crate) fn as_op(&self) -> Op<'_> {
        match self {
            Self::Get { key } => Op::Get { key },
            Self::Put {
                key,
                value,
                condition,
            } => Op::Put {
                key,
                value: value.clone(),
                condition: *condition,
            },
            Self::Delete { key, condition } => Op::Delete {
                key,
                condition: *condition,
            },
        }
    }
}

impl From<Op<'_>> for HeldOp {
    fn from(op: Op<'_>) -> Self {
        match op {
            Op::Get { key } => Self::Get { key: key.into() },
            Op::Put {
                key,
                value,
                condition,
            } => Self::Put {
                key: key.into(),
                value,
                condition,
            },
            Op::Delete { key, condition } => Self::Delete {
                key: key.into(),
                condition,
            },
        }
    }
}

pub(crate) struct Held {
    /// None for a scan.
    pub(crate) op: Option<HeldOp>,
    pub(crate) waiter: Box<dyn Waiter>,
    since: Nanos,
    bytes: usize,
}

/// Held requests in the order of arrival.
#[derive(Default)]
pub(crate) struct HoldQueue {
    queue: VecDeque<Held>,
    bytes: usize,
}

/// How many requests, and bytes of their keys and values, a [`HoldQueue`] takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HoldLimits {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

impl HoldQueue {
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Queues a request, or says why it cannot.
    pub(crate) fn push(
        &mut self,
        op: Option<Op<'_>>,
        since: Nanos,
        limits: HoldLimits,
        waiter: impl FnOnce() -> Box<dyn Waiter>,
    ) -> Result<(), String> {
        let bytes = op.as_ref().map_or(0, Op::bytes);
        if self.queue.len() >= limits.requests || self.bytes + bytes > limits.bytes {
            return Err(format!(
                "{} requests of {} bytes wait already for this partition to move (at most {} of {} bytes): try again later",
                self.queue.len(),
                self.bytes,
                limits.requests,
                limits.bytes
            ));
        }
        self.bytes += bytes;
        self.queue.push_back(Held {
            op: op.map(HeldOp::from),
            waiter: waiter(),
            since,
            bytes,
        });
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Held> {
        let held = self.queue.pop_front()?;
        self.bytes -= held.bytes;
        Some(held)
    }

    /// The oldest request if it arrived at `latest` or before.
    pub(crate) fn pop_until(&mut self, latest: Nanos) -> Option<Held> {
        match self.queue.front() {
            Some(held) if held.since <= latest => self.pop(),
            _ => None,
        }
    }
}
