//! What can be wrong with a data directory.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The system says no.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Busy(PathBuf),
    /// It is another worker's.
    #[error(
        "{dir} belongs to worker {found}, not {expected}: mount its own volume, or start with an empty one"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who asked.
        expected: String,
    },
    /// What it holds is damaged, not merely cut off at the end. Nothing of it is served.
    #[error("{dir} is damaged: {}", .found.join("; "))]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What was found, a sentence each.
        found: Vec<String>,
    },
}

impl DiskError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            error,
        }
    }
}
