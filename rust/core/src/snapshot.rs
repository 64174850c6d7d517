//! Snapshot chunks: sorted rows in columns, checksummed, of bounded size.
//!
//! Layout of a chunk's body: `key length: u16 | rows: u32 | keys | versions: u64 each | value lengths: u32 each |
//! values`, every column one after the other, in a checksummed [frame](FrameError). A compressed chunk has a tag of its
//! own and the body `unpacked bytes: u32 | lz4 block`, of a body as above; its checksum is over what is sent.

use std::sync::Arc;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use thiserror::Error;

use crate::frame::{self, FrameError};
use crate::key::{KeyError, check_key_length, readable};
use crate::tree::{MAX_VALUE_BYTES, Run, Summary, Tree, TreeBuilder, TreeError, Value};

const TAG: [u8; 4] = *b"dkc1";
const LZ4_TAG: [u8; 4] = *b"dkz1";
const HEADER_BYTES: usize = 2 + 4;
const ROW_OVERHEAD_BYTES: usize = 8 + 4;

/// So many leaves of values are under way from memory while those of one are copied: about 40 kB of short values.
const AHEAD: usize = 8;

/// Size of a chunk unless told otherwise, in bytes.
pub const DEFAULT_CHUNK_BYTES: usize = 256 << 10;

/// The biggest chunk that is made or taken, in bytes.
pub const MAX_CHUNK_BYTES: usize = 4 << 20;

/// What can be wrong with a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The frame around it is damaged.
    #[error("snapshot chunk: {0}")]
    Frame(#[from] FrameError),
    /// The key length asked for is none.
    #[error("snapshot chunk: {0}")]
    Key(#[from] KeyError),
    /// Bigger than any chunk is made.
    #[error("snapshot chunk of {0} bytes: at most {MAX_CHUNK_BYTES} are taken")]
    TooBig(usize),
    /// Its compressed body is not what it says.
    #[error("snapshot chunk does not unpack to {bytes} bytes: {reason}")]
    Compressed {
        /// Bytes it should unpack to.
        bytes: usize,
        /// What is wrong.
        reason: String,
    },
    /// It is of another keyspace.
    #[error("snapshot chunk has keys of {found} bytes; this keyspace takes {expected}")]
    KeyLength {
        /// Key length it was made with.
        found: usize,
        /// Key length of this keyspace.
        expected: usize,
    },
    /// It holds no rows, which no encoder sends.
    #[error("snapshot chunk without rows")]
    Empty,
    /// Its keys do not ascend.
    #[error("snapshot chunk: key {next} does not come after {previous}")]
    NotAscending {
        /// The key before.
        previous: String,
        /// The offending key.
        next: String,
    },
    /// A value above the limit.
    #[error("snapshot chunk: value of {key} is {bytes} bytes; at most {MAX_VALUE_BYTES} are taken")]
    ValueTooBig {
        /// The key, readable.
        key: String,
        /// Length of its value in bytes.
        bytes: usize,
    },
}

/// Whether chunks are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// They are not: a core compresses about 0.7 GB/s and copies several times that.
    #[default]
    None,
    /// By lz4, those that become smaller by it.
    Lz4,
}

/// Cuts a snapshot, or a range of one, into chunks.
///
/// It owns its snapshot, so it may outlive the partition and be sent between threads; drop what
/// [`into_snapshot`](Self::into_snapshot) gives in the background when it may be the last owner of many rows.
pub struct ChunkEncoder {
    snapshot: Tree,
    next_row: u64,
    end_row: u64,
    chunk_bytes: usize,
    compression: Compression,
}

impl ChunkEncoder {
    /// Chunks of at most [`DEFAULT_CHUNK_BYTES`] of the rows in `[start, end)`.
    pub fn new(snapshot: Tree, start: &[u8], end: Option<&[u8]>) -> Self {
        Self::with_chunk_bytes(snapshot, start, end, DEFAULT_CHUNK_BYTES)
    }

    /// Chunks of at most `chunk_bytes` bytes, or of one row where a row is longer.
    pub fn with_chunk_bytes(
        snapshot: Tree,
        start: &[u8],
        end: Option<&[u8]>,
        chunk_bytes: usize,
    ) -> Self {
        let next_row = snapshot.rank(start);
        let end_row = end
            .map_or(snapshot.rows(), |end| snapshot.rank(end))
            .max(next_row);
        Self {
            snapshot,
            next_row,
            end_row,
            chunk_bytes: chunk_bytes.min(MAX_CHUNK_BYTES),
            compression: Compression::None,
        }
    }

    /// The same with its chunks compressed, or not. Their size is bounded before that.
    #[must_use]
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Rows that are still to come.
    pub fn rows_left(&self) -> u64 {
        self.end_row - self.next_row
    }

    /// The next chunk, or none after the last row.
    #[allow(
        clippy::should_implement_trait,
        reason = "a sender pulls chunks one at a time between other work"
    )]
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let room = self
            .chunk_bytes
            .saturating_sub(frame::OVERHEAD_BYTES + HEADER_BYTES) as u64;
        let (runs, sum) = self.fitting(room);
        if sum.rows == 0 {
            return None;
        }
        let rows = sum.rows as usize;
        let body = HEADER_BYTES + rows * ROW_OVERHEAD_BYTES + sum.bytes as usize;
        let mut chunk = frame::begin(TAG, body);
        chunk.extend_from_slice(&(self.snapshot.key_length() as u16).to_le_bytes());
        chunk.extend_from_slice(&(rows as u32).to_le_bytes());
        // Rows that were written in random order lie all over the memory, and waiting for one after the other would take
        // most of the time: so what is needed next is asked for while something else is copied.
        runs.iter().for_each(Run::prefetch_node);
        runs.iter().for_each(Run::prefetch_rows);
        let mut versions = Vec::with_capacity(rows);
        let mut lengths = Vec::with_capacity(rows);
        for run in &runs {
            chunk.extend_from_slice(run.keys());
            for (version, value) in run.cells() {
                versions.push(version.to_le_bytes());
                lengths.push((value.len() as u32).to_le_bytes());
            }
        }
        chunk.extend_from_slice(versions.as_flattened());
        chunk.extend_from_slice(lengths.as_flattened());
        runs.iter().take(AHEAD).for_each(Run::prefetch_values);
        for (at, run) in runs.iter().enumerate() {
            if let Some(coming) = runs.get(at + AHEAD) {
                coming.prefetch_values();
            }
            run.cells()
                .for_each(|(_, value)| chunk.extend_from_slice(value));
        }
        self.next_row += sum.rows;
        let packed = match self.compression {
            Compression::None => None,
            Compression::Lz4 => pack(&chunk),
        };
        Some(frame::seal(packed.unwrap_or(chunk)))
    }

    /// The next rows that take `room` bytes at most, or one row.
    fn fitting(&self, room: u64) -> (Vec<Run<'_>>, Summary) {
        let takes = |sum: Summary| sum.bytes + sum.rows * ROW_OVERHEAD_BYTES as u64;
        let (mut runs, mut sum) = (Vec::new(), Summary::default());
        for run in self.snapshot.runs_at(self.next_row, self.end_row) {
            let mut with = sum;
            with += run.sum;
            if takes(with) <= room {
                sum = with;
                runs.push(run);
                continue;
            }
            let key_length = self.snapshot.key_length() as u64;
            let mut left = room.saturating_sub(takes(sum));
            let fits = |(_, value): &(u64, &Value)| {
                let row = key_length + ROW_OVERHEAD_BYTES as u64 + value.len() as u64;
                let fits = row <= left;
                left = left.saturating_sub(row);
                fits
            };
            let rows = run.cells().take_while(fits).count();
            let rows = rows.max(usize::from(runs.is_empty()));
            if rows > 0 {
                let run = run.cut(rows);
                sum += run.sum;
                runs.push(run);
            }
            break;
        }
        (runs, sum)
    }

    /// The snapshot, to be dropped or read again.
    pub fn into_snapshot(self) -> Tree {
        self.snapshot
    }
}

/// One row of a chunk; it borrows the chunk's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Sequence of the write that made it.
    pub version: u64,
}

/// A chunk that has been checked: at least one row, keys of one length that ascend, values within their limit.
#[derive(Debug, Clone, Copy)]
pub struct DecodedChunk<'a> {
    frame: &'a [u8],
    key_length: usize,
    keys: &'a [u8],
    versions: &'a [u8],
    lengths: &'a [u8],
    values: &'a [u8],
}

impl<'a> DecodedChunk<'a> {
    /// The chunk as it was received.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Number of rows, at least one.
    pub fn rows(&self) -> usize {
        self.keys.len() / self.key_length
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        (self.keys.len() + self.values.len()) as u64
    }

    /// Length of the keys, in bytes.
    pub fn key_length(&self) -> usize {
        self.key_length
    }

    /// The lowest key.
    pub fn first_key(&self) -> &'a [u8] {
        &self.keys[..self.key_length]
    }

    /// The highest key.
    pub fn last_key(&self) -> &'a [u8] {
        &self.keys[self.keys.len() - self.key_length..]
    }

    /// The rows by ascending key.
    pub fn iter(&self) -> impl Iterator<Item = ChunkRow<'a>> + use<'a> {
        let mut values = self.values;
        let keys = self.keys.chunks_exact(self.key_length);
        keys.zip(integers(self.versions))
            .zip(lengths(self.lengths))
            .map(move |((key, version), length)| {
                let (value, rest) = values.split_at(length);
                values = rest;
                ChunkRow {
                    key,
                    value,
                    version,
                }
            })
    }

    /// Adds the rows to a tree that is being built; they have to come after what it holds.
    pub fn append_to(&self, builder: &mut TreeBuilder) -> Result<(), TreeError> {
        if builder.key_length() != self.key_length {
            return Err(TreeError::KeyLength {
                found: self.key_length,
                expected: builder.key_length(),
            });
        }
        let rows = self.iter().map(|row| (Arc::from(row.value), row.version));
        builder.append(self.keys, rows)
    }
}

fn integers(column: &[u8]) -> impl Iterator<Item = u64> + use<'_> {
    column
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| u64::from_le_bytes(*bytes))
}

fn lengths(column: &[u8]) -> impl Iterator<Item = usize> + use<'_> {
    column
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes) as usize)
}

/// The frame of a compressed chunk for that of a plain one, both without checksum; none when it is no smaller.
fn pack(plain: &[u8]) -> Option<Vec<u8>> {
    let body = &plain[frame::TAG_BYTES..];
    let mut packed = frame::begin(LZ4_TAG, 4 + get_maximum_output_size(body.len()));
    packed.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let start = packed.len();
    packed.resize(packed.capacity() - frame::CHECKSUM_BYTES, 0);
    let bytes = compress_into(body, &mut packed[start..]).ok()?;
    packed.truncate(start + bytes);
    (packed.len() < plain.len()).then_some(packed)
}

/// Reads chunks, compressed or not, one after the other.
#[derive(Debug)]
pub struct ChunkDecoder {
    key_length: usize,
    /// What the last compressed chunk was unpacked to.
    unpacked: Vec<u8>,
}

impl ChunkDecoder {
    /// A decoder of chunks with keys of `key_length` bytes.
    pub fn new(key_length: usize) -> Self {
        Self {
            key_length,
            unpacked: Vec::new(),
        }
    }

    /// Checks a chunk and gives its rows: checksum, key length, every column's length, key order and value limit.
    ///
    /// Safe on hostile input: a chunk is unpacked into at most [`MAX_CHUNK_BYTES`] that are used again for the next,
    /// and nothing else is allocated.
    ///
    /// # Errors
    /// What is wrong with the chunk; `Key` when the decoder's key length is none.
    pub fn decode<'a>(&'a mut self, chunk: &'a [u8]) -> Result<DecodedChunk<'a>, SnapshotError> {
        check_key_length(self.key_length)?;
        if chunk.len() > MAX_CHUNK_BYTES {
            return Err(SnapshotError::TooBig(chunk.len()));
        }
        if !chunk.starts_with(&LZ4_TAG) {
            return columns(chunk, frame::open(chunk, TAG)?, self.key_length);
        }
        let mut packed = frame::open(chunk, LZ4_TAG)?;
        let bytes = packed.u32()? as usize;
        if bytes > MAX_CHUNK_BYTES {
            return Err(SnapshotError::TooBig(bytes));
        }
        self.unpacked.resize(bytes, 0);
        let wrong = |reason: String| SnapshotError::Compressed { bytes, reason };
        let found = decompress_into(packed.rest(), &mut self.unpacked)
            .map_err(|error| wrong(error.to_string()))?;
        if found != bytes {
            return Err(wrong(format!("it has {found}")));
        }
        columns(chunk, frame::Reader::new(&self.unpacked), self.key_length)
    }
}

/// Reads and checks the columns of a chunk's body.
fn columns<'a>(
    frame: &'a [u8],
    mut body: frame::Reader<'a>,
    key_length: usize,
) -> Result<DecodedChunk<'a>, SnapshotError> {
    let found = usize::from(body.u16()?);
    if found != key_length {
        return Err(SnapshotError::KeyLength {
            found,
            expected: key_length,
        });
    }
    let rows = body.u32()? as usize;
    if rows == 0 {
        return Err(SnapshotError::Empty);
    }
    let decoded = DecodedChunk {
        frame,
        key_length,
        keys: body.bytes(rows.saturating_mul(key_length))?,
        versions: body.bytes(rows.saturating_mul(8))?,
        lengths: body.bytes(rows.saturating_mul(4))?,
        values: body.rest(),
    };
    let mut left = decoded.values.len();
    let mut previous: Option<&[u8]> = None;
    for (key, bytes) in decoded
        .keys
        .chunks_exact(key_length)
        .zip(lengths(decoded.lengths))
    {
        if let Some(previous) = previous.filter(|previous| *previous >= key) {
            return Err(SnapshotError::NotAscending {
                previous: readable(previous),
                next: readable(key),
            });
        }
        previous = Some(key);
        if bytes > MAX_VALUE_BYTES {
            return Err(SnapshotError::ValueTooBig {
                key: readable(key),
                bytes,
            });
        }
        left = left.checked_sub(bytes).ok_or(FrameError::Truncated {
            have: left,
            need: bytes,
        })?;
    }
    if left > 0 {
        return Err(FrameError::TrailingBytes(left).into());
    }
    Ok(decoded)
}
