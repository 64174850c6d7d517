//! What a partition can be here, and what it has then and at no other time.

use std::sync::Arc;

use super::operation::Nanos;
use super::storage::Storage;
use super::stream::{RangeLoad, Stream};
use crate::role::Role;

/// What a worker is to a partition, with what belongs to that.
pub(crate) enum State<S: Storage> {
    /// It copies a snapshot of the source.
    Loading {
        stream: Stream,
        /// The range that is being loaded.
        range: Option<RangeLoad<S>>,
    },
    /// It has the snapshot and applies the source's log.
    Following { stream: Stream },
    /// It serves the range; behind a fence, it holds new requests.
    Primary { fence: Option<Fence> },
    /// It passes requests on to the worker that serves the range now.
    Proxy {
        to: Arc<str>,
        address: Arc<str>,
        /// When the last request was passed on, or when it became proxy.
        last: Nanos,
    },
    /// Nothing any more. Who finds it looks again for what has taken its place.
    Gone,
}

/// New requests are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    pub(crate) since: Nanos,
}

impl<S: Storage> State<S> {
    /// One that loads, of which nothing has come yet.
    pub(crate) fn loading(stream: Stream) -> Self {
        Self::Loading {
            stream,
            range: None,
        }
    }

    /// What is left of one that an earlier life of the worker had: a primary is fenced until an operator says that it
    /// still is one, a follower receives nothing until it is told to follow anew, a proxy goes on.
    pub(crate) fn restarted(role: Role, peer: &str, address: &str) -> Self {
        match role {
            Role::Loading => Self::loading(Stream::interrupted(peer)),
            Role::Following => Self::Following {
                stream: Stream::interrupted(peer),
            },
            Role::Primary => Self::Primary {
                fence: Some(Fence { since: 0 }),
            },
            Role::Proxy => Self::Proxy {
                to: peer.into(),
                address: address.into(),
                last: 0,
            },
            Role::Disconnected => Self::Gone,
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Loading { .. } => Role::Loading,
            Self::Following { .. } => Role::Following,
            Self::Primary { .. } => Role::Primary,
            Self::Proxy { .. } => Role::Proxy,
            Self::Gone => Role::Disconnected,
        }
    }

    /// The worker that it copies from or passes requests on to, and that one's data address as far as a later life needs
    /// it.
    pub(crate) fn peer(&self) -> (&str, &str) {
        match self {
            Self::Loading { stream, .. } | Self::Following { stream } => {
                (&stream.progress.source, "")
            }
            Self::Proxy { to, address, .. } => (to, address),
            Self::Primary { .. } | Self::Gone => ("", ""),
        }
    }

    /// That of a partition that loads or follows.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        match self {
            Self::Loading { stream, .. } | Self::Following { stream } => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Loading { stream, .. } | Self::Following { stream } => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        match self {
            Self::Primary { fence } => *fence,
            _ => None,
        }
    }

    /// Whether a request is carried out at once.
    pub(crate) fn serves(&self) -> bool {
        matches!(self, Self::Primary { fence: None })
    }
}
