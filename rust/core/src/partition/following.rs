//! A partition that takes its rows from a source: first the snapshot, range by range, then the log.

use super::Partition;
use super::room::ROW_BYTES;
use super::state::FollowProgress;
use crate::disk::Record;
use crate::key::{Bounds, readable};
use crate::log::Effect;
use crate::role::Role;
use crate::snapshot::DecodedChunk;
use crate::tree::{Tree, TreeBuilder};

/// What a follower knows of its stream.
pub(crate) struct Following {
    /// Which of the partition's streams: others may not touch it.
    pub(crate) generation: u64,
    pub(crate) source_address: std::sync::Arc<str>,
    pub(crate) source_incarnation: String,
    pub(crate) progress: FollowProgress,
    /// The source's last write, as last heard.
    source_sequence: u64,
    /// Whether it was fenced, as last heard: nothing but what is on its way comes then, and it may be about to commit.
    pub(crate) source_fenced: bool,
    /// The range that is being loaded.
    loading: Option<RangeLoad>,
}

struct RangeLoad {
    bounds: Bounds,
    rows: TreeBuilder,
    /// What the rows take.
    size: u64,
}

impl Following {
    pub(crate) fn new(generation: u64, source: &str, address: &str, incarnation: &str) -> Self {
        Self {
            generation,
            source_address: address.into(),
            source_incarnation: incarnation.into(),
            progress: FollowProgress {
                source: source.into(),
                ..FollowProgress::default()
            },
            source_sequence: 0,
            source_fenced: false,
            loading: None,
        }
    }

    /// What is left of one that an earlier life of the worker had: nothing is received until it is told to follow anew.
    pub(crate) fn interrupted(source: &str, caught_up: bool) -> Self {
        let mut following = Self::new(0, source, "", "");
        following.progress.caught_up = caught_up;
        following.progress.error = "the worker was restarted".into();
        following
    }

    /// What the rows that have come and are not in the tree yet take.
    pub(crate) fn loading_size(&self) -> u64 {
        self.loading.as_ref().map_or(0, |loading| loading.size)
    }

    /// Whether rows have come that are not in the tree yet.
    pub(crate) fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Whether its stream runs and is the one that such a follow would start.
    pub(crate) fn is_from(&self, source: &str, address: &str, incarnation: &str) -> bool {
        self.progress.error.is_empty()
            && self.progress.source == source
            && *self.source_address == *address
            && self.source_incarnation == incarnation
    }
}

/// What a stream may do to a partition that loads or follows. Errors say what does not fit; nothing has changed then,
/// but for rows of the range that was being loaded.
impl Partition {
    fn stream(&mut self) -> Result<&mut Following, String> {
        self.following
            .as_mut()
            .ok_or_else(|| "the partition does not follow".into())
    }

    /// `size`: what all of its rows take.
    pub(crate) fn begin_snapshot(&mut self, bytes_to_send: u64, size: u64) -> Result<(), String> {
        self.finish_range()?;
        let promised = self.share.promise(size);
        self.need_room(promised)?;
        self.role = Role::Loading;
        let following = self.stream()?;
        let progress = &mut following.progress;
        (progress.rows_copied, progress.bytes_copied) = (0, 0);
        progress.bytes_total = bytes_to_send;
        progress.caught_up = false;
        Ok(())
    }

    /// Takes the rows of `bounds` out, to be loaded anew by the chunks that follow. What was there is returned, to be
    /// dropped without a lock.
    pub(crate) fn drop_range(&mut self, bounds: Bounds) -> Result<Tree, String> {
        if self.stream()?.progress.caught_up {
            return Err(format!("range {bounds} came after the end of the snapshot"));
        }
        if let Some(journal) = &self.journal {
            journal.accepts()?;
        }
        self.finish_range()?;
        let key_length = self.tree.key_length();
        let old = self
            .tree
            .replace_range(&bounds.start, bounds.end(), Tree::new(key_length))
            .map_err(|error| error.to_string())?;
        if let Some(journal) = &mut self.journal {
            let id = journal.id;
            journal.load(&Record::DropRange {
                id,
                start: &bounds.start,
                end: bounds.end().unwrap_or_default(),
            });
        }
        let (rows, size) = (TreeBuilder::new(key_length), 0);
        self.stream()?.loading = Some(RangeLoad { bounds, rows, size });
        self.count();
        Ok(old)
    }

    pub(crate) fn install_chunk(&mut self, chunk: &DecodedChunk<'_>) -> Result<(), String> {
        if let Some(journal) = &self.journal {
            journal.accepts()?;
        }
        let following = self.stream()?;
        let Some(loading) = &mut following.loading else {
            return Err("a chunk of rows came before the range that it belongs to".into());
        };
        for key in [chunk.first_key(), chunk.last_key()] {
            if !loading.bounds.contains(key) {
                let (key, bounds) = (readable(key), &loading.bounds);
                return Err(format!(
                    "row {key} came with range {bounds}, where it does not belong"
                ));
            }
        }
        let size = chunk.bytes() + ROW_BYTES * chunk.rows() as u64;
        let taken = self.share.take_copied(size);
        self.need_room(taken)?;
        let following = self.stream()?;
        let Some(loading) = &mut following.loading else {
            return Err("a chunk of rows came before the range that it belongs to".into());
        };
        loading.size += size;
        chunk
            .append_to(&mut loading.rows)
            .map_err(|error| error.to_string())?;
        following.progress.rows_copied += chunk.rows() as u64;
        following.progress.bytes_copied += chunk.bytes();
        if let Some(journal) = &mut self.journal {
            let (id, chunk) = (journal.id, chunk.frame());
            journal.load(&Record::Chunk { id, chunk });
        }
        Ok(())
    }

    /// Puts the rows of the range that was being loaded in their place.
    pub(crate) fn finish_range(&mut self) -> Result<(), String> {
        let Some(RangeLoad { bounds, rows, .. }) = self.stream()?.loading.take() else {
            return Ok(());
        };
        self.tree
            .replace_range(&bounds.start, bounds.end(), rows.finish())
            .map(drop)
            .map_err(|error| error.to_string())?;
        self.count();
        Ok(())
    }

    pub(crate) fn end_snapshot(
        &mut self,
        sequence: u64,
        rows: u64,
        digest: u64,
    ) -> Result<(), String> {
        self.finish_range()?;
        let held = self.tree.total();
        if (held.rows, held.digest) != (rows, digest) {
            return Err(format!(
                "the snapshot came out as {} rows with digest {:016x}; the source sent {rows} with {digest:016x}",
                held.rows, held.digest
            ));
        }
        if let Some(journal) = &mut self.journal {
            let id = journal.id;
            journal.load(&Record::Loaded {
                id,
                sequence,
                digest,
            });
        }
        self.sequence = sequence;
        self.role = Role::Following;
        let following = self.stream()?;
        following.progress.caught_up = true;
        following.source_sequence = following.source_sequence.max(sequence);
        following.progress.lag = following.source_sequence - sequence;
        Ok(())
    }

    /// Applies consecutive writes of the source.
    pub(crate) fn apply_all(
        &mut self,
        first: u64,
        bounds: &Bounds,
        effects: impl IntoIterator<Item = Effect>,
    ) -> Result<(), String> {
        if !self.stream()?.progress.caught_up {
            return Err(format!("write {first} came before the end of the snapshot"));
        }
        if first != self.sequence + 1 {
            return Err(format!(
                "write {first} came after {}: some are missing",
                self.sequence
            ));
        }
        if let Some(journal) = &self.journal {
            journal.accepts()?;
        }
        let key_length = self.tree.key_length();
        for effect in effects {
            if let Effect::Put { key, .. } | Effect::Delete { key } = &effect
                && (key.len() != key_length || !bounds.contains(key))
            {
                let (sequence, key) = (self.sequence + 1, readable(key));
                return Err(format!(
                    "write {sequence} is of key {key}, which is not in {bounds}"
                ));
            }
            self.apply(self.sequence + 1, effect);
        }
        self.count();
        let applied = self.sequence;
        let following = self.stream()?;
        following.source_sequence = following.source_sequence.max(applied);
        following.progress.lag = following.source_sequence - applied;
        if following.source_fenced {
            // It is about to be the owner: nobody else has the writes after the commit.
            return Ok(());
        }
        let within = self.share.room().excess().map_or(Ok(()), Err);
        self.need_room(within)
    }

    pub(crate) fn hear_source(&mut self, sequence: u64, fenced: bool) -> Result<(), String> {
        let applied = self.sequence;
        let following = self.stream()?;
        following.source_sequence = following.source_sequence.max(sequence);
        following.source_fenced = fenced;
        following.progress.lag = following.source_sequence.saturating_sub(applied);
        Ok(())
    }

    /// Notes that it is for want of room that the stream ends.
    fn need_room(&mut self, room: Result<(), String>) -> Result<(), String> {
        if room.is_err() {
            self.stream()?.progress.no_room = true;
        }
        room
    }

    /// Ends a copy for want of room: what had come of its snapshot is let go, and returned to be dropped without a lock.
    /// One that is complete stays until the operator has it dropped, which may be about to commit to it.
    pub(crate) fn yield_room(&mut self, bounds: &Bounds, why: &str) -> Option<Tree> {
        let complete = self.following.as_ref()?.progress.caught_up;
        let rows = (!complete)
            .then(|| self.drop_range(bounds.clone()).ok())
            .flatten();
        let following = self.following.as_mut()?;
        following.loading = None;
        following.progress.no_room = true;
        following.progress.error.clear();
        self.stream_failed(why);
        self.share.end_promise();
        self.count();
        rows
    }

    /// The stream has ended. What it loaded stays: the next one sends only what differs.
    pub(crate) fn stream_failed(&mut self, error: &str) {
        let finished = self.finish_range();
        self.count();
        if let Some(following) = &mut self.following
            && following.progress.error.is_empty()
        {
            following.progress.error = match finished {
                Ok(()) => error.into(),
                Err(also) => format!("{error}; {also}"),
            };
        }
    }
}
