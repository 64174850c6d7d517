//! What the write-ahead log holds: changes of rows and of the partition table, in the order in which they happened.
//!
//! A record is `kind: u8`, then its fields; numbers are little-endian, texts and keys are `length: u16 | bytes`, values
//! and chunks `length: u32 | bytes`. Blocks around records carry checksums, so records have none.

use crate::frame::{FrameError, Reader};

/// Names a partition in one data directory; never used again.
pub(crate) type PartitionId = u64;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const SKIP: u8 = 3;
const OPEN: u8 = 4;
const TURN: u8 = 5;
const GONE: u8 = 6;
const SPLIT: u8 = 7;
const MERGE: u8 = 8;
const DROP_RANGE: u8 = 9;
const CHUNK: u8 = 10;
const LOADED: u8 = 11;
const TERM: u8 = 12;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A row was made or replaced.
    Put {
        id: PartitionId,
        sequence: u64,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A row was removed.
    Delete {
        id: PartitionId,
        sequence: u64,
        key: &'a [u8],
    },
    /// A sequence number was skipped.
    Skip { id: PartitionId, sequence: u64 },
    /// An empty partition is held from now on.
    Open {
        id: PartitionId,
        keyspace: &'a str,
        name: &'a str,
        /// Of full key length.
        start: &'a [u8],
        /// Empty: none.
        end: &'a [u8],
        role: u8,
        epoch: u64,
        sequence: u64,
        /// A follower's source.
        peer: &'a str,
    },
    /// A partition's role or epoch is another.
    Turn {
        id: PartitionId,
        role: u8,
        epoch: u64,
        /// A follower's source, or the worker that a proxy passes on to.
        peer: &'a str,
        /// Its data address.
        address: &'a str,
    },
    /// A partition is held no longer.
    Gone { id: PartitionId },
    /// A partition was cut: its children, lowest first, with the key that each begins at.
    Split {
        id: PartitionId,
        epoch: u64,
        children: Vec<(PartitionId, &'a str, &'a [u8])>,
    },
    /// Partitions, lowest first, were joined.
    Merge {
        parts: Vec<PartitionId>,
        id: PartitionId,
        name: &'a str,
        epoch: u64,
        sequence: u64,
    },
    /// A follower's rows of a range come anew.
    DropRange {
        id: PartitionId,
        start: &'a [u8],
        /// Empty: no end.
        end: &'a [u8],
    },
    /// Rows of that range: a snapshot chunk as it was received.
    Chunk { id: PartitionId, chunk: &'a [u8] },
    /// A follower has the whole snapshot.
    Loaded {
        id: PartitionId,
        sequence: u64,
        digest: u64,
    },
    /// An operator of this term was heard.
    Term { term: u64 },
}

impl<'a> Record<'a> {
    /// Appends the record to `out`.
    ///
    /// # Panics
    /// When a text or key is longer than 64 KiB, which no name or key is.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut out = Writer(out);
        match self {
            Self::Put {
                id,
                sequence,
                key,
                value,
            } => {
                out.kind(PUT).u64(*id).u64(*sequence).short(key).long(value);
            }
            Self::Delete { id, sequence, key } => {
                out.kind(DELETE).u64(*id).u64(*sequence).short(key);
            }
            Self::Skip { id, sequence } => {
                out.kind(SKIP).u64(*id).u64(*sequence);
            }
            Self::Open {
                id,
                keyspace,
                name,
                start,
                end,
                role,
                epoch,
                sequence,
                peer,
            } => {
                out.kind(OPEN).u64(*id).short(keyspace.as_bytes());
                out.short(name.as_bytes()).short(start).short(end);
                out.kind(*role).u64(*epoch).u64(*sequence);
                out.short(peer.as_bytes());
            }
            Self::Turn {
                id,
                role,
                epoch,
                peer,
                address,
            } => {
                out.kind(TURN).u64(*id).kind(*role).u64(*epoch);
                out.short(peer.as_bytes()).short(address.as_bytes());
            }
            Self::Gone { id } => {
                out.kind(GONE).u64(*id);
            }
            Self::Split {
                id,
                epoch,
                children,
            } => {
                out.kind(SPLIT).u64(*id).u64(*epoch).count(children.len());
                for (child, name, start) in children {
                    out.u64(*child).short(name.as_bytes()).short(start);
                }
            }
            Self::Merge {
                parts,
                id,
                name,
                epoch,
                sequence,
            } => {
                out.kind(MERGE).count(parts.len());
                for part in parts {
                    out.u64(*part);
                }
                out.u64(*id).short(name.as_bytes());
                out.u64(*epoch).u64(*sequence);
            }
            Self::DropRange { id, start, end } => {
                out.kind(DROP_RANGE).u64(*id).short(start).short(end);
            }
            Self::Chunk { id, chunk } => {
                out.kind(CHUNK).u64(*id).long(chunk);
            }
            Self::Loaded {
                id,
                sequence,
                digest,
            } => {
                out.kind(LOADED).u64(*id).u64(*sequence).u64(*digest);
            }
            Self::Term { term } => {
                out.kind(TERM).u64(*term);
            }
        }
    }

    /// Reads one record off the front.
    pub(crate) fn decode(bytes: &mut Reader<'a>) -> Result<Self, RecordError> {
        Ok(match bytes.u8()? {
            PUT => Self::Put {
                id: bytes.u64()?,
                sequence: bytes.u64()?,
                key: short(bytes)?,
                value: long(bytes)?,
            },
            DELETE => Self::Delete {
                id: bytes.u64()?,
                sequence: bytes.u64()?,
                key: short(bytes)?,
            },
            SKIP => Self::Skip {
                id: bytes.u64()?,
                sequence: bytes.u64()?,
            },
            OPEN => Self::Open {
                id: bytes.u64()?,
                keyspace: text(bytes)?,
                name: text(bytes)?,
                start: short(bytes)?,
                end: short(bytes)?,
                role: bytes.u8()?,
                epoch: bytes.u64()?,
                sequence: bytes.u64()?,
                peer: text(bytes)?,
            },
            TURN => Self::Turn {
                id: bytes.u64()?,
                role: bytes.u8()?,
                epoch: bytes.u64()?,
                peer: text(bytes)?,
                address: text(bytes)?,
            },
            GONE => Self::Gone { id: bytes.u64()? },
            SPLIT => {
                let (id, epoch, count) = (bytes.u64()?, bytes.u64()?, bytes.u32()?);
                let child = |bytes: &mut Reader<'a>| -> Result<_, RecordError> {
                    Ok((bytes.u64()?, text(bytes)?, short(bytes)?))
                };
                let children = (0..count).map(|_| child(bytes)).collect::<Result<_, _>>()?;
                Self::Split {
                    id,
                    epoch,
                    children,
                }
            }
            MERGE => {
                let count = bytes.u32()?;
                let parts = (0..count).map(|_| bytes.u64()).collect::<Result<_, _>>()?;
                Self::Merge {
                    parts,
                    id: bytes.u64()?,
                    name: text(bytes)?,
                    epoch: bytes.u64()?,
                    sequence: bytes.u64()?,
                }
            }
            DROP_RANGE => Self::DropRange {
                id: bytes.u64()?,
                start: short(bytes)?,
                end: short(bytes)?,
            },
            CHUNK => Self::Chunk {
                id: bytes.u64()?,
                chunk: long(bytes)?,
            },
            LOADED => Self::Loaded {
                id: bytes.u64()?,
                sequence: bytes.u64()?,
                digest: bytes.u64()?,
            },
            TERM => Self::Term { term: bytes.u64()? },
            other => return Err(RecordError::Kind(other)),
        })
    }
}

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0} is no kind of record")]
    Kind(u8),
    #[error("{0} is no role")]
    Role(u8),
    #[error("a name is not UTF-8")]
    Text,
}

pub(super) fn short<'a>(bytes: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let length = usize::from(bytes.u16()?);
    bytes.bytes(length)
}

pub(super) fn long<'a>(bytes: &mut Reader<'a>) -> Result<&'a [u8], FrameError> {
    let length = bytes.u32()? as usize;
    bytes.bytes(length)
}

pub(super) fn text<'a>(bytes: &mut Reader<'a>) -> Result<&'a str, RecordError> {
    std::str::from_utf8(short(bytes)?).map_err(|_| RecordError::Text)
}

/// Puts fields one after the other.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

impl Writer<'_> {
    pub(super) fn kind(&mut self, kind: u8) -> &mut Self {
        self.0.push(kind);
        self
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        let count = u32::try_from(count).expect("a record has fewer than 2^32 parts");
        self.0.extend_from_slice(&count.to_le_bytes());
        self
    }

    pub(super) fn short(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len()).expect("names and keys are shorter than 64 KiB");
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn long(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record<'static>> {
        vec![
            Record::Put {
                id: 7,
                sequence: 9,
                key: b"key",
                value: b"value",
            },
            Record::Delete {
                id: 7,
                sequence: 10,
                key: b"key",
            },
            Record::Skip {
                id: 7,
                sequence: 11,
            },
            Record::Open {
                id: 8,
                keyspace: "default",
                name: "p1",
                start: b"aa",
                end: b"",
                role: 3,
                epoch: 4,
                sequence: 5,
                peer: "worker-1",
            },
            Record::Turn {
                id: 8,
                role: 4,
                epoch: 5,
                peer: "worker-2",
                address: "h:1",
            },
            Record::Gone { id: 8 },
            Record::Split {
                id: 8,
                epoch: 6,
                children: vec![(9, "low", b"aa"), (10, "high", b"bb")],
            },
            Record::Merge {
                parts: vec![9, 10],
                id: 11,
                name: "whole",
                epoch: 7,
                sequence: 12,
            },
            Record::DropRange {
                id: 11,
                start: b"aa",
                end: b"bb",
            },
            Record::Chunk {
                id: 11,
                chunk: b"rows",
            },
            Record::Loaded {
                id: 11,
                sequence: 13,
                digest: 14,
            },
            Record::Term { term: 15 },
        ]
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut bytes = Vec::new();
        samples()
            .iter()
            .for_each(|record| record.encode(&mut bytes));
        let mut reader = Reader::new(&bytes);
        for sample in samples() {
            assert_eq!(Record::decode(&mut reader), Ok(sample));
        }
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_record_cut_short_is_an_error() {
        for sample in samples() {
            let mut bytes = Vec::new();
            sample.encode(&mut bytes);
            for length in 0..bytes.len() {
                let mut reader = Reader::new(&bytes[..length]);
                assert!(Record::decode(&mut reader).is_err(), "{sample:?} {length}");
            }
        }
    }
}
