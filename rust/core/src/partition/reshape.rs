//! What partitions begin with that take the place of others.

use std::sync::Arc;

use super::journal::Journal;
use super::load::{Load, Rates};
use super::operation::Nanos;
use super::room::Room;
use super::state::State;
use super::storage::Storage;
use super::{Beginning, Partition};
use crate::key::Bounds;
use crate::log::Log;

/// What new partitions of a node need.
pub(crate) struct Surroundings<'a> {
    pub(crate) room: &'a Arc<Room>,
    pub(crate) log: &'a dyn Fn() -> Log,
    pub(crate) load_half_life_seconds: f64,
    pub(crate) now: Nanos,
}

impl<S: Storage, J: Journal> Partition<S, J> {
    /// The parts of a primary, lowest first, all primary in `epoch`: each has the parent's sequence, its rows of the range,
    /// and as much of the load as of the rows. They are not counted yet: the parent still is.
    pub(crate) fn cut(
        &mut self,
        pieces: Vec<(Arc<str>, Bounds)>,
        epoch: u64,
        around: &Surroundings<'_>,
    ) -> Vec<Self> {
        let rates = self.load.rates(around.now, around.load_half_life_seconds);
        let (total, count) = (self.tree.total().rows, pieces.len());
        let mut trees = vec![self.tree.clone()];
        for (_, bounds) in &pieces[1..] {
            let rest = trees.last_mut().map(|tree| tree.split_off(&bounds.start));
            trees.extend(rest);
        }
        let child = |((name, bounds), tree): ((Arc<str>, Bounds), S)| {
            let share = match total {
                0 => 1.0 / count as f64,
                total => tree.total().rows as f64 / total as f64,
            };
            let beginning = Beginning {
                name,
                bounds: Arc::new(bounds),
                state: State::Primary { fence: None },
                epoch,
                sequence: self.sequence,
            };
            let load = Load::new(around.now, rates.share(share));
            Self::new(beginning, tree, (around.log)(), load, around.room)
        };
        pieces.into_iter().zip(trees).map(child).collect()
    }

    /// The whole of parts in key order, primary in `epoch`: its sequence is above all of theirs, its rows and its load are
    /// theirs together. It is not counted yet: the parts still are.
    pub(crate) fn join<'a>(
        parts: impl Iterator<Item = &'a mut Self>,
        name: &str,
        bounds: Bounds,
        epoch: u64,
        around: &Surroundings<'_>,
    ) -> Result<Self, String>
    where
        Self: 'a,
    {
        let mut load = Load::new(around.now, Rates::default());
        let mut tree = S::empty(bounds.key_length());
        let mut sequence = 0;
        for part in parts {
            load.add_rates(part.load.rates(around.now, around.load_half_life_seconds));
            sequence = sequence.max(part.sequence + 1);
            // Bounds of held partitions never overlap, so their rows ascend.
            tree = S::join(tree, part.tree.clone())?;
        }
        let beginning = Beginning {
            name: name.into(),
            bounds: Arc::new(bounds),
            state: State::Primary { fence: None },
            epoch,
            sequence,
        };
        Ok(Self::new(
            beginning,
            tree,
            (around.log)(),
            load,
            around.room,
        ))
    }
}
