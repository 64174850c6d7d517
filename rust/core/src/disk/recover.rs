//! What a data directory holds: the last checkpoint, and the log after it.

use std::collections::HashMap;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use super::checkpoint::{Manifest, read_rows};
use super::error::DiskError;
use super::record::PartitionId;
use super::replay::{Held, Replay};
use super::segment::{Contents, Position, numbers, path};

/// What is in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whose it is; empty before the first checkpoint.
    pub worker: String,
    /// Partitions that it holds.
    pub partitions: usize,
    /// Their rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Files of the log.
    pub log_files: usize,
    /// Bytes of records after the last checkpoint.
    pub log_bytes: u64,
    /// Records after the last checkpoint.
    pub log_records: u64,
    /// Highest operator term.
    pub term: u64,
}

pub(super) struct Recovered {
    pub(super) held: Vec<Held>,
    pub(super) manifest: Manifest,
    pub(super) term: u64,
    pub(super) next_id: PartitionId,
    /// Where the log ends.
    pub(super) end: Position,
    /// The last segment's number.
    pub(super) number: u64,
    pub(super) segments: Segments,
    /// There is no checkpoint yet.
    pub(super) is_new: bool,
    records: u64,
}

/// The segments that are there.
#[derive(Default)]
pub(super) struct Segments {
    /// Those that are needed, oldest first, with the position each begins at.
    pub(super) positions: Vec<(u64, Position)>,
    /// Those that nothing needs any more.
    surplus: Vec<u64>,
    /// Bytes of the last one that are a part of the log.
    used: u64,
}

/// Reads a directory, changing nothing. `worker`: whose it has to be.
pub(super) fn recover(dir: &Path, worker: Option<&str>) -> Result<Recovered, DiskError> {
    let io = |error| DiskError::io(dir, error);
    let damaged = |found: Vec<String>| DiskError::Damaged {
        dir: dir.into(),
        found,
    };
    let read = Manifest::read(dir).map_err(io)?;
    let is_new = read.is_none();
    let manifest = match read {
        None => Manifest::default(),
        Some(manifest) => {
            manifest.map_err(|error| damaged(vec![format!("the checkpoint: {error}")]))?
        }
    };
    if let Some(expected) = worker
        && !manifest.worker.is_empty()
        && manifest.worker != expected
    {
        return Err(DiskError::Foreign {
            dir: dir.into(),
            found: manifest.worker,
            expected: expected.into(),
        });
    }
    let held = load(dir, &manifest).map_err(damaged)?;
    let mut replay = Replay::new(&manifest, held);
    let numbers = numbers(dir).map_err(io)?;
    let mut segments = Segments::default();
    let mut end = manifest.from;
    let mut number = 0;
    for (at, &each) in numbers.iter().enumerate() {
        let tell = |text: String| damaged(vec![format!("{}: {text}", path(dir, each).display())]);
        let next = numbers
            .get(at + 1)
            .map(|next| Contents::read_first(dir, *next))
            .transpose()
            .map_err(io)?
            .flatten();
        number = each;
        if next.is_some_and(|next| next <= manifest.from) {
            segments.surplus.push(each);
            continue;
        }
        let contents = Contents::read(dir, each).map_err(io)?;
        let first = contents
            .first
            .ok_or_else(|| tell("its header is damaged".into()))?;
        if segments.positions.is_empty() && first > manifest.from {
            let from = manifest.from;
            return Err(tell(format!(
                "the log begins at {first} and is needed from {from} on: files are missing"
            )));
        }
        segments.positions.push((each, first));
        let mut blocks = contents.blocks();
        for (position, payload) in blocks.by_ref() {
            replay
                .block(position, payload)
                .map_err(|text| tell(format!("at {position}: {text}")))?;
        }
        end = blocks.next;
        segments.used = blocks.at as u64;
        match next {
            Some(next) if next != end => {
                return Err(tell(format!(
                    "the log breaks off at {end}; the next file begins at {next}: a block is damaged or a file is missing"
                )));
            }
            None if at + 1 < numbers.len() => {
                return Err(tell("the header of the file after it is damaged".into()));
            }
            None if blocks.something_follows() => {
                return Err(tell(format!(
                    "the block at {end} is damaged and others follow it"
                )));
            }
            _ => {}
        }
    }
    if end < manifest.from || (numbers.is_empty() && manifest.from > 0) {
        let from = manifest.from;
        return Err(damaged(vec![format!(
            "the log ends at {end}, before the checkpoint's {from}: files are missing"
        )]));
    }
    let (held, totals) = replay.finish().map_err(|text| damaged(vec![text]))?;
    Ok(Recovered {
        held,
        term: totals.term,
        next_id: totals.next_id,
        end,
        number,
        segments,
        is_new,
        records: totals.records,
        manifest,
    })
}

/// Bytes that are written again at once.
const REWRITE_BYTES: u64 = 1 << 20;

/// Cuts a torn end off, writes the last segment again, and removes what nothing needs.
///
/// After an fsync that failed, pages that never reached the disk may count as clean: they are read from memory, and a
/// later fsync does not write them (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). So
/// what the last segment was read to hold is written and synced before anything of it is told. The segments before it
/// were synced before the log went on.
pub(super) fn cut(dir: &Path, segments: &Segments) -> io::Result<()> {
    for number in &segments.surplus {
        std::fs::remove_file(path(dir, *number))?;
    }
    if let Some((number, _)) = segments.positions.last() {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path(dir, *number))?;
        if file.metadata()?.len() != segments.used {
            file.set_len(segments.used)?;
        }
        let mut bytes = vec![0; segments.used.min(REWRITE_BYTES) as usize];
        for at in (0..segments.used).step_by(REWRITE_BYTES as usize) {
            let part = &mut bytes[..(segments.used - at).min(REWRITE_BYTES) as usize];
            file.read_exact_at(part, at)?;
            file.write_all_at(part, at)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

/// Checks a data directory that no worker uses, changing nothing: every checksum, every count, every record.
///
/// # Errors
/// As for a worker that starts with it.
pub fn check(dir: &Path) -> Result<Report, DiskError> {
    if !dir.join("lock").exists() {
        let error = io::Error::new(io::ErrorKind::NotFound, "no worker's data directory");
        return Err(DiskError::io(dir, error));
    }
    let _lock = super::lock(dir)?;
    let recovered = recover(dir, None)?;
    super::Identity::read(dir)?;
    Ok(Report {
        worker: recovered.manifest.worker,
        partitions: recovered.held.len(),
        rows: recovered.held.iter().map(|held| held.tree.rows()).sum(),
        bytes: recovered.held.iter().map(|held| held.tree.bytes()).sum(),
        log_files: recovered.segments.positions.len(),
        log_bytes: recovered.end - recovered.manifest.from,
        log_records: recovered.records,
        term: recovered.term,
    })
}

/// The partitions of the checkpoint, on all cores; or all that is wrong with them.
fn load(dir: &Path, manifest: &Manifest) -> Result<HashMap<PartitionId, Held>, Vec<String>> {
    let parts: Vec<_> = manifest.parts.iter().collect();
    let next = AtomicUsize::new(0);
    let loaded = Mutex::new((HashMap::new(), Vec::new()));
    let work = || {
        while let Some((id, saved)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tree = read_rows(dir, saved);
            let mut loaded = loaded.lock();
            match tree {
                Err(text) => loaded.1.push(text),
                Ok(tree) => {
                    let at = saved.position;
                    let held = Held::new(**id, saved.about.clone(), tree, at, at);
                    loaded.0.insert(**id, held);
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        (1..threads.min(parts.len())).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let (held, mut wrong) = loaded.into_inner();
    wrong.sort();
    if wrong.is_empty() {
        Ok(held)
    } else {
        Err(wrong)
    }
}
