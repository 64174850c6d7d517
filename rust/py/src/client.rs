//! `Client`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use dstk_core::key::readable;
use dstk_net::client::{Client, ScanRange};
use dstk_net::operation::{Condition, Operation, Verb};
use dstk_net::settings::ClientSettings;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMapping, PyString};

use crate::completion::{CompletionQueue, Ended};
use crate::errors::{Error, Result};
use crate::keys_in::{KeysIn, key_bytes};

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
            client: wait(py, end)??,
            completions: Arc::new(CompletionQueue::new()?),
        })
    }

    #[getter]
    fn key_length(&self) -> usize {
        self.client.key_length()
    }

    fn close(&self) {
        self.client.close();
    }

    #[pyo3(signature = (key, timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run(py, get(key)?, timeout)
    }

    #[pyo3(signature = (key, value, if_version=None, timeout=None))]
    fn put<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        if_version: Option<u64>,
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run(py, put(key, value, if_version)?, timeout)
    }

    #[pyo3(signature = (key, if_version=None, timeout=None))]
    fn delete<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        if_version: Option<u64>,
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run(py, delete(key, if_version)?, timeout)
    }

    #[pyo3(signature = (keys, timeout=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run_many(py, Verb::Get, self.many(Verb::Get, keys, None)?, timeout)
    }

    #[pyo3(signature = (keys, values, timeout=None))]
    fn put_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        values: &Bound<'py, PyAny>,
        timeout: Option<f64>,
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
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        self.run_many(
            py,
            Verb::Delete,
            self.many(Verb::Delete, keys, None)?,
            timeout,
        )
    }

    #[pyo3(signature = (start, end, limit, reverse=false, timeout=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        start: &Bound<'py, PyAny>,
        end: &Bound<'py, PyAny>,
        limit: i64,
        reverse: bool,
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        let range = scan_range(start, end, limit, reverse)?;
        let (ended, end) = sync_channel(1);
        self.client
            .submit_scan(range, duration(timeout)?, move |result| {
                _ = ended.send(result)
            });
        Ended::Scan(wait(py, end)?).into_python(py)
    }

    #[pyo3(signature = (token, key, timeout=None))]
    fn submit_get(&self, token: u64, key: &Bound<'_, PyAny>, timeout: Option<f64>) -> Result<()> {
        self.submit(token, get(key)?, timeout)
    }

    #[pyo3(signature = (token, key, value, if_version=None, timeout=None))]
    fn submit_put(
        &self,
        token: u64,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        if_version: Option<u64>,
        timeout: Option<f64>,
    ) -> Result<()> {
        self.submit(token, put(key, value, if_version)?, timeout)
    }

    #[pyo3(signature = (token, key, if_version=None, timeout=None))]
    fn submit_delete(
        &self,
        token: u64,
        key: &Bound<'_, PyAny>,
        if_version: Option<u64>,
        timeout: Option<f64>,
    ) -> Result<()> {
        self.submit(token, delete(key, if_version)?, timeout)
    }

    #[pyo3(signature = (token, keys, timeout=None))]
    fn submit_get_many(
        &self,
        token: u64,
        keys: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> Result<()> {
        self.submit_many(token, Verb::Get, self.many(Verb::Get, keys, None)?, timeout)
    }

    #[pyo3(signature = (token, keys, values, timeout=None))]
    fn submit_put_many(
        &self,
        token: u64,
        keys: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
        timeout: Option<f64>,
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
        timeout: Option<f64>,
    ) -> Result<()> {
        self.submit_many(
            token,
            Verb::Delete,
            self.many(Verb::Delete, keys, None)?,
            timeout,
        )
    }

    #[pyo3(signature = (token, start, end, limit, reverse=false, timeout=None))]
    fn submit_scan(
        &self,
        token: u64,
        start: &Bound<'_, PyAny>,
        end: &Bound<'_, PyAny>,
        limit: i64,
        reverse: bool,
        timeout: Option<f64>,
    ) -> Result<()> {
        let range = scan_range(start, end, limit, reverse)?;
        let completions = Arc::clone(&self.completions);
        let completion = move |result| completions.push(token, Ended::Scan(result));
        self.client
            .submit_scan(range, duration(timeout)?, completion);
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
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        let verb = operation.verb;
        let (ended, end) = sync_channel(1);
        self.client
            .submit(operation, duration(timeout)?, move |result| {
                _ = ended.send(result)
            });
        Ended::One(verb, wait(py, end)?).into_python(py)
    }

    fn run_many<'py>(
        &self,
        py: Python<'py>,
        verb: Verb,
        operations: Vec<Operation>,
        timeout: Option<f64>,
    ) -> Result<Bound<'py, PyAny>> {
        let (ended, end) = sync_channel(1);
        let timeout = duration(timeout)?;
        py.detach(|| {
            self.client
                .submit_many(operations, timeout, move |results| _ = ended.send(results))
        });
        Ended::Many(verb, wait(py, end)?).into_python(py)
    }

    fn submit(&self, token: u64, operation: Operation, timeout: Option<f64>) -> Result<()> {
        let verb = operation.verb;
        let completions = Arc::clone(&self.completions);
        let completion = move |result| completions.push(token, Ended::One(verb, result));
        self.client
            .submit(operation, duration(timeout)?, completion);
        Ok(())
    }

    fn submit_many(
        &self,
        token: u64,
        verb: Verb,
        operations: Vec<Operation>,
        timeout: Option<f64>,
    ) -> Result<()> {
        let completions = Arc::clone(&self.completions);
        let completion = move |results| completions.push(token, Ended::Many(verb, results));
        self.client
            .submit_many(operations, duration(timeout)?, completion);
        Ok(())
    }

    /// One operation a key; keys that are not of the keyspace's length are refused before anything is sent.
    fn many(
        &self,
        verb: Verb,
        keys: &Bound<'_, PyAny>,
        values: Option<&Bound<'_, PyAny>>,
    ) -> Result<Vec<Operation>> {
        let keys = self.keys(keys)?;
        let Some(values) = values else {
            let operation = |key| match verb {
                Verb::Get => Operation::get(key),
                _ => Operation::delete(key, Condition::NONE),
            };
            return Ok(keys.into_iter().map(operation).collect());
        };
        let values = values.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        if values.len() != keys.len() {
            let text = format!(
                "{} keys and {} values: pass one value a key",
                keys.len(),
                values.len()
            );
            return Err(Error::invalid(text));
        }
        let operation = |(key, value): (Vec<u8>, &Bound<'_, PyAny>)| {
            Ok(Operation::put(
                key,
                value_bytes(value)?.to_vec(),
                Condition::NONE,
            ))
        };
        keys.into_iter().zip(&values).map(operation).collect()
    }

    fn keys(&self, keys: &Bound<'_, PyAny>) -> Result<Vec<Vec<u8>>> {
        let key_length = self.client.key_length();
        let wrong = |key: &[u8]| {
            let text = format!(
                "key {} is {} bytes; this keyspace takes {key_length} (dstk.keys.text pads)",
                readable(key),
                key.len()
            );
            Error::key_length(text)
        };
        // A list is not padded here as an index pads it: a row is written under the very key that was given.
        if keys.cast::<PyUntypedArray>().is_err()
            && let Ok(iterator) = keys.try_iter()
        {
            let key = |key: PyResult<Bound<'_, PyAny>>| {
                let key = key?;
                match key_bytes(&key, "keys")? {
                    bytes if bytes.len() == key_length => Ok(bytes.to_vec()),
                    bytes => Err(wrong(bytes)),
                }
            };
            return iterator.map(key).collect();
        }
        let keys = KeysIn::new(keys, "keys", None)?;
        let rows = keys.to_rows();
        let rows = rows.rows();
        match rows.iter().next().filter(|_| keys.width() != key_length) {
            Some(key) => Err(wrong(key)),
            None => Ok(rows.iter().map(<[u8]>::to_vec).collect()),
        }
    }
}

fn get(key: &Bound<'_, PyAny>) -> Result<Operation> {
    Ok(Operation::get(key_bytes(key, "key")?.to_vec()))
}

fn put(
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
    if_version: Option<u64>,
) -> Result<Operation> {
    let (key, value) = (
        key_bytes(key, "key")?.to_vec(),
        value_bytes(value)?.to_vec(),
    );
    Ok(Operation::put(key, value, condition(if_version)))
}

fn delete(key: &Bound<'_, PyAny>, if_version: Option<u64>) -> Result<Operation> {
    Ok(Operation::delete(
        key_bytes(key, "key")?.to_vec(),
        condition(if_version),
    ))
}

fn condition(if_version: Option<u64>) -> Condition {
    if_version.map_or(Condition::NONE, Condition::version)
}

fn value_bytes<'a>(value: &'a Bound<'_, PyAny>) -> Result<&'a [u8]> {
    match value.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => Err(Error::wrong_type(format!(
            "a value is bytes, not {}: encode it",
            value.get_type().name()?
        ))),
    }
}

fn scan_range(
    start: &Bound<'_, PyAny>,
    end: &Bound<'_, PyAny>,
    limit: i64,
    reverse: bool,
) -> Result<ScanRange> {
    let start = key_bytes(start, "start")?.to_vec().into();
    let end = key_bytes(end, "end")?.to_vec().into();
    // A limit below 1 is refused with those above the bound, in one place.
    Ok(ScanRange {
        start,
        end,
        limit: usize::try_from(limit).unwrap_or(0),
        reverse,
    })
}

fn duration(seconds: Option<f64>) -> Result<Option<Duration>> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Some(timeout)),
        _ => Err(Error::invalid(format!(
            "timeout {seconds} is not in 0..=86400 seconds (0 excluded)"
        ))),
    }
}

fn client_settings(settings: &Bound<'_, PyMapping>) -> Result<ClientSettings> {
    let mut known = ClientSettings::default();
    for item in settings.items()?.iter() {
        let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
        if name == "cluster" {
            known.cluster = value.extract()?;
            continue;
        }
        let number = value.extract::<f64>().or_else(|_| {
            let text = value.str()?.to_string();
            text.trim().parse().map_err(|_| {
                Error::config(format!("setting {name} is {text:?}: it takes a number")).into()
            })
        });
        known
            .set(&name, number.map_err(|error: PyErr| error)?)
            .map_err(Error::from)?;
    }
    Ok(known)
}

/// What comes out of `end`, waited for with the interpreter released. Signals are honoured: what was asked goes on, and
/// its result is forgotten.
fn wait<T: Send>(py: Python<'_>, mut end: Receiver<T>) -> Result<T> {
    loop {
        let result;
        (result, end) = py.detach(move || (end.recv_timeout(SIGNAL_CHECK), end));
        match result {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::invalid(
                    "this client was closed while it was asked".into(),
                ));
            }
        }
    }
}
