//! Fault points of async code: what may block does so on a thread for that.

use std::io;

use dstk_core::faults::{self, Point};
use tokio::task::spawn_blocking;

/// This process has come to `point`, with what it does to `partition` (empty: as a whole).
///
/// # Errors
/// What the hook says, where it is to fail.
#[inline]
pub(crate) async fn reach(point: Point, partition: &str) -> io::Result<()> {
    if !faults::is_on() {
        return Ok(());
    }
    let partition = partition.to_owned();
    match spawn_blocking(move || faults::reach(point, &partition)).await {
        Ok(reached) => reached,
        Err(error) => Err(io::Error::other(error)),
    }
}
