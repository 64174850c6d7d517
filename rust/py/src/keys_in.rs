//! Keys as Python hands them over: read where they are if they lie in memory, copied from sequences of bytes.

use std::convert::Infallible;
use std::ops::Range;

use dstk_core::index::{IntegerKeys, KeyRows, Keys};
use dstk_core::key::readable;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::arguments::{items, refuse_stripped};
use crate::arrow::FixedSizeBinary;
use crate::errors::{Error, Result};

/// Keys that do not lie in one piece each are gathered so many at a time.
const GATHER: usize = 4096;

/// Many keys of one width, and what keeps their memory.
pub(crate) enum KeysIn<'py> {
    /// In the memory of an object.
    Lent { place: Place, _owner: Owner<'py> },
    /// Copied.
    Owned {
        bytes: Vec<u8>,
        len: usize,
        width: usize,
    },
}

/// What lends the memory of keys.
#[expect(dead_code, reason = "they are held for what their drop would end")]
pub(crate) enum Owner<'py> {
    Array(Bound<'py, PyUntypedArray>),
    Buffer(PyBuffer<u8>),
    Arrow(FixedSizeBinary),
}

/// Where keys lie: `len` of them, `stride` bytes apart, each of `width` bytes that are `step` bytes apart.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    data: *const u8,
    len: usize,
    stride: isize,
    width: usize,
    step: isize,
    /// Whether each is an integer of the machine, and not its bytes from the highest to the lowest.
    native: bool,
}

// SAFETY: it is but an address; who reads there promises that the memory is.
unsafe impl Sync for Place {}

/// Keys for the core.
#[derive(Clone, Copy)]
pub(crate) enum Batch<'a> {
    Rows(KeyRows<'a>),
    Integers(IntegerKeys<'a>),
}

/// Runs an expression with `$keys` bound to whichever kind of keys a batch is of.
macro_rules! with_keys {
    ($batch:expr, $keys:ident => $work:expr) => {
        match $batch {
            $crate::keys_in::Batch::Rows($keys) => $work,
            $crate::keys_in::Batch::Integers($keys) => $work,
        }
    };
}
pub(crate) use with_keys;

impl<'py> KeysIn<'py> {
    /// Keys from a numpy array of dtype `S{n}`, `V{n}` or uint64, a `(keys, n)` array of uint8, a buffer of bytes, an Arrow
    /// array of fixed-size binary or an iterable of bytes.
    ///
    /// An iterable's keys are padded with zeros to `width`, or to its longest key without one; a flat buffer is cut into
    /// keys of `width`. `what` names the argument in errors.
    pub(crate) fn new(keys: &Bound<'py, PyAny>, what: &str, width: Option<usize>) -> Result<Self> {
        if let Ok(array) = keys.cast::<PyUntypedArray>()
            && !(array.dtype().kind() == b'O' && array.ndim() == 1)
        {
            return Self::of_array(array, what);
        }
        if keys.is_instance_of::<PyBytes>() || keys.is_instance_of::<PyString>() {
            let message = format!(
                "{what} is one {}; pass many, such as a list of bytes (a memoryview of it is cut into keys)",
                keys.get_type().name()?
            );
            return Err(Error::wrong_type(message));
        }
        if keys.hasattr(intern!(keys.py(), "__arrow_c_array__"))? {
            return Self::of_arrow(keys, what);
        }
        if let Ok(buffer) = PyBuffer::<u8>::get(keys) {
            return Self::of_buffer(buffer, what, width);
        }
        Self::of_sequence(keys, what, width)
    }

    /// How many keys.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Lent { place, .. } => place.len,
            Self::Owned { len, .. } => *len,
        }
    }

    /// Bytes a key.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Lent { place, .. } => place.width,
            Self::Owned { width, .. } => *width,
        }
    }

    /// The keys, for use with the interpreter released.
    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::Lent { place, .. } => View::Lent(place),
            Self::Owned { bytes, len, width } => View::Owned {
                bytes,
                len: *len,
                width: *width,
            },
        }
    }

    /// All keys as bytes, copied if they have to be.
    pub(crate) fn to_rows(&self) -> RowsIn<'_> {
        let (len, width) = (self.len(), self.width());
        let mut bytes = Vec::new();
        let mut lent = None;
        let one_piece = match self {
            Self::Lent { place, .. } => !place.native && place.step == 1,
            Self::Owned { .. } => true,
        };
        if one_piece {
            lent = self.view().rows();
        } else {
            let Ok(()) = self.view().each(0..len, |_, batch| {
                with_keys!(batch, keys => (0..keys.len()).for_each(|at| {
                    bytes.extend_from_slice(keys.get(at).as_ref());
                }));
                Ok::<_, Infallible>(())
            });
        }
        RowsIn {
            lent,
            bytes,
            len,
            width,
        }
    }

    /// Whether the keys lie anywhere in `memory`.
    pub(crate) fn shares(&self, memory: Range<usize>) -> bool {
        match self {
            Self::Lent { place, .. } => {
                let own = place.extent();
                own.start < memory.end && memory.start < own.end
            }
            Self::Owned { .. } => false,
        }
    }

    fn of_array(array: &Bound<'py, PyUntypedArray>, what: &str) -> Result<Self> {
        let dtype = array.dtype();
        let item = dtype.itemsize();
        let (shape, strides) = (array.shape(), array.strides());
        let wrong = || {
            let hint = if dtype.kind() == b'i' {
                "signed integers sort otherwise than their bytes (dstk.keys.i64 encodes them); "
            } else {
                ""
            };
            let message = format!(
                "{what} is an array of dtype {dtype} with {} dimensions; {hint}pass dtype S{{n}} or uint64 with one, \
                 uint8 with two (keys, bytes), or a list of bytes",
                array.ndim()
            );
            Error::wrong_type(message)
        };
        let (width, step, native) = match (dtype.kind(), array.ndim()) {
            (b'S', 1) => (item, 1, false),
            (b'V', 1) if !dtype.has_fields() && !dtype.has_subarray() => (item, 1, false),
            (b'u', 1) if item == 8 => (8, 1, dtype.is_native_byteorder() == Some(true)),
            (b'u', 2) if item == 1 => (shape[1], strides[1], false),
            _ => return Err(wrong()),
        };
        if native && !(array.is_c_contiguous() && is_aligned(array)) {
            let numpy = array.py().import("numpy")?;
            let copy = numpy.call_method1("array", (array,))?;
            return Self::of_array(copy.cast::<PyUntypedArray>().map_err(PyErr::from)?, what);
        }
        let place = Place::new(
            data_of(array),
            (shape[0], strides[0]),
            (width, step),
            native,
        );
        Ok(Self::Lent {
            place,
            _owner: Owner::Array(array.clone()),
        })
    }

    fn of_buffer(buffer: PyBuffer<u8>, what: &str, width: Option<usize>) -> Result<Self> {
        if buffer
            .suboffsets()
            .is_some_and(|all| all.iter().any(|offset| *offset >= 0))
        {
            let message = format!("{what} is a buffer of pointers to rows; copy it into one piece");
            return Err(Error::wrong_type(message));
        }
        let (shape, strides) = (buffer.shape(), buffer.strides());
        let (len, stride, width, step) = match (shape, strides, width) {
            ([len, width], [stride, step], _) => (*len, *stride, *width, *step),
            ([bytes], [1], Some(width)) if bytes.is_multiple_of(width) => {
                (bytes / width, width as isize, width, 1)
            }
            ([bytes], [1], Some(width)) => {
                let message = format!("{what} has {bytes} bytes; the keys here take {width} each");
                return Err(Error::key_length(message));
            }
            _ => {
                let message = format!(
                    "{what} is a buffer of {} dimensions; pass one of bytes side by side and a key length, or \
                     two (keys, bytes)",
                    shape.len()
                );
                return Err(Error::wrong_type(message));
            }
        };
        let data = buffer.buf_ptr().cast::<u8>().cast_const();
        let place = Place::new(data, (len, stride), (width, step), false);
        Ok(Self::Lent {
            place,
            _owner: Owner::Buffer(buffer),
        })
    }

    fn of_arrow(keys: &Bound<'py, PyAny>, what: &str) -> Result<Self> {
        let array = FixedSizeBinary::of(keys, what)?;
        let keys = (array.len(), array.width() as isize);
        let place = Place::new(array.data(), keys, (array.width(), 1), false);
        Ok(Self::Lent {
            place,
            _owner: Owner::Arrow(array),
        })
    }

    fn of_sequence(keys: &Bound<'py, PyAny>, what: &str, width: Option<usize>) -> Result<Self> {
        let keys = items(keys, what)?;
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

/// Keys as bytes: lent, or a copy.
pub(crate) struct RowsIn<'a> {
    lent: Option<KeyRows<'a>>,
    bytes: Vec<u8>,
    len: usize,
    width: usize,
}

impl RowsIn<'_> {
    /// The keys for the core.
    pub(crate) fn rows(&self) -> KeyRows<'_> {
        let copied = || strided(&self.bytes, 0, self.width as isize, self.len, self.width);
        self.lent.unwrap_or_else(copied)
    }
}

/// Keys that are there for as long as what they were lent by.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    Lent(&'a Place),
    Owned {
        bytes: &'a [u8],
        len: usize,
        width: usize,
    },
}

impl<'a> View<'a> {
    /// The keys as they lie, if they are bytes in one piece each.
    fn rows(&self) -> Option<KeyRows<'a>> {
        match *self {
            Self::Owned { bytes, len, width } => {
                Some(strided(bytes, 0, width as isize, len, width))
            }
            Self::Lent(place) if !place.native && place.step == 1 => {
                let first = place.data.addr() - place.extent().start;
                Some(strided(
                    place.memory(),
                    first,
                    place.stride,
                    place.len,
                    place.width,
                ))
            }
            Self::Lent(_) => None,
        }
    }

    /// Calls `work` with all of the keys at `positions`, in order, and the number of those before: all at once if each key
    /// lies in one piece, else some thousands at a time.
    pub(crate) fn each<E>(
        &self,
        positions: Range<usize>,
        mut work: impl FnMut(usize, Batch<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if let Some(rows) = self.rows() {
            return work(0, Batch::Rows(rows.slice(positions)));
        }
        match self {
            Self::Owned { .. } => Ok(()),
            Self::Lent(place) if place.native => {
                // SAFETY: an array lent so many aligned integers, side by side; see `memory` for how long.
                let all = unsafe { std::slice::from_raw_parts(place.data.cast(), place.len) };
                work(0, Batch::Integers(IntegerKeys(all).slice(positions)))
            }
            Self::Lent(place) => {
                let extent = place.extent();
                let (memory, first) = (place.memory(), place.data.addr() - extent.start);
                let mut gathered = Vec::with_capacity(GATHER.min(positions.len()) * place.width);
                let mut done = 0;
                while done < positions.len() {
                    let count = GATHER.min(positions.len() - done);
                    gathered.clear();
                    for position in positions.start + done..positions.start + done + count {
                        let key = first as isize + position as isize * place.stride;
                        gathered.extend(
                            (0..place.width as isize)
                                .map(|at| memory[(key + at * place.step) as usize]),
                        );
                    }
                    work(done, Batch::Rows(KeyRows::new(&gathered, place.width)))?;
                    done += count;
                }
                Ok(())
            }
        }
    }
}

impl Place {
    /// So many keys, each so far from the one before; of so many bytes, each so far from the one before.
    fn new(
        data: *const u8,
        (len, stride): (usize, isize),
        (width, step): (usize, isize),
        native: bool,
    ) -> Self {
        Self {
            data,
            len,
            // How far apart things are that are not there says nothing.
            stride: if width == 0 { 0 } else { stride },
            width,
            step: if width <= 1 { 1 } else { step },
            native,
        }
    }

    /// The addresses between the lowest and the highest byte of the keys.
    fn extent(&self) -> Range<usize> {
        if self.len == 0 || self.width == 0 {
            return self.data.addr()..self.data.addr();
        }
        let rows = (self.len as isize - 1) * self.stride;
        let bytes = (self.width as isize - 1) * self.step;
        let low = rows.min(0) + bytes.min(0);
        let high = rows.max(0) + bytes.max(0) + 1;
        self.data.addr().wrapping_add_signed(low)..self.data.addr().wrapping_add_signed(high)
    }

    /// The memory of [`Place::extent`].
    fn memory(&self) -> &[u8] {
        let extent = self.extent();
        if extent.is_empty() {
            return &[];
        }
        let offset = extent.start.wrapping_sub(self.data.addr()) as isize;
        // SAFETY: the owner lends all from its first key's lowest byte to its last key's highest one, as one piece of
        // initialised memory, and lives as long as this place is borrowed from beside it. Nobody may write there
        // meanwhile: that is what Python's own functions over buffers ask for too, with the interpreter released.
        unsafe { std::slice::from_raw_parts(self.data.offset(offset), extent.len()) }
    }
}

fn strided(memory: &[u8], first: usize, stride: isize, len: usize, width: usize) -> KeyRows<'_> {
    KeyRows::strided(memory, first, stride, len, width).unwrap_or_else(|| {
        unreachable!("{len} keys of {width} bytes are not where they were said to be")
    })
}

/// Where the first item of an array lies.
pub(crate) fn data_of(array: &Bound<'_, PyUntypedArray>) -> *const u8 {
    // SAFETY: the pointer is to a live array object.
    unsafe {
        (*array.as_array_ptr())
            .fields
            .data
            .cast::<u8>()
            .cast_const()
    }
}

fn is_aligned(array: &Bound<'_, PyUntypedArray>) -> bool {
    data_of(array).addr().is_multiple_of(align_of::<u64>())
}

/// The bytes of one key or bound.
pub(crate) fn key_bytes<'a>(key: &'a Bound<'_, PyAny>, what: &str) -> Result<&'a [u8]> {
    match key.cast::<PyBytes>() {
        Ok(bytes) => {
            refuse_stripped(key, what)?;
            Ok(bytes.as_bytes())
        }
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
