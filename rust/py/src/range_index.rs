//! `RangeIndex`.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use dstk_core::index::{Delta, IndexError, Keys, RangeIndex, sort_by_owner};
use dstk_core::key::{Bounds, check_key_length};
use numpy::{
    PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray1, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments::{self, Threads};
use crate::errors::{Error, Result};
use crate::keys_in::{KeysIn, RowsIn, data_of, key_bytes, lookup_key, with_keys};

/// Batches of at least this many keys are looked up with the interpreter released.
const DETACH_FROM: usize = 256;

/// A thread is started for no fewer keys than this.
const KEYS_A_THREAD: usize = 16_384;

/// An immutable index over closed-open ranges of keys of one length, 1 to 1024 bytes. Gaps are allowed.
///
/// A key or bound that is shorter than the key length stands for itself padded with zero bytes. numpy's `S{n}` drops
/// trailing zero bytes, so nothing is lost. Many keys are given as one of
///
/// - a numpy array of dtype `S{n}` or `V{n}` with one dimension, or of uint8 with shape `(keys, n)`, of any strides;
/// - a numpy array of uint64: keys of eight bytes, as numbers of the same order;
/// - a buffer of bytes (bytearray, memoryview, mmap, array): flat, one key after the other, or of shape `(keys, n)`;
/// - an Arrow array of fixed-size binary without nulls, from any library (`__arrow_c_array__`);
/// - any iterable of bytes, which is copied.
///
/// The others are read where they lie, except for native uint64 that is not contiguous, and must not be written
/// meanwhile: batches of 256 keys and more are looked up with the interpreter released.
///
/// Errors of all methods: KeyLengthError for a key that is too long, WrongType for what is no key, InvalidRange for
/// ranges that are empty, unsorted or overlap.
///
/// `RangeIndex(starts, ends=None, owners=None, *, key_length=None)` takes the ranges by column, sorted by start. An end
/// without bytes, or of zero bytes alone, is no end. Without `ends` each range goes up to the next start, and the last
/// one has no end. `owners` are integers in 0..2**24 - 1, one a range; without them each range has an owner of its own,
/// numbered by position. Without `key_length` it is the width of the widest bound.
#[pyclass(name = "RangeIndex", module = "dstk._core", frozen)]
pub(crate) struct PyRangeIndex {
    inner: RangeIndex,
}

#[pymethods]
impl PyRangeIndex {
    #[new]
    #[pyo3(signature = (starts, ends=None, owners=None, *, key_length=None))]
    fn new(
        starts: &Bound<'_, PyAny>,
        ends: Option<&Bound<'_, PyAny>>,
        owners: Option<&Bound<'_, PyAny>>,
        key_length: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self> {
        let key_length = key_length.map(arguments::key_length).transpose()?;
        if let Some(key_length) = key_length {
            check_key_length(key_length)?;
        }
        let starts = KeysIn::new(starts, "starts", key_length)?;
        let ends = ends
            .map(|ends| KeysIn::new(ends, "ends", key_length))
            .transpose()?;
        let widest = || ends.as_ref().map_or(0, KeysIn::width).max(starts.width());
        let key_length = key_length.unwrap_or_else(widest);
        let owners = owners.map(owners_in).transpose()?;
        let starts = starts.to_rows();
        let ends = ends.as_ref().map(KeysIn::to_rows);
        let inner = RangeIndex::from_columns(
            starts.rows(),
            ends.as_ref().map(RowsIn::rows),
            owners.as_deref(),
            key_length,
        )?;
        Ok(Self { inner })
    }

    /// The position of the range that holds `key`, counted from 0 in the order of keys; -1 when no range does.
    ///
    /// `key` is bytes, `key_length` of them at most. Raises KeyLengthError, WrongType.
    #[pyo3(signature = (key, /))]
    fn find(&self, key: &Bound<'_, PyAny>) -> Result<i64> {
        let found = self.inner.find(lookup_key(key, self.inner.key_length())?);
        Ok(found.map_or(-1, |position| position as i64))
    }

    /// The owner of the range that holds `key`; -1 when no range does.
    ///
    /// `key` is bytes, `key_length` of them at most. Raises KeyLengthError, WrongType.
    #[pyo3(signature = (key, /))]
    fn owner(&self, key: &Bound<'_, PyAny>) -> Result<i64> {
        Ok(self
            .inner
            .owner(lookup_key(key, self.inner.key_length())?)
            .map_or(-1, i64::from))
    }

    /// The position of the range that holds each of `keys`, int64 of shape `(keys,)`; -1 where no range does.
    ///
    /// `keys` is whatever the class takes for many keys. With `out`, a contiguous int64 array of shape `(keys,)`,
    /// the result is written there and `out` is returned. At most `threads` threads share the work; each gets
    /// 16,384 keys or more.
    ///
    /// Raises KeyLengthError for keys that are too wide, WrongType for what is no keys or for an `out` of another
    /// dtype, InvalidRequest for `threads` below 1 and for an `out` that has another length, cannot be written or
    /// lies in the memory of `keys`.
    #[pyo3(signature = (keys, out=None, *, threads=Threads(1)))]
    fn find_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        threads: Threads,
    ) -> Result<Bound<'py, PyArray1<i64>>> {
        let keys = KeysIn::new(keys, "keys", Some(self.inner.key_length()))?;
        let threads = threads_for(keys.len(), threads.0);
        let view = keys.view();
        let find = |places: &mut [i64]| {
            in_shares(places, threads, |positions, places| {
                view.each(positions, |done, batch| {
                    with_keys!(batch, keys => {
                        let end = done + keys.len();
                        self.inner.find_into(keys, &mut places[done..end])
                    })
                })
            })
        };
        let (out, mut places) = match out {
            Some(out) => out_array(out, "out", keys.len(), &keys)?,
            None => new_array(py, keys.len())?,
        };
        let places = slice_of(&mut places)?;
        released(py, keys.len(), || find(places))?;
        Ok(out)
    }

    /// Which keys go to which owner: `(order, offsets)`, two int64 arrays of shape `(keys,)` and `(owners + 2,)`.
    ///
    /// `order[offsets[o]:offsets[o + 1]]` are the positions in `keys` of those that owner `o` has, in the order of
    /// `keys`. The positions of keys that no range holds come last: `order[offsets[owners]:]`. With `out`, a pair
    /// of contiguous int64 arrays of these shapes, the result is written there. `threads` share the look-ups, not
    /// the sorting.
    ///
    /// Raises what `find_many` raises, and InvalidRequest when the two arrays of `out` lie in one another.
    #[pyo3(signature = (keys, out=None, *, threads=Threads(1)))]
    #[expect(clippy::type_complexity, reason = "the two arrays that Python sees")]
    fn group<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
        threads: Threads,
    ) -> Result<(Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>)> {
        let keys = KeysIn::new(keys, "keys", Some(self.inner.key_length()))?;
        let threads = threads_for(keys.len(), threads.0);
        let view = keys.view();
        let count = keys.len();
        let offsets_count = self.inner.owners() as usize + 2;
        let group = |order: &mut [i64], offsets: &mut [i64]| {
            let mut owners = vec![0; count];
            in_shares(&mut owners, threads, |positions, owners| {
                view.each(positions, |done, batch| {
                    with_keys!(batch, keys => {
                        let end = done + keys.len();
                        self.inner.owners_into(keys, &mut owners[done..end])
                    })
                })
            })?;
            sort_by_owner(&owners, order, offsets)
        };
        let out = out.map(arguments::pair).transpose()?;
        let ((order, mut order_places), (offsets, mut offset_places)) = match out {
            Some((order, offsets)) => (
                out_array(&order, "out[0]", count, &keys)?,
                out_array(&offsets, "out[1]", offsets_count, &keys)?,
            ),
            None => (new_array(py, count)?, new_array(py, offsets_count)?),
        };
        let (places, offset_places) = (slice_of(&mut order_places)?, slice_of(&mut offset_places)?);
        // numpy's arrays over one buffer are not known to it as one.
        let (first, second) = (places.as_ptr_range(), offset_places.as_ptr_range());
        if first.start < second.end && second.start < first.end {
            let message = "out[1] lies in the memory of out[0]: pass another one";
            return Err(Error::invalid(message.to_owned()));
        }
        released(py, count, || group(places, offset_places))?;
        Ok((order, offsets))
    }

    /// The next version: without the ranges that start at the keys `remove`, with the ranges `add`.
    ///
    /// `add` holds tuples `(start, end, owner)`; an `end` of None or b"" is no end. This version stays as it is,
    /// and the two share what did not change: a change costs microseconds, however many ranges there are.
    ///
    /// Raises InvalidRange when no range starts at a key of `remove`, or when ranges would be empty or overlap,
    /// KeyLengthError for a bound that is too long, InvalidRequest for an owner that is not in 0..2**24 - 1.
    #[pyo3(signature = (remove, add))]
    fn apply(
        &self,
        py: Python<'_>,
        remove: &Bound<'_, PyAny>,
        add: &Bound<'_, PyAny>,
    ) -> Result<Self> {
        let mut delta = Delta::default();
        for start in arguments::items(remove, "remove")? {
            delta.remove.push(key_bytes(&start, "remove")?.into());
        }
        for range in arguments::items(add, "add")? {
            let (start, end, owner) = arguments::range(&range)?;
            let bounds = Bounds::padded(
                key_bytes(&start, "add")?,
                &arguments::bound(&end, "add")?,
                self.inner.key_length(),
            )?;
            let owner = owner.extract::<u32>().map_err(|_| bad_owner(&owner))?;
            delta.add.push((bounds, owner));
        }
        // Short as it is, readers who come back from a batch would wait for it.
        let inner = py.detach(|| self.inner.apply(&delta))?;
        Ok(Self { inner })
    }

    /// `(start, end)` of the range at a position, as bytes of the key length; the end is b"" when there is none.
    ///
    /// Raises IndexError for a position that is not in 0..len(index) - 1.
    fn bounds<'py>(
        &self,
        py: Python<'py>,
        position: &Bound<'py, PyAny>,
    ) -> Result<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let at = arguments::whole(position, "position", "a number of a range, an int")?;
        let at = at.and_then(|at| usize::try_from(at).ok());
        let Some(range) = at.and_then(|at| self.inner.get(at)) else {
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

    /// Bytes of every key, 1 to 1024.
    #[getter]
    fn key_length(&self) -> usize {
        self.inner.key_length()
    }

    /// One more than the highest owner of this version and of those it came from.
    #[getter]
    fn owners(&self) -> u32 {
        self.inner.owners()
    }

    /// Memory of this version in bytes, what it shares with other versions included.
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

/// An array and its memory, borrowed for writing.
type ArrayOut<'py> = (Bound<'py, PyArray1<i64>>, PyReadwriteArray1<'py, i64>);

/// A new array, from numpy's allocator: it hands out again what was freed, where ours gives so large a piece back to the
/// system and pays for each page of the next one.
fn new_array(py: Python<'_>, count: usize) -> Result<ArrayOut<'_>> {
    // By numpy's own function, which raises MemoryError where the binding would panic.
    let array = py
        .import("numpy")?
        .call_method1("zeros", (count, "int64"))?;
    let array = array.cast_into::<PyArray1<i64>>().map_err(PyErr::from)?;
    let places = array.try_readwrite().map_err(PyErr::from)?;
    Ok((array, places))
}

/// An array to write `count` results to, checked.
fn out_array<'py>(
    out: &Bound<'py, PyAny>,
    what: &str,
    count: usize,
    keys: &KeysIn<'_>,
) -> Result<ArrayOut<'py>> {
    let Ok(array) = out.cast::<PyArray1<i64>>() else {
        let kind = match out.cast::<PyUntypedArray>() {
            Ok(array) => format!(
                "an array of dtype {} with {} dimensions",
                array.dtype(),
                array.ndim()
            ),
            Err(_) => out.get_type().name()?.to_string(),
        };
        let message = format!("{what} is {kind}; pass a one-dimensional numpy array of int64");
        return Err(Error::wrong_type(message));
    };
    if array.len() != count {
        let message = format!("{what} has {} places; give it {count}", array.len());
        return Err(Error::invalid(message));
    }
    if !array.is_c_contiguous() {
        return Err(Error::invalid(format!(
            "{what} is not contiguous: pass one that is"
        )));
    }
    let start = data_of(array.as_untyped()).addr();
    if keys.shares(start..start + count * size_of::<i64>()) {
        return Err(Error::invalid(format!(
            "{what} lies in the memory of keys: pass another one"
        )));
    }
    let places = array
        .try_readwrite()
        .map_err(|error| Error::invalid(format!("{what} cannot be written: {error}")))?;
    Ok((array.clone(), places))
}

fn slice_of<'a>(places: &'a mut PyReadwriteArray1<'_, i64>) -> Result<&'a mut [i64]> {
    places
        .as_slice_mut()
        .map_err(|error| Error::invalid(format!("out cannot be written: {error}")))
}

/// How many threads are worth starting for so many keys, of those asked for.
fn threads_for(keys: usize, asked: usize) -> usize {
    asked.min(keys / KEYS_A_THREAD).max(1)
}

/// Cuts `places` into one share a thread and has them filled at the same time; `fill` is told which positions they are.
fn in_shares<T: Send>(
    places: &mut [T],
    threads: usize,
    fill: impl Fn(Range<usize>, &mut [T]) -> std::result::Result<(), IndexError> + Sync,
) -> std::result::Result<(), IndexError> {
    if threads == 1 {
        return fill(0..places.len(), places);
    }
    let share = places.len().div_ceil(threads);
    let shares = Mutex::new(places.chunks_mut(share).enumerate());
    let work = || {
        loop {
            let next = shares.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, places)) = next else {
                return Ok(());
            };
            let start = number * share;
            fill(start..start + places.len(), places)?;
        }
    };
    std::thread::scope(|scope| {
        // Where no more threads are to be had, there are fewer: whoever is there takes the next share.
        let helpers: Vec<_> = (1..threads)
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let mine = work();
        helpers
            .into_iter()
            .fold(mine, |done, helper| match helper.join() {
                Ok(theirs) => done.and(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

/// Runs `work` on `keys` keys, with the interpreter released if they are many.
fn released<T: Send>(
    py: Python<'_>,
    keys: usize,
    work: impl FnOnce() -> std::result::Result<T, IndexError> + Send,
) -> Result<T> {
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
        // Of records whose size is no multiple of eight there is no right view.
        if let Ok(owners) = array.as_slice() {
            let narrow = |owner: &i64| u32::try_from(*owner).map_err(|_| bad_owner(owner));
            return owners.iter().map(narrow).collect();
        }
    }
    let Ok(owners_in_turn) = owners.try_iter() else {
        let message = format!(
            "owners is a {}; pass an array of int64 or a list of numbers",
            owners.get_type().name()?
        );
        return Err(Error::wrong_type(message));
    };
    owners_in_turn
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
