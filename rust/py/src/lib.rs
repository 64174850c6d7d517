//! The Python binding: one file per Python-visible class, one error map.

mod allocator;
mod arguments;
mod arrow;
mod client;
mod completion;
mod errors;
mod faults;
mod keys_in;
mod node;
mod partition_state;
mod passive;
mod range_index;
mod routing_table;
mod wake;

/// `dstk._core`: what of dstk is written in Rust.
#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::client::PyClient;
    #[pymodule_export]
    use crate::faults::{fault_points, set_fault_hook};
    #[pymodule_export]
    use crate::node::{PyNode, check_data};
    #[pymodule_export]
    use crate::partition_state::PyPartitionState;
    #[pymodule_export]
    use crate::passive::{PyManualClock, PyPassiveNode, PyPassiveStream};
    #[pymodule_export]
    use crate::range_index::PyRangeIndex;
    #[pymodule_export]
    use crate::routing_table::PyRoutingTable;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
