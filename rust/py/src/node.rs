//! `Node`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dstk_core::node::{Node, Settings};
use dstk_core::partition::Nanos;
use dstk_net::Worker;
use dstk_net::settings::WorkerSettings;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::{Error, Result};
use crate::partition_state::PyPartitionState;
use crate::passive::Passive;

/// The data plane of one worker: its node and what is around it.
#[pyclass(name = "Node", module = "dstk._core", frozen, subclass)]
pub(crate) struct PyNode {
    around: Around,
}

/// What tells a node the time and carries what it sends.
enum Around {
    /// A network with threads of its own.
    Network(Box<Worker>),
    /// Whoever holds the node.
    Caller(Arc<Passive>),
}

impl Drop for PyNode {
    /// Threads that end now may need the interpreter to do so, where a hook for fault points is set.
    fn drop(&mut self) {
        Python::attach(|py| py.detach(|| self.node().close()));
    }
}

/// What a partition costs, as Python sees it: keyspace, partition, epoch, rows, bytes, operations/s, bytes/s, median
/// key, role, and together key length, whether it is durable, size, sequence that is on disk.
type Load<'py> = (
    String,
    String,
    u64,
    u64,
    u64,
    f64,
    f64,
    Option<Bound<'py, PyBytes>>,
    &'static str,
    (usize, bool, u64, u64),
);

#[pymethods]
impl PyNode {
    #[new]
    #[pyo3(signature = (name, incarnation, settings=None))]
    fn new(
        py: Python<'_>,
        name: &str,
        incarnation: &str,
        settings: Option<HashMap<String, Bound<'_, PyAny>>>,
    ) -> Result<Self> {
        let Limits {
            node,
            network,
            data_dir,
        } = read_settings(&settings.unwrap_or_default())?;
        let node = match data_dir {
            None => Node::new(name, incarnation, node),
            Some(dir) => py.detach(|| Node::open(name, incarnation, node, &dir))?,
        };
        let worker = py.detach(|| Worker::new(node, network));
        let worker = worker.map_err(|error| {
            Error::config(format!("cannot start the worker's threads: {error}"))
        })?;
        Ok(Self {
            around: Around::Network(Box::new(worker)),
        })
    }

    #[staticmethod]
    fn check_settings(settings: HashMap<String, Bound<'_, PyAny>>) -> Result<()> {
        read_settings(&settings).map(|_| ())
    }

    fn listen(&self, py: Python<'_>, address: &str) -> Result<String> {
        let Around::Network(worker) = &self.around else {
            self.node().set_address(address);
            return Ok(address.into());
        };
        let bound = py.detach(|| worker.listen(address));
        let bound: SocketAddr = bound.map_err(|error| {
            Error::config(format!(
                "cannot listen on {address} for data: {error}; give host:port of this machine"
            ))
        })?;
        if !bound.ip().is_unspecified() {
            self.node().set_address(&bound.to_string());
        }
        Ok(bound.to_string())
    }

    fn stop(&self, py: Python<'_>, grace_seconds: f64) -> Result<()> {
        let grace = duration("grace_seconds", grace_seconds)?;
        py.detach(|| match &self.around {
            Around::Network(worker) => worker.stop(grace),
            Around::Caller(passive) => passive.node().close(),
        });
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    fn serve(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        key_length: usize,
        start: &[u8],
        end: &[u8],
        durable: bool,
    ) -> Result<PyPartitionState> {
        let now = self.now();
        let serve = || {
            self.node().serve(
                keyspace, partition, epoch, key_length, start, end, durable, now,
            )
        };
        Ok(py.detach(serve)?.into())
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    fn follow(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        key_length: usize,
        start: &[u8],
        end: &[u8],
        source: &str,
        source_address: &str,
        source_incarnation: &str,
        durable: bool,
        size: u64,
    ) -> Result<PyPartitionState> {
        let follow = || match &self.around {
            Around::Network(worker) => worker.follow(
                keyspace,
                partition,
                epoch,
                key_length,
                start,
                end,
                source,
                source_address,
                source_incarnation,
                durable,
                size,
            ),
            Around::Caller(passive) => passive.follow(
                keyspace,
                partition,
                epoch,
                key_length,
                start,
                end,
                source,
                source_address,
                source_incarnation,
                durable,
                size,
            ),
        };
        Ok(py.detach(follow)?.into())
    }

    fn fence(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        token: u64,
    ) -> Result<PyPartitionState> {
        let now = self.now();
        Ok(py
            .detach(|| self.node().fence(keyspace, partition, epoch, token, now))?
            .into())
    }

    fn unfence(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        token: u64,
    ) -> Result<PyPartitionState> {
        let now = self.now();
        Ok(py
            .detach(|| self.node().unfence(keyspace, partition, epoch, token, now))?
            .into())
    }

    fn await_applied(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        sequence: u64,
        timeout_seconds: f64,
    ) -> Result<PyPartitionState> {
        let timeout = duration("timeout_seconds", timeout_seconds)?;
        let wait = || {
            self.node()
                .await_applied(keyspace, partition, epoch, sequence, timeout)
        };
        Ok(py.detach(wait)?.into())
    }

    fn promote(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        sequence: u64,
        digest: u64,
    ) -> Result<PyPartitionState> {
        let now = self.now();
        let promote = || {
            self.node()
                .promote(keyspace, partition, epoch, sequence, digest, now)
        };
        Ok(py.detach(promote)?.into())
    }

    fn proxy(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        epoch: u64,
        to: &str,
        to_address: &str,
    ) -> Result<PyPartitionState> {
        let now = self.now();
        let proxy = || {
            self.node()
                .proxy(keyspace, partition, epoch, to, to_address, now)
        };
        Ok(py.detach(proxy)?.into())
    }

    fn release(&self, py: Python<'_>, keyspace: &str, partition: &str, epoch: u64) -> Result<()> {
        Ok(py.detach(|| self.node().release(keyspace, partition, epoch))?)
    }

    fn drop(&self, py: Python<'_>, keyspace: &str, partition: &str, epoch: u64) -> Result<()> {
        Ok(py.detach(|| self.node().drop_partition(keyspace, partition, epoch))?)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    fn split(
        &self,
        py: Python<'_>,
        keyspace: &str,
        partition: &str,
        parent_epoch: u64,
        epoch: u64,
        keys: Vec<PyBackedBytes>,
        names: Vec<String>,
    ) -> Result<Vec<PyPartitionState>> {
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let clock = || self.now();
        let split = || {
            self.node().split(
                keyspace,
                partition,
                parent_epoch,
                epoch,
                &keys,
                &names,
                &clock,
            )
        };
        Ok(py
            .detach(split)?
            .into_iter()
            .map(PyPartitionState::from)
            .collect())
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of the action")]
    fn merge(
        &self,
        py: Python<'_>,
        keyspace: &str,
        parts: Vec<(String, u64)>,
        partition: &str,
        epoch: u64,
        start: &[u8],
        end: &[u8],
    ) -> Result<PyPartitionState> {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, epoch)| (name.as_str(), *epoch))
            .collect();
        let clock = || self.now();
        let merge = || {
            self.node()
                .merge(keyspace, &parts, partition, epoch, start, end, &clock)
        };
        Ok(py.detach(merge)?.into())
    }

    #[pyo3(signature = (partitions=None))]
    fn states(
        &self,
        py: Python<'_>,
        partitions: Option<Vec<String>>,
    ) -> Result<Vec<PyPartitionState>> {
        let names: Option<Vec<&str>> = partitions
            .as_ref()
            .map(|names| names.iter().map(String::as_str).collect());
        let states = py.detach(|| self.node().states(names.as_deref(), self.now()))?;
        Ok(states.into_iter().map(PyPartitionState::from).collect())
    }

    fn loads<'py>(&self, py: Python<'py>) -> Vec<Load<'py>> {
        let loads = py.detach(|| self.node().loads(self.now()));
        let load = |load: dstk_core::node::PartitionLoad| {
            (
                load.keyspace.to_string(),
                load.partition.to_string(),
                load.epoch,
                load.rows,
                load.bytes,
                load.operations_per_second,
                load.bytes_per_second,
                load.median_key.map(|key| PyBytes::new(py, &key)),
                load.role.name(),
                (load.key_length, load.durable, load.size, load.sequence),
            )
        };
        loads.into_iter().map(load).collect()
    }

    fn join(&self, py: Python<'_>, cluster: &str) -> Result<()> {
        Ok(py.detach(|| match &self.around {
            Around::Network(worker) => worker.join(cluster),
            Around::Caller(passive) => passive.node().join(cluster),
        })?)
    }

    #[getter]
    fn cluster(&self) -> Option<&str> {
        self.node().cluster().map(|cluster| &**cluster)
    }

    /// Bytes that rows may take, take, and that copies on their way are still to take.
    #[getter]
    fn room(&self) -> (u64, u64, u64) {
        self.node().room()
    }

    fn see_term(&self, py: Python<'_>, term: u64) -> Result<()> {
        Ok(py.detach(|| self.node().see_term(term))?)
    }

    fn set_lease(&self, keyspace: &str, key_length: usize, seconds: f64) -> Result<()> {
        let lease = duration("seconds", seconds)?.as_nanos() as u64;
        Ok(self.node().set_lease(keyspace, key_length, lease)?)
    }

    fn renew(&self, py: Python<'_>, seconds_ago: f64) -> Result<()> {
        let ago = duration("seconds_ago", seconds_ago)?.as_nanos() as u64;
        let now = self.now();
        py.detach(|| self.node().renew(now.saturating_sub(ago), now));
        Ok(())
    }

    #[getter]
    fn lapses(&self) -> u64 {
        self.node().lapses()
    }

    #[getter]
    fn term(&self) -> u64 {
        self.node().term()
    }

    #[getter]
    fn origin(&self) -> Option<(String, u64, Vec<String>, u64)> {
        let origin = self.node().origin()?.clone();
        Some((origin.directory, origin.starts, origin.lives, origin.began))
    }

    #[getter]
    fn durable_position(&self) -> u64 {
        self.node().durable_position()
    }

    #[getter]
    fn failure(&self) -> Option<String> {
        self.node().failure().map(|reason| reason.to_string())
    }

    fn checkpoint(&self, py: Python<'_>) -> Result<bool> {
        let made = py.detach(|| self.node().checkpoint());
        made.map_err(|error| Error::unavailable(format!("no checkpoint could be made: {error}")))
    }

    fn apply_routes(&self, py: Python<'_>, update: &[u8]) -> Result<()> {
        Ok(py.detach(|| match &self.around {
            Around::Network(worker) => worker.apply_routes(update),
            Around::Caller(passive) => passive.apply_routes(update),
        })?)
    }

    fn counters(&self, py: Python<'_>) -> BTreeMap<&'static str, u64> {
        py.detach(|| match &self.around {
            Around::Network(worker) => worker.counters().into_iter().collect(),
            Around::Caller(passive) => passive.node().counters().into_iter().collect(),
        })
    }

    fn keyspace_counters(&self, py: Python<'_>) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
        let all = py.detach(|| self.node().keyspace_counters());
        let of_one = |(keyspace, counters): (Arc<str>, Vec<(&'static str, u64)>)| {
            (keyspace.to_string(), counters.into_iter().collect())
        };
        all.into_iter().map(of_one).collect()
    }
}

impl PyNode {
    /// One that its holder tells the time.
    pub(crate) fn passive(passive: Arc<Passive>) -> Self {
        Self {
            around: Around::Caller(passive),
        }
    }

    fn node(&self) -> &Node {
        match &self.around {
            Around::Network(worker) => worker.node(),
            Around::Caller(passive) => passive.node(),
        }
    }

    fn now(&self) -> Nanos {
        match &self.around {
            Around::Network(worker) => worker.now(),
            Around::Caller(passive) => passive.now(),
        }
    }
}

fn duration(name: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| {
        Error::invalid(format!(
            "{name} = {seconds}: {error}; give seconds from 0 on"
        ))
    })
}

/// A report, as Python sees it.
type Found = (String, usize, u64, u64, usize, u64, u64, u64);

/// What a data directory that no worker uses holds, after everything in it has been checked: worker, partitions, rows,
/// bytes of keys and values, files of the log, bytes and records after the last checkpoint, highest term.
#[pyfunction]
pub(crate) fn check_data(py: Python<'_>, dir: PathBuf) -> Result<Found> {
    let report = py.detach(|| dstk_core::disk::check(&dir))?;
    Ok((
        report.worker,
        report.partitions,
        report.rows,
        report.bytes,
        report.log_files,
        report.log_bytes,
        report.log_records,
        report.term,
    ))
}

pub(crate) struct Limits {
    pub(crate) node: Settings,
    network: WorkerSettings,
    pub(crate) data_dir: Option<PathBuf>,
}

/// Settings by name: those of the node, then those of the network around it.
pub(crate) fn read_settings(given: &HashMap<String, Bound<'_, PyAny>>) -> Result<Limits> {
    let (mut node, mut network) = (Settings::default(), WorkerSettings::default());
    let mut data_dir = None;
    for (name, value) in given {
        if name == "data_dir" {
            data_dir = Some(value.extract::<PathBuf>()?);
            continue;
        }
        if name == "spill_dir" {
            node.spill_dir = Some(value.extract::<PathBuf>()?);
            continue;
        }
        let Ok(number) = value.extract::<f64>() else {
            return Err(Error::wrong_type(format!(
                "setting {name} = {value}: it takes a number"
            )));
        };
        let known = node
            .set(name, number)
            .map_err(|error| Error::config(error.to_string()))?
            || network
                .set(name, number)
                .map_err(|error| Error::config(error.to_string()))?;
        if !known {
            let names = [&Settings::NAMES[..], &WorkerSettings::NAMES[..]]
                .concat()
                .join(", ");
            let text =
                format!("there is no setting {name}: a worker's are data_dir, spill_dir, {names}");
            return Err(Error::config(text));
        }
    }
    Ok(Limits {
        node,
        network,
        data_dir,
    })
}
