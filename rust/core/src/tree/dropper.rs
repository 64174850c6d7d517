//! Freeing trees on a thread of their own.

use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use super::Tree;

/// Trees that may wait to be freed. Their memory is still in use, so there has to be a bound.
const WAITING_TREES: usize = 256;

/// A tree of fewer rows is freed at once: handing it over would take about as long.
const SMALL_ROWS: u64 = 512;

/// Frees `tree` on a background thread, so that the caller never waits for a big one.
///
/// The thread starts with the first big tree. Where 256 trees wait already, or no thread can be had, the caller frees
/// its tree itself: that is slower, but memory stays bounded.
pub fn drop_in_background(tree: Tree) {
    static QUEUE: OnceLock<Option<SyncSender<Tree>>> = OnceLock::new();
    if tree.rows() < SMALL_ROWS {
        return;
    }
    if let Some(queue) = QUEUE.get_or_init(start) {
        // A refused tree comes back inside the error and is freed here.
        let _ = queue.try_send(tree);
    }
}

fn start() -> Option<SyncSender<Tree>> {
    let (queue, waiting) = sync_channel(WAITING_TREES);
    let thread = thread::Builder::new().name("dstk-dropper".into());
    thread
        .spawn(move || waiting.into_iter().for_each(drop))
        .ok()
        .map(|_| queue)
}
