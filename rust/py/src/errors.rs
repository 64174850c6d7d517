//! The one map from errors of the core to the exceptions of `dstk.errors`.

use dstk_core::index::IndexError;
use dstk_core::key::KeyError;
use pyo3::PyErr;

/// The classes of `dstk.errors`, imported when first raised.
pub(crate) mod exceptions {
    #![allow(missing_docs, reason = "each is described where it is defined, in python/dstk/errors.py")]

    pyo3::import_exception!(dstk.errors, InvalidRange);
    pyo3::import_exception!(dstk.errors, InvalidRequest);
    pyo3::import_exception!(dstk.errors, KeyLengthError);
    pyo3::import_exception!(dstk.errors, WrongType);
}

use exceptions::{InvalidRange, InvalidRequest, KeyLengthError, WrongType};

/// What a method of the binding fails with: an exception, whatever went wrong underneath.
#[derive(Debug)]
pub(crate) struct Error(PyErr);

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `dstk.errors.WrongType`.
    pub(crate) fn wrong_type(message: String) -> Self {
        Self(WrongType::new_err(message))
    }

    /// `dstk.errors.KeyLengthError`.
    pub(crate) fn key_length(message: String) -> Self {
        Self(KeyLengthError::new_err(message))
    }

    /// `dstk.errors.InvalidRequest`.
    pub(crate) fn invalid(message: String) -> Self {
        Self(InvalidRequest::new_err(message))
    }
}

impl From<PyErr> for Error {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        error.0
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        Self(match error {
            KeyError::EmptyRange { .. } | KeyError::NotInside { .. } | KeyError::NotAdjacent { .. } => {
                InvalidRange::new_err(message)
            }
            _ => KeyLengthError::new_err(message),
        })
    }
}

impl From<IndexError> for Error {
    fn from(error: IndexError) -> Self {
        let message = error.to_string();
        match error {
            IndexError::Key(error) => error.into(),
            IndexError::RowsTooWide { .. } => Self::key_length(message),
            IndexError::Overlap { .. } | IndexError::NotAscending { .. } | IndexError::NoSuchRange { .. } => {
                Self(InvalidRange::new_err(message))
            }
            _ => Self::invalid(message),
        }
    }
}
