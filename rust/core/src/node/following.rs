//! The follower's end of a stream.

use std::sync::Arc;

use thiserror::Error;

use super::Node;
use super::context::Context;
use super::slot::{Partition, PartitionSlot, bounds};
use crate::digest::{encode, range_digests, rows_a_range};
use crate::log::Effect;
use crate::partition::{Command, PartitionState, ROW_BYTES, Refused};
use crate::snapshot::DecodedChunk;
use crate::tree::drop_in_background;

/// A stream that the network has to run: load from the source, then follow its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowSpec {
    /// Name of the keyspace.
    pub keyspace: Arc<str>,
    /// Name of the partition.
    pub partition: Arc<str>,
    /// Epoch of the source.
    pub epoch: u64,
    /// Length of the keys, in bytes.
    pub key_length: usize,
    /// Name of the source.
    pub source: String,
    /// Its data address, `host:port`.
    pub source_address: String,
    /// The life of the source that is meant.
    pub source_incarnation: String,
    /// Which of this partition's streams it is: calls of an older one change nothing.
    pub generation: u64,
}

/// What `follow` answers.
#[derive(Debug, Clone)]
pub struct Followed {
    /// The partition afterwards.
    pub state: PartitionState,
    /// The stream to start; none when one runs already.
    pub start: Option<FollowSpec>,
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FollowError {
    /// The partition no longer follows by this stream: dropped, promoted or followed anew. End it quietly.
    #[error("partition {0} no longer follows by this stream")]
    Superseded(String),
    /// There is no room for the rows; the partition has noted it, and is not followed again before it is asked to.
    #[error("{0}")]
    NoRoom(String),
    /// What the stream brought does not fit or verify; the partition has noted it as its `error`.
    #[error("{0}")]
    Corrupt(String),
}

/// The follower's end of a stream: the network feeds what it receives, in order.
///
/// What does not fit ends the stream: it is noted as the partition's `error`, and the network may start anew with
/// [`Node::follow_stream`], which sends only what differs.
pub struct FollowStream {
    context: Arc<Context>,
    slot: Arc<PartitionSlot>,
    generation: u64,
}

impl Node {
    /// The follower's end of the stream that `spec` asked for; to be taken anew after a stream has failed.
    ///
    /// # Errors
    /// `Superseded` when the partition does not want this stream any more.
    pub fn follow_stream(&self, spec: &FollowSpec) -> Result<FollowStream, FollowError> {
        let gone = || FollowError::Superseded(spec.partition.to_string());
        let store = self.keyspace(&spec.keyspace).ok_or_else(gone)?;
        let slot = store
            .holding
            .lock()
            .names
            .get(&spec.partition)
            .cloned()
            .ok_or_else(gone)?;
        let stream = FollowStream {
            context: Arc::clone(&self.context),
            slot,
            generation: spec.generation,
        };
        stream.with(|partition| {
            if let Some(stream) = partition.state.stream_mut() {
                stream.progress.error.clear();
            }
            Ok(())
        })?;
        Ok(stream)
    }
}

impl FollowStream {
    /// What is held already, in [`digest`](crate::digest) encoding; empty: nothing.
    pub fn digests(&self) -> Result<Vec<u8>, FollowError> {
        let held = self.with(|partition| Ok(partition.tree.clone()))?;
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let key_length = self.slot.bounds.key_length();
        let target_rows = rows_a_range(held.rows(), key_length);
        let digests = range_digests(&held, &self.slot.bounds, target_rows);
        drop_in_background(held);
        Ok(encode(&digests, key_length))
    }

    /// SnapshotStart: what the source has, for which there has to be room, and how much of it is sent.
    pub fn begin_snapshot(
        &self,
        _sequence: u64,
        rows: u64,
        bytes: u64,
        bytes_to_send: u64,
    ) -> Result<(), FollowError> {
        let size = bytes.saturating_add(ROW_BYTES.saturating_mul(rows));
        self.step(Command::Begin {
            bytes_to_send,
            size,
        })
    }

    /// DropRange: rows of `[start, end)` come anew. `end` empty: no end.
    pub fn drop_range(&self, start: &[u8], end: &[u8]) -> Result<(), FollowError> {
        let key_length = self.slot.bounds.key_length();
        let range = bounds(key_length, start, end).map_err(|refusal| refusal.to_string());
        let old = self.with(|partition| {
            let range = range?;
            if self.slot.bounds.covers(&range) {
                partition.drop_range(range)
            } else {
                Err(format!("range {range} is not inside {}", self.slot.bounds))
            }
        })?;
        drop_in_background(old);
        Ok(())
    }

    /// One chunk of the range dropped last.
    pub fn install_chunk(&self, chunk: &DecodedChunk<'_>) -> Result<(), FollowError> {
        self.with(|partition| partition.install_chunk(chunk))
    }

    /// SnapshotEnd: verifies rows and digest; the partition is following from here on.
    pub fn end_snapshot(&self, sequence: u64, rows: u64, digest: u64) -> Result<(), FollowError> {
        self.step(Command::Loaded {
            sequence,
            rows,
            digest,
        })
    }

    /// LogEntries: `first` has to be the next sequence. The sequence applied, to be acknowledged.
    pub fn apply(
        &self,
        first: u64,
        effects: impl IntoIterator<Item = Effect>,
    ) -> Result<u64, FollowError> {
        let applied = self.with(|partition| {
            partition.apply_all(first, effects)?;
            Ok(partition.sequence)
        })?;
        self.slot.changed.notify_all();
        Ok(applied)
    }

    /// SourceState.
    pub fn source_state(&self, sequence: u64, fenced: bool) -> Result<(), FollowError> {
        self.step(Command::Heard { sequence, fenced })
    }

    /// The stream ended: why. Nothing happens when it is not the partition's stream any more.
    pub fn failed(&self, error: impl Into<String>) {
        let error = error.into();
        let _ = self.with::<()>(|_| Err(error));
    }

    /// Nothing that a stream says depends on the time.
    fn step(&self, command: Command<'_>) -> Result<(), FollowError> {
        self.with(|partition| {
            let changes = partition.apply(command, 0).map_err(Refused::into_text)?;
            self.context.carry_out(&self.slot, partition, changes);
            Ok(())
        })
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Partition) -> Result<T, String>,
    ) -> Result<T, FollowError> {
        let mut partition = self.slot.partition.lock();
        let stream = partition.state.stream();
        let Some(stream) = stream.filter(|stream| stream.generation == self.generation) else {
            return Err(FollowError::Superseded(self.slot.name.to_string()));
        };
        if stream.progress.no_room {
            return Err(FollowError::NoRoom(stream.progress.error.clone()));
        }
        let error = match act(&mut partition) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let changes = partition.apply(Command::Failed { why: &error }, 0);
        let rows = changes.map(|changes| {
            let carried_out = self.context.carry_out(&self.slot, &mut partition, changes);
            carried_out.rows
        });
        rows.into_iter().flatten().for_each(drop_in_background);
        let stream = partition.state.stream();
        Err(if stream.is_some_and(|stream| stream.progress.no_room) {
            FollowError::NoRoom(error)
        } else {
            FollowError::Corrupt(error)
        })
    }
}
