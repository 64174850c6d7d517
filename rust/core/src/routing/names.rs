//! Where in the routing table a partition shows, by its name, in a persistent map.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::entry::Entry;

/// Branches of either of the two levels: 4,096 buckets, so that a bucket of 100,000 names holds about 25.
const BRANCHES: usize = 64;

/// What a partition shows: in which epoch, in how many pieces, and the range that they all lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) epoch: u64,
    pub(super) pieces: usize,
    pub(super) start: Box<[u8]>,
    pub(super) end: Option<Box<[u8]>>,
}

impl Extent {
    /// What `pieces` pieces of `entry` show.
    pub(super) fn of(entry: &Entry, pieces: usize) -> Self {
        Self {
            epoch: entry.epoch,
            pieces,
            start: entry.start.clone(),
            end: entry.end.clone(),
        }
    }

    /// Takes the range of `entry` in, and so many more pieces.
    pub(super) fn grow(&mut self, entry: &Entry, pieces: usize) {
        self.pieces += pieces;
        if entry.start < self.start {
            self.start = entry.start.clone();
        }
        self.end = match (self.end.take(), &entry.end) {
            (Some(mine), Some(theirs)) => Some(if mine < *theirs { theirs.clone() } else { mine }),
            _ => None,
        };
    }
}

type Bucket = Vec<(Arc<str>, Arc<Extent>)>;

/// From the name of a partition to its [`Extent`]. A clone is one reference count; a change copies one path where
/// another clone still holds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    root: Arc<Vec<Arc<Vec<Arc<Bucket>>>>>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Extent>> {
        let (high, low) = branches(name);
        let bucket = self.root.get(high)?.get(low)?;
        bucket
            .iter()
            .find(|(other, _)| **other == *name)
            .map(|(_, extent)| extent)
    }

    pub(super) fn insert(&mut self, name: &Arc<str>, extent: Extent) {
        let bucket = self.bucket(name);
        let extent = Arc::new(extent);
        match bucket.iter_mut().find(|(other, _)| other == name) {
            Some((_, place)) => *place = extent,
            None => bucket.push((Arc::clone(name), extent)),
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            self.bucket(name).retain(|(other, _)| **other != *name);
        }
    }

    fn bucket(&mut self, name: &str) -> &mut Bucket {
        let (high, low) = branches(name);
        let root = Arc::make_mut(&mut self.root);
        if root.is_empty() {
            root.resize(BRANCHES, Arc::default());
        }
        let branch = Arc::make_mut(&mut root[high]);
        if branch.is_empty() {
            branch.resize(BRANCHES, Arc::default());
        }
        Arc::make_mut(&mut branch[low])
    }
}

fn branches(name: &str) -> (usize, usize) {
    let hash = xxh3_64(name.as_bytes()) as usize;
    (hash % BRANCHES, hash / BRANCHES % BRANCHES)
}
