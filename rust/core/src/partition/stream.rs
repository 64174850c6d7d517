//! The stream that a follower's rows come by, as the partition knows it.

use std::sync::Arc;

use super::command::Source;
use super::storage::Storage;
use super::view::FollowProgress;
use crate::key::Bounds;

/// What a follower knows of its stream.
pub(crate) struct Stream {
    /// Which of the partition's streams: others may not touch it.
    pub(crate) generation: u64,
    pub(crate) source_address: Arc<str>,
    source_incarnation: Box<str>,
    pub(crate) progress: FollowProgress,
    /// The source's last write, as last heard.
    source_sequence: u64,
    /// Whether it was fenced, as last heard: nothing but what is on its way comes then, and it may be about to commit.
    pub(crate) source_fenced: bool,
}

/// Rows of a range that have come and are not in the tree yet.
pub(crate) struct RangeLoad<S: Storage> {
    pub(super) bounds: Bounds,
    pub(super) rows: S::Loader,
    /// What the rows take.
    pub(super) size: u64,
}

impl Stream {
    pub(crate) fn new(generation: u64, source: Source<'_>) -> Self {
        Self {
            generation,
            source_address: source.address.into(),
            source_incarnation: source.incarnation.into(),
            progress: FollowProgress {
                source: source.name.into(),
                ..FollowProgress::default()
            },
            source_sequence: 0,
            source_fenced: false,
        }
    }

    /// What is left of one that an earlier life of the worker had: nothing is received until it is told to follow anew.
    pub(crate) fn interrupted(name: &str) -> Self {
        let (address, incarnation) = ("", "");
        let source = Source {
            name,
            address,
            incarnation,
        };
        let mut stream = Self::new(0, source);
        stream.progress.error = "the worker was restarted".into();
        stream
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&self) -> bool {
        self.progress.error.is_empty()
    }

    /// Whether it runs and is the one that such a follow would start.
    pub(crate) fn is_from(&self, source: Source<'_>) -> bool {
        self.runs()
            && self.progress.source == source.name
            && *self.source_address == *source.address
            && *self.source_incarnation == *source.incarnation
    }

    /// The source's last write is this one at least; `applied` is.
    pub(super) fn hear(&mut self, sequence: u64, applied: u64) {
        self.source_sequence = self.source_sequence.max(sequence);
        self.progress.lag = self.source_sequence.saturating_sub(applied);
    }
}
