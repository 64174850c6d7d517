//! What ended, on its way to Python: results as Python has them, and the queue that asyncio collects them from.

use std::os::fd::RawFd;
use std::sync::Mutex;

use dstk_net::client::{OpResult, Scanned};
use dstk_net::error::ClientError;
use dstk_net::operation::Verb;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::errors::{Error, Result};
use crate::wake::Wake;

/// How a call of a client ended.
pub(crate) enum Ended {
    /// One operation.
    One(Verb, OpResult),
    /// Many of one verb.
    Many(Verb, Vec<OpResult>),
    /// A scan.
    Scan(std::result::Result<Scanned, ClientError>),
}

impl Ended {
    /// The result as the methods of `Client` return it.
    ///
    /// Of many gets the first error is raised; of many writes each has its own place.
    pub(crate) fn into_python(self, py: Python<'_>) -> Result<Bound<'_, PyAny>> {
        match self {
            Self::One(verb, result) => one(py, verb, result),
            Self::Many(verb, results) => {
                let place = |result| match one(py, verb, result) {
                    Err(error) if verb != Verb::Get => {
                        Ok(PyErr::from(error).into_value(py).into_bound(py).into_any())
                    }
                    other => other,
                };
                let places = results.into_iter().map(place).collect::<Result<Vec<_>>>()?;
                Ok(PyList::new(py, places)?.into_any())
            }
            Self::Scan(result) => {
                let scanned = result.map_err(Error::from)?;
                let rows = scanned.rows.iter().map(|(key, value, version)| {
                    (PyBytes::new(py, key), PyBytes::new(py, value), *version)
                });
                let rows = PyList::new(py, rows)?;
                let cursor = scanned.cursor.map(|cursor| PyBytes::new(py, &cursor));
                Ok((rows, cursor).into_bound_py_any(py)?)
            }
        }
    }
}

fn one(py: Python<'_>, verb: Verb, result: OpResult) -> Result<Bound<'_, PyAny>> {
    let found = match (verb, result?) {
        (_, None) => py.None().into_bound(py),
        (Verb::Get, Some(row)) => {
            (PyBytes::new(py, &row.value), row.version).into_bound_py_any(py)?
        }
        (_, Some(row)) => row.version.into_bound_py_any(py)?,
    };
    Ok(found)
}

/// Completions by token, and a file descriptor that is readable while there are any.
pub(crate) struct CompletionQueue {
    ended: Mutex<Vec<(u64, Ended)>>,
    wake: Wake,
}

impl CompletionQueue {
    /// An empty queue.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            ended: Mutex::default(),
            wake: Wake::new().map_err(PyErr::from)?,
        })
    }

    /// Adds a completion; the first one wakes whoever polls the file descriptor.
    pub(crate) fn push(&self, token: u64, ended: Ended) {
        let first = {
            let mut all = self
                .ended
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            all.push((token, ended));
            all.len() == 1
        };
        if first {
            self.wake.set();
        }
    }

    /// All completions since the last call.
    pub(crate) fn take(&self) -> Vec<(u64, Ended)> {
        // Before the queue is emptied: what comes in between wakes again, for nothing, and is never missed.
        self.wake.clear();
        std::mem::take(
            &mut *self
                .ended
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// The file descriptor.
    pub(crate) fn fileno(&self) -> RawFd {
        self.wake.fileno()
    }
}
