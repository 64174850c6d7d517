//! The write-ahead log: whoever changes something appends records and goes on; a thread writes what has gathered as one
//! block, makes it last with one fsync, and tells those who wait for it.
//!
//! Appending never waits for the disk. Files are made ahead, full of zeros: an fsync then changes no metadata and takes
//! half the time (0.10 instead of 0.20 ms where this was measured), and what was accepted always has its place: a full
//! disk is met before a write is applied, not after.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use files::{prepare_all, prepare_next, spares};

use super::record::Record;
use super::segment::{self, BLOCK_HEADER_BYTES, Position, Segment};
use crate::faults::{Point, reach};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex};

/// A block is closed once it has so many bytes: what waits in memory is then in pieces that are freed as they are written.
const BLOCK_BYTES: usize = 4 << 20;

/// A MiB; the model checker makes new files for every order of threads that it tries: they are a thousandth then.
const MIB: u64 = if cfg!(feature = "shuttle") {
    1 << 10
} else {
    1 << 20
};

/// Room that client writes leave for the changes of the partition table, in bytes.
const RESERVE_BYTES: i64 = 8 * MIB as i64;

/// A log that is written by hand may have files of this size, in bytes, of which a quarter is left for such changes.
const MIN_BY_HAND_BYTES: u64 = 64 << 10;

/// The smallest file of the log, in bytes.
pub(crate) const MIN_SEGMENT_BYTES: u64 = 16 * MIB;

/// Told whether something is on disk; when not, why.
pub type Synced = Box<dyn FnOnce(Result<(), Arc<str>>) + Send>;

/// Where a log goes on.
pub(super) struct Begin {
    /// Size of a file, in bytes.
    pub(super) capacity: u64,
    /// Of the last file.
    pub(super) number: u64,
    pub(super) position: Position,
    /// The files that are there, with the position that each begins at.
    pub(super) segments: Vec<(u64, Position)>,
    /// Another number in each life.
    pub(super) salt: u64,
    /// Without threads: whoever waits for something to be on disk writes it, and so does [`Wal::flush`].
    pub(super) by_hand: bool,
}

/// The log of one data directory.
pub struct Wal {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Of a log that is written by hand.
    writer: Mutex<Option<Writer>>,
}

struct Shared {
    dir: PathBuf,
    capacity: u64,
    reserve: i64,
    salt: u64,
    queue: Mutex<Queue>,
    work: Condvar,
    durable: AtomicU64,
    waiting: Mutex<VecDeque<(Position, Synced)>>,
    synced: Condvar,
    /// Bytes that are certain to find their place.
    room: AtomicI64,
    files: Mutex<Files>,
    files_changed: Condvar,
    failure: Mutex<Option<Arc<str>>>,
    failed: AtomicBool,
    syncs: AtomicU64,
    written: AtomicU64,
    segments: Mutex<VecDeque<(u64, Position)>>,
}

/// Files that are in nobody's use.
#[derive(Default)]
struct Files {
    /// The next one for the writer.
    ready: Option<PathBuf>,
    /// Segments that may be used again.
    free: Vec<PathBuf>,
    /// Number of the next file that is made ahead: no two ever have the same name.
    next: u64,
    /// Why none could be made.
    shortage: Option<String>,
    /// The log is being closed: nobody waits for room any more.
    last: bool,
    closing: bool,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Vec<u8>>,
    appended: Position,
    closed: bool,
}

impl Wal {
    /// Goes on where `begin` says. Where there is no room for a file, it starts all the same, and takes no writes before
    /// there is.
    pub(super) fn start(dir: &Path, begin: Begin) -> io::Result<Self> {
        let spares = spares(dir)?;
        let smallest = match begin.by_hand {
            true => MIN_BY_HAND_BYTES,
            false => MIN_SEGMENT_BYTES,
        };
        let capacity = begin.capacity.max(smallest);
        let shared = Arc::new(Shared {
            dir: dir.into(),
            capacity,
            reserve: RESERVE_BYTES.min(capacity as i64 / 4),
            salt: begin.salt,
            queue: Mutex::new(Queue {
                appended: begin.position,
                ..Queue::default()
            }),
            work: Condvar::new(),
            durable: AtomicU64::new(begin.position),
            waiting: Mutex::default(),
            synced: Condvar::new(),
            room: AtomicI64::new(0),
            files: Mutex::new(Files {
                next: spares
                    .iter()
                    .map(|(number, _)| number + 1)
                    .max()
                    .unwrap_or(0),
                free: spares.into_iter().map(|(_, path)| path).collect(),
                ..Files::default()
            }),
            files_changed: Condvar::new(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            written: AtomicU64::new(0),
            segments: Mutex::new(begin.segments.into()),
        });
        if begin.by_hand {
            prepare_next(&shared);
            let writer = Writer::new(Arc::clone(&shared), begin.number);
            return Ok(Self {
                shared,
                threads: Mutex::default(),
                writer: Mutex::new(Some(writer)),
            });
        }
        let (preparing, writing) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::Builder::new()
                .name("dstk-log-files".into())
                .spawn(move || prepare_all(&preparing))?,
            thread::Builder::new()
                .name("dstk-log".into())
                .spawn(move || Writer::new(writing, begin.number).run())?,
        ];
        let mut files = shared.files.lock();
        while files.ready.is_none() && files.shortage.is_none() {
            shared.files_changed.wait(&mut files);
        }
        drop(files);
        Ok(Self {
            shared,
            threads: Mutex::new(threads),
            writer: Mutex::default(),
        })
    }

    /// Writes what was appended, of a log that is written by hand; else its thread does.
    pub fn flush(&self) {
        let mut writer = self.writer.lock();
        let Some(writing) = writer.as_mut() else {
            return;
        };
        loop {
            let Some(mut block) = self.shared.queue.lock().blocks.pop_front() else {
                return;
            };
            if self.shared.files.lock().ready.is_none() {
                prepare_next(&self.shared);
            }
            if let Err(error) = writing.write(&mut block) {
                let text = format!("{}: {error}", self.shared.dir.display());
                *writer = None;
                return self.shared.fail(&text);
            }
        }
    }

    /// Ends a log that is written by hand as a crash would: what was not written never is, or half of its first block.
    pub fn crash(&self, torn: bool) {
        let writer = self.writer.lock().take();
        let block = self.shared.queue.lock().blocks.pop_front();
        if let (true, Some(mut writer), Some(mut block)) = (torn, writer, block) {
            writer.tear(&mut block);
        }
        self.shared.queue.lock().blocks.clear();
        self.shared.fail("the process was killed");
    }

    /// Appends records; the position after them. They are on disk once [`durable`](Self::durable) is there. Never
    /// waits for the disk.
    pub(crate) fn append(&self, record: &Record<'_>) -> Position {
        self.append_with(|block| record.encode(block))
    }

    fn append_with(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Position {
        let shared = &self.shared;
        let mut queue = shared.queue.lock();
        let idle = queue.blocks.is_empty();
        let mut overhead = 0;
        if queue
            .blocks
            .back()
            .is_none_or(|block| block.len() >= BLOCK_BYTES)
        {
            queue.blocks.push_back(vec![0; BLOCK_HEADER_BYTES]);
            overhead = BLOCK_HEADER_BYTES + 8;
        }
        let Some(block) = queue.blocks.back_mut() else {
            unreachable!("there is a block: it was made above where there was none");
        };
        let before = block.len();
        encode(block);
        let bytes = block.len() - before;
        queue.appended += bytes as u64;
        let position = queue.appended;
        drop(queue);
        shared
            .room
            .fetch_sub((bytes + overhead) as i64, Ordering::Relaxed);
        if idle {
            shared.work.notify_one();
        }
        position
    }

    /// The position after all records so far.
    pub(crate) fn appended(&self) -> Position {
        self.shared.queue.lock().appended
    }

    /// Up to where the log is on disk.
    pub fn durable(&self) -> Position {
        self.shared.durable.load(Ordering::Acquire)
    }

    /// Whether a write may be appended; why not. Nothing is applied then, and it may be tried again.
    pub(crate) fn accepts(&self) -> Result<(), String> {
        let shared = &self.shared;
        if shared.room.load(Ordering::Relaxed) > shared.reserve
            && !shared.failed.load(Ordering::Relaxed)
        {
            return Ok(());
        }
        Err(self.refusal())
    }

    #[cold]
    fn refusal(&self) -> String {
        let shared = &self.shared;
        if let Some(failure) = &*shared.failure.lock() {
            return format!("the log cannot be written any more: {failure}");
        }
        let dir = shared.dir.display();
        match &shared.files.lock().shortage {
            Some(shortage) => {
                format!("no room for the log in {dir}: {shortage}: make room; nothing was written")
            }
            None => format!("the disk under {dir} is slower than the writers: try again"),
        }
    }

    /// Calls `synced` once everything before `position` is on disk, or at once when it is, or when it never will be. It
    /// must neither block nor append.
    pub fn when_durable(&self, position: Position, synced: Synced) {
        let shared = &self.shared;
        if self.durable() < position {
            let mut waiting = shared.waiting.lock();
            if self.durable() < position && !shared.failed.load(Ordering::Acquire) {
                waiting.push_back((position, synced));
                return;
            }
        }
        synced(self.outcome(position));
    }

    fn outcome(&self, position: Position) -> Result<(), Arc<str>> {
        if self.durable() >= position {
            return Ok(());
        }
        let failure = self.shared.failure.lock().clone();
        Err(failure.unwrap_or_else(|| "the log was closed".into()))
    }

    /// Blocks until everything before `position` is on disk.
    ///
    /// # Errors
    /// Why it never will be.
    pub fn wait(&self, position: Position) -> Result<(), Arc<str>> {
        let shared = &self.shared;
        self.flush();
        if self.durable() < position {
            let mut waiting = shared.waiting.lock();
            while self.durable() < position && !shared.failed.load(Ordering::Acquire) {
                shared.synced.wait(&mut waiting);
            }
        }
        self.outcome(position)
    }

    /// Why the log cannot be written any more, if so. Only a new start helps then.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.shared.failure.lock().clone()
    }

    /// Nothing is written any more, as when the log's own files fail: only a new start finds out what is on disk.
    pub(crate) fn fail(&self, reason: &str) {
        self.shared.fail(reason);
    }

    /// Whether there is no room for another file of the log.
    pub(super) fn is_short(&self) -> bool {
        self.shared.files.lock().shortage.is_some()
    }

    /// Lets go of the segments that hold nothing after `position`.
    pub(super) fn trim(&self, position: Position) {
        let shared = &self.shared;
        let mut segments = shared.segments.lock();
        let mut files = shared.files.lock();
        while segments.len() > 1 && segments[1].1 <= position {
            if let Some((number, _)) = segments.pop_front() {
                files.free.push(segment::path(&shared.dir, number));
            }
        }
        drop(files);
        shared.files_changed.notify_all();
    }

    /// Fsyncs so far, bytes written with them, and bytes of the files that the log keeps.
    pub fn counters(&self) -> (u64, u64, u64) {
        let shared = &self.shared;
        let files = shared.segments.lock().len() as u64;
        (
            shared.syncs.load(Ordering::Relaxed),
            shared.written.load(Ordering::Relaxed),
            files * shared.capacity,
        )
    }

    /// Writes what was appended and ends the threads. Blocks.
    pub fn close(&self) {
        self.flush();
        self.shared.queue.lock().closed = true;
        self.shared.files.lock().last = true;
        self.shared.work.notify_all();
        self.shared.files_changed.notify_all();
        for thread in self.threads.lock().drain(..) {
            // A panic of theirs has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn advance(&self, position: Position) {
        let mut waiting = self.waiting.lock();
        self.durable.store(position, Ordering::Release);
        let mut ready = Vec::new();
        // About in order: one that stands behind a later one waits for that one's fsync.
        while waiting.front().is_some_and(|(at, _)| *at <= position) {
            ready.extend(waiting.pop_front());
        }
        drop(waiting);
        self.synced.notify_all();
        ready.into_iter().for_each(|(_, synced)| synced(Ok(())));
    }

    fn fail(&self, reason: &str) {
        let reason = Arc::clone(self.failure.lock().get_or_insert_with(|| reason.into()));
        self.files.lock().closing = true;
        self.files_changed.notify_all();
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.failed.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        self.synced.notify_all();
        for (_, synced) in waiting {
            synced(Err(Arc::clone(&reason)));
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// None before the first block.
    current: Option<Segment>,
    number: u64,
    /// Position of the next block.
    next: Position,
}

impl Writer {
    fn new(shared: Arc<Shared>, number: u64) -> Self {
        let next = shared.durable.load(Ordering::Relaxed);
        Self {
            shared,
            current: None,
            number,
            next,
        }
    }

    fn run(mut self) {
        loop {
            let mut queue = self.shared.queue.lock();
            while queue.blocks.is_empty() && !queue.closed {
                self.shared.work.wait(&mut queue);
            }
            let Some(mut block) = queue.blocks.pop_front() else {
                drop(queue);
                return self.shared.fail("the log was closed");
            };
            drop(queue);
            // What the kernel did with pages that it could not write is not known: only a new start finds out.
            if let Err(error) = self.write(&mut block) {
                let text = format!("{}: {error}", self.shared.dir.display());
                return self.shared.fail(&text);
            }
        }
    }

    /// One block, on disk before the next is begun: so only the last one can be torn.
    fn write(&mut self, block: &mut [u8]) -> io::Result<()> {
        if self.shared.failed.load(Ordering::Acquire) {
            return Err(io::Error::other("the log has failed"));
        }
        reach(Point::BeforeLogWrite, "")?;
        let mut current = match self.current.take() {
            Some(current) if current.fits(block.len()) => current,
            full => self.roll(full)?,
        };
        current.write(block, self.next)?;
        reach(Point::AfterLogWrite, "")?;
        current.sync()?;
        reach(Point::AfterLogSync, "")?;
        self.current = Some(current);
        self.next += (block.len() - BLOCK_HEADER_BYTES) as u64;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        self.shared
            .written
            .fetch_add(block.len() as u64, Ordering::Relaxed);
        self.shared.advance(self.next);
        Ok(())
    }

    /// Half of a block, which nobody will take for a whole one.
    fn tear(&mut self, block: &mut [u8]) {
        if let Some(current) = self.current.as_mut().filter(|it| it.fits(block.len())) {
            // That it fails, too, is one more way to crash.
            let _ = current.tear(block, self.next);
        }
    }

    /// The next file, once there is one.
    fn roll(&mut self, full: Option<Segment>) -> io::Result<Segment> {
        let left = full.map_or(0, |full| full.left() as i64);
        let shared = &self.shared;
        let prepared = {
            let mut files = shared.files.lock();
            loop {
                if let Some(ready) = files.ready.take() {
                    break ready;
                }
                if files.closing {
                    return Err(io::Error::other("the log has failed"));
                }
                if let Some(shortage) = files.shortage.as_ref().filter(|_| files.last) {
                    return Err(io::Error::other(shortage.clone()));
                }
                shared.files_changed.wait(&mut files);
            }
        };
        self.number += 1;
        let (dir, capacity, salt) = (&shared.dir, shared.capacity, shared.salt);
        reach(Point::BeforeLogFile, "")?;
        let next = Segment::begin(dir, &prepared, self.number, self.next, capacity, salt)?;
        reach(Point::AfterLogFile, "")?;
        // Only now: before, the file is nobody else's.
        shared.files_changed.notify_all();
        shared.room.fetch_sub(left, Ordering::Relaxed);
        shared.segments.lock().push_back((self.number, self.next));
        Ok(next)
    }
}

mod files;
#[cfg(test)]
mod tests;
