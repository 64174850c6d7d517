//! The fault points of core and network, reached in Python.

use std::collections::BTreeMap;
use std::io;

use dstk_core::faults::{self, Point};
use pyo3::prelude::*;

use crate::errors::{Error, Result};

/// Every point there is, and when it is reached.
#[pyfunction]
pub(crate) fn fault_points() -> BTreeMap<&'static str, &'static str> {
    let points = Point::ALL.iter();
    points.map(|point| (point.name(), point.said())).collect()
}

/// Has `hook(point, partition)` called at every point from now on, on whichever thread has come there.
#[pyfunction]
pub(crate) fn set_fault_hook(hook: Py<PyAny>) -> Result<()> {
    let call = move |point: Point, partition: &str| {
        Python::attach(|py| hook.call1(py, (point.name(), partition)))
            .map(drop)
            .map_err(|error| io::Error::other(error.to_string()))
    };
    if faults::set_hook(Box::new(call)) {
        return Ok(());
    }
    Err(Error::config(
        "this process has a hook for its fault points already".into(),
    ))
}
