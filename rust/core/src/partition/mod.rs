//! A partition: rows of one range, with a role, an epoch and a sequence.

mod hold;
mod operation;
mod state;

pub use hold::{Target, Verdict, Waiter};
pub use operation::{Code, Nanos, Op, Reply};
pub use state::{FollowProgress, PartitionState, Role};
