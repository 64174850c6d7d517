//! What a client's call can end with, other than well.

use thiserror::Error;

/// Why a call failed. One variant for each class of `dstk.errors` that a client can raise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The call itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A key of the wrong length.
    #[error("{0}")]
    KeyLength(String),
    /// A value or batch above the limit.
    #[error("{0}")]
    TooLarge(String),
    /// A range that holds no key.
    #[error("{0}")]
    InvalidRange(String),
    /// A scan's limit is out of bounds.
    #[error("{0}")]
    ScanLimit(String),
    /// There is no keyspace of that name.
    #[error("{0}")]
    UnknownKeyspace(String),
    /// The condition of a write was not met.
    #[error("{message}")]
    VersionMismatch {
        /// Says so.
        message: String,
        /// Version of the row that is there; 0 when there is none.
        current_version: u64,
    },
    /// Not done; nothing changed.
    #[error("{0}")]
    Unavailable(String),
    /// Not done: the rows were lost, and nobody has accepted that.
    #[error("{0}")]
    DataLost(String),
    /// Not done: a bound is reached.
    #[error("{0}")]
    LimitReached(String),
    /// Not done before the deadline.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// A write that may or may not have been applied.
    #[error("{0}")]
    OutcomeUnknown(String),
}
