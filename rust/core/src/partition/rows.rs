//! Reads and writes of rows: the only place where a sequence number is given out.

use super::Partition;
use super::journal::{Journal, Position};
use super::operation::{Code, Op, Reply};
use super::room::ROW_BYTES;
use super::storage::Storage;
use crate::log::Effect;
use crate::tree::Value;

impl<S: Storage, J: Journal> Partition<S, J> {
    /// Carries out one operation; this partition is primary and the operation has been checked.
    pub(crate) fn execute(&mut self, op: Op<'_>) -> Reply {
        match op {
            Op::Get { key } => self.get(key),
            Op::Put {
                key,
                value,
                condition,
            } => self.put(key, value, condition),
            Op::Delete { key, condition } => self.delete(key, condition),
        }
    }

    fn get(&mut self, key: &[u8]) -> Reply {
        let counts = &mut self.load.counts;
        counts.gets += 1;
        counts.bytes_read += key.len() as u64;
        let Some(row) = self.tree.get(key) else {
            return Reply {
                after: self.journal.as_mut().map_or(0, Journal::after_no_row),
                ..Reply::new(Code::NoRow, 0)
            };
        };
        counts.bytes_read += row.value.len() as u64;
        let (value, version) = (row.value.clone(), row.version);
        Reply {
            value: Some(value),
            after: self.after_row(version),
            ..Reply::new(Code::Ok, version)
        }
    }

    fn put(&mut self, key: &[u8], value: Value, condition: u64) -> Reply {
        self.load.counts.puts += 1;
        self.load.counts.bytes_written += (key.len() + value.len()) as u64;
        let refusal = self
            .mismatch(key, condition)
            .or_else(|| self.full())
            .or_else(|| self.no_room(key, &value));
        if let Some(refusal) = refusal {
            return refusal;
        }
        self.sequence += 1;
        let sequence = self.sequence;
        let after = self
            .journal
            .as_mut()
            .map_or(0, |journal| journal.put(sequence, key, &value));
        if self.log.is_read() {
            let effect = Effect::Put {
                key: key.into(),
                value: value.clone(),
            };
            self.log.append(self.sequence, effect);
        }
        self.tree.insert(key, value, sequence);
        self.count();
        Reply {
            after,
            ..Reply::new(Code::Ok, sequence)
        }
    }

    fn delete(&mut self, key: &[u8], condition: u64) -> Reply {
        self.load.counts.deletes += 1;
        self.load.counts.bytes_written += key.len() as u64;
        if let Some(refusal) = self.mismatch(key, condition).or_else(|| self.full()) {
            return refusal;
        }
        if !self.tree.remove(key) {
            return Reply {
                after: self.journal.as_mut().map_or(0, Journal::after_no_row),
                ..Reply::new(Code::NoRow, 0)
            };
        }
        self.count();
        self.sequence += 1;
        let sequence = self.sequence;
        let after = self
            .journal
            .as_mut()
            .map_or(0, |journal| journal.delete(sequence, key));
        if self.log.is_read() {
            self.log
                .append(self.sequence, Effect::Delete { key: key.into() });
        }
        Reply {
            after,
            ..Reply::new(Code::Ok, sequence)
        }
    }

    fn after_row(&mut self, version: u64) -> Position {
        self.journal
            .as_mut()
            .map_or(0, |journal| journal.after_row(version))
    }

    /// The answer when what is written down could not be.
    fn full(&mut self) -> Option<Reply> {
        let full = self.journal.as_ref()?.accepts().err()?;
        self.load.counts.disk_refused += 1;
        Some(Reply::failed(Code::Limit, full))
    }

    /// The answer when the rows may not take more; if they may, the room of this one is taken.
    fn no_room(&mut self, key: &[u8], value: &Value) -> Option<Reply> {
        let most = (key.len() + value.len()) as u64 + ROW_BYTES;
        if self.share.take(most) {
            return None;
        }
        // It may take the place of a row that is as long.
        let more = self.tree.get(key).map_or(most, |row| {
            value.len().saturating_sub(row.value.len()) as u64
        });
        if more == 0 || self.share.take(more) {
            return None;
        }
        Some(Reply::failed(Code::Limit, self.share.room().refusal(more)))
    }

    /// The answer when the row's version is not the one asked for: an absent row counts as version 0.
    fn mismatch(&mut self, key: &[u8], condition: u64) -> Option<Reply> {
        let wanted = condition.checked_sub(1)?;
        let current = self.tree.get(key).map_or(0, |row| row.version);
        if current == wanted {
            return None;
        }
        self.load.counts.mismatches += 1;
        let after = match current {
            0 => self.journal.as_mut().map_or(0, Journal::after_no_row),
            version => self.after_row(version),
        };
        Some(Reply {
            after,
            ..Reply::new(Code::VersionMismatch, current)
        })
    }

    /// Applies the effect that the source gave `sequence`, which follows the last one.
    pub(crate) fn apply_effect(&mut self, sequence: u64, effect: Effect) {
        if let Some(journal) = &mut self.journal {
            match &effect {
                Effect::Put { key, value } => journal.put(sequence, key, value),
                Effect::Delete { key } => journal.delete(sequence, key),
                Effect::Nothing => journal.skip(sequence),
            };
        }
        match effect {
            Effect::Put { key, value } => {
                self.tree.insert(&key, value, sequence);
            }
            Effect::Delete { key } => {
                self.tree.remove(&key);
            }
            Effect::Nothing => {}
        }
        self.sequence = sequence;
        self.load.counts.log_applied += 1;
    }
}
