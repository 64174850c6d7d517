//! `RoutingTable`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dstk_core::routing::{Change, Entry, RoutingTable};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::Result;
use crate::keys_in::{key_bytes, lookup_key};

/// The overlay of all partitions of a keyspace by epoch.
#[pyclass(name = "RoutingTable", module = "dstk._core", frozen)]
pub(crate) struct PyRoutingTable {
    /// Held for one change or one clone at a time, never while Python runs.
    inner: Mutex<RoutingTable>,
    /// In bytes, readable without the lock.
    #[pyo3(get)]
    key_length: usize,
}

/// A route as Python sees it: start, end (empty: none), partition, epoch, owner.
type Route<'py> = (
    Bound<'py, PyBytes>,
    Bound<'py, PyBytes>,
    String,
    u64,
    String,
);
/// A route as Python hands it over.
type RouteIn<'py> = (
    Bound<'py, PyAny>,
    Option<Bound<'py, PyAny>>,
    String,
    u64,
    String,
);
/// What has changed: withdrawn partitions with their epochs, new routes, addresses (empty: gone).
type Changes<'py> = (
    Vec<(String, u64)>,
    Vec<Route<'py>>,
    BTreeMap<String, String>,
);

#[pymethods]
impl PyRoutingTable {
    #[new]
    fn new(key_length: usize) -> Result<Self> {
        Ok(Self::of(RoutingTable::new(key_length)?))
    }

    #[pyo3(signature = (start, end, partition, epoch, owner=String::new()))]
    fn apply(
        &self,
        start: Bound<'_, PyAny>,
        end: Option<Bound<'_, PyAny>>,
        partition: String,
        epoch: u64,
        owner: String,
    ) -> Result<bool> {
        let entry = entry_in(&(start, end, partition, epoch, owner))?;
        Ok(self.lock().apply(entry)?)
    }

    fn withdraw(&self, partition: &str, epoch: u64) -> bool {
        self.lock().withdraw(partition, epoch)
    }

    fn replace_all(&self, py: Python<'_>, entries: Vec<RouteIn<'_>>) -> Result<bool> {
        let entries = entries.iter().map(entry_in).collect::<Result<Vec<_>>>()?;
        Ok(py.detach(|| self.lock().replace_all(entries))?)
    }

    fn lookup<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> Result<Option<Route<'py>>> {
        let key = lookup_key(key, self.key_length)?;
        let found = self.lock().lookup(key).cloned();
        Ok(found.map(|entry| route(py, &entry)))
    }

    fn entries<'py>(&self, py: Python<'py>) -> Vec<Route<'py>> {
        let table = self.lock().clone();
        table.entries().map(|entry| route(py, entry)).collect()
    }

    fn entries_of<'py>(&self, py: Python<'py>, partition: &str) -> Vec<Route<'py>> {
        let table = self.lock().clone();
        table
            .entries_of(partition)
            .map(|entry| route(py, entry))
            .collect()
    }

    fn overlapping<'py>(
        &self,
        py: Python<'py>,
        start: &Bound<'py, PyAny>,
        end: Option<&Bound<'py, PyAny>>,
    ) -> Result<Vec<Route<'py>>> {
        let table = self.lock().clone();
        let start = lookup_key(start, self.key_length)?;
        let end = end
            .map(|end| lookup_key(end, self.key_length))
            .transpose()?
            .filter(|end| !end.is_empty());
        Ok(table
            .overlapping(start, end)
            .map(|entry| route(py, entry))
            .collect())
    }

    fn set_worker(&self, name: &str, address: &str) -> bool {
        self.lock().set_worker(name, address)
    }

    fn remove_worker(&self, name: &str) -> bool {
        self.lock().remove_worker(name)
    }

    fn address(&self, name: &str) -> Option<String> {
        self.lock().address(name).map(ToString::to_string)
    }

    fn addresses(&self) -> BTreeMap<String, String> {
        let table = self.lock().clone();
        table
            .addresses()
            .iter()
            .map(|(name, address)| (name.to_string(), address.to_string()))
            .collect()
    }

    fn snapshot(&self) -> Self {
        Self::of(self.lock().clone())
    }

    fn changes_since<'py>(&self, py: Python<'py>, older: &Self) -> Changes<'py> {
        let (old, new) = (older.lock().clone(), self.lock().clone());
        let mut changes = Changes::default();
        for change in py.detach(|| RoutingTable::diff(&old, &new)) {
            match change {
                Change::Withdraw { partition, epoch } => {
                    changes.0.push((partition.to_string(), epoch))
                }
                Change::Apply(entry) => changes.1.push(route(py, &entry)),
                Change::SetWorker { name, address } => {
                    _ = changes.2.insert(name.to_string(), address.to_string())
                }
                Change::RemoveWorker { name } => {
                    _ = changes.2.insert(name.to_string(), String::new())
                }
            }
        }
        changes
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }

    fn __repr__(&self) -> String {
        let table = self.lock();
        format!(
            "<RoutingTable of {} ranges, version {}>",
            table.len(),
            table.version()
        )
    }

    #[getter]
    fn version(&self) -> u64 {
        self.lock().version()
    }
}

impl PyRoutingTable {
    fn of(table: RoutingTable) -> Self {
        Self {
            key_length: table.key_length(),
            inner: Mutex::new(table),
        }
    }

    /// A change either happens whole or not at all, so a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, RoutingTable> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry_in((start, end, partition, epoch, owner): &RouteIn<'_>) -> Result<Entry> {
    let end = end.as_ref().map(|end| key_bytes(end, "end")).transpose()?;
    Ok(Entry {
        partition: partition.as_str().into(),
        start: key_bytes(start, "start")?.into(),
        end: end.map(Into::into),
        epoch: *epoch,
        owner: owner.as_str().into(),
    })
}

fn route<'py>(py: Python<'py>, entry: &Entry) -> Route<'py> {
    let (start, end) = (
        PyBytes::new(py, &entry.start),
        PyBytes::new(py, entry.end.as_deref().unwrap_or_default()),
    );
    (
        start,
        end,
        entry.partition.to_string(),
        entry.epoch,
        entry.owner.to_string(),
    )
}
