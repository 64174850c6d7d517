//! The source's end of a stream: a snapshot, then the log after it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Node;
use super::context::Context;
use super::refusal::Refusal;
use super::slot::PartitionSlot;
use crate::digest::{decode, differing};
use crate::key::Bounds;
use crate::log::{Effect, LogBatch, Read, ReaderId, Wake, prefix};
use crate::partition::Role;
use crate::sync::atomic::Ordering;
use crate::tree::Tree;

/// What a follower is sent first: a consistent snapshot, or what differs from what it holds.
pub struct SnapshotPlan {
    /// Rows up to and with `sequence`; `Tree::clone` it for each [`ChunkEncoder`](crate::snapshot::ChunkEncoder), and
    /// have the last one [dropped in the background](crate::tree::drop_in_background).
    pub snapshot: Tree,
    /// Sequence of the last write in it.
    pub sequence: u64,
    /// Rows of the snapshot.
    pub rows: u64,
    /// Its bytes of keys and values.
    pub bytes: u64,
    /// Its digest.
    pub digest: u64,
    /// Ranges to send, ascending: for each, DropRange, then its chunks. All of the partition for a new follower.
    pub ranges: Vec<Bounds>,
    /// Bytes of keys and values in `ranges`.
    pub bytes_to_send: u64,
    /// The log after `sequence`.
    pub reader: LogReader,
}

/// The source's end of a stream. Dropped, it lets the log go.
pub struct LogReader {
    context: Arc<Context>,
    slot: Arc<PartitionSlot>,
    id: ReaderId,
    /// Entries of a segment that was loaded, with the sequence of the first.
    loaded: VecDeque<Effect>,
    first: u64,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Effects, consecutive to those before.
    Batch(LogBatch),
    /// Nothing yet; the wake-up will come.
    Empty,
    /// Nothing more will come; the follower has to begin anew: why.
    Ended(String),
}

/// Where the source of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceState {
    /// Sequence of its last write.
    pub sequence: u64,
    /// Whether new requests are held: then `sequence` is where the log ends.
    pub fenced: bool,
}

impl Node {
    /// A consistent snapshot for a follower and the log after it. `digests`: what the follower holds, as
    /// [`FollowStream::digests`](super::FollowStream::digests) gave it.
    ///
    /// # Errors
    /// `NotHere`, `Stale`, `NotReady`, `WrongRole` as [`Node::fence`]; `Invalid` when the digests cannot be read;
    /// `Limit` when too many followers read already.
    pub fn open_reader(
        &self,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        digests: &[u8],
    ) -> Result<SnapshotPlan, Refusal> {
        let store = self.store(keyspace, partition)?;
        let slot = Arc::clone(store.holding.lock().get(keyspace, partition)?);
        let theirs = match digests {
            [] => None,
            bytes => Some(
                decode(bytes, store.key_length)
                    .map_err(|error| Refusal::Invalid(error.to_string()))?,
            ),
        };
        let (snapshot, sequence, id) = {
            let mut held = slot.partition.lock();
            held.refuse_all_but_primary(epoch)?;
            self.context.take_reader()?;
            let sequence = held.sequence;
            (held.tree.clone(), sequence, held.log.open(sequence))
        };
        let reader = LogReader {
            context: Arc::clone(&self.context),
            slot: Arc::clone(&slot),
            id,
            loaded: VecDeque::new(),
            first: sequence + 1,
        };
        let mut ranges = vec![(*slot.bounds).clone()];
        if let Some(theirs) = theirs {
            let covers = theirs
                .first()
                .is_some_and(|first| first.start == slot.bounds.start)
                && theirs
                    .last()
                    .is_some_and(|last| last.end == slot.bounds.end)
                && theirs
                    .windows(2)
                    .all(|pair| pair[0].end.as_ref() == Some(&pair[1].start));
            if !covers {
                let text = format!(
                    "the follower's range digests do not cover {} without gaps",
                    slot.bounds
                );
                return Err(Refusal::Invalid(text));
            }
            let differing = differing(&snapshot, &theirs).into_iter();
            ranges = differing
                .map(|(start, end)| Bounds { start, end })
                .collect();
        }
        let bytes = |range: &Bounds| snapshot.summary(&range.start, range.end()).bytes;
        let bytes_to_send = ranges.iter().map(bytes).sum();
        let total = snapshot.total();
        Ok(SnapshotPlan {
            snapshot,
            sequence,
            rows: total.rows,
            bytes: total.bytes,
            digest: total.digest,
            ranges,
            bytes_to_send,
            reader,
        })
    }
}

impl Context {
    fn take_reader(&self) -> Result<(), Refusal> {
        let limit = self.settings.max_readers;
        let more = |readers| (readers < limit).then_some(readers + 1);
        match self
            .readers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        {
            Ok(_) => Ok(()),
            Err(_) => {
                let text = format!(
                    "{limit} followers read from worker {} already: try again later",
                    self.name
                );
                Err(Refusal::Limit(text))
            }
        }
    }
}

impl LogReader {
    /// Sets what is called when there is something new after [`Next::Empty`]; called once at once.
    pub fn set_wake(&mut self, wake: Wake) {
        self.slot.partition.lock().log.set_wake(self.id, wake);
    }

    /// The next effects, about `max_bytes` of them and at least one. May read from the spill file: not under a lock.
    pub fn next(&mut self, max_bytes: usize) -> Next {
        if !self.loaded.is_empty() {
            return self.next_loaded(max_bytes);
        }
        let (read, garbage) = {
            let mut held = self.slot.partition.lock();
            (held.log.read(self.id, max_bytes), held.log.take_garbage())
        };
        drop(garbage);
        match read {
            Read::Batch(batch) => Next::Batch(batch),
            Read::Empty => Next::Empty,
            Read::Ended(reason) => Next::Ended(reason),
            Read::Segment(segment, from) => match segment.load(from) {
                Ok(effects) => {
                    self.slot
                        .partition
                        .lock()
                        .log
                        .advance(self.id, segment.end());
                    (self.loaded, self.first) = (effects.into(), from);
                    self.next_loaded(max_bytes)
                }
                Err(error) => {
                    self.close();
                    Next::Ended(format!("{error}: follow anew"))
                }
            },
        }
    }

    fn next_loaded(&mut self, max_bytes: usize) -> Next {
        let count = prefix(self.loaded.iter(), max_bytes as u64);
        let first = self.first;
        self.first += count as u64;
        let effects = self.loaded.drain(..count).collect();
        Next::Batch(LogBatch { first, effects })
    }

    /// The follower has applied up to `sequence`.
    pub fn acknowledge(&mut self, sequence: u64) {
        self.slot
            .partition
            .lock()
            .log
            .acknowledge(self.id, sequence);
    }

    /// Where the source is now; none when it is no longer primary.
    pub fn source_state(&self) -> Option<SourceState> {
        let held = self.slot.partition.lock();
        (held.role() == Role::Primary).then_some(SourceState {
            sequence: held.sequence,
            fenced: held.state.fence().is_some(),
        })
    }

    fn close(&self) {
        let garbage = {
            let mut held = self.slot.partition.lock();
            held.log.close(self.id);
            held.log.take_garbage()
        };
        drop(garbage);
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.close();
        self.context.readers.fetch_sub(1, Ordering::Relaxed);
    }
}
