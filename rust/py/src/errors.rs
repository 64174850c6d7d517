//! The one map from errors of the core to the exceptions of `dstk.errors`.

use dstk_core::disk::DiskError;
use dstk_core::index::IndexError;
use dstk_core::key::KeyError;
use dstk_core::node::Refusal;
use dstk_net::error::ClientError;
use dstk_net::settings::SettingError;
use pyo3::PyErr;

/// The classes of `dstk.errors`, imported when first raised.
pub(crate) mod exceptions {
    #![allow(
        missing_docs,
        reason = "each is described where it is defined, in python/dstk/errors.py"
    )]

    pyo3::import_exception!(dstk.errors, ConfigError);
    pyo3::import_exception!(dstk.errors, DataDamaged);
    pyo3::import_exception!(dstk.errors, DataLost);
    pyo3::import_exception!(dstk.errors, DeadlineExceeded);
    pyo3::import_exception!(dstk.errors, InvalidRange);
    pyo3::import_exception!(dstk.errors, InvalidRequest);
    pyo3::import_exception!(dstk.errors, KeyLengthError);
    pyo3::import_exception!(dstk.errors, LimitError);
    pyo3::import_exception!(dstk.errors, LimitReached);
    pyo3::import_exception!(dstk.errors, Misdirected);
    pyo3::import_exception!(dstk.errors, NotHere);
    pyo3::import_exception!(dstk.errors, NotReady);
    pyo3::import_exception!(dstk.errors, OutcomeUnknown);
    pyo3::import_exception!(dstk.errors, StaleRequest);
    pyo3::import_exception!(dstk.errors, Unavailable);
    pyo3::import_exception!(dstk.errors, UnknownKeyspace);
    pyo3::import_exception!(dstk.errors, ValueTooLarge);
    pyo3::import_exception!(dstk.errors, VersionMismatch);
    pyo3::import_exception!(dstk.errors, WrongRole);
    pyo3::import_exception!(dstk.errors, WrongType);
}

use exceptions::{
    InvalidRange, InvalidRequest, KeyLengthError, LimitReached, NotHere, NotReady, StaleRequest,
    WrongRole, WrongType,
};

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

    /// `dstk.errors.LimitError`.
    pub(crate) fn limit(message: String) -> Self {
        Self(exceptions::LimitError::new_err(message))
    }

    /// `dstk.errors.ConfigError`.
    pub(crate) fn config(message: String) -> Self {
        Self(exceptions::ConfigError::new_err(message))
    }

    /// `dstk.errors.Unavailable`.
    pub(crate) fn unavailable(message: String) -> Self {
        Self(exceptions::Unavailable::new_err(message))
    }

    /// `dstk.errors.OutcomeUnknown`, of a call that nobody will say anything of any more.
    pub(crate) fn lost() -> Self {
        Self(exceptions::OutcomeUnknown::new_err(
            "the client's threads have ended",
        ))
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
            KeyError::EmptyRange { .. }
            | KeyError::NotInside { .. }
            | KeyError::NotAdjacent { .. } => InvalidRange::new_err(message),
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
            IndexError::Overlap { .. }
            | IndexError::NotAscending { .. }
            | IndexError::NoSuchRange { .. } => Self(InvalidRange::new_err(message)),
            _ => Self::invalid(message),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        Self(match refusal {
            Refusal::Misdirected(_) => exceptions::Misdirected::new_err(message),
            Refusal::Stale(_) => StaleRequest::new_err(message),
            Refusal::NotHere(_) => NotHere::new_err(message),
            Refusal::WrongRole(_) => WrongRole::new_err(message),
            Refusal::NotReady(_) => NotReady::new_err(message),
            Refusal::Limit(_) => LimitReached::new_err(message),
            _ => InvalidRequest::new_err(message),
        })
    }
}

impl From<DiskError> for Error {
    fn from(error: DiskError) -> Self {
        let message = error.to_string();
        Self(match error {
            DiskError::Damaged { .. } => exceptions::DataDamaged::new_err(message),
            _ => exceptions::ConfigError::new_err(message),
        })
    }
}

impl From<SettingError> for Error {
    fn from(error: SettingError) -> Self {
        Self::config(error.to_string())
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        Self(match error {
            ClientError::KeyLength(_) => KeyLengthError::new_err(message),
            ClientError::TooLarge(_) => exceptions::ValueTooLarge::new_err(message),
            ClientError::InvalidRange(_) => InvalidRange::new_err(message),
            ClientError::ScanLimit(_) => exceptions::LimitError::new_err(message),
            ClientError::UnknownKeyspace(_) => exceptions::UnknownKeyspace::new_err(message),
            ClientError::VersionMismatch {
                current_version, ..
            } => exceptions::VersionMismatch::new_err((message, current_version)),
            ClientError::Unavailable(_) => exceptions::Unavailable::new_err(message),
            ClientError::DataLost(_) => exceptions::DataLost::new_err(message),
            ClientError::LimitReached(_) => exceptions::LimitReached::new_err(message),
            ClientError::DeadlineExceeded(_) => exceptions::DeadlineExceeded::new_err(message),
            ClientError::OutcomeUnknown(_) => exceptions::OutcomeUnknown::new_err(message),
            _ => InvalidRequest::new_err(message),
        })
    }
}
