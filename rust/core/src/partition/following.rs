//! A partition that takes its rows from a source: first the snapshot, range by range, then the log.

use super::Partition;
use super::changes::{Changes, Entry};
use super::command::Command;
use super::journal::Journal;
use super::refused::Refused;
use super::room::ROW_BYTES;
use super::state::State;
use super::storage::Storage;
use super::stream::{RangeLoad, Stream};
use crate::key::{Bounds, readable};
use crate::log::Effect;
use crate::snapshot::DecodedChunk;

/// What a stream may do to the rows. Errors say what does not fit; nothing has changed then, but for rows of the range
/// that was being loaded.
impl<S: Storage, J: Journal> Partition<S, J> {
    fn stream(&mut self) -> Result<&mut Stream, String> {
        self.state
            .stream_mut()
            .ok_or_else(|| "the partition does not follow".into())
    }

    /// What the rows that have come and are not in the tree yet take.
    pub(super) fn loading_size(&self) -> u64 {
        match &self.state {
            State::Loading {
                range: Some(range), ..
            } => range.size,
            _ => 0,
        }
    }

    /// Whether rows have come that are not in the tree yet.
    pub(crate) fn is_loading_range(&self) -> bool {
        matches!(self.state, State::Loading { range: Some(_), .. })
    }

    /// Takes the rows of `bounds` out, to be loaded anew by the chunks that follow. What was there is returned, to be
    /// dropped without a lock.
    pub(crate) fn drop_range(&mut self, bounds: Bounds) -> Result<S, String> {
        self.stream()?;
        if matches!(self.state, State::Following { .. }) {
            return Err(format!("range {bounds} came after the end of the snapshot"));
        }
        if let Some(journal) = &self.journal {
            journal.accepts()?;
        }
        self.finish_range()?;
        let key_length = self.tree.key_length();
        let old = self
            .tree
            .replace_range(&bounds.start, bounds.end(), S::empty(key_length))?;
        if let Some(journal) = &mut self.journal {
            journal.drop_range(&bounds);
        }
        if let State::Loading { range, .. } = &mut self.state {
            let (rows, size) = (S::loader(key_length), 0);
            *range = Some(RangeLoad { bounds, rows, size });
        }
        self.count();
        Ok(old)
    }

    pub(crate) fn install_chunk(&mut self, chunk: &DecodedChunk<'_>) -> Result<(), String> {
        if let Some(journal) = &self.journal {
            journal.accepts()?;
        }
        self.stream()?;
        let State::Loading {
            stream,
            range: Some(loading),
        } = &mut self.state
        else {
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
        if let Err(refusal) = self.share.take_copied(size) {
            stream.progress.no_room = true;
            return Err(refusal);
        }
        loading.size += size;
        S::load(&mut loading.rows, chunk)?;
        stream.progress.rows_copied += chunk.rows() as u64;
        stream.progress.bytes_copied += chunk.bytes();
        if let Some(journal) = &mut self.journal {
            journal.chunk(chunk.frame());
        }
        Ok(())
    }

    /// Puts the rows of the range that was being loaded in their place.
    pub(super) fn finish_range(&mut self) -> Result<(), String> {
        let State::Loading { range, .. } = &mut self.state else {
            return Ok(());
        };
        let Some(RangeLoad { bounds, rows, .. }) = range.take() else {
            return Ok(());
        };
        self.tree
            .replace_range(&bounds.start, bounds.end(), S::loaded(rows))
            .map(drop)?;
        self.count();
        Ok(())
    }

    /// Applies consecutive writes of the source.
    pub(crate) fn apply_all(
        &mut self,
        first: u64,
        effects: impl IntoIterator<Item = Effect>,
    ) -> Result<(), String> {
        // What a stream says does not depend on the time.
        self.apply(Command::Entries { first }, 0)
            .map_err(Refused::into_text)?;
        if let Some(journal) = &self.journal {
            journal.accepts()?;
        }
        let key_length = self.tree.key_length();
        for effect in effects {
            if let Effect::Put { key, .. } | Effect::Delete { key } = &effect
                && (key.len() != key_length || !self.bounds.contains(key))
            {
                let (sequence, key) = (self.sequence + 1, readable(key));
                return Err(format!(
                    "write {sequence} is of key {key}, which is not in {}",
                    self.bounds
                ));
            }
            self.apply_effect(self.sequence + 1, effect);
        }
        self.count();
        let (applied, excess) = (self.sequence, self.share.room().excess());
        let stream = self.stream()?;
        stream.hear(applied, applied);
        if stream.source_fenced {
            // It is about to be the owner: nobody else has the writes after the commit.
            return Ok(());
        }
        excess.map_or(Ok(()), |excess| {
            stream.progress.no_room = true;
            Err(excess)
        })
    }
}

/// What a stream says.
impl<S: Storage, J: Journal> Partition<S, J> {
    /// `size`: what all of its rows take.
    pub(super) fn begin_snapshot(
        &mut self,
        bytes_to_send: u64,
        size: u64,
    ) -> Result<Changes<S>, Refused> {
        self.stream().map_err(Refused::Unfit)?;
        self.finish_range().map_err(Refused::Unfit)?;
        let promised = self.share.promise(size);
        let progress = &mut self.stream().map_err(Refused::Unfit)?.progress;
        progress.no_room |= promised.is_err();
        promised.map_err(Refused::Limit)?;
        (progress.rows_copied, progress.bytes_copied) = (0, 0);
        progress.bytes_total = bytes_to_send;
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Following { stream } => State::loading(stream),
            state => state,
        };
        Ok(Changes::default())
    }

    pub(super) fn end_snapshot(
        &mut self,
        sequence: u64,
        rows: u64,
        digest: u64,
    ) -> Result<Changes<S>, Refused> {
        self.stream().map_err(Refused::Unfit)?;
        self.finish_range().map_err(Refused::Unfit)?;
        let held = self.tree.total();
        if (held.rows, held.digest) != (rows, digest) {
            return Err(Refused::Unfit(format!(
                "the snapshot came out as {} rows with digest {:016x}; the source sent {rows} with {digest:016x}",
                held.rows, held.digest
            )));
        }
        self.sequence = sequence;
        self.state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Loading { stream, .. } => State::Following { stream },
            state => state,
        };
        if let Some(stream) = self.state.stream_mut() {
            stream.hear(sequence, sequence);
        }
        Ok(Changes {
            write: Some(Entry::Loaded { sequence, digest }),
            notify: true,
            ..Changes::default()
        })
    }

    pub(super) fn expect_entries(&self, first: u64) -> Result<Changes<S>, Refused> {
        let refusal = match self.state {
            State::Following { .. } if first == self.sequence + 1 => {
                return Ok(Changes::default());
            }
            State::Following { .. } => format!(
                "write {first} came after {}: some are missing",
                self.sequence
            ),
            State::Loading { .. } => format!("write {first} came before the end of the snapshot"),
            _ => "the partition does not follow".into(),
        };
        Err(Refused::Unfit(refusal))
    }

    pub(super) fn hear_source(
        &mut self,
        sequence: u64,
        fenced: bool,
    ) -> Result<Changes<S>, Refused> {
        let applied = self.sequence;
        let stream = self.stream().map_err(Refused::Unfit)?;
        stream.hear(sequence, applied);
        stream.source_fenced = fenced;
        Ok(Changes::default())
    }

    /// The stream has ended. What it loaded stays: the next one sends only what differs. One that ended for want of room
    /// yields it.
    pub(super) fn fail(&mut self, why: &str) -> Changes<S> {
        let Some(stream) = self.state.stream() else {
            return Changes::default();
        };
        if stream.progress.no_room {
            return self.yield_room(why);
        }
        let finished = self.finish_range();
        self.count();
        if let Some(stream) = self.state.stream_mut()
            && stream.runs()
        {
            stream.progress.error = match finished {
                Ok(()) => why.into(),
                Err(also) => format!("{why}; {also}"),
            };
        }
        Changes {
            notify: true,
            ..Changes::default()
        }
    }

    /// Ends a copy for want of room: what had come of its snapshot is let go. One that is complete stays until the operator
    /// has it dropped, which may be about to commit to it.
    pub(super) fn yield_room(&mut self, why: &str) -> Changes<S> {
        let rows = match &mut self.state {
            State::Loading { range, .. } => {
                *range = None;
                Some(self.take_rows())
            }
            State::Following { .. } => None,
            _ => return Changes::default(),
        };
        if let Some(stream) = self.state.stream_mut() {
            stream.progress.no_room = true;
            stream.progress.error = why.into();
        }
        self.share.end_promise();
        self.count();
        Changes {
            write: rows.as_ref().map(|_| Entry::Emptied),
            notify: true,
            rows,
            ..Changes::default()
        }
    }
}
