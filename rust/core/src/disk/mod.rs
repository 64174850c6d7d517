//! Durability: what a worker holds survives its death. A [write-ahead log](Wal) takes every change, a checkpoint now and
//! then takes its place, and [recovery](recover) puts the two together again.

mod checkpoint;
pub(crate) mod cluster;
mod description;
mod error;
mod identity;
mod journal;
mod record;
mod recover;
mod replay;
#[doc(hidden)]
pub mod scratch;
mod segment;
mod wal;

pub(crate) use checkpoint::{CheckpointPart, Checkpointer};
pub(crate) use description::Description;
pub use error::DiskError;
pub use identity::Origin;
pub(crate) use journal::Journal;
pub(crate) use record::{PartitionId, Record};
pub use recover::{Report, check};
pub(crate) use replay::Held;
pub use segment::Position;
pub(crate) use wal::MIN_SEGMENT_BYTES;
pub use wal::{Synced, Wal};

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use checkpoint::Manifest;
use identity::Identity;
use recover::Recovered;
use wal::Begin;
use xxhash_rust::xxh3::xxh3_64;

use crate::faults::{Point, reach};
use crate::sync::atomic::{AtomicU64, Ordering};

/// A worker's data directory, open.
pub(crate) struct Disk {
    pub(crate) wal: Arc<Wal>,
    pub(crate) checkpointer: Checkpointer,
    /// Which directory it is.
    pub(crate) origin: Origin,
    next_id: AtomicU64,
    /// Keeps other processes out for as long as it is open.
    lock: File,
}

/// What a data directory may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskSettings {
    /// Size of one of the log's files, in bytes.
    pub(crate) segment_bytes: u64,
    /// A checkpoint is due after so many bytes of log, in bytes.
    pub(crate) checkpoint_bytes: u64,
    /// Without threads of its own; see [`Wal::flush`].
    pub(crate) by_hand: bool,
}

impl Disk {
    /// Opens the directory of `worker`, made if it is not there, and gives what it holds. `life` is another one each time.
    ///
    /// # Errors
    /// `Busy`, `Foreign`, `Damaged`, or what the system says.
    pub(crate) fn open(
        dir: &Path,
        worker: &str,
        life: &str,
        settings: DiskSettings,
    ) -> Result<(Self, Vec<Held>, u64), DiskError> {
        let io = |error| DiskError::io(dir, error);
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = lock(dir)?;
        let Recovered {
            held,
            manifest,
            term,
            next_id,
            end,
            number,
            segments,
            is_new,
            ..
        } = recover::recover(dir, Some(worker))?;
        let manifest = match is_new {
            false => manifest,
            // From the first day on the directory says whose it is.
            true => {
                let manifest = Manifest::of(worker);
                manifest.begin(dir).map_err(io)?;
                manifest
            }
        };
        // An earlier life may have renamed the manifest and not synced that: it must not be taken back once what only the
        // one before it needs is gone.
        segment::sync_dir(dir).map_err(io)?;
        recover::cut(dir, &segments).map_err(io)?;
        checkpoint::remove_all_but(dir, &manifest);
        let origin = Identity::begin(dir, life, end)?;
        reach(Point::AfterRecovery, "").map_err(io)?;
        let begin = Begin {
            capacity: settings.segment_bytes,
            number,
            position: end,
            segments: segments.positions,
            salt: xxh3_64(life.as_bytes()),
            by_hand: settings.by_hand,
        };
        let wal = Arc::new(Wal::start(dir, begin).map_err(io)?);
        let checkpointer = Checkpointer::new(
            dir,
            worker,
            Arc::clone(&wal),
            settings.checkpoint_bytes,
            manifest,
        );
        let disk = Self {
            wal,
            checkpointer,
            origin,
            next_id: AtomicU64::new(next_id),
            lock,
        };
        Ok((disk, held, term))
    }

    /// Ends it as a crash would, so that another life may open the directory, whoever still holds this one.
    pub(crate) fn crash(&self, torn: bool) {
        self.wal.crash(torn);
        // A lock that cannot be given back is refused to the next life, which says so.
        let _ = self.lock.unlock();
    }

    /// An id that no partition of this directory ever had.
    pub(crate) fn id(&self) -> PartitionId {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The next id that will be given out.
    pub(crate) fn next_id(&self) -> PartitionId {
        self.next_id.load(Ordering::Relaxed)
    }

    /// A journal for a partition of that id, which is as it is on disk.
    pub(crate) fn journal(
        self: &Arc<Self>,
        id: PartitionId,
        opened: Position,
        position: Position,
    ) -> Journal {
        let mut journal = Journal::new(Arc::clone(self), id, position);
        journal.opened = opened;
        journal
    }
}

fn lock(dir: &Path) -> Result<File, DiskError> {
    let path: PathBuf = dir.join("lock");
    let io = |error| DiskError::io(&path, error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::Busy(dir.into())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}
