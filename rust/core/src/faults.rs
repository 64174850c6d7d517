//! Points, by name, at which a test can have this process fail. `python/dstk/faults.py` says what can happen there.
//!
//! None is on the path of an operation: a point is reached once a group of records, a file, a chunk or an action. Off, it
//! is one relaxed load of a static. What happens at a point is not known here: who wants something to happen sets a
//! [`Hook`], once, before there is a node.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

macro_rules! points {
    ($(#[doc = $said:literal] $point:ident = $name:literal,)*) => {
        /// A place at which something can be made to happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $(#[doc = $said] $point,)*
        }

        impl Point {
            /// Every point there is.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }

            /// When it is reached: a sentence.
            pub fn said(self) -> &'static str {
                match self {
                    $(Self::$point => $said.trim_ascii(),)*
                }
            }
        }
    };
}

points! {
    /// A group of records is about to be written to the log.
    BeforeLogWrite = "node.before-log-write",
    /// A group of records is written to the log and not synced.
    AfterLogWrite = "node.after-log-write",
    /// A group of records is on disk, and nobody has been told.
    AfterLogSync = "node.after-log-sync",
    /// The log is about to go on in another file, which has no header yet.
    BeforeLogFile = "node.before-log-file",
    /// The log's next file has its header, and not its name.
    AfterLogHeader = "node.after-log-header",
    /// The log's next file has its name, and no records.
    AfterLogFile = "node.after-log-file",
    /// A file that nothing needs is renamed, to be filled ahead for the log.
    AfterSpareRename = "node.after-spare-rename",
    /// A file that is made ahead for the log is filled and not synced.
    AfterSpareFill = "node.after-spare-fill",
    /// A checkpoint is about to be written; what it is to hold is in the log.
    BeforeCheckpoint = "node.before-checkpoint",
    /// A partition's rows are written for a checkpoint, and no manifest names them.
    AfterCheckpointRows = "node.after-checkpoint-rows",
    /// A new manifest is on disk; the one before it counts.
    AfterManifestWrite = "node.after-manifest-write",
    /// The new manifest counts; the log and the rows that it replaces are still there.
    AfterManifestRename = "node.after-manifest-rename",
    /// The log before a checkpoint is let go; rows that nothing names are still there.
    AfterLogTrim = "node.after-log-trim",
    /// A data directory is read and its log's torn end cut off; nothing is served yet.
    AfterRecovery = "node.after-recovery",
    /// What an action does to a partition is done in memory; whether it is on disk nobody knows.
    BeforeSettle = "node.before-settle",
    /// A source is about to send a snapshot of a partition.
    BeforeSendSnapshot = "node.before-send-snapshot",
    /// A source has handed some of a snapshot's rows to the network, and not its end.
    AfterSendChunk = "node.after-send-chunk",
    /// A source is about to send writes of its log.
    BeforeSendEntries = "node.before-send-entries",
    /// A follower has taken some of a snapshot's rows; the end has not come.
    AfterInstallChunk = "node.after-install-chunk",
    /// A follower has all rows of a snapshot, and has not verified them.
    BeforeEndSnapshot = "node.before-end-snapshot",
    /// A follower has loaded a snapshot, and has not said so.
    AfterEndSnapshot = "node.after-end-snapshot",
    /// A follower has applied writes of its source's log, and has not said so.
    AfterApplyEntries = "node.after-apply-entries",
    /// Requests are on their way to another worker that they are passed on to; no answer has come.
    AfterPassOn = "node.after-pass-on",
    /// Requests that were passed on are answered, and who asked has not been told.
    BeforePassBack = "node.before-pass-back",
}

/// Called with what is reached and with the name of the partition that it is about (empty: the worker as a whole). May
/// block. Its error is what the deed fails with.
pub type Hook = Box<dyn Fn(Point, &str) -> io::Result<()> + Send + Sync>;

static ON: AtomicBool = AtomicBool::new(false);
static HOOK: OnceLock<Hook> = OnceLock::new();

/// Has `hook` called at every point from now on. False, and nothing changes, when there is one already.
pub fn set_hook(hook: Hook) -> bool {
    let is_first = HOOK.set(hook).is_ok();
    ON.store(true, Ordering::Relaxed);
    is_first
}

/// Whether there is a hook.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// This process has come to `point`, with what it does to `partition`.
///
/// # Errors
/// What the hook says, where it is to fail.
#[inline]
pub fn reach(point: Point, partition: &str) -> io::Result<()> {
    if is_on() {
        return reached(point, partition);
    }
    Ok(())
}

#[cold]
fn reached(point: Point, partition: &str) -> io::Result<()> {
    HOOK.get().map_or(Ok(()), |hook| hook(point, partition))
}
