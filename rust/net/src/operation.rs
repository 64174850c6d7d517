//! What is asked of one key, and what came of it.

use bytes::Bytes;

use crate::wire::Code;

/// What to do with the row under a key. The discriminants are those of `Batch.kinds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verb {
    /// Read it.
    Get = 0,
    /// Write it.
    Put = 1,
    /// Remove it.
    Delete = 2,
}

impl Verb {
    /// The verb of a byte of `Batch.kinds`, if it is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Get),
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            _ => None,
        }
    }
}

/// What has to hold of the row for a write to be applied, as it is on the wire:
/// 0 anything, 1 there is no row, v + 1 the row has version v.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition(pub u64);

impl Condition {
    /// Anything goes.
    pub const NONE: Self = Self(0);
    /// There may be no row under the key.
    pub const ABSENT: Self = Self(1);

    /// The row has to have `version`; version 0, which no row has, means that there may be no row.
    pub fn version(version: u64) -> Self {
        Self(version.saturating_add(1))
    }

    /// Whether there is a condition at all.
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// One operation on one key of some keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What to do.
    pub verb: Verb,
    /// The key, of the keyspace's key length.
    pub key: Bytes,
    /// The value of a put; empty otherwise.
    pub value: Bytes,
    /// What has to hold for a put or delete to be applied.
    pub condition: Condition,
}

impl Operation {
    /// Reads the row under `key`.
    pub fn get(key: impl Into<Bytes>) -> Self {
        Self {
            verb: Verb::Get,
            key: key.into(),
            value: Bytes::new(),
            condition: Condition::NONE,
        }
    }

    /// Writes `value` under `key` if `condition` holds.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, condition: Condition) -> Self {
        Self {
            verb: Verb::Put,
            key: key.into(),
            value: value.into(),
            condition,
        }
    }

    /// Removes the row under `key` if `condition` holds.
    pub fn delete(key: impl Into<Bytes>, condition: Condition) -> Self {
        Self {
            verb: Verb::Delete,
            key: key.into(),
            value: Bytes::new(),
            condition,
        }
    }

    /// Whether doing it twice is no different from doing it once, whatever others do in between: reads, and writes
    /// that ask for a version, which is gone once one of them is applied and never comes back. A put that asks for no
    /// row is not: the row that it made may be removed before it is done again.
    pub fn is_repeatable(&self) -> bool {
        match (self.verb, self.condition) {
            (Verb::Get, _) => true,
            (Verb::Put, Condition::ABSENT) => false,
            (_, condition) => condition.is_some(),
        }
    }
}

/// A worker's answer to one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What came of it.
    pub code: Code,
    /// Version of the row read or written; of the row that is there for a condition not met.
    pub version: u64,
    /// The value of a get that found a row.
    pub value: Option<Bytes>,
    /// Why it failed, when it did; may be empty.
    pub message: Box<str>,
}

impl Reply {
    /// An answer without a row.
    pub fn failed(code: Code, message: impl Into<Box<str>>) -> Self {
        Self {
            code,
            version: 0,
            value: None,
            message: message.into(),
        }
    }
}
