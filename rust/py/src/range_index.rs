//! `RangeIndex`.

use dstk_core::index::{Delta, RangeIndex};
use dstk_core::key::Bounds;
use numpy::{IntoPyArray, PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{Error, Result};
use crate::keys_in::{DETACH_FROM, KeysIn, key_bytes, lookup_key};

/// An immutable index over closed-open ranges of keys of one length.
#[pyclass(name = "RangeIndex", module = "dstk._core", frozen)]
pub(crate) struct PyRangeIndex {
    inner: RangeIndex,
}

/// A range as `apply` takes it: start, end (None or empty: no end), owner.
type Added<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyAny>>, u32);

#[pymethods]
impl PyRangeIndex {
    #[new]
    #[pyo3(signature = (starts, ends=None, owners=None, *, key_length=None))]
    fn new(
        starts: &Bound<'_, PyAny>,
        ends: Option<&Bound<'_, PyAny>>,
        owners: Option<&Bound<'_, PyAny>>,
        key_length: Option<usize>,
    ) -> Result<Self> {
        let starts = KeysIn::new(starts, "starts", key_length)?;
        let ends = ends
            .map(|ends| KeysIn::new(ends, "ends", key_length))
            .transpose()?;
        let widest = || ends.as_ref().map_or(0, KeysIn::width).max(starts.width());
        let key_length = key_length.unwrap_or_else(widest);
        let owners = owners.map(owners_in).transpose()?;
        let ends = ends.as_ref().map(KeysIn::rows).transpose()?;
        let inner = RangeIndex::from_columns(starts.rows()?, ends, owners.as_deref(), key_length)?;
        Ok(Self { inner })
    }

    fn find(&self, key: &Bound<'_, PyAny>) -> Result<i64> {
        let found = self.inner.find(lookup_key(key, self.inner.key_length())?);
        Ok(found.map_or(-1, |position| position as i64))
    }

    fn owner(&self, key: &Bound<'_, PyAny>) -> Result<i64> {
        Ok(self
            .inner
            .owner(lookup_key(key, self.inner.key_length())?)
            .map_or(-1, i64::from))
    }

    #[pyo3(signature = (keys, out=None))]
    fn find_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyArray1<i64>>> {
        let keys = KeysIn::new(keys, "keys", Some(self.inner.key_length()))?;
        let rows = keys.rows()?;
        let Some(out) = out else {
            let found = released(py, rows.len(), || self.inner.find_many(rows))?;
            return Ok(found.into_pyarray(py));
        };
        let Ok(out) = out.cast::<PyArray1<i64>>() else {
            let message = format!(
                "out is {}; pass a one-dimensional numpy array of int64",
                out.get_type().name()?
            );
            return Err(Error::wrong_type(message));
        };
        let mut places = out
            .try_readwrite()
            .map_err(|error| Error::invalid(format!("out cannot be written: {error}")))?;
        let Ok(places) = places.as_slice_mut() else {
            return Err(Error::invalid(
                "out is not contiguous: pass one that is".to_owned(),
            ));
        };
        released(py, rows.len(), || self.inner.find_into(rows, places))?;
        Ok(out.clone())
    }

    #[expect(clippy::type_complexity, reason = "the two arrays that Python sees")]
    fn group<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> Result<(Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>)> {
        let keys = KeysIn::new(keys, "keys", Some(self.inner.key_length()))?;
        let rows = keys.rows()?;
        let groups = released(py, rows.len(), || self.inner.group(rows))?;
        Ok((
            groups.order.into_pyarray(py),
            groups.offsets.into_pyarray(py),
        ))
    }

    #[pyo3(signature = (remove, add))]
    fn apply(&self, remove: Vec<Bound<'_, PyAny>>, add: Vec<Added<'_>>) -> Result<Self> {
        let mut delta = Delta::default();
        for start in &remove {
            delta.remove.push(key_bytes(start, "remove")?.into());
        }
        for (start, end, owner) in &add {
            let end = end.as_ref().map(|end| key_bytes(end, "add")).transpose()?;
            let bounds = Bounds::padded(
                key_bytes(start, "add")?,
                end.unwrap_or_default(),
                self.inner.key_length(),
            )?;
            delta.add.push((bounds, *owner));
        }
        Ok(Self {
            inner: self.inner.apply(&delta)?,
        })
    }

    fn bounds<'py>(
        &self,
        py: Python<'py>,
        position: usize,
    ) -> Result<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let Some(range) = self.inner.get(position) else {
            let message = format!(
                "range {position} of {}: positions are 0 to {} less one",
                self.len(),
                self.len()
            );
            return Err(PyIndexError::new_err(message).into());
        };
        Ok((
            PyBytes::new(py, range.start),
            PyBytes::new(py, range.end.unwrap_or_default()),
        ))
    }

    fn __len__(&self) -> usize {
        self.len()
    }

    fn __repr__(&self) -> String {
        format!(
            "<RangeIndex of {} ranges, {}-byte keys>",
            self.len(),
            self.inner.key_length()
        )
    }

    #[getter]
    fn key_length(&self) -> usize {
        self.inner.key_length()
    }

    #[getter]
    fn owners(&self) -> u32 {
        self.inner.owners()
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.inner.nbytes()
    }
}

impl PyRangeIndex {
    fn len(&self) -> usize {
        self.inner.len()
    }
}

/// Runs `work` on `keys` keys, with the interpreter released if they are many.
fn released<T: Send, E: Send>(
    py: Python<'_>,
    keys: usize,
    work: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> Result<T>
where
    Error: From<E>,
{
    let done = if keys < DETACH_FROM {
        work()
    } else {
        py.detach(work)
    };
    Ok(done?)
}

/// Owner numbers from an integer array or a sequence.
fn owners_in(owners: &Bound<'_, PyAny>) -> Result<Vec<u32>> {
    if let Ok(array) = owners.extract::<PyReadonlyArray1<'_, i64>>() {
        let narrow = |owner: &i64| u32::try_from(*owner).map_err(|_| bad_owner(owner));
        return array.as_array().iter().map(narrow).collect();
    }
    owners
        .try_iter()?
        .map(|owner| {
            let owner = owner?;
            owner.extract::<u32>().map_err(|_| bad_owner(&owner))
        })
        .collect()
}

fn bad_owner(owner: impl std::fmt::Display) -> Error {
    Error::invalid(format!(
        "owner {owner} is not a number that an owner can have: count from 0"
    ))
}
