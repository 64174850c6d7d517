//! Room: what the rows of a node take, counted as they come and go, and what copies on their way were promised.
//!
//! Rows that are here come first, whoever they belong to: a put is refused only when it would take the rows above the
//! limit. A copy is begun only when there is room for all of it beside what other copies were promised, and ends when
//! the rows that are served have taken its room meanwhile.

use std::sync::Arc;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::tree::Summary;

/// What a row takes beside its key and its value: its place in the tree, its version, what the allocator rounds up to.
pub const ROW_BYTES: u64 = 60;

/// What rows with this sum take, in bytes.
pub(crate) fn size(rows: Summary) -> u64 {
    rows.bytes + ROW_BYTES * rows.rows
}

/// What the rows of a node take, and may take.
pub(crate) struct Room {
    worker: Arc<str>,
    /// In bytes; 0: no bound.
    limit: u64,
    used: AtomicU64,
    /// Of what copies were promised, what they have not taken yet.
    promised: AtomicU64,
    /// Whether a put was refused since [`Room::was_short`] was asked last.
    short: AtomicBool,
}

impl Room {
    pub(crate) fn new(worker: &str, limit: u64) -> Arc<Self> {
        Arc::new(Self {
            worker: worker.into(),
            limit,
            used: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            short: AtomicBool::new(false),
        })
    }

    /// In bytes; 0: no bound.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that the rows take, copies included.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that copies are still to take.
    pub(crate) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// Whether not even a small row fits.
    pub(crate) fn is_full(&self) -> bool {
        self.limit > 0 && self.used() + ROW_BYTES >= self.limit
    }

    /// Whether a put has been refused since the last time this was asked.
    pub(crate) fn was_short(&self) -> bool {
        self.short.load(Ordering::Relaxed) && self.short.swap(false, Ordering::Relaxed)
    }

    /// Why no copy may go on, where rows take more than they may.
    pub(crate) fn excess(&self) -> Option<String> {
        let used = self.used();
        (self.limit > 0 && used > self.limit).then(|| {
            let (worker, limit) = (&self.worker, self.limit);
            format!("worker {worker} holds rows of {used} bytes, and its memory_limit_bytes is {limit}: it has no room for this copy")
        })
    }

    /// Why `more` bytes are refused.
    pub(crate) fn refusal(&self, more: u64) -> String {
        let (worker, used, limit) = (&self.worker, self.used(), self.limit);
        format!(
            "worker {worker} holds rows of {used} bytes; {more} more are above its memory_limit_bytes, {limit}: delete some, or try again when it has fewer"
        )
    }
}

/// A partition's part of the room. Dropped, it is given back.
pub(crate) struct Share {
    room: Arc<Room>,
    /// What is counted for it.
    bytes: u64,
    /// What it may come to take, of a copy.
    promise: u64,
}

impl Share {
    pub(crate) fn new(room: &Arc<Room>) -> Self {
        Self {
            room: Arc::clone(room),
            bytes: 0,
            promise: 0,
        }
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts what it takes now.
    pub(crate) fn set(&mut self, bytes: u64) {
        let used = &self.room.used;
        if bytes > self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.note(bytes, self.promise);
    }

    /// Takes `more` bytes, if there is room: they are counted before the row is there, so that no two take the same.
    pub(crate) fn take(&mut self, more: u64) -> bool {
        let limit = self.room.limit;
        if limit == 0 {
            return true;
        }
        let fits = |used: u64| used.checked_add(more).filter(|sum| *sum <= limit);
        let used = &self.room.used;
        if used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_err()
        {
            self.room.short.store(true, Ordering::Relaxed);
            return false;
        }
        self.note(self.bytes + more, self.promise);
        true
    }

    /// Has `bytes` kept free for a copy, those included that it takes already; 0: nothing. Says why it cannot be.
    pub(crate) fn promise(&mut self, bytes: u64) -> Result<(), String> {
        let room = &self.room;
        let (open, before) = (bytes.saturating_sub(self.bytes), self.open());
        let mut refusal = None;
        // In one step, so that two do not promise the same.
        let promise = |promised: u64| {
            let (used, others) = (room.used(), promised.saturating_sub(before));
            let free = room.limit.saturating_sub(used).saturating_sub(others);
            if room.limit > 0 && open > before && open > free {
                let (worker, limit) = (&room.worker, room.limit);
                refusal = Some(format!(
                    "worker {worker} has room for {free} bytes of rows and this copy takes {open}: it holds {used}, copies on their way take {others}, its memory_limit_bytes is {limit}"
                ));
                return None;
            }
            Some(others + open)
        };
        let promised = &room.promised;
        let _ = promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, promise);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        self.promise = bytes;
        Ok(())
    }

    /// Takes `more` bytes of a copy's, of what was promised or, where that does not last, of what is free.
    pub(crate) fn take_copied(&mut self, more: u64) -> Result<(), String> {
        self.grow_promise(self.bytes + more)?;
        if self.take(more) {
            return Ok(());
        }
        Err(self.room.refusal(more))
    }

    /// Has at least `bytes` promised.
    pub(crate) fn grow_promise(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > self.promise {
            self.promise(bytes)?;
        }
        Ok(())
    }

    /// Its rows are no copy any more, or nothing more is to come.
    pub(crate) fn end_promise(&mut self) {
        self.note(self.bytes, 0);
    }

    fn open(&self) -> u64 {
        self.promise.saturating_sub(self.bytes)
    }

    fn note(&mut self, bytes: u64, promise: u64) {
        let before = self.open();
        (self.bytes, self.promise) = (bytes, promise);
        let after = self.open();
        let promised = &self.room.promised;
        if after > before {
            promised.fetch_add(after - before, Ordering::Relaxed);
        } else if after < before {
            promised.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
        self.end_promise();
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_counted_once_and_given_back() {
        let room = Room::new("w", 1000);
        let (mut one, mut other) = (Share::new(&room), Share::new(&room));
        assert!(one.take(600) && !other.take(401) && other.take(400));
        assert!(room.was_short() && !room.was_short());
        one.set(500);
        assert_eq!(room.used(), 900);
        drop(other);
        assert_eq!(room.used(), 500);
    }

    #[test]
    fn a_promise_is_kept_for_one_copy_beside_the_others() {
        let room = Room::new("w", 1000);
        let (mut served, mut one, mut other) =
            (Share::new(&room), Share::new(&room), Share::new(&room));
        assert!(served.take(300));
        one.promise(500).unwrap();
        let refused = other.promise(201).unwrap_err();
        assert!(refused.contains("room for 200 bytes"), "{refused}");
        other.promise(200).unwrap();
        one.take_copied(400).unwrap();
        assert_eq!((room.used(), room.promised()), (700, 300));
        one.take_copied(100).unwrap();
        assert!(one.take_copied(1).unwrap_err().contains("room for 0 bytes"));
        one.end_promise();
        drop(other);
        assert_eq!((room.used(), room.promised()), (800, 0));
    }

    #[test]
    fn rows_that_are_served_take_what_was_promised_to_a_copy() {
        let room = Room::new("w", 1000);
        let (mut served, mut copy) = (Share::new(&room), Share::new(&room));
        copy.promise(500).unwrap();
        assert!(served.take(900));
        copy.take_copied(100).unwrap();
        assert!(copy.take_copied(100).is_err());
    }
}
