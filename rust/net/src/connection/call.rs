//! What a connection carries, and how that ends.

use std::sync::Arc;

use dstk_core::faults::Point;
use tokio::time::Instant;

use crate::operation::{Operation, Reply};
use crate::wire::Hint;

/// An operation under way, and who wants to know how it ends.
pub trait Call: Send + 'static {
    /// What is reached when such calls have left, and when answers have come and nobody has been told; none: nothing.
    const POINTS: Option<[Point; 2]> = None;
    /// What is asked.
    fn operation(&self) -> &Operation;
    /// Of which keyspace.
    fn keyspace(&self) -> &Arc<str>;
    /// The worker that is meant; none: any of the cluster.
    fn meant(&self) -> Option<&Arc<str>>;
    /// Workers that have passed it on already.
    fn hops(&self) -> u32;
    /// When an answer is of no use any more.
    fn deadline(&self) -> Instant;
    /// Whether nobody wants to know any more: it is not sent if it was not, and its answer is not waited for.
    fn is_given_up(&self) -> bool {
        false
    }
    /// Lets go of what it holds for a repetition, once it was sent and given up.
    fn shed(&mut self) {}
    /// How it ended; called once, from the connection's task or from [`Connection::submit`](super::Connection::submit). Must not block.
    fn complete(self, ended: CallResult);
}

/// How a [`Call`] ended.
#[derive(Debug, Clone)]
pub enum CallResult {
    /// The worker answered.
    Answered {
        /// Its answer.
        reply: Reply,
        /// Where keys of the same message live now, if the worker thinks that we should know.
        hints: Option<Arc<[Hint]>>,
    },
    /// The worker has not taken it: it was not applied.
    NotSent(Cause),
    /// It left and no answer came: a write may or may not have been applied.
    Unanswered(Cause),
}

/// Why a call ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The connection could not be made, or broke: why.
    Broken(Arc<str>),
    /// Another worker than the one that was meant is at the address: who.
    Stranger(Arc<str>),
    /// Its deadline passed.
    Deadline,
    /// More operations are open on the connection than may be.
    Full(usize),
    /// Their keys and values are more bytes than may be.
    FullBytes(usize),
    /// Who had the connection closed it.
    Closed,
    /// Nobody wants to know any more.
    GivenUp,
}
