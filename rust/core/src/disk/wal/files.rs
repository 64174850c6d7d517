//! Files of the log that are made ahead, full of zeros.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Shared;
use crate::disk::segment;
use crate::faults::{Point, reach};
use crate::sync::atomic::Ordering;

/// How often making a file ahead is tried again when the disk is full.
const RETRY: Duration = Duration::from_millis(500);

/// What files that are made ahead are called, before their number.
const SPARE: &str = "spare-";

/// Keeps a file ready for the writer, until that has ended.
pub(super) fn prepare_all(shared: &Shared) {
    loop {
        {
            let mut files = shared.files.lock();
            while files.ready.is_some() && !files.closing {
                // One file is ready: whatever else is free is in nobody's way once it is gone.
                for surplus in files.free.drain(..) {
                    let _ = fs::remove_file(surplus);
                }
                shared.files_changed.wait(&mut files);
            }
            if files.closing {
                return;
            }
        }
        if !prepare_next(shared) {
            let mut files = shared.files.lock();
            if files.free.is_empty() && !files.closing {
                shared.files_changed.wait_for(&mut files, RETRY);
            }
        }
    }
}

/// Makes the next file ready; whether that was possible.
pub(super) fn prepare_next(shared: &Shared) -> bool {
    let (free, number) = {
        let mut files = shared.files.lock();
        files.next += 1;
        (files.free.pop(), files.next - 1)
    };
    let prepared = prepare(shared, number, free);
    let mut files = shared.files.lock();
    let made = prepared.is_ok();
    match prepared {
        Ok(path) => {
            (files.ready, files.shortage) = (Some(path), None);
            shared
                .room
                .fetch_add(shared.capacity as i64, Ordering::Relaxed);
        }
        Err(error) => files.shortage = Some(error.to_string()),
    }
    shared.files_changed.notify_all();
    made
}

/// A file of the log's size that is on disk: a free one, or a new one.
fn prepare(shared: &Shared, number: u64, free: Option<PathBuf>) -> io::Result<PathBuf> {
    let path = shared.dir.join(format!("{SPARE}{number}"));
    let result = reuse(shared, free, &path).and_then(|()| fill(&path, shared.capacity));
    if result.is_err() {
        // Half a file helps nobody, and its room may.
        let _ = fs::remove_file(&path);
    }
    result.map(|()| path)
}

fn reuse(shared: &Shared, free: Option<PathBuf>, path: &Path) -> io::Result<()> {
    let Some(free) = free else {
        return Ok(());
    };
    fs::rename(free, path)?;
    reach(Point::AfterSpareRename, "")?;
    // Before it is written over: it must not be found under its old name.
    segment::sync_dir(&shared.dir)
}

/// Files that an earlier life made ahead, with their numbers.
pub(super) fn spares(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut spares = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(SPARE))
            .and_then(|number| number.parse().ok());
        spares.extend(number.map(|number| (number, entry.path())));
    }
    Ok(spares)
}

fn fill(path: &Path, capacity: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .truncate(false)
        .open(path)?;
    let mut length = file.metadata()?.len();
    if length > capacity {
        file.set_len(capacity)?;
    }
    let zeros = vec![0; 1 << 20];
    while length < capacity {
        let bytes = (capacity - length).min(zeros.len() as u64);
        file.write_all(&zeros[..bytes as usize])?;
        length += bytes;
    }
    reach(Point::AfterSpareFill, "")?;
    File::sync_all(&file)
}
