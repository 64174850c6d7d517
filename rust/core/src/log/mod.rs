//! The log of writes that followers read.

mod entry;

pub use entry::{Effect, LogBatch};
