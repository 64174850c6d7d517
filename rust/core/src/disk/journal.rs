//! One partition's part of the log: what it appends, and when what it answers may be said.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Disk;
use super::record::{PartitionId, Record};
use super::segment::Position;
use crate::key::Bounds;
use crate::partition;

/// Appends a partition's changes. Behind the partition's lock, so the order in the log is the order in which they happen.
///
/// A reader must not be told of a row that a crash may take back: so every answer waits until the write that it tells of
/// is on disk.
pub(crate) struct Journal {
    pub(crate) disk: Arc<Disk>,
    pub(crate) id: PartitionId,
    /// The log before the record that opened it.
    pub(crate) opened: Position,
    /// After its last record.
    pub(crate) last: Position,
    /// After its last record that changed rows.
    pub(crate) rows_changed: Position,
    /// Nothing may be said before this is on disk: a snapshot, a split, a merge, a new epoch: after each, sequences begin anew.
    barrier: Position,
    /// Writes that were not on disk when last looked: consecutive sequence numbers and the position after each.
    undecided: VecDeque<Position>,
    /// Sequence of the first of them.
    first: u64,
    /// Sequence of the last delete.
    last_delete: u64,
}

impl Journal {
    pub(super) fn new(disk: Arc<Disk>, id: PartitionId, from: Position) -> Self {
        Self {
            disk,
            id,
            opened: from,
            last: from,
            rows_changed: from,
            barrier: 0,
            undecided: VecDeque::new(),
            first: 0,
            last_delete: 0,
        }
    }

    /// A new partition's, whose first record `open` makes of its id.
    pub(crate) fn open<'a>(disk: &Arc<Disk>, open: impl FnOnce(PartitionId) -> Record<'a>) -> Self {
        let id = disk.id();
        let from = disk.wal.appended();
        let mut journal = Self::new(Arc::clone(disk), id, from);
        journal.last = disk.wal.append(&open(id));
        journal
    }

    /// Of a partition that a split or merge made, whose record ends at `position`.
    pub(crate) fn born(disk: &Arc<Disk>, id: PartitionId, position: Position) -> Self {
        Self {
            barrier: position,
            rows_changed: position,
            last: position,
            ..Self::new(Arc::clone(disk), id, position)
        }
    }

    fn write(&mut self, sequence: u64, record: &Record<'_>) -> Position {
        let position = self.disk.wal.append(record);
        self.forget_durable();
        if self.undecided.is_empty() {
            self.first = sequence;
        }
        debug_assert_eq!(self.first + self.undecided.len() as u64, sequence);
        self.undecided.push_back(position);
        (self.last, self.rows_changed) = (position, position);
        position
    }

    /// A change of what the partition is, not of its rows.
    pub(crate) fn turn(&mut self, record: &Record<'_>) -> Position {
        self.last = self.disk.wal.append(record);
        self.last
    }

    /// A change of many rows at once.
    pub(crate) fn load(&mut self, record: &Record<'_>) -> Position {
        self.last = self.disk.wal.append(record);
        self.rows_changed = self.last;
        self.begin_anew();
        self.last
    }

    /// The next write's sequence does not follow the last one's: all that was written counts as one change.
    pub(crate) fn begin_anew(&mut self) {
        self.barrier = self.last;
        self.undecided.clear();
    }

    fn forget_durable(&mut self) {
        let durable = self.disk.wal.durable();
        while self.undecided.front().is_some_and(|at| *at <= durable) {
            self.undecided.pop_front();
            self.first += 1;
        }
    }

    /// The same before somebody is told of all rows.
    pub(crate) fn after_all(&mut self) -> Position {
        self.forget_durable();
        self.undecided.back().copied().unwrap_or(self.barrier())
    }

    /// The last sequence up to which all is on disk, of a partition whose last one is `sequence`; 0 where that is not
    /// known.
    pub(crate) fn durable_sequence(&mut self, sequence: u64) -> u64 {
        self.forget_durable();
        match (self.barrier(), self.undecided.is_empty()) {
            (0, true) => sequence,
            (0, false) => self.first - 1,
            _ => 0,
        }
    }

    fn barrier(&mut self) -> Position {
        if self.barrier <= self.disk.wal.durable() {
            self.barrier = 0;
        }
        self.barrier
    }
}

impl partition::Journal for Journal {
    fn accepts(&self) -> Result<(), String> {
        self.disk.wal.accepts()
    }

    fn put(&mut self, sequence: u64, key: &[u8], value: &[u8]) -> Position {
        let id = self.id;
        self.write(
            sequence,
            &Record::Put {
                id,
                sequence,
                key,
                value,
            },
        )
    }

    fn delete(&mut self, sequence: u64, key: &[u8]) -> Position {
        let id = self.id;
        self.last_delete = sequence;
        self.write(sequence, &Record::Delete { id, sequence, key })
    }

    fn skip(&mut self, sequence: u64) -> Position {
        let id = self.id;
        self.write(sequence, &Record::Skip { id, sequence })
    }

    fn drop_range(&mut self, bounds: &Bounds) {
        let id = self.id;
        self.load(&Record::DropRange {
            id,
            start: &bounds.start,
            end: bounds.end().unwrap_or_default(),
        });
    }

    fn chunk(&mut self, chunk: &[u8]) {
        let id = self.id;
        self.load(&Record::Chunk { id, chunk });
    }

    fn last(&self) -> Position {
        self.last
    }

    fn after_row(&mut self, version: u64) -> Position {
        self.forget_durable();
        let barrier = self.barrier();
        let at = version
            .checked_sub(self.first)
            .and_then(|at| self.undecided.get(at as usize));
        at.copied().unwrap_or(barrier)
    }

    fn after_no_row(&mut self) -> Position {
        self.after_row(self.last_delete)
    }
}
