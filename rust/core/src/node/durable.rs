//! A node whose changes are written down: it starts with what an earlier life left, and makes checkpoints.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Node;
use super::context::Context;
use super::keyspace_store::KeyspaceStore;
use super::membership::Membership;
use super::refusal::Refusal;
use super::settings::Settings;
use super::slot::{Partition, PartitionSlot};
use crate::disk::{
    CheckpointPart, Description, Disk, DiskError, DiskSettings, Held, Origin, Position, Record,
    Synced,
};
use crate::partition::{Beginning, Load, Rates, State};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::{self, JoinHandle};

/// How often the log is looked at for whether a checkpoint is due.
const CHECKPOINT_CHECK: Duration = Duration::from_millis(200);

/// Pause after a checkpoint that failed, in checks.
const FAILED_PAUSE: u32 = 25;

/// What came of checkpoints.
#[derive(Default)]
pub(super) struct Checkpoints {
    made: AtomicU64,
    failed: AtomicU64,
    failure: Mutex<Option<String>>,
    /// Held while one is made.
    running: Mutex<()>,
    stop: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// A node that writes changes down in `dir` and holds what is there: primaries fenced, until an operator says that
    /// they still are; followers interrupted; proxies as they were.
    ///
    /// # Errors
    /// When the directory is in use, another worker's, or damaged; nothing of it is served then.
    pub fn open(
        name: &str,
        incarnation: &str,
        settings: Settings,
        dir: &Path,
    ) -> Result<Arc<Self>, DiskError> {
        let disk_settings = DiskSettings {
            segment_bytes: settings.log_segment_bytes,
            checkpoint_bytes: settings.checkpoint_bytes,
            by_hand: settings.by_hand,
        };
        let by_hand = settings.by_hand;
        let (disk, held, term) = Disk::open(dir, name, incarnation, disk_settings)?;
        let context = Context::new(name, incarnation, settings, Some(disk), term);
        let node = Arc::new(Self::with_context(context, Membership::open(dir)?));
        let damaged = |refusal: Refusal| DiskError::Damaged {
            dir: dir.into(),
            found: vec![refusal.to_string()],
        };
        held.into_iter()
            .try_for_each(|held| node.resume(held))
            .map_err(damaged)?;
        if by_hand {
            return Ok(node);
        }
        let (weak, checkpoints) = (Arc::downgrade(&node), Arc::clone(&node.checkpoints));
        let thread = thread::Builder::new()
            .name("dstk-checkpoint".into())
            .spawn(move || keep_checkpointing(&weak, &checkpoints))
            .map_err(|error| DiskError::Io {
                path: dir.into(),
                error,
            })?;
        *node.checkpoints.thread.lock() = Some(thread);
        Ok(node)
    }

    fn resume(&self, found: Held) -> Result<(), Refusal> {
        let about = found.about;
        let store = self.keyspace_of(&about.keyspace, about.bounds.key_length())?;
        let disk = self.context.disk_for(true)?;
        let journal = disk.map(|disk| disk.journal(found.id, found.opened, found.position));
        let beginning = Beginning {
            name: about.name,
            bounds: about.bounds,
            state: State::restarted(about.role, &about.peer, &about.address),
            epoch: about.epoch,
            sequence: about.sequence,
        };
        let (name, bounds) = (Arc::clone(&beginning.name), (*beginning.bounds).clone());
        let load = Load::new(0, Rates::default());
        let (log, room) = (self.context.log(), &self.context.room);
        let mut held = Partition::new(beginning, found.tree, log, load, room).journaled(journal);
        held.count();
        let mut holding = store.holding.lock();
        store
            .add(&mut holding, &name, bounds, |_, _| Ok(held))
            .map(drop)
    }

    /// Makes a checkpoint: the log before it is let go. False where nothing is written down.
    ///
    /// # Errors
    /// What the system says; the checkpoint before it stays.
    pub fn checkpoint(&self) -> std::io::Result<bool> {
        let Some(disk) = &self.context.disk else {
            return Ok(false);
        };
        let _one = self.checkpoints.running.lock();
        // No keyspace comes, no action runs and no term is noted meanwhile, so what is listed is of one moment. Rows are
        // written on.
        let adding = self.adding.lock();
        let stores: Vec<Arc<KeyspaceStore>> = self.stores.load().values().cloned().collect();
        let holdings: Vec<_> = stores.iter().map(|store| store.holding.lock()).collect();
        let seen = self.context.term.lock();
        let (now, next_id, term) = (disk.wal.appended(), disk.next_id(), seen.0);
        drop((seen, adding));
        let slots = holdings.iter().flat_map(|holding| holding.names.values());
        let parts = slots.filter_map(saved).collect();
        drop(holdings);
        disk.checkpointer.save(parts, next_id, term, now)?;
        self.checkpoints.made.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Notes the term of an operator that speaks; it is on disk before this returns, whoever said it first.
    ///
    /// # Errors
    /// `Stale` when a later one was heard.
    pub fn see_term(&self, term: u64) -> Result<(), Refusal> {
        let mut seen = self.context.term.lock();
        let (highest, mut position) = *seen;
        if term < highest {
            let text = format!(
                "the operator's term {term} is over; {} has seen term {highest}",
                self.context.name
            );
            return Err(Refusal::Stale(text));
        }
        if term > highest {
            let disk = self.context.disk.as_ref();
            position = disk.map_or(0, |disk| disk.wal.append(&Record::Term { term }));
            *seen = (term, position);
        }
        drop(seen);
        self.context.settle(position)
    }

    /// Highest term of an operator that was heard; 0: none was.
    pub fn term(&self) -> u64 {
        self.context.term.lock().0
    }

    /// Calls `synced` once the log is on disk up to `position`, or never will be; at once where nothing is written
    /// down. See [`Wal::when_durable`](crate::disk::Wal::when_durable).
    pub fn when_durable(&self, position: Position, synced: Synced) {
        match &self.context.disk {
            Some(disk) if position > 0 => disk.wal.when_durable(position, synced),
            _ => synced(Ok(())),
        }
    }

    /// Whether the log is on disk up to `position`.
    pub fn is_durable(&self, position: Position) -> bool {
        match &self.context.disk {
            Some(disk) => disk.wal.durable() >= position,
            None => true,
        }
    }

    /// Which data directory this is, and which lives have used it; none where nothing is written down.
    pub fn origin(&self) -> Option<&Origin> {
        self.context.disk.as_ref().map(|disk| &disk.origin)
    }

    /// Up to where the log is on disk, over all lives of the data directory; 0 where nothing is written down.
    pub fn durable_position(&self) -> Position {
        let disk = self.context.disk.as_ref();
        disk.map_or(0, |disk| disk.wal.durable())
    }

    /// Why the log cannot be written any more, if so: this life of the worker is over.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.context.disk.as_ref()?.wal.failure()
    }

    /// Has on disk what has been appended to a log that is written by hand.
    pub fn flush(&self) {
        if let Some(disk) = &self.context.disk {
            disk.wal.flush();
        }
    }

    /// Ends a node whose log is written by hand as a crash would; what was not flushed is lost.
    pub fn crash(&self, torn: bool) {
        if let Some(disk) = &self.context.disk {
            disk.crash(torn);
        }
    }

    /// Writes what has been appended; the data directory is free when the node is dropped after it. Blocks.
    pub fn close(&self) {
        self.checkpoints.stop.store(true, Ordering::Release);
        if let Some(thread) = self.checkpoints.thread.lock().take() {
            thread.thread().unpark();
            // A panic of its own has been reported where it happened.
            let _ = thread.join();
        }
        if let Some(disk) = &self.context.disk {
            disk.wal.close();
        }
    }

    pub(super) fn disk_counters(&self) -> Vec<(&'static str, u64)> {
        let Some(disk) = &self.context.disk else {
            return Vec::new();
        };
        let (syncs, written, files) = disk.wal.counters();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("wal_syncs_total", syncs),
            ("wal_written_bytes_total", written),
            ("wal_file_bytes", files),
            ("checkpoints_total", load(&self.checkpoints.made)),
            ("checkpoint_failures_total", load(&self.checkpoints.failed)),
        ]
    }

    /// Why the last checkpoint failed, if it did.
    pub fn checkpoint_failure(&self) -> Option<String> {
        self.checkpoints.failure.lock().clone()
    }
}

fn saved(slot: &Arc<PartitionSlot>) -> Option<CheckpointPart> {
    let held = slot.partition.lock();
    let journal = held.journal.as_ref()?;
    let (peer, address) = held.state.peer();
    Some(CheckpointPart {
        id: journal.id,
        about: Description {
            keyspace: Arc::clone(&slot.keyspace),
            name: Arc::clone(&slot.name),
            bounds: Arc::clone(&slot.bounds),
            role: held.role(),
            epoch: held.epoch,
            sequence: held.sequence,
            peer: peer.into(),
            address: address.into(),
        },
        tree: held.tree.clone(),
        opened: journal.opened,
        position: journal.last,
        rows_changed: journal.rows_changed,
        loading: held.is_loading_range(),
    })
}

fn keep_checkpointing(node: &Weak<Node>, checkpoints: &Checkpoints) {
    let mut pause = 0;
    loop {
        thread::park_timeout(CHECKPOINT_CHECK);
        let Some(node) = node
            .upgrade()
            .filter(|_| !checkpoints.stop.load(Ordering::Acquire))
        else {
            return;
        };
        if pause > 0 {
            pause -= 1;
            continue;
        }
        let due = node.context.disk.as_ref();
        if due.is_some_and(|disk| disk.checkpointer.is_due()) {
            let failure = node.checkpoint().err().map(|error| error.to_string());
            if failure.is_some() {
                checkpoints.failed.fetch_add(1, Ordering::Relaxed);
                pause = FAILED_PAUSE;
            }
            *checkpoints.failure.lock() = failure;
        }
    }
}
