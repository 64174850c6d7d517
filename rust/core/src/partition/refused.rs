//! Why a partition does not do what it is told. Nothing has changed then.

/// What was wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The epoch or the token is older than what is held.
    Stale(String),
    /// What the worker is to it does not allow this.
    WrongRole(String),
    /// Not yet.
    NotReady(String),
    /// The command itself is wrong.
    Invalid(String),
    /// A bound of the worker is reached.
    Limit(String),
    /// What a stream brought does not fit.
    Unfit(String),
}

impl Refused {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Stale(text)
            | Self::WrongRole(text)
            | Self::NotReady(text)
            | Self::Invalid(text)
            | Self::Limit(text)
            | Self::Unfit(text) => text,
        }
    }
}
