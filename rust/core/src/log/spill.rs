//! The thread that writes sealed segments to disk, so that no writer waits for it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::Segment;
use crate::sync::mpsc::{Receiver, Sender, channel};
use crate::sync::{Mutex, thread};

/// Writes segments of any number of logs into files of one directory. Its thread starts with the first segment and
/// ends when the spill is dropped.
#[derive(Debug)]
pub struct Spill {
    dir: PathBuf,
    thread: Mutex<Option<Sender<Weak<Segment>>>>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Spill {
    /// Spills into `dir`, which is made when it is first needed.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            thread: Mutex::default(),
            failure: Arc::default(),
        }
    }

    /// Why the last write failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// The queue needs no bound of its own: it holds no segment alive, and every log bounds its own segments.
    pub(super) fn submit(&self, segment: &Arc<Segment>) {
        let mut thread = self.thread.lock();
        let queue = match &mut *thread {
            Some(queue) => queue,
            none => match start(self.dir.clone(), Arc::clone(&self.failure)) {
                Ok(queue) => none.insert(queue),
                Err(error) => {
                    *self.failure.lock() = Some(error.to_string());
                    return;
                }
            },
        };
        // The thread outlives the sender; were it gone, the segment would stay in memory, which is bounded as well.
        let _ = queue.send(Arc::downgrade(segment));
    }
}

fn start(dir: PathBuf, failure: Arc<Mutex<Option<String>>>) -> io::Result<Sender<Weak<Segment>>> {
    let (sender, receiver) = channel();
    thread::Builder::new()
        .name("dstk-spill".into())
        .spawn(move || write_all(&dir, &receiver, &failure))?;
    Ok(sender)
}

fn write_all(dir: &Path, queue: &Receiver<Weak<Segment>>, failure: &Mutex<Option<String>>) {
    while let Ok(segment) = queue.recv() {
        let Some(segment) = segment.upgrade() else {
            continue;
        };
        let result = segment.write(|| create(dir));
        *failure.lock() = result
            .err()
            .map(|error| format!("{}: {error}", dir.display()));
    }
}

/// A file that has no name any more: the space is free again when it is closed, even by a crash.
fn create(dir: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    fs::create_dir_all(dir)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("dstk-spill-{}-{number}", process::id()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
