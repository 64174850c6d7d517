//! What the log holds: effects, never requests.

use std::sync::Arc;

use crate::tree::Value;

/// What one sequence number did; a clone shares key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A row was made or replaced.
    Put {
        /// The row's key.
        key: Arc<[u8]>,
        /// Its new value.
        value: Value,
    },
    /// A row was removed.
    Delete {
        /// The row's key.
        key: Arc<[u8]>,
    },
    /// Nothing: the number was skipped.
    Nothing,
}

impl Effect {
    /// What it takes in memory, in bytes: key, value and what is around them.
    pub fn cost(&self) -> u64 {
        const AROUND: usize = std::mem::size_of::<Effect>() + 2 * 2 * std::mem::size_of::<usize>();
        let payload = match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
            Self::Nothing => 0,
        };
        (payload + AROUND) as u64
    }
}

/// Consecutive effects: number i has sequence `first + i`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Sequence of the first effect.
    pub first: u64,
    /// At least one.
    pub effects: Vec<Effect>,
}
