//! The two threads that all clients of a process share.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::runtime::{Handle, Runtime};

use crate::error::ClientError;
use crate::threads;

const THREADS: usize = 2;

struct OfProcess {
    process: u32,
    /// Never dropped: it serves until the process ends, and in a fork its threads are not there to be joined.
    runtime: ManuallyDrop<Runtime>,
}

static SHARED: ArcSwapOption<OfProcess> = ArcSwapOption::const_empty();

/// The shared runtime of this process; a fork gets one of its own.
pub fn runtime() -> Result<Handle, ClientError> {
    let process = std::process::id();
    loop {
        let known = SHARED.load_full();
        if let Some(shared) = known.as_ref().filter(|shared| shared.process == process) {
            return Ok(shared.runtime.handle().clone());
        }
        let runtime = threads::runtime("dstk-client", THREADS, 0).map_err(|error| {
            ClientError::Unavailable(format!("cannot start the client's threads: {error}"))
        })?;
        let mine = Arc::new(OfProcess {
            process,
            runtime: ManuallyDrop::new(runtime),
        });
        let before = SHARED.compare_and_swap(&known, Some(Arc::clone(&mine)));
        if before.as_ref().map(Arc::as_ptr) == known.as_ref().map(Arc::as_ptr) {
            return Ok(mine.runtime.handle().clone());
        }
        // Another thread was first. Ours is not in use, so it may go.
        drop(before);
        if let Ok(lost) = Arc::try_unwrap(mine).map(|lost| ManuallyDrop::into_inner(lost.runtime)) {
            lost.shutdown_background();
        }
    }
}
