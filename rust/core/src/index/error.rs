//! What can be wrong with ranges and the keys looked up in them.

use thiserror::Error;

use super::MAX_OWNER;
use crate::key::KeyError;

/// Why ranges could not become an index, or keys could not be looked up in one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A key or bound of the wrong length, or a range that holds no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Two ranges share keys.
    #[error("ranges {left} and {right} overlap: a key may lie in one range only")]
    Overlap {
        /// The range that starts first, readable.
        left: String,
        /// The other, readable.
        right: String,
    },
    /// Starts that do not ascend.
    #[error(
        "start {position} ({start}) is not above the start before it ({before}): sort the ranges by start"
    )]
    NotAscending {
        /// Position of the start that is too low.
        position: usize,
        /// That start, readable.
        start: String,
        /// The start before it, readable.
        before: String,
    },
    /// A range was to be removed that is not there.
    #[error("no range starts at {start}: remove takes the start of a range of this version")]
    NoSuchRange {
        /// The start, readable.
        start: String,
    },
    /// Columns of unequal length.
    #[error("{starts} starts but {other} {what}: give one a range")]
    UnequalColumns {
        /// How many starts.
        starts: usize,
        /// What there are more or fewer of.
        what: &'static str,
        /// How many of those.
        other: usize,
    },
    /// An owner number beyond what can be counted by.
    #[error("owner {0} is above {MAX_OWNER}: number owners from 0 without wide gaps")]
    OwnerTooHigh(u32),
    /// Keys wider than those of the index.
    #[error("keys are {width} bytes wide; this index takes {key_length}: shorten them")]
    RowsTooWide {
        /// Bytes a key of the batch.
        width: usize,
        /// Bytes a key of the index.
        key_length: usize,
    },
    /// The place for the results does not have one place a key.
    #[error("out has {out} places for {keys} keys: give it one a key")]
    WrongOutLength {
        /// How many places.
        out: usize,
        /// How many keys.
        keys: usize,
    },
}
