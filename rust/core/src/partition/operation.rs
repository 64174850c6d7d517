//! What clients ask of a row and what they are told.

use super::journal::Position;
use crate::tree::Value;

/// A moment, in nanoseconds of any clock that never runs backwards. The core reads no clock: callers pass the time.
pub type Nanos = u64;

/// One operation on one row; keys have the keyspace's length.
///
/// `condition` of a write: 0 none; 1 no row may exist; v + 1 the row must have version v.
#[derive(Debug, Clone)]
pub enum Op<'a> {
    /// Reads the row.
    Get {
        /// The row's key.
        key: &'a [u8],
    },
    /// Makes or replaces the row.
    Put {
        /// The row's key.
        key: &'a [u8],
        /// Its new value.
        value: Value,
        /// What the row's version has to be.
        condition: u64,
    },
    /// Removes the row.
    Delete {
        /// The row's key.
        key: &'a [u8],
        /// What the row's version has to be.
        condition: u64,
    },
}

impl<'a> Op<'a> {
    /// The key of the row.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Self::Get { key } | Self::Put { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// Bytes that a copy of it takes: key and value.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Get { key } | Self::Delete { key, .. } => key.len(),
            Self::Put { key, value, .. } => key.len() + value.len(),
        }
    }
}

/// How an operation ended; the numbers are those of `dstk.v1.Code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done; for a get, there is a row.
    Ok = 0,
    /// Get or delete: there is no row under the key.
    NoRow = 1,
    /// The condition was not met; nothing was changed.
    VersionMismatch = 2,
    /// Not applied; try again.
    Unavailable = 3,
    /// A write that may or may not have been applied.
    OutcomeUnknown = 4,
    /// The operation itself is wrong.
    Invalid = 5,
    /// There is no such keyspace here.
    UnknownKeyspace = 6,
    /// A value or batch above the limit.
    TooLarge = 7,
    /// Not applied: a bound of the worker is reached.
    Limit = 8,
}

/// The answer to an [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub code: Code,
    /// Version of the row read or written; of a delete, the sequence of the delete; with
    /// [`Code::VersionMismatch`], the row's current version, 0 when there is no row.
    pub version: u64,
    /// The row's value: a get with [`Code::Ok`].
    pub value: Option<Value>,
    /// What was wrong and what to do; none when nothing was.
    pub message: Option<String>,
    /// It may be told only when the node's log is on disk up to here; 0: at once.
    pub after: Position,
}

impl Reply {
    /// An answer without value or message.
    pub fn new(code: Code, version: u64) -> Self {
        Self {
            code,
            version,
            value: None,
            message: None,
            after: 0,
        }
    }

    /// An answer that says what was wrong.
    pub fn failed(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            version: 0,
            value: None,
            message: Some(message.into()),
            after: 0,
        }
    }
}
