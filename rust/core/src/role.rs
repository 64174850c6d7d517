//! What a worker can be to a partition.

use std::fmt;

/// What a worker is to a partition; the numbers are those of `dstk.v1.Role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Nothing (any more).
    Disconnected = 0,
    /// It copies a snapshot of the source.
    Loading = 1,
    /// It has the snapshot and applies the source's log.
    Following = 2,
    /// It serves the range.
    Primary = 3,
    /// It passes requests on to the worker that serves the range now.
    Proxy = 4,
}

impl Role {
    /// The name used everywhere: `disconnected`, `loading`, `following`, `primary`, `proxy`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Loading => "loading",
            Self::Following => "following",
            Self::Primary => "primary",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
