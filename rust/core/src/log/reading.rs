//! Reading the log: every reader at a position of its own.

use std::fmt;
use std::sync::Arc;

use super::{Effect, Log, LogBatch, Segment};

/// Called when an idle reader has something new to look at: entries, a fence lifted or set, its end.
///
/// It is called under the partition's lock, so it must neither block nor call the node. Between two empty reads it is
/// called at most once.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Names a reader of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId(u64);

pub(super) struct Reader {
    id: ReaderId,
    /// Sequence of the next entry to read.
    pub(super) position: u64,
    acknowledged: u64,
    idle: bool,
    wake: Option<Wake>,
    ended: Option<String>,
}

impl Reader {
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.idle)
            && let Some(wake) = &self.wake
        {
            wake();
        }
    }

    pub(super) fn end(&mut self, reason: &str) {
        self.ended.get_or_insert_with(|| reason.into());
        self.wake();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}

/// What a reader finds.
pub(crate) enum Read {
    /// Entries, now behind the reader.
    Batch(LogBatch),
    /// They are in a segment: load it without the partition's lock, then [`Log::advance`] to its end.
    Segment(Arc<Segment>, u64),
    /// Nothing yet.
    Empty,
    /// Nothing more will come.
    Ended(String),
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(batch) => write!(f, "Batch({}, {})", batch.first, batch.effects.len()),
            Self::Segment(segment, from) => write!(f, "Segment({from}..{})", segment.end()),
            Self::Empty => f.write_str("Empty"),
            Self::Ended(reason) => write!(f, "Ended({reason})"),
        }
    }
}

impl Log {
    /// A reader of what comes after `sequence`, the last write of the partition.
    pub(crate) fn open(&mut self, sequence: u64) -> ReaderId {
        if !self.is_read() {
            self.trim();
            self.tail_first = sequence + 1;
        }
        let id = ReaderId(self.next_reader);
        self.next_reader += 1;
        self.readers.push(Reader {
            id,
            position: sequence + 1,
            acknowledged: sequence,
            idle: false,
            wake: None,
            ended: None,
        });
        id
    }

    /// Forgets a reader, and what was kept for it alone.
    pub(crate) fn close(&mut self, id: ReaderId) {
        self.readers.retain(|reader| reader.id != id);
        self.trim();
    }

    /// Tells every reader that nothing more comes.
    pub(crate) fn end(&mut self, reason: &str) {
        self.readers
            .iter_mut()
            .for_each(|reader| reader.end(reason));
        self.trim();
    }

    /// Wakes idle readers: the partition's fence has changed.
    pub(crate) fn wake(&mut self) {
        self.readers.iter_mut().for_each(Reader::wake);
    }

    pub(crate) fn set_wake(&mut self, id: ReaderId, wake: Wake) {
        if let Some(reader) = self.reader(id) {
            // What came before the hook was set must not be missed.
            wake();
            reader.wake = Some(wake);
        }
    }

    /// The reader's follower has applied up to `sequence`.
    pub(crate) fn acknowledge(&mut self, id: ReaderId, sequence: u64) {
        if let Some(reader) = self.reader(id) {
            reader.acknowledged = reader.acknowledged.max(sequence);
        }
    }

    /// The lowest acknowledgement of all readers.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        self.readers.iter().map(|reader| reader.acknowledged).min()
    }

    /// The next entries of a reader, about `max_bytes` and at least one.
    pub(crate) fn read(&mut self, id: ReaderId, max_bytes: usize) -> Read {
        let (tail_first, alone) = (self.tail_first, self.readers.len() == 1);
        let Some(at) = self.readers.iter().position(|reader| reader.id == id) else {
            return Read::Ended("the reader was closed".into());
        };
        let reader = &mut self.readers[at];
        if let Some(reason) = &reader.ended {
            return Read::Ended(reason.clone());
        }
        let position = reader.position;
        if position < tail_first {
            let segment = self
                .segments
                .iter()
                .find(|segment| position < segment.end());
            return match segment {
                Some(segment) => Read::Segment(Arc::clone(segment), position),
                None => Read::Ended(format!(
                    "write {position} is no longer in the log: follow anew"
                )),
            };
        }
        let from = (position - tail_first) as usize;
        let count = prefix(self.tail.range(from..), max_bytes as u64);
        if count == 0 {
            reader.idle = true;
            return Read::Empty;
        }
        reader.position += count as u64;
        let effects: Vec<_> = if alone && from == 0 {
            self.tail.drain(..count).collect()
        } else {
            self.tail.range(from..from + count).cloned().collect()
        };
        if alone && from == 0 {
            self.tail_first += count as u64;
            self.tail_bytes -= effects.iter().map(Effect::cost).sum::<u64>();
        }
        self.trim();
        Read::Batch(LogBatch {
            first: position,
            effects,
        })
    }

    /// The reader has taken everything below `sequence` out of a segment.
    pub(crate) fn advance(&mut self, id: ReaderId, sequence: u64) {
        if let Some(reader) = self.reader(id) {
            reader.position = reader.position.max(sequence);
        }
        self.trim();
    }

    fn reader(&mut self, id: ReaderId) -> Option<&mut Reader> {
        self.readers.iter_mut().find(|reader| reader.id == id)
    }
}

/// How many of `effects` cost about `max_bytes`: at least one, if there is one.
pub(crate) fn prefix<'a>(effects: impl Iterator<Item = &'a Effect>, max_bytes: u64) -> usize {
    let mut bytes = 0;
    effects
        .take_while(|effect| {
            let first = bytes == 0;
            bytes += effect.cost();
            first || bytes <= max_bytes
        })
        .count()
}
