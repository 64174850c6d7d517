//! What is written down of a partition besides its rows.

use std::sync::Arc;

use super::record::{RecordError, Writer, short, text};
use crate::frame::Reader;
use crate::key::Bounds;
use crate::role::Role;

/// A partition without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) keyspace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) role: Role,
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
    /// The worker that it copies from, or passes requests on to; empty: none.
    pub(crate) peer: String,
    /// That worker's data address, as far as it is needed.
    pub(crate) address: String,
}

impl Description {
    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        out.short(self.keyspace.as_bytes());
        out.short(self.name.as_bytes()).short(&self.bounds.start);
        out.short(self.bounds.end().unwrap_or_default());
        out.kind(self.role as u8).u64(self.epoch).u64(self.sequence);
        out.short(self.peer.as_bytes());
        out.short(self.address.as_bytes());
    }

    pub(super) fn decode(body: &mut Reader<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            keyspace: text(body)?.into(),
            name: text(body)?.into(),
            bounds: Arc::new(bounds(short(body)?, short(body)?)),
            role: role(body.u8()?)?,
            epoch: body.u64()?,
            sequence: body.u64()?,
            peer: text(body)?.into(),
            address: text(body)?.into(),
        })
    }
}

/// As they are written: an empty end is none.
pub(super) fn bounds(start: &[u8], end: &[u8]) -> Bounds {
    Bounds {
        start: start.into(),
        end: (!end.is_empty()).then(|| end.into()),
    }
}

/// A role as it is written. Nothing is ever written that is disconnected.
pub(super) fn role(number: u8) -> Result<Role, RecordError> {
    [Role::Loading, Role::Following, Role::Primary, Role::Proxy]
        .into_iter()
        .find(|role| *role as u8 == number)
        .ok_or(RecordError::Role(number))
}
