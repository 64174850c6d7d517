//! Log entries as flat columns, with a checksum over all of them.

use std::sync::Arc;

use dstk_core::log::{Effect, LogBatch};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::wire::LogEntries;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const NOTHING: u8 = 3;

/// What can be wrong with a message of log entries.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntriesError {
    /// The bytes are not those that were sent.
    #[error("log entries from {first}: checksum is {found:#018x}, not {expected:#018x}")]
    Checksum {
        /// Sequence of the first entry.
        first: u64,
        /// Of what arrived.
        found: u64,
        /// Of what was sent.
        expected: u64,
    },
    /// A kind that does not exist.
    #[error("log entries: {0} is no kind (1 put, 2 delete, 3 nothing)")]
    Kind(u8),
    /// A column of the wrong length.
    #[error("log entries: column {column} has {found}; {expected} are needed")]
    Column {
        /// Name of the field.
        column: &'static str,
        /// Its length.
        found: u64,
        /// The length it should have.
        expected: u64,
    },
    /// No entries at all, or more than there are sequence numbers.
    #[error("log entries: {entries} of them from sequence {first}")]
    Range {
        /// Sequence of the first entry.
        first: u64,
        /// How many there are.
        entries: usize,
    },
}

/// The message for a batch of the log.
pub fn write_entries(batch: &LogBatch) -> LogEntries {
    let mut kinds = Vec::with_capacity(batch.effects.len());
    let (mut keys, mut lengths, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for effect in &batch.effects {
        match effect {
            Effect::Put { key, value } => {
                kinds.push(PUT);
                keys.extend_from_slice(key);
                lengths.push(value.len() as u32);
                values.extend_from_slice(value);
            }
            Effect::Delete { key } => {
                kinds.push(DELETE);
                keys.extend_from_slice(key);
            }
            Effect::Nothing => kinds.push(NOTHING),
        }
    }
    let mut entries = LogEntries {
        first: batch.first,
        kinds: kinds.into(),
        keys: keys.into(),
        value_lengths: lengths,
        values: values.into(),
        checksum: 0,
    };
    entries.checksum = checksum(&entries);
    entries
}

/// The effects of a message, once all of it has been checked. Safe on hostile input.
pub fn read_entries(entries: &LogEntries, key_length: usize) -> Result<Vec<Effect>, EntriesError> {
    let found = checksum(entries);
    if found != entries.checksum {
        return Err(EntriesError::Checksum {
            first: entries.first,
            found,
            expected: entries.checksum,
        });
    }
    let count = entries.kinds.len();
    if count == 0 || entries.first.checked_add(count as u64).is_none() {
        return Err(EntriesError::Range {
            first: entries.first,
            entries: count,
        });
    }
    let (mut puts, mut with_key) = (0, 0);
    for kind in &entries.kinds {
        match *kind {
            PUT => (puts, with_key) = (puts + 1, with_key + 1),
            DELETE => with_key += 1,
            NOTHING => {}
            kind => return Err(EntriesError::Kind(kind)),
        }
    }
    let column = |column, found: usize, expected: u64| {
        if found as u64 == expected {
            Ok(())
        } else {
            Err(EntriesError::Column {
                column,
                found: found as u64,
                expected,
            })
        }
    };
    column("keys", entries.keys.len(), with_key * key_length as u64)?;
    column("value_lengths", entries.value_lengths.len(), puts)?;
    column(
        "values",
        entries.values.len(),
        entries
            .value_lengths
            .iter()
            .map(|length| u64::from(*length))
            .sum(),
    )?;
    let (mut keys, mut lengths, mut values) = (
        &entries.keys[..],
        entries.value_lengths.iter(),
        &entries.values[..],
    );
    let mut key = || -> Arc<[u8]> {
        let (key, rest) = keys.split_at(key_length);
        keys = rest;
        key.into()
    };
    let mut value = || -> Arc<[u8]> {
        let (value, rest) = values.split_at(lengths.next().map_or(0, |length| *length as usize));
        values = rest;
        value.into()
    };
    let effect = |kind: &u8| match *kind {
        PUT => Effect::Put {
            key: key(),
            value: value(),
        },
        DELETE => Effect::Delete { key: key() },
        _ => Effect::Nothing,
    };
    Ok(entries.kinds.iter().map(effect).collect())
}

/// `xxh3_64` over `first`, then every column, numbers as little-endian bytes.
fn checksum(entries: &LogEntries) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&entries.first.to_le_bytes());
    hash.update(&entries.kinds);
    hash.update(&entries.keys);
    entries
        .value_lengths
        .iter()
        .for_each(|length| hash.update(&length.to_le_bytes()));
    hash.update(&entries.values);
    hash.digest()
}
