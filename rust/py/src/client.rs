//! `Client`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use dstk_net::client::{Asker, Client, ScanRange};
use dstk_net::operation::{Condition, Operation, Verb};
use dstk_net::settings::ClientSettings;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMapping, PyString};

use crate::arguments::{self, Limit, Reverse, Timeout, Version, condition, duration};
use crate::completion::{CompletionQueue, Ended};
use crate::errors::{Error, Result};
use crate::keys_in::key_bytes;

/// How often a call that waits looks for signals, such as that of Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// Routing table, connections, batching, retries.
#[pyclass(name = "Client", module = "dstk._core", frozen)]
pub(crate) struct PyClient {
    client: Client,
    completions: Arc<CompletionQueue>,
}

#[pymethods]
impl PyClient {
    #[new]
    #[pyo3(signature = (addresses, keyspace, settings=None))]
    fn new(
        py: Python<'_>,
        addresses: Vec<String>,
        keyspace: String,
        settings: Option<&Bound<'_, PyMapping>>,
    ) -> Result<Self> {
        let settings = settings
            .map(client_settings)
            .transpose()?
            .unwrap_or_default();
        let (ended, end) = sync_channel(1);
        // Fails only when nobody waits any more.
        Client::begin(addresses, keyspace, settings, move |result| {
            _ = ended.send(result)
        });
        Ok(Self {
            client: wait(py, end, &Asker::default())??,
            completions: Arc::new(CompletionQueue::new()?),
        })
    }

    #[getter]
    fn key_length(&self) -> usize {
        self.client.key_length()
    }

    fn close(&self, py: Python<'_>) -> Result<()> {
        let (ended, end) = sync_channel(1);
        self.client.close(move || _ = ended.send(()));
        wait(py, end, &Asker::default())
    }

    fn submit_close(&self, token: u64) {
        self.completions.begin(token);
        let completions = Arc::clone(&self.completions);
        self.client
            .close(move || completions.push(token, Ended::Closed));
    }

    fn give_up(&self, token: u64) {
        self.completions.give_up(token);
    }

    fn abandon(&self) {
        self.completions.give_all_up();
        self.client.close(|| {});
    }

    #[pyo3(signature = (key, timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run(py, get(key)?, timeout)
    }

    #[pyo3(signature = (key, value, if_version=None, timeout=None))]
    fn put<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        if_version: Option<Version>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run(py, put(key, value, if_version)?, timeout)
    }

    #[pyo3(signature = (key, if_version=None, timeout=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        if_version: Option<Version>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run(py, delete(key, if_version)?, timeout)
    }

    #[pyo3(signature = (keys, timeout=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run_many(py, Verb::Get, self.many(Verb::Get, keys, None)?, timeout)
    }

    #[pyo3(signature = (keys, values, timeout=None))]
    fn put_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        values: &Bound<'py, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run_many(
            py,
            Verb::Put,
            self.many(Verb::Put, keys, Some(values))?,
            timeout,
        )
    }

    #[pyo3(signature = (keys, timeout=None))]
    fn delete_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run_many(
            py,
            Verb::Delete,
            self.many(Verb::Delete, keys, None)?,
            timeout,
        )
    }

    #[pyo3(signature = (start, end, limit, reverse=Reverse(false), timeout=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        start: &Bound<'py, PyAny>,
        end: &Bound<'py, PyAny>,
        limit: Limit,
        reverse: Reverse,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        let range = scan_range(start, end, limit, reverse)?;
        let timeout = duration(timeout);
        let (ended, end) = sync_channel(1);
        let asker = Arc::<Asker>::default();
        self.client
            .submit_scan(range, timeout, Arc::clone(&asker), move |result| {
                _ = ended.send(result)
            });
        Ended::Scan(wait(py, end, &asker)?).into_python(py)
    }

    #[pyo3(signature = (token, key, timeout=None))]
    fn submit_get(
        &self,
        token: u64,
        key: &Bound<'_, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.submit(token, get(key)?, timeout)
    }

    #[pyo3(signature = (token, key, value, if_version=None, timeout=None))]
    fn submit_put(
        &self,
        token: u64,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        if_version: Option<Version>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.submit(token, put(key, value, if_version)?, timeout)
    }

    #[pyo3(signature = (token, key, if_version=None, timeout=None))]
    fn submit_delete(
        &self,
        token: u64,
        key: &Bound<'_, PyAny>,
        if_version: Option<Version>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.submit(token, delete(key, if_version)?, timeout)
    }

    #[pyo3(signature = (token, keys, timeout=None))]
    fn submit_get_many(
        &self,
        token: u64,
        keys: &Bound<'_, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.submit_many(token, Verb::Get, self.many(Verb::Get, keys, None)?, timeout)
    }

    #[pyo3(signature = (token, keys, values, timeout=None))]
    fn submit_put_many(
        &self,
        token: u64,
        keys: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.submit_many(
            token,
            Verb::Put,
            self.many(Verb::Put, keys, Some(values))?,
            timeout,
        )
    }

    #[pyo3(signature = (token, keys, timeout=None))]
    fn submit_delete_many(
        &self,
        token: u64,
        keys: &Bound<'_, PyAny>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        self.submit_many(
            token,
            Verb::Delete,
            self.many(Verb::Delete, keys, None)?,
            timeout,
        )
    }

    #[pyo3(signature = (token, start, end, limit, reverse=Reverse(false), timeout=None))]
    fn submit_scan(
        &self,
        token: u64,
        start: &Bound<'_, PyAny>,
        end: &Bound<'_, PyAny>,
        limit: Limit,
        reverse: Reverse,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        let range = scan_range(start, end, limit, reverse)?;
        let timeout = duration(timeout);
        let (asker, completions) = self.begin(token)?;
        let completion = move |result| completions.push(token, Ended::Scan(result));
        self.client.submit_scan(range, timeout, asker, completion);
        Ok(())
    }

    fn fileno(&self) -> i32 {
        self.completions.fileno()
    }

    fn completions<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        let completion = |(token, ended): (u64, Ended)| match ended.into_python(py) {
            Ok(result) => (token, true, result),
            Err(error) => (
                token,
                false,
                PyErr::from(error).into_value(py).into_bound(py).into_any(),
            ),
        };
        Ok(PyList::new(
            py,
            self.completions
                .take()
                .into_iter()
                .map(completion)
                .collect::<Vec<_>>(),
        )?)
    }

    fn routes<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        let table = self.client.routes();
        let route = |entry: &Arc<dstk_core::routing::Entry>| {
            let start = PyBytes::new(py, &entry.start);
            let end = PyBytes::new(py, entry.end.as_deref().unwrap_or_default());
            let partition = PyString::new(py, &entry.partition);
            (
                start,
                end,
                partition,
                entry.epoch,
                PyString::new(py, &entry.owner),
            )
        };
        Ok(PyList::new(
            py,
            table.entries().map(route).collect::<Vec<_>>(),
        )?)
    }

    fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        let losses = self.client.losses();
        let loss = |loss: &dstk_core::node::Loss| {
            (
                PyBytes::new(py, &loss.start),
                PyBytes::new(py, &loss.end),
                PyString::new(py, &loss.partition),
                loss.since_ms,
                PyString::new(py, &loss.reason),
                loss.held,
            )
        };
        Ok(PyList::new(
            py,
            losses.iter().map(loss).collect::<Vec<_>>(),
        )?)
    }

    fn counters<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        for (name, value) in self.client.counters() {
            counters.set_item(name, value)?;
        }
        Ok(counters)
    }
}

impl PyClient {
    fn run<'py>(
        &self,
        py: Python<'py>,
        operation: Operation,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        let verb = operation.verb;
        let timeout = duration(timeout);
        let (ended, end) = sync_channel(1);
        let asker = Arc::<Asker>::default();
        self.client
            .submit(operation, timeout, Arc::clone(&asker), move |result| {
                _ = ended.send(result)
            });
        Ended::One(verb, wait(py, end, &asker)?).into_python(py)
    }

    fn run_many<'py>(
        &self,
        py: Python<'py>,
        verb: Verb,
        operations: Vec<Operation>,
        timeout: Option<Timeout>,
    ) -> Result<Bound<'py, PyAny>> {
        let (ended, end) = sync_channel(1);
        let timeout = duration(timeout);
        self.client.alive()?;
        let asker = Arc::<Asker>::default();
        py.detach(|| {
            let completion = move |results| _ = ended.send(results);
            self.client
                .submit_many(operations, timeout, Arc::clone(&asker), completion);
        });
        Ended::Many(verb, wait(py, end, &asker)?).into_python(py)
    }

    /// A call begins, of a client that takes calls.
    fn begin(&self, token: u64) -> Result<(Arc<Asker>, Arc<CompletionQueue>)> {
        self.client.alive()?;
        let asker = self.completions.begin(token);
        Ok((asker, Arc::clone(&self.completions)))
    }

    fn submit(&self, token: u64, operation: Operation, timeout: Option<Timeout>) -> Result<()> {
        let (verb, timeout) = (operation.verb, duration(timeout));
        let (asker, completions) = self.begin(token)?;
        let completion = move |result| completions.push(token, Ended::One(verb, result));
        self.client.submit(operation, timeout, asker, completion);
        Ok(())
    }

    fn submit_many(
        &self,
        token: u64,
        verb: Verb,
        operations: Vec<Operation>,
        timeout: Option<Timeout>,
    ) -> Result<()> {
        let timeout = duration(timeout);
        let (asker, completions) = self.begin(token)?;
        let completion = move |results| completions.push(token, Ended::Many(verb, results));
        self.client
            .submit_many(operations, timeout, asker, completion);
        Ok(())
    }

    /// One operation a key; keys that are not of the keyspace's length are refused before anything is sent.
    fn many(
        &self,
        verb: Verb,
        keys: &Bound<'_, PyAny>,
        values: Option<&Bound<'_, PyAny>>,
    ) -> Result<Vec<Operation>> {
        let keys = arguments::keys(keys, self.client.key_length())?;
        let Some(values) = values else {
            let operation = |key| match verb {
                Verb::Get => Operation::get(key),
                _ => Operation::delete(key, Condition::NONE),
            };
            return Ok(keys.into_iter().map(operation).collect());
        };
        let values = arguments::values(values)?;
        if values.len() != keys.len() {
            let text = format!(
                "{} keys and {} values: pass one value a key",
                keys.len(),
                values.len()
            );
            return Err(Error::invalid(text));
        }
        let rows = keys.into_iter().zip(values);
        Ok(rows
            .map(|(key, value)| Operation::put(key, value, Condition::NONE))
            .collect())
    }
}

fn get(key: &Bound<'_, PyAny>) -> Result<Operation> {
    Ok(Operation::get(key_bytes(key, "key")?.to_vec()))
}

fn put(
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    if_version: Option<Version>,
) -> Result<Operation> {
    let key = key_bytes(key, "key")?.to_vec();
    let value = arguments::value(value)?;
    Ok(Operation::put(key, value, condition(if_version)))
}

fn delete(key: &Bound<'_, PyAny>, if_version: Option<Version>) -> Result<Operation> {
    Ok(Operation::delete(
        key_bytes(key, "key")?.to_vec(),
        condition(if_version),
    ))
}

fn scan_range(
    start: &Bound<'_, PyAny>,
    end: &Bound<'_, PyAny>,
    limit: Limit,
    reverse: Reverse,
) -> Result<ScanRange> {
    Ok(ScanRange {
        start: arguments::bound(start, "start")?.into(),
        end: arguments::bound(end, "end")?.into(),
        limit: limit.0,
        reverse: reverse.0,
    })
}

fn client_settings(settings: &Bound<'_, PyMapping>) -> Result<ClientSettings> {
    let mut known = ClientSettings::default();
    for item in settings.items()?.iter() {
        let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
        if name == "cluster" {
            known.cluster = arguments::text(&value, "cluster")?;
            continue;
        }
        known.set(&name, arguments::setting(&name, &value)?)?;
    }
    Ok(known)
}

/// What comes out of `end`, waited for with the interpreter released. Signals are honoured: when one raises, what was
/// asked is given up.
fn wait<T: Send>(py: Python<'_>, mut end: Receiver<T>, asker: &Asker) -> Result<T> {
    loop {
        let result;
        (result, end) = py.detach(move || (end.recv_timeout(SIGNAL_CHECK), end));
        match result {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals().inspect_err(|_| asker.give_up())?;
            }
            Err(RecvTimeoutError::Disconnected) => return Err(Error::lost()),
        }
    }
}
