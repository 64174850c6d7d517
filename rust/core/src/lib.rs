//! The range core: keys, range index and routing, store, log, snapshot codec, diff. No sockets, no clock, no Python.
pub mod digest;
pub mod disk;
mod epoch;
pub mod faults;
pub mod frame;
pub mod index;
pub mod key;
pub mod log;
pub mod node;
pub mod partition;
mod role;
pub mod routing;
pub mod snapshot;
mod sync;
pub mod tree;
