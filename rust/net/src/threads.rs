//! Runtimes of the worker: one for requests, one of lower priority for copies of partitions.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A runtime whose threads are called `name`, with a priority lower by `nice` (0: the same).
///
/// On Linux the priority is one of a thread. Where it cannot be set, the threads run at the normal one.
pub fn runtime(name: &str, threads: usize, nice: i32) -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .thread_name(name)
        .enable_all();
    if nice > 0 {
        builder.on_thread_start(move || {
            lower_priority(nice);
        });
    }
    builder.build()
}

#[cfg(target_os = "linux")]
fn lower_priority(nice: i32) {
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice) {
        tracing::debug!(%error, "thread keeps its priority");
    }
}

/// Elsewhere a priority is one of the whole process.
#[cfg(not(target_os = "linux"))]
fn lower_priority(_: i32) {}
