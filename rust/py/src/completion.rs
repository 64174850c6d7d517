//! What ended, on its way to Python: results as Python has them, and the queue that asyncio collects them from.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dstk_net::client::{Asker, OpResult, Scanned};
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
    /// The closing of the client.
    Closed,
}

impl Ended {
    /// The result as the methods of `Client` return it.
    ///
    /// Of many gets the first error is raised; of many writes each has its own place.
    pub(crate) fn into_python(self, py: Python<'_>) -> Result<Bound<'_, PyAny>> {
        match self {
            Self::One(verb, result) => one(py, verb, result),
            Self::Many(verb, results) => {
                let place = |result| {
                    one(py, verb, result).unwrap_or_else(|error| {
                        PyErr::from(error).into_value(py).into_bound(py).into_any()
                    })
                };
                Ok(PyList::new(py, results.into_iter().map(place))?.into_any())
            }
            Self::Closed => Ok(py.None().into_bound(py)),
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

/// Calls by token, what those that ended ended with, and a file descriptor that is readable while there are such.
pub(crate) struct CompletionQueue {
    calls: Mutex<Calls>,
    wake: Wake,
}

#[derive(Default)]
struct Calls {
    under_way: HashMap<u64, Arc<Asker>>,
    ended: Vec<(u64, Ended)>,
}

impl CompletionQueue {
    /// An empty queue.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            calls: Mutex::default(),
            wake: Wake::new().map_err(PyErr::from)?,
        })
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins.
    pub(crate) fn begin(&self, token: u64) -> Arc<Asker> {
        let asker = Arc::<Asker>::default();
        self.calls().under_way.insert(token, Arc::clone(&asker));
        asker
    }

    /// A call has ended, which is told unless it was given up; the first one wakes whoever polls the file descriptor.
    pub(crate) fn push(&self, token: u64, ended: Ended) {
        let first = {
            let mut calls = self.calls();
            if calls.under_way.remove(&token).is_none() {
                return;
            }
            calls.ended.push((token, ended));
            calls.ended.len() == 1
        };
        if first {
            self.wake.set();
        }
    }

    /// Nobody waits for a call any more. Nothing happens if it has ended.
    pub(crate) fn give_up(&self, token: u64) {
        let asker = self.calls().under_way.remove(&token);
        if let Some(asker) = asker {
            asker.give_up();
        }
    }

    /// Nobody waits for any call any more.
    pub(crate) fn give_all_up(&self) {
        let calls = std::mem::take(&mut *self.calls());
        calls.under_way.values().for_each(|asker| asker.give_up());
    }

    /// All completions since the last call.
    pub(crate) fn take(&self) -> Vec<(u64, Ended)> {
        // Before the queue is emptied: what comes in between wakes again, for nothing, and is never missed.
        self.wake.clear();
        std::mem::take(&mut self.calls().ended)
    }

    /// The file descriptor.
    pub(crate) fn fileno(&self) -> RawFd {
        self.wake.fileno()
    }
}
