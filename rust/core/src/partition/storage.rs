//! Where a partition keeps its rows. It is in memory, and may be elsewhere: this is all that the partition asks of it.

use crate::snapshot::DecodedChunk;
use crate::tree::{Row, Summary, Tree, TreeBuilder, Value};

/// Rows in the order of their keys, which all have one length. A clone is a snapshot, whatever the number of rows.
pub(crate) trait Storage: Clone {
    /// Rows that come in order, to be put in their place at once.
    type Loader;

    fn empty(key_length: usize) -> Self;

    fn key_length(&self) -> usize;

    /// Rows, their bytes and their digest.
    fn total(&self) -> Summary;

    fn get(&self, key: &[u8]) -> Option<Row<'_>>;

    fn insert(&mut self, key: &[u8], value: Value, version: u64);

    /// Whether there was such a row.
    fn remove(&mut self, key: &[u8]) -> bool;

    /// Takes the rows of `[start, end)` out and puts others there.
    fn replace_range(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        rows: Self,
    ) -> Result<Self, String>;

    /// Takes out the rows from `key` on.
    fn split_off(&mut self, key: &[u8]) -> Self;

    /// All rows of `left`, then all of `right`.
    fn join(left: Self, right: Self) -> Result<Self, String>;

    fn loader(key_length: usize) -> Self::Loader;

    fn load(loader: &mut Self::Loader, chunk: &DecodedChunk<'_>) -> Result<(), String>;

    fn loaded(loader: Self::Loader) -> Self;
}

impl Storage for Tree {
    type Loader = TreeBuilder;

    fn empty(key_length: usize) -> Self {
        Self::new(key_length)
    }

    #[inline]
    fn key_length(&self) -> usize {
        self.key_length()
    }

    #[inline]
    fn total(&self) -> Summary {
        self.total()
    }

    #[inline]
    fn get(&self, key: &[u8]) -> Option<Row<'_>> {
        self.get(key)
    }

    #[inline]
    fn insert(&mut self, key: &[u8], value: Value, version: u64) {
        self.insert(key, value, version);
    }

    #[inline]
    fn remove(&mut self, key: &[u8]) -> bool {
        self.remove(key).is_some()
    }

    fn replace_range(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        rows: Self,
    ) -> Result<Self, String> {
        self.replace_range(start, end, rows)
            .map_err(|error| error.to_string())
    }

    fn split_off(&mut self, key: &[u8]) -> Self {
        self.split_off(key)
    }

    fn join(left: Self, right: Self) -> Result<Self, String> {
        Self::join(left, right).map_err(|error| error.to_string())
    }

    fn loader(key_length: usize) -> TreeBuilder {
        TreeBuilder::new(key_length)
    }

    fn load(loader: &mut TreeBuilder, chunk: &DecodedChunk<'_>) -> Result<(), String> {
        chunk.append_to(loader).map_err(|error| error.to_string())
    }

    fn loaded(loader: TreeBuilder) -> Self {
        loader.finish()
    }
}
