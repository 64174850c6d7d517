//! The arguments of calls: each kind is read in one place, and what is wrong with one is said before anything is sent.

use std::time::Duration;

use dstk_core::key::{MAX_KEY_LENGTH, readable};
use dstk_net::operation::Condition;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFrozenSet, PySet, PyString};
use pyo3::{Borrowed, ffi, intern};

use crate::errors::{Error, Result};
use crate::keys_in::{KeysIn, key_bytes};

/// The longest timeout, in seconds.
const LONGEST: f64 = 86_400.0;

/// A value as errors show it.
fn shown(value: &Bound<'_, PyAny>) -> String {
    const MOST: usize = 80;
    let text = match value.repr() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => "what cannot be shown".to_owned(),
    };
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().name();
    name.map_or_else(|_| "?".to_owned(), |name| name.to_string())
}

fn is_bool(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBool>() || matches!(&*type_name(value), "bool" | "bool_")
}

/// A whole number: `int` and what stands for one (`__index__`), but not `bool`.
///
/// None: one that is out of the range of i64. `takes` says what is needed instead of another type.
pub(crate) fn whole(value: &Bound<'_, PyAny>, what: &str, takes: &str) -> Result<Option<i64>> {
    let wrong_type = || Error::wrong_type(format!("{what} is {takes}, not {}", type_name(value)));
    if is_bool(value) {
        return Err(wrong_type());
    }
    match value.extract::<i64>() {
        Ok(number) => Ok(Some(number)),
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Ok(None),
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => Err(wrong_type()),
        Err(error) => Err(error.into()),
    }
}

/// Within how long a call ends.
pub(crate) struct Timeout(Duration);

impl FromPyObject<'_, '_> for Timeout {
    type Error = Error;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> Result<Self> {
        let value = &*value;
        let wrong_type = || {
            let name = type_name(value);
            Error::wrong_type(format!("timeout is seconds, a number, not {name}"))
        };
        if is_bool(value) {
            return Err(wrong_type());
        }
        let seconds = match value.extract::<f64>() {
            Ok(seconds) => seconds,
            Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => f64::INFINITY,
            Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => {
                return Err(wrong_type());
            }
            Err(error) => return Err(error.into()),
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(timeout) if seconds > 0.0 && seconds <= LONGEST => Ok(Self(timeout)),
            _ => Err(Error::invalid(format!(
                "timeout is {}; it takes seconds above 0, at most {LONGEST}",
                shown(value)
            ))),
        }
    }
}

/// The timeout that was given, if one was.
pub(crate) fn duration(timeout: Option<Timeout>) -> Option<Duration> {
    timeout.map(|timeout| timeout.0)
}

/// The version that a row has to have.
pub(crate) struct Version(u64);

impl FromPyObject<'_, '_> for Version {
    type Error = Error;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> Result<Self> {
        let value = &*value;
        let found = whole(value, "if_version", "a row's version, an int")?;
        match found.map(u64::try_from) {
            Some(Ok(version)) => Ok(Self(version)),
            _ => Err(Error::invalid(format!(
                "if_version is {}; a row's version is 1 or more, and 0 means no row",
                shown(value)
            ))),
        }
    }
}

/// What has to hold of the row.
pub(crate) fn condition(if_version: Option<Version>) -> Condition {
    if_version.map_or(Condition::NONE, |version| Condition::version(version.0))
}

/// How many rows a scan may give.
pub(crate) struct Limit(pub(crate) usize);

impl FromPyObject<'_, '_> for Limit {
    type Error = Error;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> Result<Self> {
        let value = &*value;
        if value.is_none() {
            return Err(Error::limit(
                "a scan needs a limit: scan(start, end, limit=1000), then go on from page.cursor"
                    .to_owned(),
            ));
        }
        let found = whole(value, "limit", "a number of rows, an int")?;
        match found.map(usize::try_from) {
            Some(Ok(limit)) if limit > 0 => Ok(Self(limit)),
            _ => Err(Error::limit(format!(
                "limit is {}; a scan takes a whole number of rows, 1 or more",
                shown(value)
            ))),
        }
    }
}

/// The direction of a scan.
pub(crate) struct Reverse(pub(crate) bool);

impl FromPyObject<'_, '_> for Reverse {
    type Error = Error;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> Result<Self> {
        match value.cast::<PyBool>() {
            Ok(reverse) => Ok(Self(reverse.is_true())),
            Err(_) => Err(Error::wrong_type(format!(
                "reverse is True or False, not {}",
                shown(&value)
            ))),
        }
    }
}

/// How many threads may look keys up.
pub(crate) struct Threads(pub(crate) usize);

impl FromPyObject<'_, '_> for Threads {
    type Error = Error;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> Result<Self> {
        let found = whole(&value, "threads", "a number of threads, an int")?;
        match found.map(usize::try_from) {
            Some(Ok(threads)) if threads > 0 => Ok(Self(threads)),
            _ => Err(Error::invalid(format!(
                "threads is {}; pass 1 or more",
                shown(&value)
            ))),
        }
    }
}

/// Two arrays to write to.
pub(crate) fn pair<'py>(out: &Bound<'py, PyAny>) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    out.extract().map_err(|_| {
        let name = type_name(out);
        Error::wrong_type(format!("out is a {name}; pass a tuple of two arrays"))
    })
}

/// A range that an index is to have: start, end (None or empty: no end), owner.
pub(crate) fn range<'py>(
    range: &Bound<'py, PyAny>,
) -> Result<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    range.extract().map_err(|_| {
        let text = shown(range);
        Error::wrong_type(format!("add has {text}; each range is (start, end, owner)"))
    })
}

/// A key length, which is checked where it is used.
pub(crate) fn key_length(value: &Bound<'_, PyAny>) -> Result<usize> {
    match whole(value, "key_length", "a number of bytes, an int")?.map(usize::try_from) {
        Some(Ok(length)) => Ok(length),
        _ => Err(Error::key_length(format!(
            "key length {} is out of range: choose 1 to {MAX_KEY_LENGTH}",
            shown(value)
        ))),
    }
}

/// A bound of a scan; None is no bound.
pub(crate) fn bound(bound: &Bound<'_, PyAny>, what: &str) -> Result<Vec<u8>> {
    if bound.is_none() {
        return Ok(Vec::new());
    }
    Ok(key_bytes(bound, what)?.to_vec())
}

/// One value.
pub(crate) fn value(value: &Bound<'_, PyAny>) -> Result<Vec<u8>> {
    let Ok(bytes) = value.cast::<PyBytes>() else {
        return Err(Error::wrong_type(format!(
            "a value is bytes, not {}: encode it",
            type_name(value)
        )));
    };
    refuse_stripped(value, "value")?;
    Ok(bytes.as_bytes().to_vec())
}

/// Refuses an item of a numpy array of dtype `S`: numpy has taken the zero bytes from its end.
pub(crate) fn refuse_stripped(bytes: &Bound<'_, PyAny>, what: &str) -> Result<()> {
    if bytes.is_exact_instance_of::<PyBytes>() || type_name(bytes) != "bytes_" {
        return Ok(());
    }
    Err(Error::wrong_type(format!(
        "{what} {} is an item of a numpy array, which has lost the zero bytes at its end: pass the array, or bytes",
        shown(bytes)
    )))
}

/// Many keys of just this length.
///
/// A list is not padded here as an index pads it: a row is written under the very key that was given.
pub(crate) fn keys(keys: &Bound<'_, PyAny>, key_length: usize) -> Result<Vec<Vec<u8>>> {
    let wrong = |key: &[u8]| {
        Error::key_length(format!(
            "key {} is {} bytes; this keyspace takes {key_length} (dstk.keys.text pads)",
            readable(key),
            key.len()
        ))
    };
    if !lies_in_memory(keys)? {
        let key = |key: &Bound<'_, PyAny>| match key_bytes(key, "keys")? {
            bytes if bytes.len() == key_length => Ok(bytes.to_vec()),
            bytes => Err(wrong(bytes)),
        };
        return items(keys, "keys")?.iter().map(key).collect();
    }
    let keys = KeysIn::new(keys, "keys", None)?;
    let rows = keys.to_rows();
    let rows = rows.rows();
    match rows.iter().next().filter(|_| keys.width() != key_length) {
        Some(key) => Err(wrong(key)),
        None => Ok(rows.iter().map(<[u8]>::to_vec).collect()),
    }
}

/// Many values. What lies in memory side by side is read at its width, zero bytes at the end included.
pub(crate) fn values(values: &Bound<'_, PyAny>) -> Result<Vec<Vec<u8>>> {
    if !lies_in_memory(values)? {
        return items(values, "values")?.iter().map(value).collect();
    }
    if let Ok(array) = values.cast::<PyUntypedArray>() {
        let dtype = array.dtype();
        let is_bytes = match (dtype.kind(), array.ndim()) {
            (b'S', 1) => true,
            (b'V', 1) => !dtype.has_fields() && !dtype.has_subarray(),
            (b'u', 2) => dtype.itemsize() == 1,
            _ => false,
        };
        if !is_bytes {
            return Err(Error::wrong_type(format!(
                "values is an array of dtype {dtype} with {} dimensions; pass dtype S{{n}} or V{{n}} with one or uint8 \
                 with two (values, bytes), which are read at their width, or a list of bytes",
                array.ndim()
            )));
        }
    }
    let values = KeysIn::new(values, "values", None)?;
    let rows = values.to_rows();
    Ok(rows.rows().iter().map(<[u8]>::to_vec).collect())
}

/// Whether it is read where it lies: arrays but those of objects, Arrow arrays, buffers. All else is iterated over.
fn lies_in_memory(many: &Bound<'_, PyAny>) -> Result<bool> {
    if let Ok(array) = many.cast::<PyUntypedArray>() {
        return Ok(!(array.dtype().kind() == b'O' && array.ndim() == 1));
    }
    if is_one(many) {
        return Ok(false);
    }
    // SAFETY: the pointer is to a live object.
    let is_buffer = unsafe { ffi::PyObject_CheckBuffer(many.as_ptr()) } == 1;
    Ok(is_buffer || many.hasattr(intern!(many.py(), "__arrow_c_array__"))?)
}

/// Whether it is one key or value, and not many.
fn is_one(many: &Bound<'_, PyAny>) -> bool {
    many.is_instance_of::<PyBytes>()
        || many.is_instance_of::<PyString>()
        || many.is_instance_of::<PyByteArray>()
}

/// What an iterable gives, if it is one of many in an order.
pub(crate) fn items<'py>(many: &Bound<'py, PyAny>, what: &str) -> Result<Vec<Bound<'py, PyAny>>> {
    let wrong = |why: &str| {
        let name = type_name(many);
        Err(Error::wrong_type(format!(
            "{what} is a {name}, {why}: pass a list of bytes or an array"
        )))
    };
    if is_one(many) {
        return wrong("one and not many");
    }
    if many.is_instance_of::<PySet>() || many.is_instance_of::<PyFrozenSet>() {
        return wrong("which has no order");
    }
    if many.is_instance_of::<PyDict>() {
        return wrong("of which only the keys would be taken");
    }
    let Ok(iterator) = many.try_iter() else {
        return wrong("which cannot be iterated over");
    };
    Ok(iterator.collect::<PyResult<Vec<_>>>()?)
}

/// A setting's value as a number: numbers, but not `bool`, and numbers as text.
pub(crate) fn setting(name: &str, value: &Bound<'_, PyAny>) -> Result<f64> {
    let wrong = || {
        Error::config(format!(
            "setting {name} is {}: it takes a number",
            shown(value)
        ))
    };
    if is_bool(value) {
        return Err(wrong());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text.to_string_lossy().trim().parse().map_err(|_| wrong());
    }
    value.extract::<f64>().map_err(|_| wrong())
}

/// A setting that is text.
pub(crate) fn text(value: &Bound<'_, PyAny>, what: &str) -> Result<String> {
    value
        .extract()
        .map_err(|_| Error::config(format!("setting {what} is {}: it takes text", shown(value))))
}
