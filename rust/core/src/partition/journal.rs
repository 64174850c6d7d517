//! Where changes of a partition's rows are written down: this is all that the partition asks of it.

use crate::key::Bounds;

/// A place in the log: bytes of records before it.
pub type Position = u64;

/// Takes a partition's changes, in the order in which they happen, and says when what it answers may be told.
///
/// A reader must not be told of a row that a crash may take back: so every answer waits until the write that it tells of
/// is on disk.
pub(crate) trait Journal {
    /// Whether a client's write may be applied; why not.
    fn accepts(&self) -> Result<(), String>;

    /// The write of `sequence`, which follows the last one.
    fn put(&mut self, sequence: u64, key: &[u8], value: &[u8]) -> Position;

    /// The delete of `sequence`, which follows the last write.
    fn delete(&mut self, sequence: u64, key: &[u8]) -> Position;

    /// A sequence number that did nothing.
    fn skip(&mut self, sequence: u64) -> Position;

    /// A copy's rows of a range come anew.
    fn drop_range(&mut self, bounds: &Bounds);

    /// Rows of that range: a snapshot chunk as it was received.
    fn chunk(&mut self, chunk: &[u8]);

    /// After the last change.
    fn last(&self) -> Position;

    /// What has to be on disk before somebody is told of a row of this version; 0: nothing.
    fn after_row(&mut self, version: u64) -> Position;

    /// The same before somebody is told that there is no such row.
    fn after_no_row(&mut self) -> Position;
}
