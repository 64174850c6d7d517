//! One range of the routing table.

use std::sync::Arc;

use crate::index::Piece;
use crate::key::{Bounds, KeyError, pad};

/// What is known of a range of keys: the partition that has it, in which epoch, and the worker that serves it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Name of the partition.
    pub partition: Arc<str>,
    /// The lowest key inside.
    pub start: Box<[u8]>,
    /// The lowest key above, or none for +∞.
    pub end: Option<Box<[u8]>>,
    /// Epoch of the partition: the higher one has the keys that two entries claim.
    pub epoch: u64,
    /// Name of the worker; empty while nobody serves the range.
    pub owner: Arc<str>,
}

impl Entry {
    /// The same with bounds of full length; an `end` without bytes means no end.
    pub(super) fn padded(self, key_length: usize) -> Result<Self, KeyError> {
        let end = self
            .end
            .filter(|end| !end.is_empty())
            .map(|end| pad(&end, key_length))
            .transpose()?;
        let bounds = Bounds::new(pad(&self.start, key_length)?, end)?;
        Ok(Self {
            start: bounds.start,
            end: bounds.end,
            ..self
        })
    }

    /// The same over a part of its range.
    pub(super) fn cut(&self, start: &[u8], end: Option<&[u8]>) -> Arc<Self> {
        Arc::new(Self {
            partition: Arc::clone(&self.partition),
            start: start.into(),
            end: end.map(Into::into),
            epoch: self.epoch,
            owner: Arc::clone(&self.owner),
        })
    }

    /// As it goes into the map of ranges.
    pub(super) fn piece(self: &Arc<Self>) -> Piece<'_, Arc<Self>> {
        Piece {
            start: &self.start,
            end: self.end.as_deref(),
            value: Arc::clone(self),
        }
    }
}
