//! Who serves a key: the overlay of all Partitions of one keyspace by epoch, and where their owners listen.

mod entry;
mod names;
mod overlay;
mod table;

pub use entry::Entry;
pub use table::{Change, RoutingTable};
