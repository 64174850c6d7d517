//! The log of writes that followers read: in memory, then in files of bounded size, then it gives the slowest up.

mod entry;
mod reading;
mod segment;
mod spill;

pub use entry::{Effect, LogBatch};
pub use reading::Wake;
pub(crate) use reading::{Read, ReaderId, prefix};
pub(crate) use segment::Segment;
pub use spill::Spill;

use std::collections::VecDeque;
use std::sync::Arc;

use reading::Reader;

use crate::sync::atomic::{AtomicU64, Ordering};

/// How much a log may keep.
#[derive(Debug, Clone, Default)]
pub struct LogLimits {
    /// Bytes in memory before the oldest entries are spilled, or their readers given up where nothing is spilled.
    pub memory_bytes: u64,
    /// Bytes on disk at most.
    pub spill_bytes: u64,
    /// Where to; none: nowhere.
    pub spill: Option<Arc<Spill>>,
}

/// Entries that are freed under the partition's lock at most: some microseconds.
const FREED_AT_ONCE: usize = 256;

/// The writes of a partition since the slowest of its readers; without readers it keeps nothing.
///
/// Entries are consecutive: sealed segments first (in memory until the spill thread has written them), then the tail.
pub(crate) struct Log {
    limits: Arc<LogLimits>,
    /// Oldest first; the first may begin below what any reader still needs.
    segments: VecDeque<Arc<Segment>>,
    sealed_bytes: u64,
    tail: VecDeque<Effect>,
    /// Sequence of the tail's first entry, or of the next write when the tail is empty.
    tail_first: u64,
    tail_bytes: u64,
    /// Bytes of sealed segments that are still in memory; the spill thread counts them down.
    unwritten: Arc<AtomicU64>,
    readers: Vec<Reader>,
    next_reader: u64,
    garbage: Garbage,
}

/// Entries that nobody needs any more: freed by whoever takes them, without the partition's lock.
#[derive(Default)]
#[must_use = "drop it after the partition's lock"]
pub(crate) struct Garbage {
    segments: Vec<Arc<Segment>>,
    entries: Vec<VecDeque<Effect>>,
}

impl Log {
    pub(crate) fn new(limits: Arc<LogLimits>) -> Self {
        Self {
            limits,
            segments: VecDeque::new(),
            sealed_bytes: 0,
            tail: VecDeque::new(),
            tail_first: 0,
            tail_bytes: 0,
            unwritten: Arc::default(),
            readers: Vec::new(),
            next_reader: 0,
            garbage: Garbage::default(),
        }
    }

    /// What has been let go of since the last call.
    pub(crate) fn take_garbage(&mut self) -> Garbage {
        std::mem::take(&mut self.garbage)
    }

    /// Whether a write has to be appended: somebody reads.
    pub(crate) fn is_read(&self) -> bool {
        self.readers.iter().any(|reader| !reader.has_ended())
    }

    /// Appends the write of `sequence`, which follows the last one.
    pub(crate) fn append(&mut self, sequence: u64, effect: Effect) {
        debug_assert_eq!(
            sequence,
            self.next_sequence(),
            "the log has to be consecutive"
        );
        self.tail_bytes += effect.cost();
        self.tail.push_back(effect);
        self.make_room();
        self.readers.iter_mut().for_each(Reader::wake);
    }

    fn next_sequence(&self) -> u64 {
        self.tail_first + self.tail.len() as u64
    }

    /// Bytes held in memory and on disk.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        (
            self.tail_bytes + unwritten,
            self.sealed_bytes.saturating_sub(unwritten),
        )
    }

    /// Spills what is above the bound of the memory, then gives readers up until the bounds hold.
    fn make_room(&mut self) {
        let limit = self.limits.memory_bytes;
        if self.tail_bytes + self.unwritten.load(Ordering::Relaxed) <= limit {
            return;
        }
        if self.limits.spill.is_some() {
            // A quarter of the memory at a time: files are few, and what a reader loads at once stays small.
            while self.tail_bytes > limit.div_ceil(4) && self.tail.len() > 1 {
                self.seal(limit.div_ceil(4));
            }
        }
        let in_memory = if self.limits.spill.is_some() {
            2 * limit
        } else {
            limit
        };
        loop {
            let (memory, disk) = self.bytes();
            let fits = memory <= in_memory && self.sealed_bytes <= self.limits.spill_bytes;
            if fits || !self.is_read() {
                return;
            }
            self.give_up_slowest(memory, disk);
        }
    }

    fn seal(&mut self, target_bytes: u64) {
        let Some(spill) = &self.limits.spill else {
            return;
        };
        let mut bytes = 0;
        let mut count = 0;
        for effect in &self.tail {
            if count > 0 && bytes + effect.cost() > target_bytes {
                break;
            }
            bytes += effect.cost();
            count += 1;
        }
        let effects: Vec<_> = self.tail.drain(..count).collect();
        self.unwritten.fetch_add(bytes, Ordering::Relaxed);
        let segment = Arc::new(Segment::new(
            self.tail_first,
            effects,
            bytes,
            Arc::clone(&self.unwritten),
        ));
        self.tail_first += count as u64;
        self.tail_bytes -= bytes;
        spill.submit(&segment);
        self.sealed_bytes += bytes;
        self.segments.push_back(segment);
    }

    fn give_up_slowest(&mut self, memory: u64, disk: u64) {
        let because = self.limits.spill.as_ref().and_then(|spill| spill.failure());
        let because =
            because.map_or_else(String::new, |error| format!(" (spilling failed: {error})"));
        let reason = format!(
            "the log took {memory} bytes of memory and {disk} on disk, more than it may ({} and {}){because}: follow anew",
            self.limits.memory_bytes, self.limits.spill_bytes
        );
        if let Some(slowest) = self
            .readers
            .iter_mut()
            .filter(|reader| !reader.has_ended())
            .min_by_key(|reader| reader.position)
        {
            slowest.end(&reason);
        }
        self.trim();
    }

    /// Lets go of what no reader needs any more.
    fn trim(&mut self) {
        let next = self.next_sequence();
        let positions = self
            .readers
            .iter()
            .filter(|reader| !reader.has_ended())
            .map(|reader| reader.position);
        let needed = positions.min().unwrap_or(next).min(next);
        let unneeded = self
            .segments
            .iter()
            .take_while(|segment| segment.end() <= needed)
            .count();
        for segment in self.segments.drain(..unneeded) {
            self.sealed_bytes -= segment.bytes();
            self.garbage.segments.push(segment);
        }
        let gone = needed.saturating_sub(self.tail_first) as usize;
        let gone_bytes: u64 = self.tail.range(..gone).map(Effect::cost).sum();
        self.tail_first += gone as u64;
        self.tail_bytes -= gone_bytes;
        if gone < FREED_AT_ONCE {
            self.tail.drain(..gone);
            return;
        }
        let kept = self.tail.split_off(gone);
        let entries = std::mem::replace(&mut self.tail, kept);
        self.garbage.entries.push(entries);
    }
}

#[cfg(test)]
mod tests;
