//! Why an action was refused. Nothing has changed then.

use thiserror::Error;

use crate::partition::Refused;

/// `dstk.v1.Refusal`: the kind, and a text with the values that were wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The epoch is older than the one held.
    #[error("{0}")]
    Stale(String),
    /// The partition is not held.
    #[error("{0}")]
    NotHere(String),
    /// It is held in a role that does not allow this.
    #[error("{0}")]
    WrongRole(String),
    /// Not yet.
    #[error("{0}")]
    NotReady(String),
    /// The action itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It is meant for another worker, or another cluster's.
    #[error("{0}")]
    Misdirected(String),
    /// A bound of the worker is reached.
    #[error("{0}")]
    Limit(String),
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale(text) => Self::Stale(text),
            Refused::WrongRole(text) => Self::WrongRole(text),
            Refused::NotReady(text) => Self::NotReady(text),
            Refused::Invalid(text) | Refused::Unfit(text) => Self::Invalid(text),
            Refused::Limit(text) => Self::Limit(text),
        }
    }
}
