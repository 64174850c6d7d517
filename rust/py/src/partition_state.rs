//! `PartitionState`.

use dstk_core::partition::PartitionState;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A partition as its worker holds it.
#[pyclass(name = "PartitionState", module = "dstk._core", frozen)]
pub(crate) struct PyPartitionState {
    inner: PartitionState,
}

impl From<PartitionState> for PyPartitionState {
    fn from(inner: PartitionState) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl PyPartitionState {
    #[getter]
    fn keyspace(&self) -> &str {
        &self.inner.keyspace
    }

    #[getter]
    fn partition(&self) -> &str {
        &self.inner.partition
    }

    #[getter]
    fn start<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.bounds.start)
    }

    #[getter]
    fn end<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.bounds.end().unwrap_or_default())
    }

    #[getter]
    fn role(&self) -> &'static str {
        self.inner.role.name()
    }

    #[getter]
    fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.inner.sequence
    }

    #[getter]
    fn fenced(&self) -> bool {
        self.inner.fenced
    }

    #[getter]
    fn fence_token(&self) -> u64 {
        self.inner.fence_token
    }

    #[getter]
    fn held(&self) -> u32 {
        self.inner.held
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.inner.rows
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.inner.bytes
    }

    #[getter]
    fn digest(&self) -> u64 {
        self.inner.digest
    }

    #[getter]
    fn quiet_seconds(&self) -> f64 {
        self.inner.quiet as f64 / 1e9
    }

    #[getter]
    fn last_pause_seconds(&self) -> f64 {
        self.inner.last_pause as f64 / 1e9
    }

    #[getter]
    fn durable(&self) -> bool {
        self.inner.durable
    }

    #[getter]
    fn proxy_to(&self) -> &str {
        &self.inner.proxy_to
    }

    #[getter]
    fn source(&self) -> &str {
        self.inner
            .follow
            .as_ref()
            .map_or("", |follow| &follow.source)
    }

    #[getter]
    fn rows_copied(&self) -> u64 {
        self.inner
            .follow
            .as_ref()
            .map_or(0, |follow| follow.rows_copied)
    }

    #[getter]
    fn bytes_copied(&self) -> u64 {
        self.inner
            .follow
            .as_ref()
            .map_or(0, |follow| follow.bytes_copied)
    }

    #[getter]
    fn bytes_total(&self) -> u64 {
        self.inner
            .follow
            .as_ref()
            .map_or(0, |follow| follow.bytes_total)
    }

    #[getter]
    fn lag(&self) -> u64 {
        self.inner.follow.as_ref().map_or(0, |follow| follow.lag)
    }

    #[getter]
    fn caught_up(&self) -> bool {
        self.inner
            .follow
            .as_ref()
            .is_some_and(|follow| follow.caught_up)
    }

    #[getter]
    fn no_room(&self) -> bool {
        let follow = self.inner.follow.as_ref();
        follow.is_some_and(|follow| follow.no_room)
    }

    #[getter]
    fn size(&self) -> u64 {
        self.inner.size
    }

    #[getter]
    fn follow_error(&self) -> &str {
        self.inner
            .follow
            .as_ref()
            .map_or("", |follow| &follow.error)
    }

    fn __repr__(&self) -> String {
        let state = &self.inner;
        format!(
            "PartitionState({}/{} {} {} epoch={} sequence={} rows={})",
            state.keyspace,
            state.partition,
            state.bounds,
            state.role,
            state.epoch,
            state.sequence,
            state.rows
        )
    }
}
