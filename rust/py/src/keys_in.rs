//! Keys as Python hands them over: numpy arrays without a copy where possible, sequences of bytes otherwise.

use dstk_core::index::KeyRows;
use dstk_core::key::readable;
use numpy::{
    PyArray2, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray2, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::errors::{Error, Result};

/// Batches of at least this many keys are looked up with the interpreter released.
pub(crate) const DETACH_FROM: usize = 256;

/// A batch of keys of one width.
pub(crate) enum KeysIn<'py> {
    /// The memory of a contiguous array of bytes, (keys, width).
    Borrowed(PyReadonlyArray2<'py, u8>),
    /// A copy, padded to one width.
    Owned {
        bytes: Vec<u8>,
        len: usize,
        width: usize,
    },
}

impl<'py> KeysIn<'py> {
    /// Keys from an array of dtype `S{n}`, a `(keys, n)` array of uint8 or a sequence of bytes.
    ///
    /// A sequence is padded with zeros to `width`, or to its longest key without one. `what` names the argument in
    /// errors.
    pub(crate) fn new(keys: &Bound<'py, PyAny>, what: &str, width: Option<usize>) -> Result<Self> {
        match keys.cast::<PyUntypedArray>() {
            Ok(array) => Self::of_array(array, what),
            Err(_) => Self::of_sequence(keys, what, width),
        }
    }

    /// The keys for the core; they may be used with the interpreter released.
    pub(crate) fn rows(&self) -> Result<KeyRows<'_>> {
        let (bytes, len, width) = match self {
            Self::Borrowed(array) => (
                array.as_slice().map_err(PyErr::from)?,
                array.shape()[0],
                array.shape()[1],
            ),
            Self::Owned { bytes, len, width } => (bytes.as_slice(), *len, *width),
        };
        KeyRows::strided(bytes, len, width, width).ok_or_else(|| {
            Error::invalid(format!(
                "{len} keys of {width} bytes do not fit in {} bytes",
                bytes.len()
            ))
        })
    }

    /// Bytes a key.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Borrowed(array) => array.shape()[1],
            Self::Owned { width, .. } => *width,
        }
    }

    fn of_array(array: &Bound<'py, PyUntypedArray>, what: &str) -> Result<Self> {
        let dtype = array.dtype();
        let bytes = match (dtype.kind(), array.ndim()) {
            (b'S', 1) if dtype.itemsize() == 0 => {
                return Ok(Self::Owned {
                    bytes: Vec::new(),
                    len: array.len(),
                    width: 0,
                });
            }
            (b'S', 1) => {
                let numpy = array.py().import("numpy")?;
                let flat = numpy
                    .call_method1("ascontiguousarray", (array,))?
                    .call_method1("view", ("u1",))?;
                flat.call_method1("reshape", (array.len(), dtype.itemsize()))?
            }
            (b'u', 2) if dtype.itemsize() == 1 => array.as_any().clone(),
            (_, dimensions) => {
                let message = format!(
                    "{what} is an array of dtype {dtype} with {dimensions} dimensions; pass dtype S{{n}} with one, \
                     uint8 with two (keys, bytes), or a list of bytes"
                );
                return Err(Error::wrong_type(message));
            }
        };
        let array = bytes.cast_into::<PyArray2<u8>>().map_err(PyErr::from)?;
        let array = array.try_readonly().map_err(PyErr::from)?;
        if array.is_c_contiguous() {
            return Ok(Self::Borrowed(array));
        }
        let (len, width) = (array.shape()[0], array.shape()[1]);
        Ok(Self::Owned {
            bytes: array.as_array().iter().copied().collect(),
            len,
            width,
        })
    }

    fn of_sequence(keys: &Bound<'py, PyAny>, what: &str, width: Option<usize>) -> Result<Self> {
        if keys.is_instance_of::<PyBytes>() || keys.is_instance_of::<PyString>() {
            let message = format!(
                "{what} is one {}; pass many, such as a list of bytes",
                keys.get_type().name()?
            );
            return Err(Error::wrong_type(message));
        }
        let Ok(iterator) = keys.try_iter() else {
            let message = format!(
                "{what} is a {}; pass a numpy array or a list of bytes",
                keys.get_type().name()?
            );
            return Err(Error::wrong_type(message));
        };
        let keys = iterator.collect::<PyResult<Vec<_>>>()?;
        let slices = keys
            .iter()
            .map(|key| key_bytes(key, what))
            .collect::<Result<Vec<_>>>()?;
        let width = width.unwrap_or_else(|| slices.iter().map(|key| key.len()).max().unwrap_or(0));
        let mut bytes = Vec::with_capacity(width * slices.len());
        for (position, key) in slices.iter().enumerate() {
            if key.len() > width {
                let message = format!("{what}[{position}]: {}", too_long(key, width));
                return Err(Error::key_length(message));
            }
            bytes.extend_from_slice(key);
            bytes.resize((position + 1) * width, 0);
        }
        Ok(Self::Owned {
            bytes,
            len: slices.len(),
            width,
        })
    }
}

/// The bytes of one key or bound.
pub(crate) fn key_bytes<'a>(key: &'a Bound<'_, PyAny>, what: &str) -> Result<&'a [u8]> {
    match key.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes()),
        Err(_) => {
            let message = format!(
                "{what}: a key is bytes, not {} (dstk.keys encodes)",
                key.get_type().name()?
            );
            Err(Error::wrong_type(message))
        }
    }
}

/// A key that is at most `key_length` bytes, as `bytes` of Python.
pub(crate) fn lookup_key<'a>(key: &'a Bound<'_, PyAny>, key_length: usize) -> Result<&'a [u8]> {
    let bytes = key_bytes(key, "key")?;
    if bytes.len() > key_length {
        return Err(Error::key_length(too_long(bytes, key_length)));
    }
    Ok(bytes)
}

fn too_long(key: &[u8], key_length: usize) -> String {
    format!(
        "key {} is {} bytes; the keys here take {key_length}: shorten it",
        readable(key),
        key.len()
    )
}
