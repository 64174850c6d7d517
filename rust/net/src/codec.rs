//! Operations and replies as flat columns, and back. Whatever arrives is checked before anything of it is used.

use bytes::Bytes;
use dstk_core::key::readable;
use thiserror::Error;

use crate::operation::{Condition, Operation, Reply, Verb};
use crate::wire::{Batch, Code, Failure, Hint, Replies};

/// What can be wrong with a message of columns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A column has another length than the ids ask for.
    #[error("column {column} has {found} entries; {expected} are needed for {ids} ids")]
    Column {
        /// Name of the field.
        column: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
        /// Number of ids in the message.
        ids: usize,
    },
    /// A kind of operation that does not exist.
    #[error("{0} is no kind of operation (0 get, 1 put, 2 delete)")]
    Kind(u8),
    /// A code that does not exist.
    #[error("{0} is no reply code")]
    Code(u8),
    /// Keys of another length than the keyspace's.
    #[error(
        "key {key} is {found} bytes; keyspace {keyspace:?} takes {expected} (dstk.keys.text pads)"
    )]
    KeyLength {
        /// The first key, readable.
        key: String,
        /// Its length in bytes.
        found: usize,
        /// Name of the keyspace.
        keyspace: String,
        /// Key length of the keyspace in bytes.
        expected: usize,
    },
    /// Lengths of values that do not add up to the bytes there are.
    #[error("values are {found} bytes; their lengths add up to {expected}")]
    Values {
        /// Bytes in the column.
        found: usize,
        /// Sum of the lengths.
        expected: u64,
    },
    /// A failure of no reply, or out of order.
    #[error(
        "failure names reply {0}, which does not follow the one before it or is not in the message"
    )]
    Failure(u32),
}

fn column(
    column: &'static str,
    found: usize,
    expected: usize,
    ids: usize,
) -> Result<(), CodecError> {
    if found == expected {
        Ok(())
    } else {
        Err(CodecError::Column {
            column,
            found,
            expected,
            ids,
        })
    }
}

fn check_values(lengths: &[u32], values: &Bytes) -> Result<(), CodecError> {
    let expected = lengths.iter().map(|length| u64::from(*length)).sum();
    if values.len() as u64 == expected {
        Ok(())
    } else {
        Err(CodecError::Values {
            found: values.len(),
            expected,
        })
    }
}

/// Gathers operations into one [`Batch`].
#[derive(Debug, Default)]
pub struct BatchWriter {
    ids: Vec<u64>,
    kinds: Vec<u8>,
    keys: Vec<u8>,
    value_lengths: Vec<u32>,
    values: Vec<u8>,
    conditions: Vec<u64>,
}

impl BatchWriter {
    /// Appends an operation under the sender's `id`.
    pub fn push(&mut self, id: u64, operation: &Operation) {
        if operation.condition.is_some() && self.conditions.is_empty() {
            self.conditions.resize(self.ids.len(), 0);
        }
        self.ids.push(id);
        self.kinds.push(operation.verb as u8);
        self.keys.extend_from_slice(&operation.key);
        if operation.verb == Verb::Put {
            self.value_lengths.push(operation.value.len() as u32);
            self.values.extend_from_slice(&operation.value);
        }
        if operation.condition.is_some() || !self.conditions.is_empty() {
            self.conditions.push(operation.condition.0);
        }
    }

    /// Number of operations gathered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Bytes of keys and values gathered.
    pub fn bytes(&self) -> usize {
        self.keys.len() + self.values.len()
    }

    /// The message; the writer is empty afterwards.
    pub fn take(&mut self, keyspace: &str, hops: u32) -> Batch {
        let this = std::mem::take(self);
        Batch {
            keyspace: keyspace.into(),
            hops,
            ids: this.ids,
            kinds: this.kinds.into(),
            keys: this.keys.into(),
            value_lengths: this.value_lengths,
            values: this.values.into(),
            conditions: this.conditions,
        }
    }
}

/// One operation of a [`Batch`]; it borrows the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// The sender's id.
    pub id: u64,
    /// What to do.
    pub verb: Verb,
    /// The key.
    pub key: &'a [u8],
    /// The value of a put; empty otherwise.
    pub value: &'a [u8],
    /// What has to hold.
    pub condition: Condition,
}

impl BatchItem<'_> {
    /// The same on its own, independent of the message.
    pub fn to_operation(self) -> Operation {
        Operation {
            verb: self.verb,
            key: Bytes::copy_from_slice(self.key),
            value: Bytes::copy_from_slice(self.value),
            condition: self.condition,
        }
    }
}

/// The operations of a message, in order, once all of its columns have been checked.
///
/// Safe on hostile input: nothing is allocated, and every slice lies inside the message. `keyspace` is only for the
/// text of an error.
pub fn read_batch<'a>(
    batch: &'a Batch,
    keyspace: &str,
    key_length: usize,
) -> Result<impl Iterator<Item = BatchItem<'a>> + use<'a>, CodecError> {
    let ids = batch.ids.len();
    column("kinds", batch.kinds.len(), ids, ids)?;
    if let Some(kind) = batch
        .kinds
        .iter()
        .find(|kind| Verb::from_byte(**kind).is_none())
    {
        return Err(CodecError::Kind(*kind));
    }
    let need = ids.saturating_mul(key_length);
    if batch.keys.len() != need && ids > 0 && batch.keys.len().is_multiple_of(ids) {
        let found = batch.keys.len() / ids;
        let key = readable(&batch.keys[..found]);
        return Err(CodecError::KeyLength {
            key,
            found,
            keyspace: keyspace.into(),
            expected: key_length,
        });
    }
    column("keys", batch.keys.len(), need, ids)?;
    let puts = batch
        .kinds
        .iter()
        .filter(|kind| **kind == Verb::Put as u8)
        .count();
    column("value_lengths", batch.value_lengths.len(), puts, ids)?;
    check_values(&batch.value_lengths, &batch.values)?;
    if !batch.conditions.is_empty() {
        column("conditions", batch.conditions.len(), ids, ids)?;
    }
    let mut lengths = batch.value_lengths.iter();
    let mut values = &batch.values[..];
    let items = batch
        .ids
        .iter()
        .zip(batch.kinds.iter())
        .zip(batch.keys.chunks_exact(key_length.max(1)));
    Ok(items.enumerate().map(move |(index, ((id, kind), key))| {
        let verb = Verb::from_byte(*kind).unwrap_or(Verb::Get);
        let length = if verb == Verb::Put {
            lengths.next().map_or(0, |length| *length as usize)
        } else {
            0
        };
        let (value, rest) = values.split_at(length);
        values = rest;
        let condition = Condition(batch.conditions.get(index).copied().unwrap_or(0));
        BatchItem {
            id: *id,
            verb,
            key,
            value,
            condition,
        }
    }))
}

/// Gathers answers into one [`Replies`].
#[derive(Debug, Default)]
pub struct RepliesWriter {
    ids: Vec<u64>,
    codes: Vec<u8>,
    versions: Vec<u64>,
    value_lengths: Vec<u32>,
    values: Vec<u8>,
    hints: Vec<Hint>,
    failures: Vec<Failure>,
}

impl RepliesWriter {
    /// Appends the row that a get found.
    pub fn found(&mut self, id: u64, version: u64, value: &[u8]) {
        self.value_lengths.push(value.len() as u32);
        self.values.extend_from_slice(value);
        self.plain(id, Code::Ok, version);
    }

    /// Appends the outcome of a write that was applied.
    pub fn written(&mut self, id: u64, version: u64) {
        self.plain(id, Code::Ok, version);
    }

    /// Appends an outcome without a value, with a text unless it is empty.
    pub fn ended(&mut self, id: u64, code: Code, version: u64, message: &str) {
        if !message.is_empty() {
            self.failures.push(Failure {
                index: self.ids.len() as u32,
                message: message.into(),
            });
        }
        self.plain(id, code, version);
    }

    /// Appends an answer that came from elsewhere.
    pub fn reply(&mut self, id: u64, reply: &Reply) {
        match &reply.value {
            Some(value) => self.found(id, reply.version, value),
            None => self.ended(id, reply.code, reply.version, &reply.message),
        }
    }

    /// Tells the sender where keys live now; once a partition and message.
    pub fn hint(&mut self, hint: Hint) {
        let partition = |hint: &Hint| {
            hint.route
                .as_ref()
                .map(|route| (route.partition.clone(), route.epoch))
        };
        let key = partition(&hint);
        if !self.hints.iter().any(|known| partition(known) == key) {
            self.hints.push(hint);
        }
    }

    /// Number of answers gathered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Bytes of values gathered.
    pub fn bytes(&self) -> usize {
        self.values.len()
    }

    /// The message; the writer is empty afterwards.
    pub fn take(&mut self) -> Replies {
        let this = std::mem::take(self);
        Replies {
            ids: this.ids,
            codes: this.codes.into(),
            versions: this.versions,
            value_lengths: this.value_lengths,
            values: this.values.into(),
            hints: this.hints,
            failures: this.failures,
        }
    }

    fn plain(&mut self, id: u64, code: Code, version: u64) {
        self.ids.push(id);
        self.codes.push(code as u8);
        self.versions.push(version);
    }
}

/// The answers of a message with the ids they belong to, once all of its columns have been checked.
///
/// `is_get` says of an id whether its operation was a get: only an OK get carries a value. Safe on hostile input;
/// values share the message's buffer.
pub fn read_replies(
    replies: &Replies,
    is_get: fn(u64) -> bool,
) -> Result<impl Iterator<Item = (u64, Reply)> + use<'_>, CodecError> {
    let carries_value = move |id: u64, code: u8| code == Code::Ok as u8 && is_get(id);
    let ids = replies.ids.len();
    column("codes", replies.codes.len(), ids, ids)?;
    if let Some(code) = replies
        .codes
        .iter()
        .find(|code| Code::try_from(i32::from(**code)).is_err())
    {
        return Err(CodecError::Code(*code));
    }
    column("versions", replies.versions.len(), ids, ids)?;
    let with_value = replies
        .ids
        .iter()
        .zip(&replies.codes)
        .filter(|(id, code)| carries_value(**id, **code))
        .count();
    column(
        "value_lengths",
        replies.value_lengths.len(),
        with_value,
        ids,
    )?;
    check_values(&replies.value_lengths, &replies.values)?;
    let mut next = 0;
    for failure in &replies.failures {
        if failure.index < next || failure.index as usize >= ids {
            return Err(CodecError::Failure(failure.index));
        }
        next = failure.index + 1;
    }
    let mut lengths = replies.value_lengths.iter();
    let mut failures = replies.failures.iter().peekable();
    let mut at = 0;
    let items = replies
        .ids
        .iter()
        .zip(replies.codes.iter())
        .zip(replies.versions.iter());
    Ok(items
        .enumerate()
        .map(move |(index, ((id, code), version))| {
            let value = carries_value(*id, *code).then(|| {
                let length = lengths.next().map_or(0, |length| *length as usize);
                at += length;
                replies.values.slice(at - length..at)
            });
            let code = Code::try_from(i32::from(*code)).unwrap_or(Code::Unavailable);
            let message = failures
                .next_if(|failure| failure.index as usize == index)
                .map_or("", |failure| &failure.message);
            (
                *id,
                Reply {
                    code,
                    version: *version,
                    value,
                    message: message.into(),
                },
            )
        }))
}

/// Whether a hint's range holds `key`.
pub fn hint_covers(hint: &Hint, key: &[u8]) -> bool {
    hint.route
        .as_ref()
        .is_some_and(|route| *key >= *route.start && (route.end.is_empty() || *key < *route.end))
}
