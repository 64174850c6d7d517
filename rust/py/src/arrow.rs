//! Arrow arrays by the C data interface (arrow.apache.org/docs/format/CDataInterface.html), from whatever library.

use std::ffi::{CStr, c_char};

use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};

use crate::errors::{Error, Result};

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";

/// An array of fixed-size binary without nulls; its memory is its producer's, who gets it back with the drop.
pub(crate) struct FixedSizeBinary {
    array: FFI_ArrowArray,
    width: usize,
}

impl FixedSizeBinary {
    /// Of what has a method `__arrow_c_array__`. `what` names the argument in errors.
    pub(crate) fn of(object: &Bound<'_, PyAny>, what: &str) -> Result<Self> {
        let pair = object.call_method0("__arrow_c_array__")?;
        let Ok((schema, array)) = pair.extract::<(Bound<'_, PyCapsule>, Bound<'_, PyCapsule>)>()
        else {
            let message = format!("{what}: __arrow_c_array__ gave {pair}, and not two capsules");
            return Err(Error::wrong_type(message));
        };
        let (schema, array) = (
            schema.pointer_checked(Some(SCHEMA))?,
            array.pointer_checked(Some(ARRAY))?,
        );
        // SAFETY: a schema begins with the pointer to its format, which is null once the schema was taken out.
        if unsafe { schema.cast::<*const c_char>().read() }.is_null() {
            let message =
                format!("{what} gave a schema that is released; an array is handed over once");
            return Err(Error::wrong_type(message));
        }
        // SAFETY: a capsule of that name holds a pointer to such a struct, which may be taken out once: what is left
        // there says that it is released.
        let (schema, array) = unsafe {
            (
                FFI_ArrowSchema::from_raw(schema.as_ptr().cast()),
                FFI_ArrowArray::from_raw(array.as_ptr().cast()),
            )
        };
        if array.is_released() {
            let message =
                format!("{what} gave an array that is released; an array is handed over once");
            return Err(Error::wrong_type(message));
        }
        let width = schema
            .format()
            .strip_prefix("w:")
            .and_then(|width| width.parse().ok());
        let Some(width) = width else {
            let message = format!(
                "{what} is an Arrow array of format {:?}; pass fixed_size_binary (format \"w:N\")",
                schema.format()
            );
            return Err(Error::wrong_type(message));
        };
        // A count of -1 means that nobody has counted; a mask that is there may then hide any.
        if array.num_buffers() != 2 {
            let message = format!(
                "{what} has {} buffers; fixed-size binary has 2",
                array.num_buffers()
            );
            return Err(Error::wrong_type(message));
        }
        let may_hide = array.null_count_opt() != Some(0) && !array.buffer(0).is_null();
        if may_hide {
            let message = format!("{what} may have nulls; drop them first, as a null is no key");
            return Err(Error::wrong_type(message));
        }
        Ok(Self { array, width })
    }

    /// How many keys.
    pub(crate) fn len(&self) -> usize {
        self.array.len()
    }

    /// Bytes a key.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Where the first key lies.
    pub(crate) fn data(&self) -> *const u8 {
        self.array
            .buffer(1)
            .wrapping_add(self.array.offset() * self.width)
    }
}
